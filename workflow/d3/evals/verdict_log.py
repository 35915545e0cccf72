"""Verdicts on the disk the moment they fall: a log beside a journal, which takes it over when it is opened again.

A journal writes whole segments, so what has not been flushed is lost with a killed process. Each process appends
its verdicts to a log of its own as well, one line and one `write` each, and holds a lock on it while it lives. Whoever
opens the folder reads all logs, and removes those whose owner is gone.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SUFFIX = ".verdicts.jsonl"


class Line(NamedTuple):
    """One entry of a log."""

    key: str
    value: dict[str, Any]
    about: list[str]
    """What the entry is about, as for the journal."""


class VerdictLog:
    """The log of this process in a journal's folder."""

    def __init__(self, folder: Path) -> None:
        """Open a new log; raise OSError if the folder cannot be written to."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{os.getpid()}-{os.urandom(6).hex()}{SUFFIX}"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        lock(self._file)

    def append(self, line: Line) -> None:
        """Write an entry; it outlives this process at once, and the machine after the journal's next flush."""
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def remove(self) -> None:
        """Remove the log, whose entries are in the journal by now."""
        self.path.unlink(missing_ok=True)
        os.close(self._file)


def lock(file: int) -> bool:
    """Lock a log without waiting; return whether that worked, which it does not where another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def read_logs(folder: Path) -> tuple[list[Line], list[Path]]:
    """Return the whole entries of all logs in a folder, and the logs whose owner is gone."""
    lines: list[Line] = []
    abandoned = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue  # its owner has just ended
        try:
            if lock(file):
                abandoned.append(path)
            lines += entries(path.read_bytes())
        except FileNotFoundError:
            continue
        finally:
            os.close(file)
    return lines, abandoned


def entries(data: bytes) -> Iterator[Line]:
    """Yield the entries of a log; what was torn by the end of the machine is left out."""
    for text in data.split(b"\n")[:-1]:
        try:
            key, value, about = json.loads(text)
        except ValueError:
            continue
        yield Line(key, value, about)
