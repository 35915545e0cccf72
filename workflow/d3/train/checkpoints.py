"""Checkpoints that a killed run resumes from: only whole ones count.

The Trainer writes a checkpoint's files one by one. When all processes are done with it, a file
named `complete` is added; a folder without it is a torn checkpoint and is removed.
"""

import os
from pathlib import Path

from d3.core.tables import remove

MARK = "complete"


def mark_complete(checkpoint: Path) -> None:
    """Say that a checkpoint is whole, after its bytes are on the disk."""
    os.sync()
    with (checkpoint / MARK).open("wb") as file:
        os.fsync(file.fileno())


def last_complete(folder: Path) -> Path | None:
    """Give the whole checkpoint with the most steps, None if there is none; torn ones are removed."""
    whole: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        if (path / MARK).exists():
            whole[int(path.name.rsplit("-", 1)[1])] = path
        else:
            remove(path)
    return whole[max(whole)] if whole else None
