"""Phase I-C: a language model judges how useful every file is to learn from, 0 to 4 points.

What equals what. Prompts, seeds, the rows and their order depend on nothing but the files, the
configuration and the model. Answers are the same bytes where the same engine version computes the
same batches on the same kind of device: out of a journal, in a second run, after a kill (transformers
gets chunks of questions that are journalled whole, so they are cut the same way again). vLLM was seen
to give the same bytes in any batches on one CPU; on GPUs it fills its batches by the clock, so bytes may differ,
also without kills and with VLLM_BATCH_INVARIANT=1 (`d3.llm.engines.vllm`). Between engines, devices, versions,
tensor-parallel sizes or other batches, rounding differs: a greedy answer changes where two tokens are
nearly as likely, a drawn one where the number falls between them. There only statistics can be
compared: the distribution of scores, the mean of `expected_score`, shares of statuses.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from d3.config.models import Config
from d3.core import schemas
from d3.core.external_sort import Spill
from d3.core.ids import derive_seed
from d3.core.journal import Journal
from d3.core.tables import Row, read_rows
from d3.errors import ConfigError
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.engine import Engine, Request
from d3.llm.open_engine import open_engine
from d3.llm.prompt import Prompt, find_template, join_choices
from d3.pipeline.checks import Faults, FinishedJob, read_columns
from d3.pipeline.job import Job
from d3.stages.adopted import lacking, section
from d3.stages.duplicates import ids_elsewhere
from d3.stages.pregrade import PREGRADE, left_out

POINTS = ("0", "1", "2", "3", "4")
SCORE = "Final score:"
"""What stands before the score when the template does not set `score`."""
NONE_SPARED: Mapping[str, float] = MappingProxyType({})
SCORE_LINE = re.compile(r"final\s+score\W{0,5}([0-4])(?![0-9]|\.[0-9])", re.IGNORECASE)


def run(
    config: Config,
    corpus: Path,
    out: Path,
    *,
    model: str | None,
    journal: Path | None = None,
    duplicates: Path | None = None,
    pregrades: Path | None = None,
    adopted: Path | None = None,
) -> None:
    """Grade the files of a corpus shard for mid-training with a language model.

    Rows are in the order of ids.

    `model` is a folder or hub id; `journal` a folder in which answers are kept for later runs. Files
    held out from mid-training are counted as dropped (`held_out`), as is a file that occurs again
    (`repeated`) or that the list `duplicates` says goes on in another batch. A file that cannot be
    graded keeps a row with its status, as does one that the table `pregrades` leaves out (`pregrade`).
    In the mode `none` nothing is opened or asked, and every row has the status `not_asked`; in the mode `adopted` rows
    are those of the table `adopted`, and a file that it lacks has the status `not_adopted`. Raises D3Error.

    Example: d3 grades --corpus kept.parquet --out grades.parquet --model MODEL --journal journal/grades
    """
    settings = config.grades
    if settings.mode != "model":
        with Job("grades", config=config) as job:
            table = job.table(out, schemas.GRADES)
            given = {row["id"]: row for row in job.side_rows(adopted, schemas.GRADES)} if adopted else {}
            status, detail = lacking(section(config, "grades"), "grade") if adopted else ("not_asked", None)
            for identifier in sorted(row["id"] for row in _files(job, corpus, duplicates)):
                blank = grade_row(Outcome(row=identifier, status=status, detail=detail), settings.read_out)
                table.write(given.get(identifier, blank))
        return
    if model is None and settings.engine.reads_model:
        raise ConfigError("no model", where="grades", remedy="name one with --model, or set grades.mode=none")
    engine = open_engine(settings.engine, model or "")
    template = find_template(settings.prompt)
    prompt = Prompt(template, engine.tokenizer, ("code",))
    with (
        Job("grades", config=config, engine=engine.identity) as job,
        Journal(journal) if journal else nullcontext() as kept,
    ):
        job.prompt("grades.prompt", template)
        job.model(model or "", settings.engine.revision)
        table = job.table(out, schemas.GRADES)
        spared = left_out(job, pregrades)
        questions = grade_questions(config, _files(job, corpus, duplicates), engine, prompt, spared=spared)
        with Spill(out.parent, lambda row: row["id"]) as rows:
            for outcome in ask_all(engine, questions, kept, what="grades", total=_count(corpus)):
                rows.add(grade_row(outcome, settings.read_out))
            for row in rows.rows():
                table.write(row)


def _count(corpus: Path) -> int:
    """Count the files to grade."""
    return sum(row["split"] == "midtrain" for row in read_rows(corpus, pa.schema([schemas.CORPUS.field("split")])))


def _files(job: Job, corpus: Path, duplicates: Path | None) -> Iterator[Row]:
    """Yield the files to grade, and count every row of the corpus."""
    elsewhere = ids_elsewhere(job, duplicates)
    seen: set[str] = set()
    for row in job.rows(corpus, schemas.CORPUS):
        if row["split"] != "midtrain":
            job.drop("held_out")
        elif row["id"] in elsewhere:
            job.drop(elsewhere[row["id"]])
        elif row["id"] in seen:
            job.drop("repeated")
        else:
            seen.add(row["id"])
            job.keep()
            yield row


REPEAT_TEMPERATURE = 1.0
"""Of repeats where grading is greedy, since a seed decides nothing there."""


def grade_questions(
    config: Config,
    files: Iterable[Row],
    engine: Engine,
    prompt: Prompt,
    repeat: int | None = None,
    spared: Mapping[str, float] = NONE_SPARED,
) -> Iterator[Question[str]]:
    """Yield one question per file; those that are spared have a score of the pre-grader and are not asked.

    `repeat` is the number of a further time, with a seed of its own.
    """
    settings = config.grades
    temperature = settings.sampling.temperature
    again = () if repeat is None else ("repeat", repeat)
    if again:
        temperature = temperature or REPEAT_TEMPERATURE
    options: dict[str, Any] = {}
    if settings.read_out == "constrained":
        score = prompt.setting("score") or SCORE
        lead, choices = join_choices(engine.tokenizer, f"\n{score}", POINTS)
        options = {"stop": (score,), "lead": lead, "choices": choices}
    for row in files:
        identifier = row["id"]
        if identifier in spared:
            yield Question(row=identifier, status=PREGRADE, detail=f"pre-grader's score {spared[identifier]:g}")
            continue
        rendered = prompt.render({"code": row["text"]})
        request = Request(
            key=identifier,
            ids=rendered.ids,
            shared=rendered.shared,
            max_tokens=settings.sampling.max_tokens,
            temperature=temperature,
            top_p=settings.sampling.top_p,
            seed=derive_seed(config.seed, "grades", identifier, *again),
            **options,
        )
        yield Question(row=identifier, request=request)


EXPECTED_DIGITS = 6
"""Decimals of an expected score: what follows is rounding of the engine's 32-bit numbers."""


