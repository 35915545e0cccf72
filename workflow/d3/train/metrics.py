"""Metrics of a training run while it runs: one JSON object a line and step, and TensorBoard's events, flushed at once.

The events of `logs/NAME.metrics.jsonl` are in `logs/tensorboard/NAME`: `tensorboard --logdir logs` shows all runs.
Times and memory are in it, so it is a log beside the results and none of them. After a restart the lines of steps
that are done again are replaced.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from d3.core.processes import resident_mb
from d3.core.tables import remove

NAMES = ("loss", "learning_rate", "grad_norm", "tokens", "loss_tokens")


class Metrics:
    """The metrics files of a run."""

    def __init__(self, path: Path, *, done: int) -> None:
        """Open the files and keep what the first `done` steps wrote."""
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _lines(path, done) if done and path.exists() else []
        self._file = path.open("w", encoding="utf-8")
        self._file.writelines(kept)
        events = path.parent / "tensorboard" / path.name.removesuffix(".jsonl").removesuffix(".metrics")
        if not done and events.is_dir():  # an earlier run of this name, such as one with other settings
            remove(events)
        events.mkdir(parents=True, exist_ok=True)
        # SummaryWriter writes from a thread of its own, whose flush leaves out what still waits there.
        self._events = EventsWriter(str(events / "events"), f".{os.getpid()}.{done}")
        if done:
            self._add_event(done + 1, session_log=SessionLog(status=SessionLog.START))
        self._last = time.monotonic()

    def start(self, held_out_loss: float) -> None:
        """Add the held-out loss before the first step, as step 0."""
        self._add({"step": 0, "held_out_loss": _finite(held_out_loss)})

    def write(self, step: int, logs: Mapping[str, Any]) -> None:
        """Add a step; numbers that JSON cannot express become null."""
        import torch

        now = time.monotonic()
        line: dict[str, Any] = {"step": step, **{name: _finite(logs.get(name)) for name in NAMES}}
        if "held_out_loss" in logs:
            line["held_out_loss"] = _finite(logs["held_out_loss"])
        line |= {"tokens_per_second": round(logs["tokens"] / (now - self._last), 1), "memory_mb": resident_mb()}
        if torch.cuda.is_available():
            line["gpu_memory_mb"] = torch.cuda.max_memory_allocated() >> 20
        self._last = now
        self._add(line)

    def _add(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        shown = [(name, value) for name, value in line.items() if name != "step" and value is not None]
        values = [Summary.Value(tag=name, simple_value=value) for name, value in shown]
        self._add_event(line["step"], summary=Summary(value=values))

    def _add_event(self, step: int, **content: Any) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))
        self._events.flush()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._events.close()


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None


def _lines(path: Path, done: int) -> list[str]:
    """Return the whole lines of the first `done` steps."""
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            continue
        if line.endswith("\n") and isinstance(step, int) and step <= done:
            kept.append(line)
    return kept
