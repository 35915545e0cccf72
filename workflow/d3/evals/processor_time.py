"""Processor time of child processes, as the kernel counts it (Linux, in steps of 10 ms)."""

import os
from collections.abc import Iterable
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


def children(process: int | str = "self") -> set[int]:
    """Return the ids of a process's children; none where the kernel does not list them."""
    found: set[int] = set()
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found.update(map(int, path.read_text().split()))
        except OSError:
            continue
    return found


def processor_seconds(processes: Iterable[int]) -> float:
    """Return the processor time, in seconds, of processes and all that came of them, whether it has ended or not."""
    seconds = 0.0
    for process in processes:
        try:
            text = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            continue  # its time is in its parent's now
        fields = text.rpartition(")")[2].split()
        seconds += sum(map(int, fields[11:15])) * TICK  # of its own and of its ended children, user and system
        seconds += processor_seconds(children(process))
    return seconds
