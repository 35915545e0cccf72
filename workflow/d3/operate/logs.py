"""What logs contain: those of jobs how far they are and why they failed, Snakemake's who failed and where it ran."""

import re
from pathlib import Path
from typing import NamedTuple

TAIL = 8192
"""Bytes at the end of a log that are read."""
SNAKEMAKE_LOGS = Path(".snakemake", "log")
"""Snakemake's own logs in a working folder."""
SNAKEMAKE_TAIL = 2**22
"""Bytes at the end of such a log that are read."""

LINE = re.compile(
    r"^(?P<what>.+?): (?P<done>\d+)(?:/(?P<total>\d+))? (?P<unit>\S+)(?: \(\d+ %\))?, "
    r"(?P<rate>[\d.]+) \S+/s, (?P<so_far>\d+:\d\d:\d\d) so far(?:, ETA (?P<eta>\d+:\d\d:\d\d))?"
)
"""A line of `d3.core.progress`."""
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
        """Return how much of the job is done, 0 where its size is unknown."""
        return self.done / self.total if self.total else 0.0


def tail(path: Path, most: int = TAIL) -> list[str]:
    """Return the last lines of a log, none if there is no log; of a line that was rewritten, the last text."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.split("\r")[-1].strip() for line in text.splitlines() if line.strip()]


def last_progress(lines: list[str]) -> Progress | None:
    """Return the newest progress line."""
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
    """Return the line that says why a job failed: ours first, then Python's, then the system's; else nothing."""
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
    """Return the first outputs of the jobs that failed, by Snakemake's newest log.

    Logs of jobs have the same names in all configurations; this shows whose failure they are about.
    """
    found: set[str] = set()
    failed = False
    for line in tail(log, SNAKEMAKE_TAIL) if (log := snakemake_log(folder)) else []:
        if line.startswith("Error in rule "):
            failed = True
        elif failed and line.startswith("output: "):
            found.add(line.removeprefix("output: ").split(", ")[0])
            failed = False
    return found


def snakemake_log(folder: Path) -> Path | None:
    """Return Snakemake's newest log in a working folder."""
    return max((folder / SNAKEMAKE_LOGS).glob("*.snakemake.log"), default=None)


def snakemake_host(folder: Path) -> str:
    """Return the machine that the newest Snakemake of a working folder was started on, empty if unknown."""
    if (log := snakemake_log(folder)) is None:
        return ""
    with log.open(errors="replace") as file:
        found = re.search(r"^\s*Host: (\S+)", file.read(TAIL), re.MULTILINE)
    return found[1] if found else ""


def _seconds(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)
