"""Metrics of a training run while it runs: one JSON object a line and step, flushed at once.

Times and memory are in it, so it is a log beside the results and none of them. After a restart the lines of steps
that are done again are replaced.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d3.core.processes import resident_mb

NAMES = ("loss", "learning_rate", "grad_norm", "tokens", "loss_tokens")


class Metrics:
    """The metrics file of a run."""

    def __init__(self, path: Path, *, done: int) -> None:
        """Open the file and keep the lines of the first `done` steps."""
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _lines(path, done) if path.exists() else []
        self._file = path.open("w", encoding="utf-8")
        self._file.writelines(kept)
        self._last = time.monotonic()

    def write(self, step: int, logs: Mapping[str, Any]) -> None:
        """Add a step; numbers that JSON cannot express become null."""
        import torch

        now = time.monotonic()
        line = {"step": step, **{name: _finite(logs.get(name)) for name in NAMES}}
        line |= {"tokens_per_second": round(logs["tokens"] / (now - self._last), 1), "memory_mb": resident_mb()}
        if torch.cuda.is_available():
            line["gpu_memory_mb"] = torch.cuda.max_memory_allocated() >> 20
        self._last = now
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
