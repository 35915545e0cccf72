"""Processes of this host, read from /proc."""

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
PR_SET_PDEATHSIG = 1
START_TIME = 19
"""Index of a process's start time among the fields of /proc/PID/stat that follow its name."""


class Process(NamedTuple):
    """A process and its command line."""

    pid: int
    words: list[str]

    @property
    def command(self) -> str:
        """The command of the package that it runs, `python -m d3 COMMAND ...`; empty for any other process."""
        place = self.words.index("d3") if "d3" in self.words[:4] else -1
        return next(iter(self.words[place + 1 :]), "") if place >= 0 else ""


def exists(pid: int | str) -> bool:
    """Return whether a process of this host has this id."""
    return (PROC / str(pid)).exists()


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is no such process.

    An id is used again after its process has ended; the pair of id and start time is not.
    """
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[START_TIME])


def processes_in(folder: Path) -> Iterator[Process]:
    """Yield the processes that work in a folder and that this user may look at, those in containers included."""
    resolved = folder.resolve()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").readlink() == resolved:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                yield Process(int(entry.name), words)
        except OSError:
            continue


def writes_into(pid: int, folder: Path) -> bool:
    """Return whether a process has a file of a folder open for writing."""
    resolved = folder.resolve()
    try:
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            if descriptor.readlink().parent == resolved:
                flags = (PROC / str(pid) / "fdinfo" / descriptor.name).read_text().split("flags:")[1].split()[0]
                if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
    except OSError:
        return False
    return False


def resident_mb() -> int:
    """Return how much memory this process occupies, in MiB."""
    pages = int((PROC / "self" / "statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, where the kernel can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
