"""What a check of the machine is: a small function from the place to a finding."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from d3.chain import Chain

Level = Literal["ok", "warn", "fail"]
SECONDS = 15.0
"""Longest wait for a program that is asked something."""


class Finding(NamedTuple):
    """What a check found, and what to do about it."""

    level: Level
    text: str
    remedy: str = ""


class Place(NamedTuple):
    """What is to run, and how."""

    chain: Chain
    profile: dict[str, Any]
    """Lines of `profiles/NAME/config.yaml`; empty for a run without one."""
    folder: Path | None = None
    """Where the profile lies."""

    @property
    def slurm(self) -> bool:
        """Tell whether jobs go to SLURM."""
        return self.profile.get("executor") == "slurm"

    @property
    def images(self) -> bool:
        """Tell whether rules run in their images."""
        for key in ("software-deployment-method", "sdm", "deployment-method"):
            methods = self.profile.get(key, [])
            if "apptainer" in ([methods] if isinstance(methods, str) else methods):
                return True
        return False


def ask(words: Sequence[str], seconds: float = SECONDS) -> tuple[int | None, str]:
    """Run a program; give its exit status, None where it is missing or hangs, and what it said."""
    program = shutil.which(words[0])
    if program is None:
        return None, f"{words[0]} is not installed"
    try:
        answer = subprocess.run(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"{words[0]} gave no answer within {seconds:.0f} s"
    except OSError as error:
        return None, f"{words[0]} does not start ({error.strerror})"
    text = answer.stdout if answer.returncode == 0 else answer.stderr or answer.stdout
    return answer.returncode, text.strip()


def last_line(text: str) -> str:
    """Give the last line of what a program said."""
    return text.splitlines()[-1].strip() if text else "it said nothing"


def owner() -> tuple[str, str]:
    """Give the name, where there is one, and the number of this user."""
    import pwd

    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name, str(number)
    except KeyError:
        return str(number), str(number)
