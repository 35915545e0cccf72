"""A running Snakemake and the watchdog over its SLURM jobs.

The executor plugin forgets jobs when it cannot query their states, for example while slurmctld restarts;
Snakemake then waits for ever. So every job that it submitted is compared with SLURM: one that has ended
long ago while Snakemake still waits for it is a forgotten one. A job that can never start is cancelled,
so that Snakemake reports it.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from d3.core.processes import die_with_parent
from d3.operate import snakemake_process
from d3.operate.events import RunState
from d3.operate.slurm import RUNNING, WAITING, SlurmSilentError, cancel, job_states

PROGRAM = (sys.executable, "-P", snakemake_process.__file__)
STUCK = {
    "AccountNotAllowed",
    "AssocMaxWallDurationPerJobLimit",
    "BadConstraints",
    "InvalidAccount",
    "InvalidQOS",
    "JobHeldAdmin",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSMaxWallDurationPerJobLimit",
    "launch_failed_requeued_held",
}
"""Reasons of a waiting job that never go away."""
WATCH_SECONDS = 30.0


class Options(NamedTuple):
    """How patient the watchdog is, in seconds."""

    forgotten: float = 900.0
    """A job that SLURM ended so long ago and that Snakemake still waits for is forgotten. The plugin queries
    every 180 seconds at the rarest, and a slow file system takes its latency-wait."""
    stuck: float = 300.0
    """A job that waits so long for a reason that never goes away is cancelled."""
    every: float = WATCH_SECONDS
    """Time between two queries of SLURM."""


class Head:
    """A running Snakemake: `program` gets the number of a pipe for its events, then Snakemake's arguments."""

    def __init__(self, arguments: Sequence[str], options: Options, program: Sequence[str] = PROGRAM) -> None:
        self.options, self.state = options, RunState()
        self._since: dict[str, float] = {}
        self.forgotten: list[str] = []
        self.stuck: dict[str, str] = {}
        """Jobs that were cancelled since they could not start, with SLURM's reason."""
        events, descriptor = os.pipe()
        self.process = subprocess.Popen(
            [*program, str(descriptor), *arguments], pass_fds=(descriptor,), preexec_fn=die_with_parent
        )
        os.close(descriptor)
        self._reader = threading.Thread(target=self._read, args=(events,), daemon=True)
        self._reader.start()

    def _read(self, events: int) -> None:
        with os.fdopen(events, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.state.read(line)

    def wait(self) -> int | None:
        """Return Snakemake's exit code when it ends, or None after it was killed for having forgotten jobs."""
        while True:
            try:
                code = self.process.wait(timeout=self.options.every)
                self._reader.join(timeout=10)
                return code
            except subprocess.TimeoutExpired:
                self.watch(time.monotonic())
            if self.forgotten:
                self.process.kill()
                self.process.wait()
                return None

    def watch(self, now: float) -> None:
        """Compare the jobs that Snakemake waits for with SLURM; fills `forgotten` and `stuck`."""
        jobs = dict(self.state.submitted)
        if not jobs or not self.state.run:
            self._since.clear()
            return
        try:
            states = job_states(self.state.run)
            for job in jobs:
                self._compare(job, *states.get(job, ("", "")), now)
        except SlurmSilentError:
            return
        for job in set(self._since) - set(jobs):
            del self._since[job]

    def _compare(self, job: str, state: str, reason: str, now: float) -> None:
        waits = state in WAITING
        if (waits and reason not in STUCK) or state in RUNNING:
            self._since.pop(job, None)
            return
        since = self._since.setdefault(job, now)
        if waits and now - since >= self.options.stuck and job not in self.stuck:
            self.stuck[job] = reason
            print(f"d3 run: job {job} can never start ({reason}); cancelled", file=sys.stderr, flush=True)
            cancel([job])
        elif not waits and now - since >= self.options.forgotten:
            self.forgotten.append(job)
