"""The pre-grader: spares the judge hopeless files, within the bound that the configuration states."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id
from d3.core.tables import Row, read_notes, read_rows
from d3.errors import ConfigError, InputError
from d3.llm.ask import Outcome
from d3.pipeline.pipeline import Chain
from d3.stages import grades, linear_judge, pregrade
from helpers.corpus_tables import corpus_row, write_rows

GOOD = 'def times_{n}(value):\n    """Multiply a value by {n}."""\n    return value * {n}\n'
BAD = "x{n} = {n}\ny{n} = x{n} + 1\nprint(x{n}, y{n})\n"


def file_of(number: int) -> tuple[str, int]:
    """Return a text and its grade: documented functions are good, but one in ten is graded otherwise."""
    draw = Random(number)
    good = draw.random() < 0.5
    grade = 4 if good != (draw.random() < 0.1) else 1
    return "".join((GOOD if good else BAD).format(n=draw.randrange(10**6)) for _ in range(3)), grade


def write_sample(folder: Path, numbers: Sequence[int], name: str = "graded.parquet") -> Path:
    rows = [{"id": content_id(text.strip()), "score": grade} for text, grade in map(file_of, numbers)]
    pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return folder / name


def write_corpus(folder: Path, numbers: Sequence[int]) -> Path:
    rows = [corpus_row(file_of(number)[0].strip(), number) for number in numbers]
    return write_rows(folder / "corpus.parquet", schemas.CORPUS, rows)


def config_of(path: Path, **settings: Any) -> Config:
    graded = {"path": str(path), "name": "mine", "version": "1", "license": "MIT"}
    return parse_config({"pregrade": {"graded": graded, **settings}, "grades": {"threshold": 3}})


def train(folder: Path, config: Config, corpus: Path, graded: Path, out: str = "a") -> Path:
    place = folder / out
    pregrade.pregrader(
        config, [corpus], [graded], place / "pregrader.json", place / "weights.npy", place / "sample.parquet"
    )
    return place


def judge(place: Path, config: Config, corpus: Path, duplicates: Path | None = None) -> list[Row]:
    parts = (place / name for name in ("out.parquet", "pregrader.json", "weights.npy", "sample.parquet"))
    pregrade.pregrade(config, corpus, *parts, duplicates=duplicates)
    return list(read_rows(place / "out.parquet", schemas.PREGRADES))


def test_hopeless_files_are_left_out_within_the_bound_and_bytes_are_equal(tmp_path: Path) -> None:
    graded, corpus = write_sample(tmp_path, range(400)), write_corpus(tmp_path, range(1000))
    config = config_of(graded, max_wrong_drops=0.15, confidence=0.9)
    place = train(tmp_path, config, corpus, graded)
    rows = {row["id"]: row for row in judge(place, config, corpus)}
    held_out = [file_of(number) for number in range(400, 1000)]
    dropped = [grade for text, grade in held_out if rows[content_id(text.strip())]["status"] == "pregrade"]
    wrong = sum(grade >= 3 for grade in dropped) / sum(grade >= 3 for _, grade in held_out)
    assert len(dropped) / len(held_out) > 0.2
    assert 0 < wrong <= 0.15
    assert all(rows[content_id(file_of(number)[0].strip())]["status"] == "ask" for number in range(400))
    counts = read_notes(place / "out.parquet")
    assert counts["dropped"] == {"pregrade": len(dropped)}
    assert counts["read"] == 1000
    facts = json.loads((place / "pregrader.json").read_text())
    assert facts["sample"]["name"] == "mine@1"
    assert facts["bound"]["max_wrong_drops"] == 0.15
    statement = json.loads((place / "sample.parquet.prov.json").read_text())
    shared = statement["predicate"]["buildDefinition"]["internalParameters"]["shared"]
    assert shared["engine"] == facts
    again = train(tmp_path, config, corpus, graded, "b")
    judge(again, config, corpus)
    for name in ("pregrader.json", "weights.npy", "sample.parquet", "out.parquet"):
        assert (place / name).read_bytes() == (again / name).read_bytes()


def test_a_file_that_is_left_out_keeps_a_row_and_is_not_asked(tmp_path: Path) -> None:
    files = [corpus_row(text) for text in ("a = 1", "b = 2")]
    scored = [
        {"id": row["id"], "score": -1.25, "status": status}
        for row, status in zip(files, ("ask", "pregrade"), strict=True)
    ]
    path = write_rows(tmp_path / "pregrades.parquet", schemas.PREGRADES, scored)
    job = pregrade.Job("grades", config=None)
    assert pregrade.left_out(job, path) == {files[1]["id"]: -1.25}
    assert pregrade.left_out(job, None) == {}

    class AskedError(Exception):
        pass

    class Unasked:
        def render(self, values: dict[str, str]) -> None:
            raise AskedError

        def setting(self, name: str) -> None:
            return None

    config = parse_config({"grades": {"read_out": "parse"}})
    questions = grades.grade_questions(config, files[1:], Unasked(), Unasked(), spared={files[1]["id"]: -1.25})  # type: ignore[arg-type]
    question = next(questions)
    row = grades.grade_row(Outcome(row=question.row, status=question.status, detail=question.detail), "parse")
    assert (row["status"], row["score"], row["detail"]) == ("pregrade", None, "pre-grader's score -1.25")
    with pytest.raises(AskedError):
        next(grades.grade_questions(config, files[:1], Unasked(), Unasked()))  # type: ignore[arg-type]


def test_held_out_and_repeated_files_are_counted(tmp_path: Path) -> None:
    graded = write_sample(tmp_path, range(300))
    rows = [corpus_row(file_of(number)[0].strip(), number) for number in [*range(310), 305]]
    rows[301]["split"] = "sft"
    corpus = write_rows(tmp_path / "corpus.parquet", schemas.CORPUS, rows)
    (tmp_path / "a.txt").write_text(f"{rows[302]['id']}\n")
    config = config_of(graded, max_wrong_drops=0.3, confidence=0.8)
    found = judge(train(tmp_path, config, corpus, graded), config, corpus, tmp_path / "a.txt")
    dropped = read_notes(tmp_path / "a" / "out.parquet")["dropped"]
    assert {name: dropped[name] for name in dropped if name != "pregrade"} == {
        "held_out": 1,
        "duplicate_elsewhere": 1,
        "repeated": 1,
    }
    assert len(found) == 308


@pytest.mark.parametrize("rank", [0, 1, 5, 39])
def test_the_rank_is_the_largest_that_keeps_the_bound(rank: int) -> None:
    share, confidence = 0.1, 0.9
    size = next(n for n in range(1, 1000) if linear_judge.rank_of_bound(n, share, confidence) == rank)
    draw = Random(rank)
    above = 0
    for _ in range(2000 if rank else 0):
        above += sorted(draw.random() for _ in range(size))[rank - 1] > share  # the share below the rank is its value
    assert above / 2000 < 1 - confidence + 0.02
    assert linear_judge.fewest_for_bound(0.05, 0.95) == 59


def test_without_a_graded_sample_there_is_no_pregrader(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no graded sample is named; grade one with corpus.sample"):
        train(tmp_path, Config(), write_corpus(tmp_path, range(3)), write_sample(tmp_path, range(3)))
    assert Chain(Config()).adopted_files("pregrade.graded") == []
    with pytest.raises(ConfigError, match=r"pregrade.graded.path: no file matches 'none.parquet'"):
        Chain(config_of(Path("none.parquet"))).adopted_files("pregrade.graded")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (
            [n for n in range(300) if file_of(n)[1] == 4],
            r"must learn of files of both kinds \(got \d+ that .* and 0 that",
        ),
        ([n for n in range(300) if file_of(n)[1] == 1], r"must learn of files of both kinds \(got 0 that"),
        (
            range(60),
            r"has \d+ files that reach the threshold to set the bound by \(expected 59 or more .*grade a sample",
        ),
        (range(5000, 5010), r"grades none of the files of the corpus"),
    ],
)
def test_a_sample_that_cannot_do_is_one_line(tmp_path: Path, numbers: Sequence[int], said: str) -> None:
    graded, corpus = write_sample(tmp_path, numbers), write_corpus(tmp_path, range(300))
    with pytest.raises(InputError, match=said) as caught:
        train(tmp_path, config_of(graded), corpus, graded)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a" / "pregrader.json").exists()


def test_it_decides_nothing_while_it_is_off(tmp_path: Path) -> None:
    off, other = Chain(Config()), Chain(parse_config({"pregrade": {"confidence": 0.8}}))
    on = Chain(config_of(write_sample(tmp_path, range(3))))
    assert off.key("grades") == other.key("grades")
    assert "pregrade" not in off.deciding("grades")
    assert on.key("grades") != Chain(parse_config({"grades": {"threshold": 3}})).key("grades")
