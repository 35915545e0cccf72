"""The openai engine against the server that vLLM comes with, on loopback: the answers of the engine in the process."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d3 import config
from d3.llm.engine import open_engine
from llm_models import chat_model
from vllm_requests import requests

PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
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
    line = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
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


@pytest.mark.slow
def test_a_real_server_gives_the_answers_of_the_plain_model(
    url: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("JUDGE_KEY", "secret")
    settings: Any = {"kind": "openai", "served_model": "judge", "base_url": url, "api_key_env": "JUDGE_KEY"}
    engine = open_engine(config.Engine(**settings, max_length=512), str(model))
    plain = open_engine(config.Engine(max_length=512), str(model))
    for options in ({"choices": ("0", "x")}, {"choices": ("a", "b"), "stop": tuple("ae \n")}, {"choices": None}):
        asked = requests(**options)
        for answer, expected in zip(engine.ask(asked), plain.ask(asked), strict=True):
            assert (answer.finish_reason, answer.answer_tokens) == (expected.finish_reason, expected.answer_tokens)
            assert answer.text == expected.text or "\ufffd" in expected.text  # servers leave out torn characters
            if expected.choice_probabilities:
                assert answer.choice_probabilities == pytest.approx(expected.choice_probabilities, abs=1e-4)
    drawn = requests(temperature=1.0, choices=None)
    assert engine.ask(drawn) == engine.ask(drawn[::-1])[::-1]
