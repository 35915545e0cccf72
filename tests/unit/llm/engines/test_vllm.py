"""vLLM itself, on the CPU, in its own environment, against the transformers engine with the same tiny model."""

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from d3.config.engine import Engine
from d3.core.journal import Journal
from d3.llm.ask import Question, ask_all
from d3.llm.open_engine import open_engine
from helpers.engine_requests import requests
from helpers.paths import PYTHONPATH, VLLM_PYTHON
from helpers.tiny_models import chat_model

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads of 32: vLLM has no attention for smaller ones on CPUs."""
    return chat_model(tmp_path_factory.mktemp("vllm") / "model", length=1024, hidden=128)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm-journal")


@pytest.fixture(scope="module")
def worker(model: Path, journal: Path) -> dict[str, Any]:
    assert VLLM_PYTHON.exists(), "run `make .venv-vllm/.installed`"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PYTHONPATH}
    line = [str(VLLM_PYTHON), "-m", "helpers.vllm_worker", str(model), str(journal)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=400, check=False)
    found = [text for text in done.stdout.splitlines() if text.startswith("RESULT ")]
    assert found, done.stdout[-3000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(found[0].removeprefix("RESULT "))
    return result


@pytest.fixture(scope="module")
def plain(model: Path) -> Any:
    return open_engine(Engine(batch=4, max_length=512), str(model))


def same(answers: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for answer, other in zip(answers, expected, strict=True):
        chances, others = answer.pop("choice_probabilities"), other.pop("choice_probabilities")
        assert answer == other
        assert chances == pytest.approx(others, abs=1e-4)


def test_who_it_is(worker: dict[str, Any]) -> None:
    assert worker["identity"]["kind"] == "vllm"
    assert len(worker["identity"]["digest"]) == 64
    assert worker["max_length"] == 512


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("greedy", {}),
        ("stopped", {"stop": tuple("aeiou \n"), "choices": ("a", "b")}),
        ("read_off", {"max_tokens": 0}),
    ],
)
def test_it_answers_as_the_transformers_engine_does(
    worker: dict[str, Any], plain: Any, name: str, options: Any
) -> None:
    expected = [asdict(answer) for answer in plain.ask(requests(**options))]
    for answer in expected:
        answer["choice_probabilities"] = list(answer["choice_probabilities"])
    if name == "stopped":
        assert {answer["finish_reason"] for answer in expected} >= {"stop"}
    same(worker[name], expected)


def test_seeds_decide_draws_and_batches_do_not(worker: dict[str, Any]) -> None:
    assert worker["repeated"]
    assert worker["alone"]
    assert worker["backwards"]
    assert worker["equal with other seeds"] <= 1


def test_long_drawn_requests_are_not_computed_in_pieces(worker: dict[str, Any]) -> None:
    """Seeded draws from a prompt in pieces raise in vLLM on CPUs."""
    assert len(worker["many long ones"]) == 24
    assert set(worker["many long ones"]) <= {"length", "stop"}


def test_one_request_too_long_or_senseless_does_not_spoil_the_others(worker: dict[str, Any]) -> None:
    assert worker["too long"].startswith("r0: takes ")
    assert [row["status"] for row in worker["mixed"]] == ["ok", "engine_error", "too_long", "ok"]
    assert [row["raw"] for row in worker["mixed"]][::3] == [worker["greedy"][at]["text"] for at in (0, 3)]


def test_a_failed_step_leaves_nothing_behind(worker: dict[str, Any]) -> None:
    assert [row["status"] for row in worker["after a failed step"]] == ["ok"] * 7
    assert [row["raw"] for row in worker["after a failed step"]] == [answer["text"] for answer in worker["greedy"]]


def test_an_engine_that_never_starts_ends_the_stage_and_blames_no_row(worker: dict[str, Any]) -> None:
    assert "vLLM does not start (AttributeError: a compiled part of vLLM is missing)" in worker["broken"]


def test_a_request_that_ends_with_an_error_gets_a_status(worker: dict[str, Any]) -> None:
    rows = worker["failed grammar"]
    assert [row["status"] for row in rows] == ["ok", "ok", "engine_error", "ok"]
    assert rows[2]["detail"] == "finished with 'error'"


def test_the_engine_is_never_emptied_and_never_given_more_than_it_wants(worker: dict[str, Any]) -> None:
    assert worker["rolled"]
    assert worker["most open"] <= 5 * 3  # a request and its choices: three prompts at most


def test_the_prefix_cache_serves_what_was_seen(worker: dict[str, Any]) -> None:
    prompt, cached = worker["cached"]
    assert prompt == 400
    assert cached >= 256  # whole blocks of 128


def test_its_journal_is_replayed_without_it(worker: dict[str, Any], model: Path, journal: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in model.iterdir():
        if path.suffix != ".safetensors":
            (bare / path.name).write_bytes(path.read_bytes())
    engine = open_engine(Engine(kind="replay", max_length=512), str(bare))
    asked = [Question(row=request.key, request=request) for request in requests(8)]
    outcomes = list(ask_all(engine, asked, Journal(journal), what="replay", total=None))
    assert [outcome.columns() for outcome in outcomes[:7]] == worker["journalled"]
    assert (outcomes[7].status, outcomes[7].detail) == ("engine_error", "not in the journal")
