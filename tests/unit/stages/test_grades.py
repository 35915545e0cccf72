"""Grades: one row per file, a score or a reason, and nothing asked twice after a kill."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from d3.config.data import Diffs, Grades
from d3.config.engine import Engine, Sampling
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id
from d3.core.journal import SUFFIX
from d3.core.tables import read_notes, read_rows
from d3.errors import ConfigError
from d3.llm.ask import Outcome
from d3.llm.engine import Answer
from d3.stages import grades
from d3.stages.threshold import reason_below
from helpers.corpus_tables import corpus_row, write_rows
from helpers.paths import WORKFLOW

TEXTS = [f'"""Multiply by {n}."""\n\n\ndef times_{n}(value):\n    return value * {n}' for n in range(11)]
TEXTS.append("x = 1\n" * 1500 + "y = 2")  # more than the model takes


@pytest.fixture
def model(tiny_model: Path) -> str:
    return str(tiny_model)


def small_config(**grades: Any) -> Config:
    engine = Engine(batch=2, max_length=1800)
    sampling = Sampling(max_tokens=5, temperature=1.0)
    return Config(grades=Grades(**{"engine": engine, "sampling": sampling, **grades}))


def write_files(folder: Path) -> Path:
    """Write the files, of which the third is held out, and the first once more at the end."""
    rows = [corpus_row(text, row) for row, text in enumerate([*TEXTS, TEXTS[0]])]
    rows[2]["split"] = "sft"
    return write_rows(folder / "corpus.parquet", schemas.CORPUS, rows)


def grades_of(folder: Path, model: str, settings: Config, **options: Any) -> list[dict[str, Any]]:
    output = folder / "grades.parquet"
    grades.run(settings, write_files(folder), output, model=model, **options)
    return list(read_rows(output, schemas.GRADES))


def test_every_file_that_is_not_held_out_gets_a_score(tmp_path: Path, model: str) -> None:
    rows = grades_of(tmp_path, model, small_config())
    assert [row["id"] for row in rows] == sorted(content_id(text) for at, text in enumerate(TEXTS) if at != 2)
    for row in rows:
        if row["id"] == content_id(TEXTS[-1]):
            assert row["status"] == "too_long"
            assert row["detail"].startswith("takes ")
            assert row["score"] is row["raw"] is row["rationale"] is None
            continue
        assert row["status"] == "ok"
        assert row["score"] in range(5)
        assert 0 <= row["expected_score"] <= 4
        assert row["rationale"] == row["raw"].strip()
        assert row["answer_tokens"] <= 5
        assert row["prompt_tokens"] > 100
    counts = read_notes(tmp_path / "grades.parquet")
    assert (counts["read"], counts["kept"], counts["dropped"]) == (13, 11, {"held_out": 1, "repeated": 1})


def test_ungraded_every_file_goes_on_and_no_model_is_opened(tmp_path: Path) -> None:
    from d3.stages.diffs import run as lintseq

    settings = Config(grades=Grades(mode="none", threshold=4), diffs=Diffs(lint=False))
    output = tmp_path / "grades.parquet"
    grades.run(settings, write_files(tmp_path), output, model=None)
    rows = list(read_rows(output, schemas.GRADES))
    files = sorted(content_id(text) for at, text in enumerate(TEXTS) if at != 2)
    assert [row["id"] for row in rows] == files
    assert {(row["status"], row["score"], row["raw"], row["truncated"]) for row in rows} == {
        ("not_asked", None, None, False)
    }
    assert read_notes(output)["dropped"] == {"held_out": 1, "repeated": 1}
    lintseq(settings, [tmp_path / "corpus.parquet"], tmp_path / "diffs.parquet", grades=output)
    assert sorted({row["id"] for row in read_rows(tmp_path / "diffs.parquet", schemas.DIFFS)}) == files
    dropped = read_notes(tmp_path / "diffs.parquet")["dropped"]
    assert dropped == {"held_out": 1, "duplicate": 1}


def test_a_judge_needs_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model; .*--model.*grades.mode=none"):
        grades.run(Config(), write_files(tmp_path), tmp_path / "grades.parquet", model=None)


@pytest.mark.parametrize("threshold", [0, 2, 4])
def test_the_threshold_lets_through_what_reaches_it(tmp_path: Path, threshold: int) -> None:
    from d3.stages.diffs import run as lintseq

    scores = {content_id(text): at % 5 for at, text in enumerate(TEXTS) if at != 2}
    rows = [{"id": name, "score": score, "status": "ok", "truncated": False} for name, score in scores.items()]
    write_rows(tmp_path / "grades.parquet", schemas.GRADES, rows)
    settings = Config(grades=Grades(threshold=threshold), diffs=Diffs(lint=False))
    corpus, output = write_files(tmp_path), tmp_path / "diffs.parquet"
    lintseq(settings, [corpus], output, grades=tmp_path / "grades.parquet")
    through = {identifier for identifier, score in scores.items() if score >= threshold}
    assert {row["id"] for row in read_rows(output, schemas.DIFFS)} == through
    assert 0 < len(through) <= len(scores)


@pytest.mark.parametrize(
    ("settings", "through"),
    [
        ({"threshold": 2}, {1, 2}),
        ({"threshold": 1.95}, {0, 1, 2}),
        ({"threshold": 2, "threshold_on": "score"}, {0, 2}),
        ({"threshold": 0}, {0, 1, 2}),
        ({"threshold": 4}, set()),
    ],
)
def test_the_threshold_is_for_the_expected_score_where_there_is_one(
    tmp_path: Path, settings: dict[str, Any], through: set[int]
) -> None:
    from d3.stages.diffs import run as lintseq

    grade = {0: (2, 1.95), 1: (1, 2.4), 2: (3, None)}  # the last one has no probabilities
    graded = [
        {"id": content_id(text), "score": grade[at][0], "expected_score": grade[at][1], "status": "ok"}
        for at, text in enumerate(TEXTS[:3])
    ]
    graded = [row | {"truncated": False} for row in graded]
    path = write_rows(tmp_path / "grades.parquet", schemas.GRADES, graded)
    corpus = write_rows(tmp_path / "c.parquet", schemas.CORPUS, [corpus_row(text, n) for n, text in enumerate(TEXTS)])
    output = tmp_path / "diffs.parquet"
    config = Config(grades=Grades(**settings), diffs=Diffs(lint=False), source={"allow_empty": True})
    lintseq(config, [corpus], output, grades=path)
    assert {row["id"] for row in read_rows(output, schemas.DIFFS)} == {content_id(TEXTS[at]) for at in through}
    dropped = read_notes(output)["dropped"]
    assert dropped.get("below_threshold", 0) == 3 - len(through)
    assert dropped["ungraded"] == len(TEXTS) - 3
    reasons = [reason_below(row, config.grades) for row in graded]
    assert {at for at, reason in enumerate(reasons) if reason is None} == through


def test_the_order_of_the_corpus_changes_nothing(tmp_path: Path, model: str) -> None:
    rows = grades_of(tmp_path, model, small_config())
    backwards = list(read_rows(tmp_path / "corpus.parquet", schemas.CORPUS))[::-1]
    write_rows(tmp_path / "back.parquet", schemas.CORPUS, backwards)
    grades.run(small_config(), tmp_path / "back.parquet", tmp_path / "other.parquet", model=model)
    other = list(read_rows(tmp_path / "other.parquet", schemas.GRADES))
    for one, two in zip(rows, other, strict=True):
        assert one.pop("expected_score") == pytest.approx(two.pop("expected_score"), abs=1e-5)
        assert one == two


def test_parsing_a_random_model_finds_no_score_and_says_so(tmp_path: Path, model: str) -> None:
    rows = grades_of(tmp_path, model, small_config(read_out="parse"))
    found = [row for row in rows if row["status"] == "unparsable"]
    assert len(found) == 10
    assert {(row["detail"], row["score"], row["expected_score"]) for row in found} == {("no final score", None, None)}


def outcome(text: str, chances: tuple[float, ...] | None = None) -> Outcome[str]:
    answer = Answer(text=text, finish_reason="stop", prompt_tokens=9, answer_tokens=3, choice_probabilities=chances)
    return Outcome(row="x", status="ok", answer=answer)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Clear code.\nFinal score: 3", 3),
        ("Final score: 1 at first.\nOn reflection:\n**Final score:** 2", 2),
        ("final  Score = 0.", 0),
        ("Final score: 4/4", 4),
        ("Final score: 7", None),
        ("Final score: 10", None),
        ("Final score: 3.5", None),
        ("Final score: four", None),
        ("Score: 3", None),
        ("", None),
    ],
)
def test_the_last_final_score_is_read(text: str, score: int | None) -> None:
    row = grades.grade_row(outcome(text), "parse")
    assert row["score"] == score
    assert row["status"] == ("unparsable" if score is None else "ok")
    assert row["raw"] == text


def test_the_rationale_is_what_stands_before_the_score() -> None:
    assert grades.grade_row(outcome("Clear code.\n\n**Final score: 3**"), "parse")["rationale"] == "Clear code."


def test_the_constrained_score_is_the_likeliest_and_the_expectation_a_mean() -> None:
    row = grades.grade_row(outcome(" Clear. ", (0.1, 0.3, 0.3, 0.2, 0.1)), "constrained")
    assert row["score"] == 1
    assert row["expected_score"] == pytest.approx(1.9)
    assert row["rationale"] == "Clear."


RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from d3.stages import grades
from d3.stages.threshold import reason_below
from d3.config.models import Config
settings = Config.model_validate_json(sys.argv[1])
folder = Path(sys.argv[2])
grades.run(settings, folder / "corpus.parquet", folder / "grades.parquet", model=sys.argv[3], journal=folder / "j")
"""


def counted(text: str) -> tuple[int, int]:
    """Return how many requests a run asked and how many responses it took from the journal."""
    found = re.findall(r"^grades: (\d+) asked, (\d+) from the journal", text, re.MULTILINE)
    assert len(found) == 1, text
    return int(found[0][0]), int(found[0][1])


def test_a_killed_run_asks_nothing_twice(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "calm").mkdir()
    grades_of(tmp_path / "calm", model, small_config())
    write_files(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, small_config().model_dump_json(), str(tmp_path), model],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(WORKFLOW)},
    )
    while not list((tmp_path / "j").glob(f"*{SUFFIX}")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    asked, _ = counted(capsys.readouterr().err)
    grades.run(
        small_config(), tmp_path / "corpus.parquet", tmp_path / "grades.parquet", model=model, journal=tmp_path / "j"
    )
    again, kept = counted(capsys.readouterr().err)
    assert again + kept == asked == 10
    assert kept >= 8  # at least the first chunk: four times the batch
    calm = tmp_path / "calm" / "grades.parquet"
    assert (tmp_path / "grades.parquet").read_bytes() == calm.read_bytes()
