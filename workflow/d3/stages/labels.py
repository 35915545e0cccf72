"""Phase II-B: a language model writes the instruction of every example.

Part 0 of a diff sequence is the whole program, the others are sub-trajectories; each gets one
imperative sentence. What a model writes around that sentence is cut away by `clean`.
"""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from d3.config.data import LabelChecks
from d3.config.models import Config
from d3.core import schemas
from d3.core.example_format import Part, draw_parts, holds_marker
from d3.core.ids import derive_seed
from d3.core.journal import Journal
from d3.core.tables import Row, in_order, read_rows
from d3.core.unified_diff import make_diff, programs_of
from d3.errors import ConfigError, InputError
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.engine import Engine, Request
from d3.llm.open_engine import open_engine
from d3.llm.prompt import Prompt, find_template
from d3.pipeline.checks import Faults, FinishedJob, read_columns
from d3.pipeline.job import Job
from d3.sources.adopted_table import origin
from d3.stages.adopted import lacking, section
from d3.stages.label_checks import dropped_fault, faults_of
from d3.stages.label_metrics import verb_first
from d3.stages.trivial_change import is_trivial

PROGRAM = ("program",)
CHANGE = ("start", "end", "change")

FRAME = re.compile(
    r"(?:^|\n|[.:!] )\W{0,40}(?:commit message|instruction|label|task|answer)\s{0,40}:\**", re.IGNORECASE
)
PREFACE = re.compile(
    r"(?:sure|certainly|of course|okay|ok|here(?:'s| is| are)|the following|below is)\b", re.IGNORECASE
)
SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\betc)[.!?][\"'`)*]*(?=\s|$)")
FIRST_PERSON = re.compile(r"\b(?:I|I'(?:m|ve|ll|d)|[Ww]e|[Mm]y|[Oo]ur)\b(?!/)")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
NO_CHECKS = LabelChecks()
REPEATED = "drawn before for this sequence"
QUOTES = {'"': '"', "'": "'", "`": "`", "*": "*", "_": "_", "“": "”", "‘": "’"}


@dataclass(kw_only=True, slots=True, frozen=True)
class Piece:
    """What a label is for, and how its answer was begun."""

    identifier: str
    sample: int
    part: Part
    begun: str = ""
    """What the template wrote at the beginning of the answer."""
    truncated: bool = False
    """Whether a program was cut to fit."""
    texts: tuple[str, ...] = ()
    """The programs that the label is about: before and after the change, or the whole one."""


def run(
    config: Config,
    corpus: Path,
    diffs: Path,
    out: Path,
    *,
    model: str | None,
    journal: Path | None = None,
    adopted: Path | None = None,
) -> None:
    """Write instructions for whole programs and sub-trajectories with a language model.

    Rows are in the order of (id, sample, part).

    Every sequence must belong to a file of `corpus` that is not held out, otherwise the two files
    are of different shards: InputError. Sequences without diffs are dropped with their status. A
    sub-trajectory that was drawn before for the same sequence gets the status `repeated` and is not
    asked. Programs too long for the engine are cut at a line end; `too_long` is what has no room
    even then. In the modes `none` and `constant` the same parts get an empty or the same instruction
    and nothing is opened or asked; in the mode `adopted` it is that of the table `adopted`, and a part that it lacks
    has the status `not_adopted`.

    Example: d3 labels --corpus kept.parquet --diffs diffs.parquet --out labels.parquet --model MODEL
    """
    settings = config.labels
    if settings.mode != "model":
        _write_unasked(config, corpus, diffs, out, adopted)
        return
    if model is None and settings.engine.reads_model:
        raise ConfigError("no model", where="labels", remedy="name one with --model, or set labels.mode")
    engine = open_engine(settings.engine, model or "")
    templates = [find_template(settings.program_prompt), find_template(settings.change_prompt)]
    program = Prompt(templates[0], engine.tokenizer, PROGRAM)
    change = Prompt(templates[1], engine.tokenizer, CHANGE)
    with (
        Job("labels", config=config, engine=engine.identity) as job,
        Journal(journal) if journal else nullcontext() as kept,
    ):
        job.prompt("labels.program_prompt", templates[0])
        job.prompt("labels.change_prompt", templates[1])
        job.model(model or "", settings.engine.revision)
        table = job.table(out, schemas.LABELS)
        files = _files(job, corpus)
        questions = _questions(config, job, diffs, files, engine, program, change)
        echoes = {True: _words(templates[0].read_text("utf-8")), False: _words(templates[1].read_text("utf-8"))}
        for outcome in ask_all(engine, questions, kept, what="labels", total=_count(config, diffs)):
            table.write(label_row(outcome, echoes[outcome.row.part.number == 0], settings.checks))


