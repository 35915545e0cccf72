"""What files hold, without reading them again: digests by size and times, and a cache beside the run.

A file whose size and modification time are those that a statement tells is taken to hold what the
statement tells. Where they differ the content decides. `d3 verify` reads everything anyway.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from d3.core.ids import FOREIGN, file_digest
from d3.core.tables import written_whole

WORK = Path("work")
"""Folder of what a run may lose without harm, relative to the working folder."""


class Stamp(NamedTuple):
    """Size in bytes and time of the last change in nanoseconds; of a folder: the sum and the latest of its files."""

    bytes: int
    mtime_ns: int


def files_of(path: Path) -> list[Path]:
    """Give the files in a folder tree, sorted, without those that Snakemake adds; a file is its own list."""
    if not path.is_dir():
        return [path]
    return sorted(child for child in path.rglob("*") if child.is_file() and child.name not in FOREIGN)


def stamp(path: Path) -> Stamp:
    """Give the stamp of a file or folder; raises FileNotFoundError."""
    if not path.is_dir():
        status = path.stat()
        return Stamp(status.st_size, status.st_mtime_ns)
    stats = [child.stat() for child in files_of(path)]
    return Stamp(sum(item.st_size for item in stats), max((item.st_mtime_ns for item in stats), default=0))


class Cache:
    """Digests of files and folders that were read before, one small file for each, safe to share.

    An entry counts while size, modification time, change time and inode of every file are the same,
    which no copying tool preserves. Without a folder nothing is kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    @classmethod
    def of_run(cls) -> "Cache":
        """Give the cache of the run whose working folder this is; outside of a run it keeps nothing."""
        return cls(WORK / "digests" if "D3_RUN" in os.environ else None)

    def digest(self, path: Path) -> str:
        """Give `file_digest` of a path, read only if it changed since the last time."""
        if self.folder is None:
            return file_digest(path)
        stats = [(str(child.relative_to(path)), child.stat()) for child in files_of(path)]
        seen = [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in stats]
        state = hashlib.sha256(json.dumps(seen).encode()).hexdigest()
        notes = self.notes(f"{path.absolute()} {state}", lambda: {"sha256": file_digest(path)})
        return str(notes["sha256"])

    def notes(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Give what is noted under a key, or make and note it."""
        if self.folder is None:
            return make()
        entry = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        try:
            found: dict[str, Any] = json.loads(entry.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        if found.pop("key", None) != key:
            found = make()
            with written_whole(entry) as part:
                part.write_text(json.dumps({"key": key, **found}), encoding="utf-8")
        return found
