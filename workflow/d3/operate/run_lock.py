"""One Snakemake in a working folder: the lock of `d3 run` with the process that holds it, and Snakemake's own.

The lock is released by the kernel when its process ends. Where a file system has no locks, or keeps them
to one machine, the record in the file decides: host, process id and start time of the last `d3 run`.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from d3.core.processes import processes_in, start_time, writes_into
from d3.operate.logs import SNAKEMAKE_LOGS, snakemake_host
from d3.operate.orphans import living_jobs, recorded_jobs
from d3.operate.slurm import has_slurm
from d3.pipeline.registry import STAGES

LOCK = Path(".snakemake", "d3-run.lock")
LOCKS = Path(".snakemake", "locks")
"""Files of Snakemake that are there while it runs, and stay when it is killed."""
COMMANDS = {stage.command for stage in STAGES.values()}
"""Commands that write results."""
TAKE_OVER = "if it is dead, add --take-over"


class Holder(NamedTuple):
    """The process of a `d3 run`."""

    host: str
    pid: int
    started: int | None
    """Start time in the kernel's clock; see `d3.core.processes.start_time`."""

    @classmethod
    def current(cls) -> "Holder":
        """Return this process."""
        return cls(socket.gethostname(), os.getpid(), start_time(os.getpid()))

    @property
    def is_here(self) -> bool:
        """Whether the process was started on this machine."""
        return self.host == socket.gethostname()

    @property
    def is_running(self) -> bool:
        """Whether the process runs on this machine."""
        return self.is_here and self.started is not None and start_time(self.pid) == self.started

    def __str__(self) -> str:
        """Return how a user finds the process."""
        return f"`d3 run`, process {self.pid} on {self.host}"


@contextmanager
def run_lock(folder: Path, *, take_over: bool = False) -> Iterator[str]:
    """Hold a working folder; yield an empty text, or which other run works in it.

    `take_over`: a run on another machine is taken for dead.
    """
    path = folder / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        holder = _read(file.fileno())
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield str(holder or "another `d3 run`")
            return
        except OSError:
            pass  # no locks on this file system: the record decides
        if other := _other_run(folder, holder, take_over=take_over):
            yield other
            return
        _write(file.fileno(), json.dumps(Holder.current()))
        try:
            yield ""
        finally:
            _write(file.fileno(), "")


def _other_run(folder: Path, holder: Holder | None, *, take_over: bool) -> str:
    if holder and holder.is_running:
        return str(holder)
    if holder and not holder.is_here and not take_over:
        return f"{holder}; {TAKE_OVER}"
    if not is_locked(folder):
        return ""
    if pids := snakemakes(folder):
        return f"Snakemake, process {pids[0]} on {socket.gethostname()}"
    host = snakemake_host(folder)
    if host and host != socket.gethostname() and not take_over:
        return f"a run that was started on {host}; {TAKE_OVER}"
    return ""


def at_work(folder: Path) -> str:
    """Return what works in a folder: a run, a command on this machine, or a job of SLURM; empty if nothing does.

    Raise SlurmSilentError if an earlier run has left jobs and SLURM does not answer.
    """
    if (folder / LOCK.parent).is_dir():
        with run_lock(folder) as other:
            if other:
                return other
    for process in processes_in(folder):
        if process.command in COMMANDS:
            return f"`d3 {process.command}`, process {process.pid} on {socket.gethostname()}"
    if has_slurm() and recorded_jobs(folder) and (jobs := living_jobs(folder)):
        return f"job {jobs[0].id} of SLURM"
    return ""


def is_locked(folder: Path) -> bool:
    """Return whether a Snakemake runs in a working folder or was killed there."""
    return any((folder / LOCKS).glob("*"))


def snakemakes(folder: Path) -> list[int]:
    """Return the processes of this machine that run the workflow in a folder: they write its log, dry runs do not."""
    return sorted(found.pid for found in processes_in(folder) if writes_into(found.pid, folder / SNAKEMAKE_LOGS))


def _read(descriptor: int) -> Holder | None:
    try:
        return Holder(*json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