def _write_unasked(config: Config, corpus: Path, diffs: Path, output: Path, adopted: Path | None) -> None:
    """Write the labels of a mode without a model."""
    settings = config.labels
    label = settings.constant if settings.mode == "constant" else ""
    with Job("labels", config=config) as job:
        table = job.table(output, schemas.LABELS)
        rows = job.side_rows(adopted, schemas.ADOPTED_LABELS) if adopted else ()
        given = {(row["id"], row["sample"], row["part"]): row["label"] for row in rows}
        for row, part, repeated in _parts(config, job, diffs, _files(job, corpus)):
            piece = Piece(identifier=row["id"], sample=row["sample"], part=part)
            if repeated:
                table.write(label_row(Outcome(row=piece, status="repeated", detail=REPEATED), ""))
            elif adopted is None:
                table.write(label_row(Outcome(row=piece, status="ok"), "") | _said(label))
            else:
                table.write(_adopted_row(config, piece, given.get((row["id"], row["sample"], part.number))))


def _said(label: str) -> Row:
    return {"label": label, "verb_first": verb_first(label) if label else None}


def _adopted_row(config: Config, piece: Piece, label: str | None) -> Row:
    """Return the row of a label made outside of the pipeline, cleaned as those of a model; None: there is none."""
    table = section(config, "labels")
    if label is None:
        status, detail = lacking(table, "label")
        return label_row(Outcome(row=piece, status=status, detail=detail), "")
    found, reason = clean(label, "", "stop", "")
    row = label_row(Outcome(row=piece, status="unparsable" if reason else "ok", detail=reason or None), "")
    return row | ({} if reason else _said(found)) | {"raw": label, "answered_by": origin(table)}


def _files(job: Job, corpus: Path) -> set[str]:
    """Return the ids of the files that may be used for mid-training."""
    columns = pa.schema([schemas.CORPUS.field(name) for name in ("id", "split")])
    return {row["id"] for row in job.side_rows(corpus, columns) if row["split"] == "midtrain"}


def _count(config: Config, diffs: Path) -> int:
    """Count the labels that will be asked for or repeated, roughly: short sequences have fewer."""
    statuses = pa.schema([schemas.DIFFS.field("status")])
    sequences: int = sum(row["status"] == "ok" for row in read_rows(diffs, statuses))
    return sequences * (config.labels.whole_program + config.labels.sub_trajectories)


def _questions(
    config: Config, job: Job, diffs: Path, files: set[str], engine: Engine, program: Prompt, change: Prompt
) -> Iterator[Question[Piece]]:
    """Yield one question per part of every sequence, and count every sequence."""
    programs: list[str] = []
    replayed = None
    for row, part, repeated in _parts(config, job, diffs, files):
        piece = Piece(identifier=row["id"], sample=row["sample"], part=part)
        if repeated:
            yield Question(row=piece, status="repeated", detail=REPEATED)
            continue
        if row is not replayed:
            programs, replayed = programs_of(row["diffs"]), row
        if part.number == 0:
            prompt, texts = program, {"program": programs[-1]}
        else:
            start, end = programs[part.start], programs[part.end]
            prompt, texts = change, {"start": start, "end": end, "change": make_diff(start, end)}
        piece = replace(piece, texts=tuple(texts[name] for name in ("program", "start", "end") if name in texts))
        yield _question(config, engine, piece, prompt, texts)


