"""Topics: what the instructions of the dataset are about, asked of a language model, and counted.

Every labelled instruction gets topics, libraries, tools, a difficulty and a task type. The model
answers with JSON. It is read leniently where nothing is lost (code fences, words around it, trailing
commas, a missing last brace) and then checked strictly: a wrong type, a missing key, a list without
end or an unknown difficulty makes the row `unparsable`, with the reason beside it.

`read_out: parse` takes all five from the JSON [authors' code: one JSON answer]; `constrained` takes
difficulty and task type from the probabilities of the allowed words, in two more requests that cost
no free text, for models that cannot be trusted with JSON.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id, derive_seed
from d3.core.journal import Journal
from d3.core.tables import Row, in_order, read_rows
from d3.errors import ConfigError
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.engine import Engine, Request, answer_key, choice_ids, room_needed
from d3.llm.open_engine import open_engine
from d3.llm.prompt import Prompt, find_template, join_choices
from d3.pipeline.job import Job

if TYPE_CHECKING:
    import pandas

DIFFICULTIES = ("easy", "medium", "hard")
TASK_TYPES = ("create", "extend", "fix", "refactor", "document", "test", "configure", "other")
CHOICES = {"difficulty": DIFFICULTIES, "task_type": TASK_TYPES}
"""Columns with one of a few words. The authors' prompt leaves the words open; these are ours."""
LISTS = ("topics", "libraries", "tools")
"""Columns with any number of words of the model's own."""
MOST_ITEMS = 10
LONGEST_ITEM = 60
NOTHING = frozenset(("", "none", "n/a", "na", "null", "unknown", "not applicable"))
OBJECTS_TRIED = 20

NAMES = ("id", "sample", "part")
INSTRUCTIONS = pa.schema([schemas.LABELS.field(name) for name in (*NAMES, "label", "status")])


@dataclass(kw_only=True, slots=True, frozen=True)
class Instruction:
    """An instruction that was asked about."""

    names: tuple[str, int, int]
    """File id, sample and part."""
    begun: str
    """How the template began the answer."""


def run(config: Config, labels: Path, out: Path, *, model: str | None = None, journal: Path | None = None) -> None:
    """Classify the instructions of a shard by topic, library, difficulty and task type.

    Rows of `d3.core.schemas.TOPICS` are in the order of (id, sample, part).
    What the requests cost at most is printed before the first one. Labels without an instruction are
    dropped as `label_STATUS`, empty instructions as `no_instruction`. Equal instructions make equal
    requests, so a journal answers all but the first. Raises D3Error.

    Example: d3 topics --labels labels.parquet --out topics.parquet --model MODEL
    """
    settings = config.topics
    engine = _open(config, model)
    template = find_template(settings.prompt)
    asker = Asker(config, engine, template)
    with (
        Job("topics", config=config, engine=engine.identity) as job,
        Journal(journal) if journal else nullcontext() as kept,
    ):
        job.prompt("topics.prompt", template)
        job.model(model or "", settings.engine.revision)
        cost = asker.estimate([labels], kept)
        print(cost.text(), file=sys.stderr, flush=True)
        table = job.table(out, schemas.TOPICS)
        outcomes = ask_all(engine, asker.questions(_labelled(job, labels)), kept, what="topics", total=cost.questions)
        while group := list(islice(outcomes, asker.per_instruction)):
            table.write(topics_row(group))


def _open(config: Config, model: str | None) -> Engine:
    if model is None and config.topics.engine.reads_model:
        raise ConfigError("no model", where="topics", remedy="name one with --model")
    return open_engine(config.topics.engine, model or "")


def _labelled(job: Job, labels: Path) -> Iterator[Row]:
    """Yield the labels with an instruction, and count all."""
    for row in in_order(job.rows(labels, INSTRUCTIONS), NAMES, labels):
        if row["status"] != "ok":
            job.drop(f"label_{row['status']}")
        elif not row["label"]:
            job.drop("no_instruction")
        else:
            job.keep()
            yield row


# --- what is asked, and what it costs --------------------------------------------------------------


@dataclass(kw_only=True, slots=True, frozen=True)
class Estimate:
    """What the requests of some label tables cost at most; retries after failures are not in it."""

    instructions: int
    questions: int
    """Requests before equal ones and the journal's are left out."""
    journal: int
    """Different requests that the journal answers."""
    requests: int
    """Different requests that are left."""
    prompt_tokens: int
    answer_tokens: int
    """Most tokens that the model may write."""
    price: tuple[float, float] | None
    """Money for a million tokens of prompts and of answers."""

    def text(self) -> str:
        """Return the estimate as one line."""
        line = (
            f"topics: {self.instructions:,} instructions need {self.requests:,} requests ({self.journal:,} more lie in "
            f"the journal): {self.prompt_tokens:,} prompt tokens, at most {self.answer_tokens:,} answer tokens"
        )
        if self.price is None:
            return f"{line}; set topics.price to see what that costs"
        money = (self.prompt_tokens * self.price[0] + self.answer_tokens * self.price[1]) / 1e6
        amount = f"{money:,.2f}" if money >= 1 else f"{money:.2g}"
        return f"{line}, at most {amount} at {self.price[0]:g} and {self.price[1]:g} for a million tokens"


