"""Jobs in SLURM that a Snakemake has left behind which was killed.

Snakemake does not find its old jobs again. It would submit each a second time beside the first one, and
both would write the same files. So before the folder is unlocked, they are found by the run's folder and
by their name, which is the ID of the run, and waited for or cancelled. A job that succeeds after its
Snakemake was killed removes the marks of unfinished files by itself, so its files are not made again.
"""

import json
import sys
import time
from pathlib import Path

from d3.operate.slurm import SECONDS, QueuedJob, SlurmSilentError, cancel, jobs_of

INCOMPLETE = Path(".snakemake", "incomplete")
"""Snakemake's marks of unfinished files; each names the job of SLURM that was to write the file."""
POLL_SECONDS = 5.0
REPORT_SECONDS = 60.0
SHOWN_ORPHANS = 5
"""Jobs that are named while they are waited for."""


def recorded_jobs(folder: Path) -> set[str]:
    """Return the numbers of the SLURM jobs that Snakemake has recorded as unfinished in a working folder."""
    found = set()
    for mark in (folder / INCOMPLETE).rglob("*"):
        try:
            found.add(str(json.loads(mark.read_bytes()).get("external_jobid") or ""))
        except (OSError, ValueError, AttributeError):
            continue
    return found - {""}


def living_jobs(folder: Path, *, seconds: float = SECONDS) -> list[QueuedJob]:
    """Return the jobs of a run's folder that have not ended; raise SlurmSilentError."""
    return [job for job in jobs_of(folder, seconds=seconds) if not job.ended]


def settle(folder: Path, *, cancel_running: bool, patience: float, seconds: float = SECONDS) -> None:
    """Return when no job of a folder is left: those that wait are cancelled, those that run too or waited for.

    SLURM may be silent for `patience` seconds, then SlurmSilentError is raised; a query takes `seconds` at most.
    """
    cancelled: set[str] = set()
    silent_since = reported = 0.0
    while True:
        now = time.monotonic()
        try:
            jobs = living_jobs(folder, seconds=seconds)
            silent_since = 0.0
            for job in jobs:
                if (cancel_running or job.waits) and job.id not in cancelled:
                    cancel([job.id])
                    cancelled.add(job.id)
                    _report(f"cancelled job {_name(job)} of an earlier run, {job.state.lower()}")
        except SlurmSilentError as error:
            if not silent_since:
                silent_since = now
                _report(f"{error.reason}; trying again for {patience:.0f} s")
            if now - silent_since >= patience:
                raise
            time.sleep(POLL_SECONDS)
            continue
        if not jobs:
            return
        if now - reported >= REPORT_SECONDS or not reported:
            reported = now
            names = ", ".join(map(_name, jobs[:SHOWN_ORPHANS]))
            more = f" and {len(jobs) - SHOWN_ORPHANS} more" if len(jobs) > SHOWN_ORPHANS else ""
            _report(f"waiting for jobs of an earlier run that is gone: {names}{more}; `--orphans cancel` ends them")
        time.sleep(POLL_SECONDS)


def _name(job: QueuedJob) -> str:
    return f"{job.id} ({job.comment or job.name})"


def _report(text: str) -> None:
    print(f"d3 run: {text}", file=sys.stderr, flush=True)
