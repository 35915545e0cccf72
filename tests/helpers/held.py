"""What a process and all below it hold: memory, processes, open and temporary files."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


def below() -> dict[int, tuple[str, float, int]]:
    """Return state, CPU seconds with those of ended children, and resident bytes of this process and all below it."""
    found: dict[int, tuple[int, tuple[str, float, int]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        state = fields[0], sum(map(int, fields[11:15])) / TICKS, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        found[int(folder.name)] = int(fields[1]), state
    chosen, waiting = {}, [os.getpid()]
    while waiting:
        process = waiting.pop()
        chosen[process] = found[process][1]
        waiting += [child for child, (parent, _) in found.items() if parent == process]
    return chosen


class State(NamedTuple):
    """What must not grow."""

    megabytes: float
    processes: int
    zombies: int
    open_files: int
    temporary: int


def state() -> State:
    """Return what this process and all below it hold."""
    rows = below()
    states = [name for name, _, _ in rows.values()]
    files = len(os.listdir("/proc/self/fd")), len(os.listdir(tempfile.gettempdir()))
    return State(sum(size for _, _, size in rows.values()) / 2**20, len(rows), states.count("Z"), *files)
