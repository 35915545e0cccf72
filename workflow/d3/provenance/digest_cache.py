"""What files contain, without reading them again: digests by names, sizes, times and inodes, and a cache of a run.

A file is believed to contain what was read from it before while its name, size, modification time, change time and
inode are the same: no copying or moving tool preserves all of them. Where one differs, it is read again. What remains
is a file that is changed within one tick of the file system's clock, or below the file system: `D3_PARANOID=1` makes
the workflow read every file again, as `d3 verify` always does.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from stat import S_ISDIR
from typing import Any, NamedTuple

from d3.core.ids import file_digest, folder_files
from d3.core.tables import written_whole

WORK = Path("work")
"""Folder of what a run may lose without harm, relative to the working folder."""
PARANOID = "D3_PARANOID"
"""Environment variable: any value but `0` makes staleness read every file, whatever its size and times."""


class Stamp(NamedTuple):
    """What is known of a file or folder without reading it."""

    bytes: int
    """Of all files."""
    state: str
    """Digest of the name, size, modification time, change time and inode of every file."""


def stamp(path: Path) -> Stamp:
    """Return the stamp of a file or folder; raise FileNotFoundError."""
    status = path.stat()
    stats = [(".", status)]
    if S_ISDIR(status.st_mode):
        stats = [(child.relative_to(path).as_posix(), child.stat()) for child in folder_files(path)]
    seen = [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in stats]
    return Stamp(sum(item[1] for item in seen), hashlib.sha256(repr(seen).encode()).hexdigest()[:16])


def read_everything() -> None:
    """Make this process and those that it starts read every file to judge what is stale."""
    os.environ[PARANOID] = "1"


class Cache:
    """Digests of files and folders that were read before, one small file for each, safe to share.

    Without a folder nothing is kept. A paranoid cache believes no entry, and replaces it by what it reads.
    """

    def __init__(self, folder: Path | None = None, *, paranoid: bool = False) -> None:
        self.folder, self.paranoid = folder, paranoid

    @classmethod
    def of_run(cls) -> "Cache":
        """Return the cache for a job of the run whose working folder this is; outside of a run it keeps nothing."""
        return cls(WORK / "digests" if "D3_RUN" in os.environ else None)

    @classmethod
    def of_head(cls) -> "Cache":
        """Return the cache for the process that decides what runs, paranoid where the environment asks for it."""
        return cls(WORK / "digests", paranoid=os.environ.get(PARANOID, "0") not in ("", "0"))

    def digest(self, path: Path, seen: Stamp | None = None) -> str:
        """Return `file_digest` of a path, read only if it changed since the last time; `seen` is its stamp."""
        if self.folder is None:
            return file_digest(path)
        state = (seen or stamp(path)).state
        return str(self.notes(str(path.absolute()), state, lambda: {"sha256": file_digest(path)})["sha256"])

    def notes(self, name: str, state: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what is noted of a name in this state, or make and note it in place of that of another state."""
        if self.folder is None:
            return make()
        entry = self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
        key = f"{name} {state}"
        found = {} if self.paranoid else _read(entry)
        if found.pop("key", None) != key:
            found = make()
            with written_whole(entry) as part:
                part.write_text(json.dumps({"key": key, **found}), encoding="utf-8")
        return found


def _read(entry: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(entry.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
