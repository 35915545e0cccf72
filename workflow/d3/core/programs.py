"""Outside programs, run with a time limit."""

import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

SECONDS = 15.0
"""Time limit of a program that answers a question about the machine."""


class Answer(NamedTuple):
    """How a program ended."""

    status: int | None
    """Exit status; None for a program that is not installed, does not start or exceeded its time limit."""
    text: str
    """Standard output of a program that succeeded; else standard error, or why there is none."""


def ask(words: Sequence[str], seconds: float = SECONDS) -> Answer:
    """Run a program and return its answer."""
    program = shutil.which(words[0])
    if program is None:
        return Answer(None, f"{words[0]} is not installed")
    try:
        done = subprocess.run(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, f"{words[0]} gave no answer within {seconds:.0f} s")
    except OSError as error:
        return Answer(None, f"{words[0]} does not start ({error.strerror})")
    text = done.stdout if done.returncode == 0 else done.stderr or done.stdout
    return Answer(done.returncode, text.strip())


def last_line(text: str) -> str:
    """Return the last line of a program's output."""
    return text.splitlines()[-1].strip() if text else "no message"
