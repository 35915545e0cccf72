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


def test_a_restart_before_the_first_checkpoint_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for _ in range(2):
        metrics = Metrics(path, done=0)
        metrics.start(2.75)
        metrics.write(1, LOGS)
        metrics.close()
    assert [line["step"] for line in read(path)] == [0, 1]


def events(folder: Path) -> dict[str, dict[int, float]]:
    """Read TensorBoard's event files: value by step by name; each record is length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            if event.session_log.status == event.session_log.START:  # TensorBoard forgets what is from here on
                for values in found.values():
                    for step in [step for step in values if step >= event.step]:
                        del values[step]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
            data = data[12 + length + 4 :]
    return found


def test_tensorboard_shows_the_same_numbers(tmp_path: Path) -> None:
    path, folder = tmp_path / "m.metrics.jsonl", tmp_path / "tensorboard" / "m"
    first = Metrics(path, done=0)
    first.start(3.5)
    for step in (1, 2, 3):
        first.write(step, LOGS)
    shown = events(folder)  # while it runs
    assert shown["loss"] == {1: 2.5, 2: 2.5, 3: 2.5}
    assert shown["held_out_loss"] == {0: 3.5}
    assert {"grad_norm", "learning_rate", "tokens_per_second", "memory_mb"} <= shown.keys()
    first.close()
    again = Metrics(path, done=2)
    again.write(3, LOGS | {"loss": 1.0, "grad_norm": float("nan"), "held_out_loss": 2.0})
    again.close()
    assert events(folder)["loss"] == {1: 2.5, 2: 2.5, 3: 1.0}
    assert events(folder)["held_out_loss"] == {0: 3.5, 3: 2.0}
    assert 3 not in events(folder)["grad_norm"]
    other = Metrics(path, done=0)  # another run of this name
    other.close()
    assert "loss" not in events(folder)
