"""What the log of a job tells: how far it is, and why it failed."""

import re
from pathlib import Path
from typing import NamedTuple

TAIL = 8192
"""Bytes at the end of a log that are read."""
SNAKEMAKE_TAIL = 2**22
"""The same of Snakemake's own log."""

LINE = re.compile(
    r"^(?P<what>.+?): (?P<done>\d+)(?:/(?P<total>\d+))? (?P<unit>\S+)(?: \(\d+ %\))?, "
    r"(?P<rate>[\d.]+) \S+/s, (?P<so_far>\d+:\d\d:\d\d) so far(?:, ETA (?P<eta>\d+:\d\d:\d\d))?"
)
"""A line of `d3.progress`."""
OURS = re.compile(r"^d3(?: \S+)?: error: (?P<reason>.*)")
PYTHON = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Killed)\b")
SYSTEM = re.compile(r"(?i)^(?:slurmstepd: )?error: |\bkilled\b|out of memory|no space left|disk quota|fatal:")


class Progress(NamedTuple):
    """The last progress line of a log."""

    done: int
    total: int | None
    unit: str
    rate: float
    """Units a second."""
    eta: int | None
    """Seconds that the job itself expects to need."""

    @property
    def share(self) -> float:
        """Give how much of the job is done, 0 where its size is unknown."""
        return self.done / self.total if self.total else 0.0


def tail(path: Path, most: int = TAIL) -> list[str]:
    """Give the last lines of a log, none if there is no log; of a line that was rewritten, the last text."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.split("\r")[-1].strip() for line in text.splitlines() if line.strip()]


def last_progress(lines: list[str]) -> Progress | None:
    """Give the newest progress line."""
    for line in reversed(lines):
        found = LINE.match(line.replace("\x1b[K", ""))
        if found:
            total = found["total"]
            eta = found["eta"]
            return Progress(
                int(found["done"]),
                int(total) if total else None,
                found["unit"],
                float(found["rate"]),
                _seconds(eta) if eta else None,
            )
    return None


def reason_of(lines: list[str]) -> str:
    """Give the line that says why a job failed: ours first, then Python's, then the system's; else nothing."""
    for line in reversed(lines):
        found = OURS.match(line)
        if found:
            return found["reason"]
    for pattern in (PYTHON, SYSTEM):
        for line in reversed(lines):
            if pattern.search(line):
                return line
    return ""


def failed_outputs(folder: Path = Path()) -> set[str]:
    """Give the first outputs of the jobs that Snakemake's newest log calls failed.

    Logs of jobs have the same names in all configurations; this tells whose failure they speak of.
    """
    logs = sorted((folder / ".snakemake" / "log").glob("*.snakemake.log"))
    found: set[str] = set()
    failed = False
    for line in tail(logs[-1], SNAKEMAKE_TAIL) if logs else []:
        if line.startswith("Error in rule "):
            failed = True
        elif failed and line.startswith("output: "):
            found.add(line.removeprefix("output: ").split(", ")[0])
            failed = False
    return found


def _seconds(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)
