"""Errors that a user reads: one line that names the place, the reason and the remedy."""

import errno
import re
import sys


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
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENOMEM: "run with more memory or fewer workers",
}
"""What to do after an error of the operating system."""
NUMBER = re.compile(r"\[errno (\d+)\]", re.IGNORECASE)
"""How libraries such as Arrow write the number of an error into its text."""


def explain(error: D3Error | OSError | ModuleNotFoundError) -> D3Error:
    """Return an error that a user can act on, as one line with its remedy."""
    if isinstance(error, OSError):
        return from_os_error(error)
    if isinstance(error, ModuleNotFoundError):
        remedy = "run `make setup`, or start `workflow/bin/d3`, which chooses the environment of the stage"
        return ToolError(f"the package {error.name} is not installed in the environment {sys.prefix}", remedy=remedy)
    return error


def from_os_error(error: OSError) -> D3Error:
    """Return an error of the operating system with its file and the remedy."""
    number, reason = error.errno, error.strerror
    if number is None and (found := NUMBER.search(str(error))):
        number = int(found[1])
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    remedy = REMEDIES.get(number or 0, "run again with --debug for the traceback")
    return D3Error(reason or str(error) or type(error).__name__, where=" -> ".join(files), remedy=remedy)