def grade_row(outcome: Outcome[str], read_out: str) -> Row:
    """Return the row of `d3.core.schemas.GRADES` for an answer.

    `constrained`: the score is the likeliest of the five digits, the lower one of two equal ones, or the one that
    was named where the engine has no probabilities; there is no expected score then.
    `parse`: it is the last `Final score: N` that the model wrote; an answer without is `unparsable`.
    """
    row: Row = dict.fromkeys(("score", "expected_score", "entropy", "margin", "rationale"))
    row |= {"id": outcome.row, "truncated": False, **outcome.columns()}
    if outcome.answer is None:
        return row
    text = outcome.answer.text
    if read_out == "constrained":
        chances = outcome.answer.choice_probabilities
        row["score"] = outcome.answer.chosen
        if chances is not None:
            expected = sum(points * chance for points, chance in enumerate(chances))
            likeliest, second = sorted(chances, reverse=True)[:2]
            row["expected_score"] = round(expected, EXPECTED_DIGITS)
            row["entropy"] = round(-sum(chance * math.log2(chance) for chance in chances if chance), EXPECTED_DIGITS)
            row["margin"] = round(likeliest - second, EXPECTED_DIGITS)
        row["rationale"] = text.strip()
        return row
    found = list(SCORE_LINE.finditer(text))
    if found:
        row["score"] = int(found[-1][1])
        row["rationale"] = text[: found[-1].start()].strip(" \n*#-")
    else:
        row |= {"status": "unparsable", "detail": "no final score"}
    return row


def check(job: FinishedJob) -> Faults:
    """Check that every file for mid-training has one grade."""
    corpus = read_columns(job.inputs_of("corpus"), schemas.CORPUS, "id", "split")
    files = {row["id"] for row in corpus if row["split"] == "midtrain"}
    for duplicates in job.inputs_of("duplicates"):
        files -= set(duplicates.read_text(encoding="ascii").split())
    seen: set[str] = set()
    for row in read_columns([job.path()], schemas.GRADES, "id", "score", "status"):
        if row["id"] not in files or row["id"] in seen:
            yield job.name(), f"grades {row['id'][:16]}, which is no file for mid-training or comes twice"
        seen.add(row["id"])
        if (row["status"] == "ok") != (row["score"] is not None) or (row["score"] or 0) not in range(5):
            yield job.name(), f"{row['id'][:16]} has the score {row['score']} and the status {row['status']}"
    if seen != files:
        yield job.name(), f"{len(files - seen):,} files have no grade"