class Asker:
    """Turns instructions into questions for one engine."""

    def __init__(self, config: Config, engine: Engine, template: Path) -> None:
        """Read the template; raises ConfigError when it is no use."""
        self.config, self.engine = config, engine
        self.prompt = Prompt(template, engine.tokenizer, ("instruction",))
        self.plain = Prompt(template, engine.tokenizer, ("instruction",), begin=False)
        self.read_off: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {}
        if config.topics.read_out == "constrained":
            for column, words in CHOICES.items():
                lead = self.plain.setting(column) or f"{column.replace('_', ' ').capitalize()}:"
                self.read_off[column] = join_choices(engine.tokenizer, lead, words)
        self.per_instruction = 1 + len(self.read_off)

    def questions(self, labels: Iterable[Row]) -> Iterator[Question[Instruction]]:
        """Yield the questions about each label in turn: the JSON first, then a choice for each of `CHOICES`."""
        sampling = self.config.topics.sampling
        for row in labels:
            text = row["label"]
            names = (row["id"], row["sample"], row["part"])
            rendered = self.prompt.render({"instruction": text})
            about = Instruction(names=names, begun=rendered.begun)
            request = Request(
                key="#".join(map(str, names)),
                ids=rendered.ids,
                shared=rendered.shared,
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=derive_seed(self.config.seed, "topics", content_id(text)),
                stop=("}", "\n\n") if rendered.begun else (),
            )
            yield Question(row=about, request=request)
            if not self.read_off:
                continue
            plain = self.plain.render({"instruction": text})
            for column, (lead, choices) in self.read_off.items():
                name = f"{request.key}#{column}"
                yield Question(
                    row=about,
                    request=Request(
                        key=name, ids=plain.ids, shared=plain.shared, max_tokens=0, lead=lead, choices=choices
                    ),
                )

    def estimate(self, labels: Sequence[Path], journal: Journal | None) -> Estimate:
        """Return what the requests of some label tables cost at most; no weights are loaded."""
        counted = dict.fromkeys(("questions", "journal", "requests", "prompt_tokens", "answer_tokens"), 0)
        seen: set[str] = set()
        with_text = (
            row for path in labels for row in read_rows(path, INSTRUCTIONS) if row["status"] == "ok" and row["label"]
        )
        for question in self.questions(with_text):
            counted["questions"] += 1
            request = question.request
            if request is None or room_needed(self.engine.tokenizer, request) > self.engine.max_length:
                continue
            key = answer_key(self.engine.identity, request)
            if key in seen:
                continue
            seen.add(key)
            if journal is not None and key in journal:
                counted["journal"] += 1
                continue
            counted["requests"] += 1
            counted["prompt_tokens"] += len(request.ids) + len(request.lead)
            longest = max((len(choice_ids(self.engine.tokenizer, word)) for word in request.choices or ()), default=0)
            counted["answer_tokens"] += request.max_tokens + longest
        instructions = counted["questions"] // self.per_instruction
        return Estimate(instructions=instructions, price=self.config.topics.price, **counted)


def estimate(config: Config, labels: Sequence[Path], *, model: str | None, journal: Path | None = None) -> Estimate:
    """Return what the topics of some label tables cost at most, without asking anything."""
    engine = _open(config, model)
    asker = Asker(config, engine, find_template(config.topics.prompt))
    return asker.estimate(labels, Journal(journal) if journal is not None and journal.exists() else None)


# --- what is made of the answers -------------------------------------------------------------------


def topics_row(outcomes: Sequence[Outcome[Instruction]]) -> Row:
    """Return the row of `d3.core.schemas.TOPICS` for the outcomes of one instruction's questions.

    The columns of `d3.core.schemas.ANSWER` are those of the JSON. A choice that was read off stays in the
    row when the JSON is no use; a choice that has no answer makes the row its status.
    """
    first, *others = outcomes
    row: Row = dict(zip(NAMES, first.row.names, strict=True))
    row |= {**dict.fromkeys((*LISTS, *CHOICES)), "truncated": False, **first.columns()}
    for column, outcome in zip(CHOICES, others, strict=False):
        if outcome.answer is not None:
            row[column] = CHOICES[column][outcome.answer.chosen or 0]
        elif row["status"] == "ok":
            row |= {"status": outcome.status, "detail": f"{column}: {outcome.detail}"}
    if first.answer is None:
        return row
    wanted = () if others else tuple(CHOICES)
    found = read_answer(first.answer.text, first.row.begun, first.answer.finish_reason, wanted)
    if isinstance(found, str):
        return row | {"status": "unparsable", "detail": found}
    return row | found


