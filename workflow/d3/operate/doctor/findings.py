"""What a check of the machine is: a small function from the place to a finding."""

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from d3.pipeline.pipeline import Chain

Level = Literal["ok", "warn", "fail"]


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
        """Return whether jobs go to SLURM."""
        return self.profile.get("executor") == "slurm"

    @property
    def images(self) -> bool:
        """Return whether rules run in their images."""
        for key in ("software-deployment-method", "sdm", "deployment-method"):
            methods = self.profile.get(key, [])
            if "apptainer" in ([methods] if isinstance(methods, str) else methods):
                return True
        return False


def owner() -> tuple[str, str]:
    """Return the name, where there is one, and the number of this user."""
    import pwd

    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name, str(number)
    except KeyError:
        return str(number), str(number)


def has_id_range(table: Path) -> bool:
    """Return whether /etc/subuid or /etc/subgid has a range of subordinate ids for this user."""
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(line.split(":")[0] in owner() for line in lines)
