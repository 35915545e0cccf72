"""Running the driver `d3 run` as a user does, on the sandbox."""

import os
import subprocess
import sys
from pathlib import Path

from helpers.paths import ROOT


def line(folder: Path, site: Path, *more: str) -> list[str]:
    """Return the command of a run in `folder`, whose configuration lies there."""
    words = ["--profile", str(site), "--configfile", str(folder / "config.yaml"), "--directory", str(folder)]
    return [sys.executable, "-m", "d3", "run", *words, *more]


def environment() -> dict[str, str]:
    """Return the environment of a run."""
    return os.environ | {"PYTHONPATH": str(ROOT / "workflow")}


def start(folder: Path, site: Path, *more: str) -> subprocess.Popen[str]:
    """Start a run; its lines go to `run.log` in the folder."""
    with (folder / "run.log").open("a") as log:
        return subprocess.Popen(
            line(folder, site, *more), stdout=log, stderr=log, text=True, env=environment(), start_new_session=True
        )


def drive(folder: Path, site: Path, *more: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run to the end; standard output and error come back as one text."""
    return subprocess.run(
        line(folder, site, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env=environment(),
        check=False,
    )