def read_answer(raw: str, begun: str, finish_reason: str, choices: Sequence[str]) -> Row | str:
    """Return the columns of `LISTS` and of `choices` that an answer names, or why it names none.

    `begun` is how the answer was begun for the model; a model that begins again is understood too.
    """
    found = _object(raw)
    if found is None and begun:
        found = _object(begun + raw)
    if found is None:
        return "cut_off" if finish_reason == "length" else "no JSON object with topics"
    columns: Row = {}
    for name in LISTS:
        items = _items(found.get(name, 0))
        if isinstance(items, str):
            return f"{name}: {items}"
        columns[name] = items
    if not columns["topics"]:
        return "topics: none"
    for name in choices:
        value = found.get(name)
        word = value.strip().lower() if isinstance(value, str) else value
        if word not in CHOICES[name]:
            return f"{name}: not one of {', '.join(CHOICES[name])}"
        columns[name] = word
    return columns


def _object(text: str) -> Row | None:
    """Return the first JSON object of a text that has topics, its keys in small letters."""
    decoder = json.JSONDecoder(strict=False, parse_int=float)  # of any length; no number is wanted
    for start in islice((match.start() for match in re.finditer(r"\{", text)), OBJECTS_TRIED):
        mended = re.sub(r",\s*(?=[\]}])", "", text[start:])
        for end in ("", "}"):
            try:
                value, _ = decoder.raw_decode(mended.rstrip().removesuffix(",") + end)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                value = {re.sub(r"[\s-]+", "_", key.strip().lower()): item for key, item in value.items()}
                if "topics" in value:
                    return value
            break
    return None


def _items(value: Any) -> list[str] | str:
    """Return the words of a list in small letters, each once, or why it is none."""
    if isinstance(value, str) or value is None:
        value = [value or ""]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return "not a list of texts"
    if len(value) > MOST_ITEMS:
        return f"more than {MOST_ITEMS}"
    items = [" ".join(item.lower().split()).strip(" .,;\"'`") for item in value]
    items = list(dict.fromkeys(item for item in items if item not in NOTHING))
    if any(len(item) > LONGEST_ITEM or not re.search(r"[^\W\d_]", item) or not item.isprintable() for item in items):
        return f"an item without letters or longer than {LONGEST_ITEM}"
    return items


# --- counting ----------------------------------------------------------------------------------------


MOST = 1000
"""Entries of each count that are kept [authors' code]."""


def topic_counts(config: Config, topics: Sequence[Path], out: Path) -> None:
    """Count topics, libraries, tools, difficulties, task types and topic-library pairs.

    Write `summary` of some tables of topics as JSON.

    Example: d3 topic-counts --topics topics.parquet --out counts.json
    """
    with Job("topic_counts", config=config) as job:
        part = job.file(out)
        values = summary(row for path in topics for row in job.side_rows(path, schemas.TOPICS))
        part.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def summary(rows: Iterable[Row], *, most: int = MOST) -> Row:
    """Count what the instructions are about, over the rows that have it, the `most` frequent first.

    A topic, library or tool counts once for every instruction. `pairs` are topics and libraries of
    the same instruction. The names of the counts are those of the columns, so that none can be
    looked for in a place where nothing is; see `MOST`.
    """
    import pandas

    waiting = iter(rows)
    totals = _counts(pandas.DataFrame([], columns=COUNTED))
    while batch := list(islice(waiting, BATCH_ROWS)):
        more = _counts(pandas.DataFrame(batch, columns=COUNTED))
        totals = {name: total.add(more[name], fill_value=0).astype(int) for name, total in totals.items()}
    statuses = {str(name): int(count) for name, count in totals.pop("status").sort_index().items()}
    parsed = statuses.get("ok", 0) + statuses.get("unparsable", 0)
    frequent = {name: _frequent(total, most) for name, total in totals.items()}
    return {
        "rows": sum(statuses.values()),
        "statuses": statuses,
        "unparsable": statuses.get("unparsable", 0) / parsed if parsed else None,
        "distinct": {name: len(total) for name, total in totals.items()},
        **{name: dict(frequent[name].itertuples(index=False, name=None)) for name in (*LISTS, *CHOICES)},
        "pairs": frequent["pairs"].rename(columns={"topics": "topic", "libraries": "library"}).to_dict("records"),
    }


COUNTED = ["status", *LISTS, *CHOICES]
BATCH_ROWS = 100_000
"""So many rows are counted at a time, which bounds memory."""


def _counts(frame: "pandas.DataFrame") -> "dict[str, pandas.Series[int]]":
    """Return how often each value of the columns occurs, and each pair of a topic and a library."""
    for name in LISTS:
        frame[name] = frame[name].map(lambda items: sorted(set(items or ())))
    pairs = frame[["topics", "libraries"]].explode("topics").explode("libraries").dropna()
    values = {name: frame[name].explode().dropna().astype(str) for name in COUNTED}
    counts = {name: column.value_counts() for name, column in values.items()}
    return counts | {"pairs": pairs.astype(str).value_counts(["topics", "libraries"])}


def _frequent(counts: "pandas.Series[int]", most: int) -> "pandas.DataFrame":
    """Return the most frequent values with their number of `instructions`, equal ones in the order of their names."""
    table = counts.rename("instructions").reset_index()
    names = [name for name in table.columns if name != "instructions"]
    return table.sort_values(["instructions", *names], ascending=[False, *(True for _ in names)]).head(most)
