"""The metrics of a run while it runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from d3.train.metrics import Metrics

pytestmark = pytest.mark.model  # torch is asked for GPUs

LOGS: dict[str, Any] = {"loss": 2.5, "learning_rate": 1e-4, "grad_norm": 0.5, "tokens": 128, "loss_tokens": 100}


def read(path: Path) -> list[dict[str, Any]]:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_every_step_is_on_the_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "m.jsonl"
    metrics = Metrics(path, done=0)
    for step in (1, 2):
        metrics.write(step, LOGS)
        (*_, last) = read(path)
        assert last["step"] == step
        assert {name: last[name] for name in LOGS} == LOGS
        assert last["tokens_per_second"] > 0
        assert last["memory_mb"] > 0
    metrics.write(3, LOGS | {"loss": float("nan"), "grad_norm": float("inf")})
    assert (read(path)[-1]["loss"], read(path)[-1]["grad_norm"]) == (None, None)
    metrics.close()


def test_a_restart_replaces_the_steps_that_are_done_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    first = Metrics(path, done=0)
    for step in range(1, 6):
        first.write(step, LOGS)
    first.close()
    with path.open("a") as file:
        file.write('not JSON\n[]\n{"step": 1')  # a line that a kill tore
    again = Metrics(path, done=3)
    again.write(4, LOGS | {"loss": 1.0})
    again.close()
    assert [(line["step"], line["loss"]) for line in read(path)] == [(1, 2.5), (2, 2.5), (3, 2.5), (4, 1.0)]
