"""The openai engine against the server that vLLM comes with, on loopback: the answers of the engine in the process."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d3.config.engine import Engine
from d3.core.journal import Journal
from d3.llm.ask import Question, ask_all
from d3.llm.engines import server_client
from d3.llm.open_engine import open_engine
from helpers.engine_requests import requests
from helpers.openai_server import Proxy
from helpers.paths import VLLM_PYTHON
from helpers.tiny_models import chat_model

pytestmark = [pytest.mark.model, pytest.mark.slow]

CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("served") / "model", length=1024, hidden=128)


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "model": model,
        "served-model-name": "judge",
        "port": port,
        "host": "127.0.0.1",
        "dtype": "float32",
        "max-model-len": 512,
        "gpu-memory-utilization": 0.2,
        "distributed-executor-backend": "uni",
        "api-key": "secret",
    }
    line = [str(VLLM_PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    line += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    environment = {**os.environ, **CPU, "VLLM_NO_USAGE_STATS": "1", "OMP_WAIT_POLICY": "passive"}
    log = model.parent / "server.log"
    with log.open("w") as file:
        server = subprocess.Popen(line, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


def test_a_real_server_gives_the_answers_of_the_plain_model(
    url: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("JUDGE_KEY", "secret")
    settings: Any = {"kind": "openai", "served_model": "judge", "base_url": url, "api_key_env": "JUDGE_KEY"}
    engine = open_engine(Engine(**settings, max_length=512), str(model))
    plain = open_engine(Engine(max_length=512), str(model))
    for options in ({"choices": ("0", "x")}, {"choices": ("a", "b"), "stop": tuple("ae \n")}, {"choices": None}):
        asked = requests(**options)
        for answer, expected in zip(engine.ask(asked), plain.ask(asked), strict=True):
            assert (answer.finish_reason, answer.answer_tokens) == (expected.finish_reason, expected.answer_tokens)
            assert answer.text == expected.text or "\ufffd" in expected.text  # servers leave out torn characters
            if expected.choice_probabilities:
                assert answer.choice_probabilities == pytest.approx(expected.choice_probabilities, abs=1e-4)
    drawn = requests(temperature=1.0, choices=None)
    assert engine.ask(drawn) == engine.ask(drawn[::-1])[::-1]


def test_a_real_server_behind_faults_gives_the_same_answers(
    url: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rate limits, errors, timeouts, torn answers, lost connections, and a server that is gone for a while."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(server_client, "FIRST_WAIT", 0.05)
    asked = requests(21, temperature=1.0, choices=("0", "x"))
    faults: list[Any] = [("status", (429, {"Retry_After": "0.1"})), ("status", (500, {})), ("status", (503, {}))]
    faults += [("sleep", 3.0), ("torn", None), ("half", None), ("drop", None), None]
    plans = {tuple(request.ids): faults[at % len(faults)] for at, request in enumerate(asked)}
    plans[tuple(asked[-1].ids)] = ("die", 0.5)
    proxy = Proxy(url, "secret", plan=lambda body, before: plans.get(tuple(body["prompt"])) if before == 0 else None)
    settings: Any = {"kind": "openai", "served_model": "judge", "timeout_seconds": 2.5, "retries": 12, "batch": 4}
    questions = [Question(row=request.key, request=request) for request in asked]
    try:
        engine = open_engine(Engine(**settings, base_url=proxy.url, max_length=512), str(model))
        with Journal(tmp_path) as journal:
            outcomes = list(ask_all(engine, questions, journal, what="faults", total=None))
        sent = len(proxy.bodies)
        list(ask_all(engine, questions, Journal(tmp_path), what="again", total=None))
        assert len(proxy.bodies) == sent
    finally:
        proxy.stop()
    monkeypatch.setenv("JUDGE_KEY", "secret")
    direct = open_engine(Engine(**settings, base_url=url, api_key_env="JUDGE_KEY", max_length=512), str(model))
    assert {outcome.status for outcome in outcomes} == {"ok"}
    for outcome, expected in zip(outcomes, direct.ask(asked), strict=True):
        assert outcome.answer is not None
        assert (outcome.answer.text, outcome.answer.finish_reason) == (expected.text, expected.finish_reason)
        assert outcome.answer.choice_probabilities == pytest.approx(expected.choice_probabilities, abs=1e-4)
    assert sent >= 2 * len(asked) + sum(fault is not None for fault in plans.values())