def _parts(config: Config, job: Job, diffs: Path, files: set[str]) -> Iterator[tuple[Row, Part, bool]]:
    """Yield (sequence, part, whether it was drawn before for this sequence); count every sequence."""
    for row in in_order(job.rows(diffs, schemas.DIFFS), ("id", "sample"), diffs):
        if row["status"] != "ok":
            job.drop(row["status"])
            continue
        if row["id"] not in files:
            raise InputError(
                f"sequence of {row['id']}, which is no file of the corpus shard that may be used",
                where=str(diffs),
                remedy="give the corpus shard that these diffs were made of",
            )
        job.keep()
        seen: set[tuple[int, int]] = set()
        for part in parts_of(config, row):
            yield row, part, part.number > 0 and part[1:] in seen
            seen.add((part.start, part.end))


def parts_of(config: Config, row: Row) -> list[Part]:
    """Return the parts of a sequence that become examples: the whole program, then sub-trajectories."""
    length = len(row["diffs"])
    whole = [Part(0, 0, length)] if config.labels.whole_program else []
    programs = programs_of(row["diffs"]) if config.labels.trivial == "redraw" else []
    drawn = draw_parts(
        config.seed,
        row["id"],
        row["sample"],
        length,
        count=config.labels.sub_trajectories,
        ends=config.labels.ends,
        unwanted=lambda part: bool(programs) and is_trivial(programs[part.start], programs[part.end]),
    )
    return whole + drawn


def _question(config: Config, engine: Engine, piece: Piece, prompt: Prompt, texts: dict[str, str]) -> Question[Piece]:
    sampling = config.labels.sampling
    rendered = prompt.render_within(texts, engine.max_length - sampling.max_tokens)
    if rendered is None:
        return Question(row=piece, status="too_long", detail=f"no room for code in {engine.max_length} tokens")
    names = (piece.identifier, piece.sample, piece.part.number)
    request = Request(
        key="#".join(str(name) for name in names),
        ids=rendered.ids,
        shared=rendered.shared,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=derive_seed(config.seed, "labels", *names),
        stop=("\n",) if rendered.begun else (),
    )
    return Question(row=replace(piece, begun=rendered.begun, truncated=rendered.truncated), request=request)


def label_row(outcome: Outcome[Piece], echo: str, checks: LabelChecks = NO_CHECKS) -> Row:
    """Return the row of `d3.core.schemas.LABELS` for an answer; `echo` is the template as `_words` gives it.

    A label with a fault that `checks` drops has the fault as its status.
    """
    piece = outcome.row
    row: Row = {
        "id": piece.identifier,
        "sample": piece.sample,
        "part": piece.part.number,
        "start": piece.part.start,
        "end": piece.part.end,
        "label": None,
        "verb_first": None,
        "faults": None,
        "truncated": piece.truncated,
        **outcome.columns(),
    }
    if outcome.answer is None:
        return row
    label, reason = clean(outcome.answer.text, piece.begun, outcome.answer.finish_reason, echo)
    if reason:
        return row | {"status": "unparsable", "detail": reason}
    faults = list(faults_of(label, piece.texts, checks))
    if dropped := dropped_fault(faults, checks):
        return row | dict(zip(("status", "detail"), dropped, strict=True))
    begins = None if _begins_as(label, piece.begun) else verb_first(label)
    return row | {"label": label, "verb_first": begins, "faults": [fault for fault, _ in faults]}


def _begins_as(label: str, begun: str) -> bool:
    """Return whether the first words of a label are the template's, so that they do not measure the model."""
    words = re.findall(r"\w+", FRAME.split(begun)[-1])
    return bool(words) and re.findall(r"\w+", label)[: len(words)] == words


