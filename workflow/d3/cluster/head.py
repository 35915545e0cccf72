"""One head process: Snakemake, its lines passed on and read, its SLURM jobs watched.

The executor plugin forgets jobs when it cannot ask for their states, for example while slurmctld
restarts; Snakemake then waits for ever. So every job that it submitted is compared with SLURM: one that
has ended long ago while Snakemake still waits for it is a forgotten one. A job that can never start is
cancelled, so that Snakemake reports it.
"""

import ctypes
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from d3.cluster.orphans import SlurmSilentError, slurm
from d3.cluster.queue import RUNNING, WAITING

RUN_ID = re.compile(r"SLURM run ID: (\S+)")
SUBMITTED = re.compile(r"Job (\d+) has been submitted with SLURM jobid (\d+)")
FINISHED = re.compile(r"Finished jobid: (\d+)")
EXTERNAL = re.compile(r"^\s+external_jobid: (\d+)")
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
"""Reasons of a waiting job that no waiting cures."""
WATCH_SECONDS = 30.0


class Options(NamedTuple):
    """How patient the watchdog is, in seconds."""

    forgotten: float = 900.0
    """A job that SLURM ended so long ago and that Snakemake still waits for is forgotten. The plugin asks
    every 180 seconds at the rarest, and a slow file system takes its latency-wait."""
    stuck: float = 300.0
    """A job that waits so long for a reason that never goes away is cancelled."""
    every: float = WATCH_SECONDS
    """Time between two questions to SLURM."""


@dataclass
class Seen:
    """What the lines of a head process told."""

    run: str = ""
    jobs: dict[str, str] = field(default_factory=dict)
    """SLURM's number of every job that Snakemake waits for -> Snakemake's own."""
    lines: list[str] = field(default_factory=list)
    stuck: dict[str, str] = field(default_factory=dict)
    """Jobs that were cancelled since they could not start, with SLURM's reason."""

    def read(self, line: str) -> None:
        """Take in one line."""
        self.lines.append(line)
        if found := RUN_ID.search(line):
            self.run = found[1]
        elif found := SUBMITTED.match(line):
            self.jobs[found[2]] = found[1]
        elif found := FINISHED.match(line):
            self.jobs = {job: own for job, own in self.jobs.items() if own != found[1]}
        elif found := EXTERNAL.match(line):
            self.jobs.pop(found[1], None)


class Head:
    """A running Snakemake and what is known of it."""

    def __init__(self, command: Sequence[str], options: Options) -> None:
        self.options, self.seen = options, Seen()
        self._since: dict[str, float] = {}
        self.forgotten: list[str] = []
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=_die_with_parent,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            sys.stderr.write(line)
            sys.stderr.flush()
            self.seen.read(line.rstrip("\n"))

    def wait(self) -> int | None:
        """Give Snakemake's exit code when it ends, or None after it was killed for having forgotten jobs."""
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
        """Compare the jobs that Snakemake waits for with SLURM; fills `forgotten`."""
        jobs = dict(self.seen.jobs)
        if not jobs or not self.seen.run:
            self._since.clear()
            return
        try:
            states = job_states(self.seen.run)
        except SlurmSilentError:
            return
        for job in jobs:
            state, reason = states.get(job, ("", ""))
            waits = state in WAITING
            if (waits and reason not in STUCK) or state in RUNNING:
                self._since.pop(job, None)
                continue
            since = self._since.setdefault(job, now)
            if waits and now - since >= self.options.stuck and job not in self.seen.stuck:
                self.seen.stuck[job] = reason
                print(f"d3 run: job {job} can never start ({reason}); cancelled", file=sys.stderr, flush=True)
                slurm("scancel", job)
            elif not waits and now - since >= self.options.forgotten:
                self.forgotten.append(job)
        for job in set(self._since) - set(jobs):
            del self._since[job]


def job_states(run: str) -> dict[str, tuple[str, str]]:
    """Give state and reason of every job of a run that SLURM remembers, by its number."""
    text = slurm("squeue", "--noheader", "--states=all", f"--name={run}", "--format=%i|%T|%r")
    return {number: (state, reason) for number, state, reason in (line.split("|") for line in text.splitlines())}


def _die_with_parent() -> None:
    """Let the kernel kill Snakemake with its driver: it must not go on beside the next one."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
