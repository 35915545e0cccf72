"""Temporary files, `.NAME.HOST-PID.part` beside the file NAME, and which of them a killed process has left.

A process of this machine is looked up. Of those of other machines nobody can tell from here: their files are
left over when nothing else can be at work on them (`alone`), or when they are older than `STALE_SECONDS`.
"""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from d3.core.processes import exists

PART = re.compile(r"\..+-(?P<pid>\d+)(-old)?\.part", re.DOTALL)
STALE_SECONDS = 86_400.0


def is_leftover(path: Path, *, alone: bool = False) -> bool:
    """Return whether a file or folder is a temporary one that a killed process left."""
    found = PART.fullmatch(path.name)
    if not found:
        return False
    if re.search(rf"\.{re.escape(socket.gethostname())}-{found['pid']}(-old)?\.part$", path.name):
        return not exists(found["pid"])
    return alone or time.time() - path.lstat().st_mtime > STALE_SECONDS


def leftovers(folder: Path, *, alone: bool = False) -> Iterator[Path]:
    """Yield what killed processes left below a folder, outermost folders only."""
    for path in sorted(folder.rglob(".*.part")):
        if is_leftover(path, alone=alone) and not any(PART.fullmatch(above.name) for above in path.parents):
            yield path
