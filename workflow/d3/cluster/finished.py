"""What finished jobs say of themselves: rows, bytes and times, out of their statements."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from d3.statement import facts_of


class Finished(NamedTuple):
    """The figures of one finished job. Times are seconds since the epoch; `rows` and `bytes` count outputs."""

    read: int
    kept: int
    rows: int
    """Rows of the first output."""
    bytes: int
    files: int
    started: float
    ended: float
    dropped: dict[str, int]
    """Rows by the reason why they did not go on."""
    usage: dict[str, float]
    """What `d3.usage` counted: CPU seconds, answers and tokens; empty where the statement does not tell."""
    config: dict[str, Any]
    """The settings that the job worked under."""
    attempts: int
    gpu: bool
    """Whether the job saw a GPU."""

    @property
    def seconds(self) -> float:
        """Give the job's wall time."""
        return max(self.ended - self.started, 0.0)

    @property
    def cpu(self) -> float:
        """Give the CPU seconds of the job with its child processes; the wall time where nobody counted."""
        return float(self.usage.get("cpu_seconds", self.seconds))


def read_finished(statement: Path, folder: Path = Path()) -> Finished | None:
    """Read a statement; None where there is none, or none that can be read: then the job is not finished.

    Names in a statement are relative to `folder`, the run's. Sizes that it does not tell are looked up.
    """
    try:
        text = json.loads(statement.read_bytes())
        return _figures(text, folder)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _figures(statement: dict[str, Any], folder: Path) -> Finished:
    predicate = statement["predicate"]
    details = predicate["runDetails"]
    subjects = statement["subject"]
    products = {product["name"]: product.get("content", {}) for product in details.get("byproducts", ())}
    rows, usage = products.get("rows", {}), products.get("usage", {})
    internal = predicate["buildDefinition"].get("internalParameters", {})
    config = facts_of(internal, folder).get("config")
    return Finished(
        read=int(rows.get("read", 0)),
        kept=int(rows.get("kept", 0)),
        rows=int((subjects[0].get("annotations") or {}).get("rows") or 0),
        bytes=sum(_bytes(subject, folder) for subject in subjects),
        files=len(subjects),
        started=seconds_of(details["metadata"]["startedOn"]),
        ended=seconds_of(details["metadata"]["finishedOn"]),
        dropped=dict(rows.get("dropped", {})),
        usage=usage,
        config=config if isinstance(config, dict) else {},
        attempts=int(internal.get("attempts") or 1),
        gpu=bool(internal.get("gpu")),
    )


def _bytes(subject: dict[str, Any], folder: Path) -> int:
    """Give the size of an output, 0 where nobody knows it any more."""
    told = (subject.get("annotations") or {}).get("bytes")
    if told is not None:
        return int(told)
    path = folder / subject["name"]
    try:
        files = path.rglob("*") if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:
        return 0


def seconds_of(time: str | float) -> float:
    """Give seconds since the epoch of a time in RFC 3339, or of a number that is that already."""
    return float(time) if isinstance(time, int | float) else datetime.fromisoformat(time).timestamp()
