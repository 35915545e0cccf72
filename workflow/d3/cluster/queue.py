"""What SLURM says of our jobs: one question for all of them, and none where there is no SLURM."""

import getpass
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

JOB_NAME = "d3"
"""Prefix of the job names (`slurm-jobname-prefix` in `profiles/slurm`)."""
FORMAT = "%i|%j|%T|%M|%N|%r|%Z|%k"
SECONDS = 20.0
"""Longest wait for an answer of the controller."""

WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"}
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "STOPPED", "SIGNALING", "RESIZING"}
FAILED = {
    "BOOT_FAIL": "the node did not boot",
    "CANCELLED": "cancelled",
    "DEADLINE": "it could not end before its deadline",
    "FAILED": "failed",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "out of memory",
    "PREEMPTED": "preempted",
    "REVOKED": "revoked",
    "TIMEOUT": "over its time limit",
}
"""States of a job that ended badly, in words."""


class QueuedJob(NamedTuple):
    """One job as squeue prints it."""

    id: str
    state: str
    seconds: int
    """Time that it has run."""
    node: str
    reason: str
    folder: str
    """Working folder: shards of other runs may bear the same names."""
    comment: str

    @property
    def waits(self) -> bool:
        """Tell whether the job is still to start."""
        return self.state in WAITING

    @property
    def runs(self) -> bool:
        """Tell whether the job is on a node."""
        return self.state in RUNNING


class Queue(NamedTuple):
    """All jobs of ours that SLURM still remembers, or why it could not be asked."""

    jobs: list[QueuedJob]
    problem: str = ""

    def by_comment(self) -> dict[str, QueuedJob]:
        """Give the newest job by its comment, a living one before those that ended."""
        newest: dict[str, QueuedJob] = {}
        for job in sorted(self.jobs, key=lambda job: (job.waits or job.runs, _number(job.id))):
            newest[job.comment] = job
        return newest


def ask(user: str | None = None) -> Queue | None:
    """Ask squeue for this user's jobs of the run in the current folder; None where there is no SLURM."""
    program = shutil.which("squeue")
    if program is None:
        return None
    command = [program, "--noheader", "--states=all", f"--user={user or getpass.getuser()}", f"--format={FORMAT}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Queue([], f"squeue gave no answer within {SECONDS:.0f} s")
    except OSError as error:
        return Queue([], f"squeue does not start ({error.strerror})")
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or ["no reason given"]
        return Queue([], f"squeue: {said[-1]}")
    here = Path.cwd().resolve()
    jobs = [job for line in answer.stdout.splitlines() if (job := read_line(line))]
    return Queue([job for job in jobs if Path(job.folder).resolve() == here])


def read_line(line: str) -> QueuedJob | None:
    """Read one line of squeue; None for a job of another kind."""
    parts = line.split("|", 7)
    if len(parts) != 8 or not parts[1].startswith(JOB_NAME):
        return None
    number, _, state, elapsed, node, reason, folder, comment = parts
    reason = "" if reason in {"None", "(null)"} else reason
    return QueuedJob(number, state, seconds(elapsed), node, reason, folder, comment)


def seconds(elapsed: str) -> int:
    """Read a time of SLURM, `[[D-]H:]M:S`; what is no time counts as 0."""
    days, _, rest = elapsed.rpartition("-")
    try:
        numbers = [int(part) for part in rest.split(":")]
        total = 0
        for number in numbers:
            total = 60 * total + number
        return total + 86400 * int(days or 0)
    except ValueError:
        return 0


def _number(job: str) -> int:
    """Give a job's number, that of the array for one of its tasks."""
    digits = job.split("_")[0].split("+")[0]
    return int(digits) if digits.isdigit() else 0
