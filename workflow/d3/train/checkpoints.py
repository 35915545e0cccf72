"""The work folder of a training run: one owner, and checkpoints that a killed run resumes from.

The Trainer writes a checkpoint's files one by one. When all processes are done with it, a file named `complete` is
added; a folder without it is a torn checkpoint and is removed. `made_with.json` names everything that decides the
weights in whole checkpoints:

- other data, settings, seed or base model: they belong to another run and are removed, with a line that says so;
- other code or libraries: the run stops, unless it is told to resume anyway, which its record then says;
- another number of processes or ZeRO stage: DeepSpeed cannot read them, and the run stops.
"""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d3.core.tables import remove, written_whole
from d3.errors import ConfigError, ToolError

MARK = "complete"
ANYWAY = "D3_RESUME_ANYWAY"
"""Environment variable: 1 resumes checkpoints of other code or libraries, as `--resume-anyway` does."""
RUN, CODE, SHAPE = "run", "code", "shape"
"""Parts of `made_with.json`."""


@dataclass(kw_only=True, slots=True)
class Resume:
    """Whether to resume checkpoints of other code or libraries, and the differences that this went over."""

    anyway: bool
    differences: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.anyway = self.anyway or os.environ.get(ANYWAY) == "1"


def mark_complete(checkpoint: Path) -> None:
    """Mark a checkpoint as whole, after its bytes are on the disk."""
    os.sync()
    with (checkpoint / MARK).open("wb") as file:
        os.fsync(file.fileno())


def last_complete(folder: Path) -> Path | None:
    """Return the whole checkpoint with the most steps, None if there is none; torn ones are removed."""
    whole: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        if (path / MARK).exists():
            whole[int(path.name.rsplit("-", 1)[1])] = path
        else:
            remove(path)
    return whole[max(whole)] if whole else None


def settle(work: Path, now: Mapping[str, Mapping[str, Any]], resume: Resume, stage: str) -> None:
    """Keep, refuse or remove the checkpoints of a work folder; `now` has the parts RUN, CODE and SHAPE, flat.

    Raise ToolError or ConfigError for checkpoints that are not to be resumed from as things are.
    """
    path, folder = work / "made_with.json", work / "checkpoints"
    checkpoint = last_complete(folder)
    if checkpoint is not None:
        try:
            before = json.loads(path.read_bytes())
            other = {part: _differences(before[part], now[part]) for part in (RUN, CODE, SHAPE)}
            resume.differences = before["resumed_over"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            other = {RUN: [f"made_with.json cannot be read ({error})"], CODE: [], SHAPE: []}
        again = f"or remove {folder} to start from the base model"
        if other[RUN]:
            print(
                f"{stage}: {checkpoint} is of another run and is removed: {'; '.join(other[RUN])}",
                file=sys.stderr,
                flush=True,
            )
            remove(folder)
            resume.differences = []
        elif other[SHAPE]:
            raise ConfigError(
                f"cannot be resumed from: {'; '.join(other[SHAPE])}",
                where=str(checkpoint),
                remedy=f"set {stage} back, {again}",
            )
        elif other[CODE] and not resume.anyway:
            raise ToolError(
                f"was written by other code or libraries: {'; '.join(other[CODE])}",
                where=str(checkpoint),
                remedy=f"add --resume-anyway (or set {ANYWAY}=1) to resume from it, {again}",
            )
        else:
            resume.differences += [name for name in other[CODE] if name not in resume.differences]
    with written_whole(path) as part:
        part.write_text(json.dumps({**now, "resumed_over": resume.differences}, indent=1, sort_keys=True))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs, in words; digests are only said to have changed."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            digests = any(isinstance(value, str) and len(value) == 64 for value in (old, new))
            found.append(f"{name} changed" if digests else f"{name} was {json.dumps(old)}, is {json.dumps(new)}")
    return found


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Hold the work folder alone; at the end of a block without an error it is removed.

    Raise ToolError if another process still holds it after half a minute.
    """
    for _ in range(60):
        work.mkdir(parents=True, exist_ok=True)
        lock = os.open(work / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(work / "lock")):  # not one that its holder removed
                break
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(lock)
        time.sleep(0.5)
    else:
        raise ToolError("another process trains here", where=str(work), remedy="wait for it or end it")
    try:
        yield
        remove(work)
    finally:
        os.close(lock)
