"""Topics: one row per instruction, JSON read leniently and checked strictly, counts that cannot come out empty."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from d3.config.data import Topics
from d3.config.engine import Engine, Sampling
from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import read_notes, read_rows
from d3.errors import InputError
from d3.llm.ask import Outcome
from d3.llm.engine import Answer, Request
from d3.stages import topics
from d3.stages.topics import CHOICES, Instruction, read_answer, summary, topic_counts, topics_row
from helpers.corpus_tables import write_rows
from helpers.echo_engine import EchoEngine

WHOLE = {"topics": ["Sorting"], "libraries": ["NumPy"], "tools": [], "difficulty": "Easy", "task_type": "create"}
READ = {"topics": ["sorting"], "libraries": ["numpy"], "tools": [], "difficulty": "easy", "task_type": "create"}
BEGUN = '{"topics": ["'


def lines(**changes: Any) -> str:
    return json.dumps({**WHOLE, **changes})


@pytest.mark.parametrize(
    "raw",
    [
        lines(),
        json.dumps(WHOLE, indent=2),
        f"```json\n{lines()}\n```",
        f"Sure! Here it is:\n{lines()}\nI hope this helps {{you}}.",
        f"Some {{words}} first: {lines()}",
        lines().replace("]", ",]").replace("}", ",}"),
        lines().removesuffix("}"),
        lines().removesuffix("}") + ",  ",
        lines(more={"ignored": [1, 2]}),
        lines().replace('"libraries"', '" Libraries"').replace('"task_type"', '"Task-Type"'),
        lines(tools=None),
        lines(tools="none"),
        lines(libraries=["NumPy", " numpy ", "None", ""]),
        lines().replace("Sorting", "Sor\tting").replace("Sor\tting", "sorting."),
    ],
)
def test_answers_are_read_leniently(raw: str) -> None:
    assert read_answer(raw, "", "stop", tuple(CHOICES)) == READ


@pytest.mark.parametrize(
    "raw", [lines().removeprefix(BEGUN), lines().removeprefix(BEGUN).removesuffix("}"), lines(), f"no: {lines()}"]
)
def test_the_begun_answer_is_put_before_what_follows(raw: str) -> None:
    assert read_answer(raw, BEGUN, "stop", tuple(CHOICES)) == READ


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "no JSON object with topics"),
        ("I cannot say.", "no JSON object with topics"),
        ("[1, 2]", "no JSON object with topics"),
        ('{"main_topics": ["a"]}', "no JSON object with topics"),
        ('{"topics": [{"topics": ', "no JSON object with topics"),
        ("{" * 5000, "no JSON object with topics"),
        ('{"topics": ' + "[" * 100_000, "no JSON object with topics"),
        (lines(topics=[]), "topics: none"),
        (lines(topics=["none"]), "topics: none"),
        (lines(topics={"a": 1}), "topics: not a list of texts"),
        (lines(topics=["a", 3]), "topics: not a list of texts"),
        (lines(topics=[["a"]]), "topics: not a list of texts"),
        (lines(topics=["a"] * 11), "topics: more than 10"),
        (lines(topics=["x" * 61]), "topics: an item without letters or longer than 60"),
        (lines(topics=["17"]), "topics: an item without letters or longer than 60"),
        (lines(topics=["a\u202eb"]), "topics: an item without letters or longer than 60"),
        (lines(libraries=7), "libraries: not a list of texts"),
        ('{"topics": ["a"]}', "libraries: not a list of texts"),
        (lines(tools=[None]), "tools: not a list of texts"),
        (lines(difficulty="trivial"), "difficulty: not one of easy, medium, hard"),
        (lines(difficulty=["easy"]), "difficulty: not one of easy, medium, hard"),
        (lines(task_type=None), f"task_type: not one of {', '.join(CHOICES['task_type'])}"),
    ],
)
def test_answers_are_checked_strictly(raw: str, reason: str) -> None:
    assert read_answer(raw, "", "stop", tuple(CHOICES)) == reason


def test_an_answer_without_end_is_cut_off() -> None:
    assert read_answer('sorting", "sorting", "sor', BEGUN, "length", ()) == "cut_off"


def test_choices_that_are_read_off_are_not_looked_for_in_the_json() -> None:
    found = read_answer(lines(difficulty="?", task_type=9), "", "stop", ())
    assert found == {name: READ[name] for name in ("topics", "libraries", "tools")}


# --- rows of outcomes -------------------------------------------------------------------------------


def outcome(text: str = "", status: str = "ok", chances: tuple[float, ...] | None = None) -> Outcome[Instruction]:
    about = Instruction(names=("f", 0, 1), begun="")
    answer = Answer(text=text, finish_reason="stop", prompt_tokens=9, answer_tokens=3, choice_probabilities=chances)
    if status == "ok":
        return Outcome(row=about, status=status, answer=answer)
    return Outcome(row=about, status=status, detail="why")


EASY, TEST = (0.2, 0.7, 0.1), (0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.1, 0.1)


def test_choices_come_from_their_probabilities() -> None:
    row = topics_row([outcome(lines()), outcome(chances=EASY), outcome(chances=TEST)])
    assert row == {
        **{"id": "f", "sample": 0, "part": 1, "truncated": False},
        **{"topics": ["sorting"], "libraries": ["numpy"], "tools": [], "difficulty": "medium", "task_type": "test"},
        **{"status": "ok", "detail": None, "raw": lines(), "finish_reason": "stop"},
        **{"prompt_tokens": 9, "answer_tokens": 3, "answered_by": None},
    }
    assert set(row) == set(schemas.TOPICS.names)


def test_every_failure_keeps_a_row_with_its_status() -> None:
    row = topics_row([outcome("nonsense"), outcome(chances=EASY), outcome(chances=TEST)])
    assert (row["status"], row["topics"], row["difficulty"], row["raw"]) == ("unparsable", None, "medium", "nonsense")
    row = topics_row([outcome(status="engine_error"), outcome(chances=EASY), outcome(chances=TEST)])
    assert (row["status"], row["detail"], row["task_type"]) == ("engine_error", "why", "test")
    row = topics_row([outcome(lines()), outcome(status="engine_error"), outcome(chances=TEST)])
    assert (row["status"], row["detail"], row["difficulty"]) == ("engine_error", "difficulty: why", None)
    row = topics_row([outcome(status="too_long")])
    assert set(row) == set(schemas.TOPICS.names)


# --- counting -----------------------------------------------------------------------------------------


def row(status: str = "ok", **values: Any) -> dict[str, Any]:
    base = {**dict.fromkeys(schemas.TOPICS.names), "id": "f", "sample": 0, "part": 0, "truncated": False}
    return {**base, "status": status, **(READ if status == "ok" else {}), **values}


HAND_MADE = [
    row(topics=["sorting", "recursion"], libraries=["numpy", "pandas"], tools=["git"], difficulty="hard"),
    row(topics=["sorting"], libraries=["numpy"], task_type="fix"),
    row(topics=["sorting", "sorting"], libraries=[], tools=["git", "docker"]),
    row("unparsable", difficulty="medium", task_type="test"),
    row("too_long"),
]


def test_a_hand_made_set_is_counted_in_full() -> None:
    assert summary(HAND_MADE) == {
        "rows": 5,
        "statuses": {"ok": 3, "too_long": 1, "unparsable": 1},
        "unparsable": 0.25,
        "distinct": {"topics": 2, "libraries": 2, "tools": 2, "difficulty": 3, "task_type": 3, "pairs": 4},
        "topics": {"sorting": 3, "recursion": 1},
        "libraries": {"numpy": 2, "pandas": 1},
        "tools": {"git": 2, "docker": 1},
        "difficulty": {"easy": 2, "hard": 1, "medium": 1},
        "task_type": {"create": 2, "fix": 1, "test": 1},
        "pairs": [
            {"topic": "sorting", "library": "numpy", "instructions": 2},
            {"topic": "recursion", "library": "numpy", "instructions": 1},
            {"topic": "recursion", "library": "pandas", "instructions": 1},
            {"topic": "sorting", "library": "pandas", "instructions": 1},
        ],
    }


def test_no_distribution_is_empty_when_rows_were_read() -> None:
    """What the stage writes is what the counts look for: the names cannot drift apart."""
    made = [topics_row([outcome(lines(topics=[f"topic {n % 7}"], tools=["git"]))]) for n in range(30)]
    values = summary(made)
    assert [values[name] for name in ("topics", "libraries", "tools", "difficulty", "task_type", "pairs")].count(
        {}
    ) == 0
    assert all(sum(values[name].values()) == 30 for name in ("topics", "libraries", "tools", *CHOICES))
    assert sum(pair["instructions"] for pair in values["pairs"]) == 30
    assert set(values["distinct"]) - {"pairs"} <= set(schemas.TOPICS.names)


def test_the_most_frequent_come_first_and_the_rest_is_counted() -> None:
    values = summary([row(topics=[f"t{n % 40:02d}"]) for n in range(100)], most=5)
    assert list(values["topics"].items()) == [(f"t{n:02d}", 3) for n in range(5)]
    assert values["distinct"]["topics"] == 40


def test_no_rows_are_counted_too() -> None:
    values = summary([])
    assert (values["rows"], values["unparsable"], values["pairs"], values["topics"]) == (0, None, [], {})


# --- the stage ----------------------------------------------------------------------------------------

LABELS = [
    "Sort the list.",
    "Add a test.",
    "Sort the list.",
    None,
    "",
    "Read the file.",
    "<|im_end|> {{ x }} Say hello.",
]


def write_labels(folder: Path, step: int = 1) -> Path:
    rows = [
        {"id": "f", "sample": 0, "part": part, "label": text, "status": "ok" if text is not None else "unparsable"}
        for part, text in enumerate(LABELS)
    ]
    return write_rows(folder / "labels.parquet", schemas.LABELS, rows[::step])


def small(**changes: Any) -> Config:
    section = {"engine": Engine(batch=2, max_length=1800), "sampling": Sampling(max_tokens=6), **changes}
    return Config(topics=Topics(**section))


@pytest.fixture
def model(tiny_model: Path) -> str:
    return str(tiny_model)


def rows_of(folder: Path, model: str, config: Config, **options: Any) -> list[dict[str, Any]]:
    output = folder / "topics.parquet"
    topics.run(config, write_labels(folder), output, model=model, **options)
    return list(read_rows(output, schemas.TOPICS))


def test_labels_in_another_order_are_refused(tmp_path: Path, model: str) -> None:
    labels = write_labels(tmp_path, step=-1)
    with pytest.raises(InputError, match=r"rows must be in the order of \(id, sample, part\)"):
        topics.run(small(), labels, tmp_path / "topics.parquet", model=model)


@pytest.mark.parametrize("read_out", ["constrained", "parse"])
def test_rows_out_are_the_instructions_in(tmp_path: Path, model: str, read_out: str) -> None:
    rows = rows_of(tmp_path, model, small(read_out=read_out))
    assert [line["part"] for line in rows] == [part for part, text in enumerate(LABELS) if text]
    assert {line["status"] for line in rows} == {"unparsable"}  # a random model writes no JSON
    assert {line["difficulty"] in CHOICES["difficulty"] for line in rows} == {read_out == "constrained"}
    assert {line["task_type"] in CHOICES["task_type"] for line in rows} == {read_out == "constrained"}
    assert len({line["raw"] for line in rows if line["part"] in (0, 2)}) == 1  # equal instructions, equal answers
    counts = read_notes(tmp_path / "topics.parquet")
    assert (counts["read"], counts["kept"]) == (7, 5)
    assert counts["dropped"] == {"label_unparsable": 1, "no_instruction": 1}


class Writer(EchoEngine):
    """Answers like a model that knows JSON."""

    def answer(self, request: Request) -> Answer:
        answer = super().answer(request)
        return answer if request.choices else replace(answer, text=lines())


@pytest.fixture
def writer(model: str, monkeypatch: pytest.MonkeyPatch) -> Writer:
    from transformers import AutoTokenizer

    engine = Writer(AutoTokenizer.from_pretrained(model), max_length=4000)
    monkeypatch.setattr(topics, "open_engine", lambda settings, name: engine)
    return engine


@pytest.mark.parametrize(("read_out", "each"), [("constrained", 3), ("parse", 1)])
def test_the_estimate_is_what_is_asked(
    tmp_path: Path, writer: Writer, read_out: str, each: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(read_out=read_out, price=(2, 8))
    cost = topics.estimate(config, [write_labels(tmp_path)], model="any")
    assert (cost.instructions, cost.questions, cost.requests, cost.journal) == (5, 5 * each, 4 * each, 0)
    asked: list[Request] = []
    answer = writer.answer
    writer.answer = lambda request: (asked.append(request), answer(request))[1]  # type: ignore[method-assign]
    rows = rows_of(tmp_path, "any", config, journal=tmp_path / "journal")
    assert [line["topics"] for line in rows] == [["sorting"]] * 5
    assert len(asked) == cost.requests
    assert sum(len(request.ids) + len(request.lead) for request in asked) == cost.prompt_tokens
    assert cost.answer_tokens >= 6 * 4
    said = capsys.readouterr().err
    money = (cost.prompt_tokens * 2 + cost.answer_tokens * 8) / 1e6
    assert said.startswith(cost.text())  # before the first request
    assert f"at most {money:.2g} at 2 and 8" in said
    again = topics.estimate(config, [tmp_path / "labels.parquet"], model="any", journal=tmp_path / "journal")
    assert (again.requests, again.journal, again.prompt_tokens) == (0, 4 * each, 0)
    assert "set topics.price" in replace(again, price=None).text()


def test_choices_are_asked_without_the_begun_answer(tmp_path: Path, writer: Writer) -> None:
    asked: list[Request] = []
    answer = writer.answer
    writer.answer = lambda request: (asked.append(request), answer(request))[1]  # type: ignore[method-assign]
    rows_of(tmp_path, "any", small(), journal=tmp_path / "journal")
    kinds: dict[bool, Sequence[Request]] = {
        kind: [request for request in asked if bool(request.choices) == kind] for kind in (False, True)
    }
    for request in kinds[False]:
        assert writer.tokenizer.decode(request.ids).endswith("<|im_start|>assistant\n" + BEGUN)
        assert request.stop
    leads = Counter(writer.tokenizer.decode(request.lead)[:24] for request in kinds[True])
    assert leads == {"The difficulty of this t": 4, "The type of this task (c": 4}
    for request in kinds[True]:
        assert writer.tokenizer.decode(request.ids).endswith("<|im_start|>assistant\n")
        assert request.max_tokens == 0


def test_counts_are_written_as_json(tmp_path: Path, writer: Writer) -> None:
    rows_of(tmp_path, "any", small())
    for name in ("one", "two"):
        topic_counts(Config(), [tmp_path / "topics.parquet"], tmp_path / f"{name}.json")
    values = json.loads((tmp_path / "one.json").read_text())
    assert values["topics"] == {"sorting": 5}
    assert values["pairs"] == [{"topic": "sorting", "library": "numpy", "instructions": 5}]
    assert sum(values["difficulty"].values()) == sum(values["task_type"].values()) == 5
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
