"""Answers out of a journal alone: no weights, no engine, never the answers of another one."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from d3.config.engine import Engine as EngineSettings
from d3.core import schemas
from d3.core.ids import digest_of, file_digest
from d3.core.journal import Journal
from d3.core.tables import read_rows
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.engine import Engine, EngineError, Request
from d3.llm.open_engine import open_engine
from helpers.echo_engine import EchoEngine
from helpers.paths import PYTHONPATH
from helpers.tiny_models import chat_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = chat_model(tmp_path_factory.mktemp("replay") / "model", length=512)
    (folder / "model.safetensors").unlink()
    return folder


def replay(model: Path, **options: Any) -> Engine:
    return open_engine(EngineSettings(kind="replay", **options), str(model))


def ask(engine: Any, count: int, journal: Journal | None) -> list[Outcome[int]]:
    requests = [Request(key=f"r{n}", ids=(n, 1), max_tokens=9, temperature=1.0, choices=("a",)) for n in range(count)]
    questions = [Question(row=number, request=request) for number, request in enumerate(requests)]
    return list(ask_all(engine, questions, journal, what="test", total=None))


def written_by(kind: str, folder: Path, count: int = 6) -> list[Outcome[int]]:
    engine = EchoEngine(max_length=256)
    engine.identity = {"kind": kind}
    with Journal(folder) as journal:
        return ask(engine, count, journal)


def test_what_was_answered_comes_back_and_the_rest_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = written_by("one", tmp_path)
    capsys.readouterr()
    engine = replay(model)
    outcomes = ask(engine, 8, Journal(tmp_path))
    assert outcomes[:6] == first
    assert [(o.status, o.detail, o.answer) for o in outcomes[6:]] == [("engine_error", "not in the journal", None)] * 2
    assert engine.identity == {"kind": "one"}
    line = "test: 0 asked, 6 from the journal, 0 equal to another, 2 without an answer; engine "
    assert line + digest_of({"kind": "one"})[:12] in capsys.readouterr().err
    assert [outcome.detail for outcome in outcomes] == [o.detail for o in ask(replay(model), 8, Journal(tmp_path))]


def test_answers_of_two_engines_are_never_mixed(model: Path, tmp_path: Path) -> None:
    written_by("one", tmp_path)
    second = written_by("two", tmp_path, 3)
    with pytest.raises(EngineError, match=r"answers of several engines: .*\((one|two)\).*set engine\.answers_of"):
        ask(replay(model), 3, Journal(tmp_path))
    digest = digest_of({"kind": "two"})
    outcomes = ask(replay(model, answers_of=digest[:8]), 5, Journal(tmp_path))
    assert outcomes[:3] == second
    assert [outcome.status for outcome in outcomes] == ["ok"] * 3 + ["engine_error"] * 2


def test_of_two_engines_that_of_the_same_model_is_meant(model: Path, tmp_path: Path) -> None:
    written_by("one", tmp_path)
    mine = {"kind": "two", "digest": file_digest(model)}
    engine = EchoEngine(max_length=256)
    engine.identity = mine
    with Journal(tmp_path) as journal:
        ask(engine, 2, journal)
    again = replay(model)
    assert [outcome.status for outcome in ask(again, 3, Journal(tmp_path))] == ["ok", "ok", "engine_error"]
    assert again.identity == mine


def test_a_foreign_journal_holds_nothing(model: Path, tmp_path: Path) -> None:
    assert {outcome.detail for outcome in ask(replay(model), 3, Journal(tmp_path))} == {"not in the journal"}
    written_by("one", tmp_path)
    outcomes = ask(replay(model, answers_of="0000"), 3, Journal(tmp_path))
    assert {outcome.detail for outcome in outcomes} == {"not in the journal"}


def test_without_a_journal_there_is_nothing_to_replay(model: Path) -> None:
    with pytest.raises(EngineError, match="no journal to replay"):
        ask(replay(model), 3, None)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nothing: no such folder"):
        replay(tmp_path / "nothing")


def peak(model: Path, folder: Path, count: int) -> int:
    """Return the peak memory of a process that grades `count` files out of a journal, in MB."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    for what in ("fill", "grade"):
        line = [sys.executable, "-m", "helpers.replay_rows", what, str(folder), str(model)]
        done = subprocess.run([*line, str(count)], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    rows = 0
    for row in read_rows(folder / "grades.parquet", schemas.GRADES):
        rows += row["status"] == "ok" and row["rationale"].startswith("The file shows how to make number ")
    assert rows == count
    peak = re.search(r"^PEAK (\d+)$", done.stdout, re.MULTILINE)
    assert peak, done.stdout
    return int(peak[1])


@pytest.mark.slow
def test_memory_of_the_stage_does_not_grow_with_rows(model: Path, tmp_path: Path) -> None:
    few = peak(model, tmp_path / "few", 2_000)
    many = peak(model, tmp_path / "many", 200_000)
    print(f"\nthe stage `grades`: {few} MB for 2,000 files, {many} MB for 200,000")
    assert many < 1000
    assert many - few < 200  # ids of files and the index of the journal: some hundred bytes a file
