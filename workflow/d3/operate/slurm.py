"""The client of SLURM: every call of squeue, sacct, scancel, scontrol, sacctmgr and sinfo.

Where SLURM does not answer, the functions about jobs raise `SlurmSilentError`; those about the cluster
return the program's answer, which `d3 doctor` judges.
"""

import getpass
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from d3.core.programs import Answer, ask, last_line
from d3.errors import ToolError

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol")
"""What the executor plugin and this module cannot do without."""
JOB_NAME = re.compile(r"(?:[A-Za-z0-9_-]+_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""How the executor plugin names jobs: the prefix of the profile and the ID of the run."""
FORMAT = "%i|%j|%T|%M|%N|%r|%Z|%k"
SECONDS = 20.0
"""Time limit of a query."""

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
"""States of a job that did not succeed, in words."""


class SlurmSilentError(ToolError):
    """SLURM does not answer, so the state of the jobs is unknown."""


class QueuedJob(NamedTuple):
    """A job of a run as squeue prints it."""

    id: str
    name: str
    state: str
    seconds: int
    """Time that it has run."""
    node: str
    reason: str
    folder: str
    """Working folder: shards of other runs may have the same names."""
    comment: str

    @property
    def waits(self) -> bool:
        """Whether the job is still to start, or to start again."""
        return self.state in WAITING

    @property
    def runs(self) -> bool:
        """Whether the job is on a node."""
        return self.state in RUNNING

    @property
    def ended(self) -> bool:
        """Whether the job is over, whatever came of it."""
        return self.state in FAILED or self.state == "COMPLETED"


class Queue(NamedTuple):
    """The jobs of a run that SLURM remembers, or why it could not be queried."""

    jobs: list[QueuedJob]
    problem: str = ""

    def by_comment(self) -> dict[str, QueuedJob]:
        """Return the newest job of each comment, one that waits or runs before those that ended."""
        newest: dict[str, QueuedJob] = {}
        for job in sorted(self.jobs, key=lambda job: (job.waits or job.runs, _number(job.id))):
            newest[job.comment] = job
        return newest


class Partition(NamedTuple):
    """A partition as sinfo shows it; None stands for no limit."""

    name: str
    minutes: float | None
    memory_mb: int
    cpus: int
    gpus: int
    up: bool


def has_slurm() -> bool:
    """Return whether the programs of a SLURM are installed on this machine."""
    return shutil.which("squeue") is not None


# --- jobs -------------------------------------------------------------------------------------------------------


def jobs_of(folder: Path, *, seconds: float = SECONDS) -> list[QueuedJob]:
    """Return the jobs of a run's folder that SLURM remembers, also those that have ended."""
    resolved = folder.resolve()
    words = ("--noheader", "--states=all", f"--user={getpass.getuser()}", f"--format={FORMAT}")
    lines = _query("squeue", *words, seconds=seconds).splitlines()
    return [job for line in lines if (job := read_job(line)) and Path(job.folder).resolve() == resolved]


def read_queue(folder: Path | None = None) -> Queue | None:
    """Return the jobs of a run's folder, by default the current one; None where there is no SLURM."""
    if not has_slurm():
        return None
    try:
        return Queue(jobs_of(folder or Path.cwd(), seconds=SECONDS))
    except SlurmSilentError as error:
        return Queue([], error.reason)


def job_states(run: str) -> dict[str, tuple[str, str]]:
    """Return (state, reason) of every job of a run that SLURM remembers, by its number."""
    text = _query("squeue", "--noheader", "--states=all", f"--name={run}", "--format=%i|%T|%r")
    return {number: (state, reason) for number, state, reason in (line.split("|") for line in text.splitlines())}


def ended_job(job: str) -> tuple[str, str]:
    """Return (state, node) of an ended job, from squeue while it remembers, then from the accounting; else blanks."""
    queries = (
        ("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T|%N"),
        ("sacct", "-X", "--noheader", "--parsable2", f"--jobs={job}", "--format=State,NodeList"),
    )
    for words in queries if job and has_slurm() else ():
        try:
            lines = _query(*words).splitlines()
        except SlurmSilentError:
            continue
        if lines:
            state, _, node = lines[0].partition("|")
            return state.split()[0] if state else "", node
    return "", ""


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs by their numbers."""
    _query("scancel", *jobs)


def _query(*words: str, seconds: float = SECONDS) -> str:
    status, text = ask(words, seconds)
    if status == 0:
        return text
    reason = text if status is None else f"{words[0]}: {last_line(text)}"
    raise SlurmSilentError(reason, remedy="try again when SLURM is back: scontrol ping")


# --- the cluster --------------------------------------------------------------------------------------------------


def version(program: str) -> Answer:
    """Return what a program of SLURM prints as its version."""
    return ask([program, "--version"])


def ping() -> Answer:
    """Return whether the controllers are up."""
    return ask(["scontrol", "ping"])


def configuration() -> Answer:
    """Return the settings of the cluster, one a line."""
    return ask(["scontrol", "show", "config"])


def accounting() -> Answer:
    """Return the clusters that the accounting knows."""
    return ask(["sacctmgr", "--noheader", "--parsable2", "show", "cluster", "format=cluster"])


def partitions() -> Answer:
    """Return the partitions, in lines for `read_partitions`."""
    return ask(["sinfo", "--noheader", "--exact", "--format=%P|%l|%m|%c|%G|%a"])


# --- reading what SLURM prints ------------------------------------------------------------------------------------


def read_job(line: str) -> QueuedJob | None:
    """Read a line of squeue; None for a job that the executor plugin did not submit."""
    parts = line.split("|", 7)
    if len(parts) != 8 or not JOB_NAME.fullmatch(parts[1]):
        return None
    number, name, state, elapsed, node, reason, folder, comment = parts
    reason = "" if reason in {"None", "(null)"} else reason
    return QueuedJob(number, name, state, read_seconds(elapsed), node, reason, folder, comment)


def read_partitions(text: str) -> list[Partition]:
    """Read the lines of sinfo; of a partition with several kinds of nodes, the best of each kind is taken."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) != 6:
            continue
        name = parts[0].rstrip("*")
        limit = parts[1] if ":" in parts[1] else f"{parts[1]}:00"  # minutes alone
        minutes = None if parts[1] in {"infinite", "UNLIMITED"} else read_seconds(limit) / 60
        counts = [int(number) for number in re.findall(r"gpu(?::[\w.-]+)?:(\d+)", parts[4])]
        item = Partition(name, minutes, _number(parts[2]), _number(parts[3]), sum(counts), parts[5] == "up")
        old = found.get(name, item)
        found[name] = item._replace(
            memory_mb=max(old.memory_mb, item.memory_mb), cpus=max(old.cpus, item.cpus), gpus=max(old.gpus, item.gpus)
        )
    return list(found.values())


def read_seconds(time: str) -> int:
    """Read a time of SLURM, `[[D-]H:]M:S`, as seconds; any other text counts as 0."""
    days, _, rest = time.rpartition("-")
    try:
        total = 0
        for part in rest.split(":"):
            total = 60 * total + int(part)
        return total + 86400 * int(days or 0)
    except ValueError:
        return 0


def _number(text: str) -> int:
    """Return the number that a text begins with: of an array's task the array's, of `250000+` all digits."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
