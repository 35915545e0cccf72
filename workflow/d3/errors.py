"""Errors that a user reads: one line that names the place, the reason and the remedy."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class D3Error(Exception):
    """A failure that the user can act on; the command prints it as one line and exits with 1.

    `where` names the file (and the row, if there is one), `reason` what is wrong with it and
    `remedy` what to do next.
    """

    def __init__(self, reason: str, *, where: str = "", remedy: str = "") -> None:
        self.where = where
        self.reason = reason
        self.remedy = remedy
        parts = [part for part in (where, reason) if part]
        line = ": ".join(parts) + (f"; {remedy}" if remedy else "")
        super().__init__(" ".join(line.split()))


class ConfigError(D3Error):
    """A wrong key, type or range in the configuration."""


class InputError(D3Error):
    """An input file that cannot be read as what it should be."""


class ToolError(D3Error):
    """An outside program or environment that is missing or failed."""


REMEDIES = {
    errno.ENOSPC: "free space on this file system, then run the command again",
    errno.EDQUOT: "free space within your quota, or ask for a larger one, then run the command again",
    errno.EACCES: "check the owner and the permissions of the file and its folders",
    errno.EPERM: "check the owner and the permissions of the file and its folders",
    errno.EROFS: "choose a folder on a file system that is mounted writable",
    errno.ESTALE: "the network file system replaced the file; run the command again",
    errno.EIO: "check the disk or the network file system, then run the command again",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "check the path",
    errno.EEXIST: "remove it or choose another path",
    errno.EFBIG: "raise the limit of file sizes (`ulimit -f`), or choose another file system",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENOMEM: "run with more memory or fewer workers",
}
"""What to do after an error of the operating system."""
NUMBER = re.compile(r"\[errno (\d+)\]", re.IGNORECASE)
"""How libraries such as Arrow write the number of an error into its text."""
PHRASES = {os.strerror(number): number for number in REMEDIES if number != errno.ENOENT} | {
    "disk is full": errno.ENOSPC,  # SQLite
    "file write failed": errno.ENOSPC,  # PyTorch, which leaves the reason out
    "disk I/O error": errno.EIO,
    "readonly database": errno.EROFS,
    "unable to open database file": errno.EACCES,
}
"""How libraries with exceptions of their own (SQLite, DuckDB, Zstandard, safetensors, PyTorch) write such an error."""
LONGEST = 300


@contextmanager
def file_named(path: Path) -> Iterator[None]:
    """Add the file to an error of the operating system that names none, as those of writing do."""
    try:
        yield
    except OSError as error:
        name_file(error, path)
        raise


def name_file(error: BaseException | None, path: Path) -> None:
    """Add the file to an error that names none; not to one of another kind, such as a refused connection."""
    if isinstance(error, OSError) and error.filename is None and number_of(error) in REMEDIES:
        error.filename = str(path)


def raise_system_error(error: Exception, path: Path) -> None:
    """Raise an error of the operating system again, with the file: nothing is wrong with the file's content.

    A full disk, a missing permission or the memory, also as libraries with exceptions of their own write them. Call it
    before a content is blamed, whose remedy (fetch or make it again) would not help.
    """
    if isinstance(error, OSError) and number_of(error) in REMEDIES:
        name_file(error, path)
        raise error
    found = None if isinstance(error, OSError) else explain(error)
    if found is not None and found.remedy in REMEDIES.values():
        raise D3Error(found.reason, where=str(path), remedy=found.remedy) from None


def explain(error: BaseException) -> D3Error | None:
    """Return an error that a user can act on, as one line with its remedy; None for a fault of the program."""
    if isinstance(error, D3Error):
        return error
    if isinstance(error, OSError):
        return from_os_error(error)
    if isinstance(error, MemoryError):
        return D3Error("out of memory", remedy=REMEDIES[errno.ENOMEM])
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("d3."):
        remedy = "run `make setup`, or start `workflow/bin/d3`, which chooses the environment of the stage"
        return ToolError(f"the package {error.name} is not installed in the environment {sys.prefix}", remedy=remedy)
    if error.__cause__ is not None and (found := explain(error.__cause__)) is not None:
        return found
    text = " ".join(str(error).split())
    numbers = [number for phrase, number in PHRASES.items() if phrase.lower() in text.lower()]
    return D3Error(text[:LONGEST], remedy=REMEDIES[numbers[0]]) if numbers else None


def from_os_error(error: OSError) -> D3Error:
    """Return an error of the operating system with its file and the remedy."""
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    remedy = REMEDIES.get(number_of(error) or 0, "run again with --debug for the traceback")
    return D3Error(error.strerror or str(error) or type(error).__name__, where=" -> ".join(files), remedy=remedy)


def number_of(error: OSError) -> int | None:
    """Return the number of an error of the operating system, also where a library wrote it into the text."""
    if error.errno is None and (found := NUMBER.search(str(error))):
        return int(found[1])
    return error.errno
