"""What a head process that died has left behind: jobs in SLURM that still write.

Snakemake does not find its old jobs again. It would start each a second time beside the first one, and
both would write the same files. So they are found here by the run's folder and by their name, which is
the ID of the run, and ended or waited for before the folder is unlocked. A job that ends well after its head has
died takes the marks of unfinished files off by itself, so its files are not made again.
"""

import getpass
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from d3.cluster.queue import WAITING
from d3.errors import ToolError

NAME = re.compile(r"(?:[A-Za-z0-9_-]+_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""How the executor plugin names jobs: the prefix of the profile and the ID of the run."""
POLL_SECONDS = 5.0
SAY_SECONDS = 60.0


class Living(NamedTuple):
    """A job of this folder that SLURM has not ended."""

    id: str
    name: str
    state: str
    comment: str

    @property
    def waits(self) -> bool:
        """Tell whether it has not started, or is to start again."""
        return self.state in WAITING


class SlurmSilentError(ToolError):
    """SLURM gives no answer, so nobody knows what still runs."""


def slurm(*words: str, seconds: float = 30) -> str:
    """Run a command of SLURM and give its output; raises SlurmSilentError when it fails or does not answer."""
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    except (subprocess.TimeoutExpired, OSError) as error:
        raise SlurmSilentError(f"{words[0]} gives no answer ({error})", remedy="ask again when SLURM is back") from None
    if answer.returncode:
        said = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SlurmSilentError(f"{words[0]}: {said}", remedy="ask again when SLURM is back")
    return answer.stdout


def has_slurm() -> bool:
    """Tell whether this machine can talk to a SLURM."""
    return shutil.which("squeue") is not None


def living_jobs(folder: Path) -> list[Living]:
    """Give the jobs of a run's folder that have not ended; raises SlurmSilentError."""
    text = slurm("squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%j|%T|%k|%Z")
    found = []
    for line in text.splitlines():
        number, name, state, rest = (line.split("|", 3) + [""] * 3)[:4]
        comment, _, workdir = rest.rpartition("|")
        if NAME.fullmatch(name) and workdir and Path(workdir).resolve() == folder:
            found.append(Living(number, name, state, comment))
    return found


def settle(folder: Path, *, cancel: bool, patience: float) -> None:
    """Return when no job of the folder lives: waiting ones are cancelled, running ones too or waited for.

    SLURM may be silent for `patience` seconds; then SlurmSilentError is raised.
    """
    asked: set[str] = set()
    silent_since = said = 0.0
    while True:
        now = time.monotonic()
        try:
            jobs = living_jobs(folder)
            silent_since = 0.0
            for job in jobs:
                if (cancel or job.waits) and job.id not in asked:
                    slurm("scancel", job.id)
                    asked.add(job.id)
                    _say(f"cancelled job {job.id} ({job.comment or job.name}) of an earlier run, {job.state.lower()}")
        except SlurmSilentError:
            silent_since = silent_since or now
            if now - silent_since >= patience:
                raise
            time.sleep(POLL_SECONDS)
            continue
        if not jobs:
            return
        if now - said >= SAY_SECONDS or not said:
            said = now
            names = ", ".join(f"{job.id} ({job.comment or job.name})" for job in jobs[:5])
            more = f" and {len(jobs) - 5} more" if len(jobs) > 5 else ""
            _say(f"waiting for jobs of an earlier run that is gone: {names}{more}; `--orphans cancel` ends them")
        time.sleep(POLL_SECONDS)


def living_head(folder: Path) -> str:
    """Name a Snakemake process that works in the folder, on this machine, or nothing."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if (process / "cwd").resolve() != folder:
                continue
        except OSError:
            continue
        if any(Path(word).name == "snakemake" for word in words[:4]) and "--mode" not in words:
            return f"process {process.name} on {socket.gethostname()}"
    return ""


def other_host(folder: Path) -> str:
    """Give the machine that the folder's newest run was started on, where it is locked and not ours."""
    if not any((folder / ".snakemake" / "locks").glob("*")):
        return ""
    logs = sorted((folder / ".snakemake" / "log").glob("*.snakemake.log"))
    if not logs:
        return ""
    found = re.search(r"^\s*Host: (\S+)", logs[-1].read_text(errors="replace"), re.MULTILINE)
    return found[1] if found and found[1] != socket.gethostname() else ""


def _say(text: str) -> None:
    print(f"d3 run: {text}", file=sys.stderr, flush=True)