def clean(raw: str, begun: str, finish_reason: str, echo: str) -> tuple[str, str]:
    """Return (the one sentence that was asked for, "") or ("", why there is none).

    What stands around the sentence is cut away: a frame such as `Instruction:`, quotes, a preface
    such as `Sure, here is ...:`, code fences and every sentence after the first one. `begun` is how
    the template began the answer; it belongs to the sentence, its frame does not. Reasons:

    - `empty`: the model wrote nothing;
    - `code_fence`: nothing but code;
    - `several_sentences`: the first one is shorter than three words, so it is not the label;
    - `cut_off`: the tokens ran out inside the first sentence;
    - `first_person`: the model speaks of itself;
    - `prompt_echo`: a sentence of the template;
    - `marker`: it holds a piece of the example's structure;
    - `control_character`: it holds one, such as NUL or ESC.
    """
    if not re.search(r"\w", raw):
        return "", "empty"
    text = begun + raw if raw[:1].isspace() or not begun else f"{begun} {raw}"
    text = FRAME.split(text)[-1]
    prose, fence, _ = text.partition("```")
    if not re.search(r"\w", prose):
        return "", "code_fence" if fence else "empty"
    lines = [line for line in map(_bare, prose.split("\n")) if re.search(r"\w", line)]
    if not lines:
        return "", "empty"
    if PREFACE.match(lines[0]):
        rest = _bare(lines[0].partition(":")[2])
        lines = [rest, *lines[1:]] if rest else lines[1:] or lines
    line = lines[0]
    end = SENTENCE_END.search(line)
    sentence = _bare(" ".join((line[: end.end()] if end else line).split()))
    if len(sentence.split()) < 3:
        more = len(lines) > 1 or (end is not None and line[end.end() :].strip())
        return "", "several_sentences" if more else "empty"
    if finish_reason == "length" and end is None and len(lines) == 1 and not fence:
        return "", "cut_off"
    if FIRST_PERSON.search(sentence):
        return "", "first_person"
    if _words(sentence) in echo:
        return "", "prompt_echo"
    if holds_marker(sentence):
        return "", "marker"
    if CONTROL.search(sentence):
        return "", "control_character"
    return sentence[0].upper() + sentence[1:], ""


def _bare(line: str) -> str:
    """Return a line without bullets at its begin, and without quotes around it or left over from there."""
    line = line.strip().lstrip("#>-–—• ").removeprefix("**").removesuffix("**").strip()
    if len(line) > 1 and line[-1] == QUOTES.get(line[0]) and line[0] not in line[1:-1]:
        line = line[1:-1].strip()
    if line[:1] in QUOTES and QUOTES[line[0]] not in line[1:]:
        line = line[1:]
    if line[-1:] in QUOTES.values() and line.count(line[-1]) == 1:
        line = line[:-1]
    return line.strip()


def _words(text: str) -> str:
    """Return a text's words in small letters with one space before and after each."""
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "


def check(job: FinishedJob) -> Faults:
    """Check that labels are about steps of the sequences, and that only those with the status `ok` have a text."""
    sequences = read_columns(job.inputs_of("diffs"), schemas.DIFFS, "id", "sample", "diffs")
    lengths = {(row["id"], row["sample"]): len(row["diffs"] or []) for row in sequences}
    columns = ("id", "sample", "part", "start", "end", "label", "status")
    for row in read_columns([job.path()], schemas.LABELS, *columns):
        length = lengths.get((row["id"], row["sample"]), -1)
        name = f"{row['id'][:16]}#{row['sample']}, part {row['part']}"
        if not 0 <= row["start"] < row["end"] <= length:
            yield job.name(), f"{name} is about steps {row['start']} to {row['end']} of {length}"
        if (row["status"] == "ok") != (row["label"] is not None):
            yield job.name(), f"{name} has the status {row['status']} and the label {row['label']!r:.40}"
