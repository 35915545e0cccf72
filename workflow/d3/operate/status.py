"""How far a run is: per stage the files, rows, rate and time left, what runs and what failed.

Everything comes from files and from squeue, so it is the same while a run is on, after it ended and
after it died, and needs no word from Snakemake. A job is finished when its statement lies beside its
output; a job that runs again in spite of that counts as running.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from d3.audit.statements import Statement as Finished
from d3.audit.statements import read_finished
from d3.core.printable import printable
from d3.core.processes import processes_in
from d3.core.progress import clock
from d3.core.terminal import table_text
from d3.operate.clean import megabytes, orphaned_checkpoints
from d3.operate.failures import Attempt, Failure, failure_of, last_attempt
from d3.operate.logs import Progress, failed_outputs, last_progress, tail
from d3.operate.run_lock import is_locked, snakemakes
from d3.operate.slurm import Queue, QueuedJob
from d3.operate.source_rows import SourceRows, source_rows
from d3.pipeline.job_list import Work, jobs
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES, position

HEAD_RUNS = "is running"
HEAD_ENDED = "is not running"
UNKNOWN = "left its lock behind: it died, or it runs on another host"


@dataclass(frozen=True, kw_only=True, slots=True)
class Active:
    """A job that runs or waits in the queue."""

    stage: str
    job: str
    state: str
    """`running`, or the state in which it waits."""
    seconds: float | None
    node: str = ""
    slurm: str = ""
    progress: str = ""
    """Units done of how many, as its log says."""
    why: str = ""
    """Why it waits."""


@dataclass(kw_only=True, slots=True)
class StageStatus:
    """One stage of a run."""

    stage: str
    jobs: int = 0
    done: int = 0
    running: int = 0
    queued: int = 0
    failed: int = 0
    rows: int = 0
    """Rows that finished and running jobs have read."""
    rows_total: int | None = None
    """Rows of all its jobs; None while nobody knows."""
    rows_estimated: bool = False
    """Whether the total counts jobs whose input is not there yet, at the mean of the others."""
    rate: float | None = None
    """Units a second: of the running jobs together, else of one finished job."""
    unit: str = "rows"
    eta_seconds: float | None = None
    """Time until the stage is done, as fast as it goes now; None when nothing of it runs."""


@dataclass(kw_only=True, slots=True)
class Survey:
    """A run as it stands."""

    run: str
    head: str
    """What is known of the Snakemake process; see `snakemake_state`."""
    slurm: str
    """`none`, `ok`, or why squeue could not be asked."""
    stages: list[StageStatus] = field(default_factory=list)
    active: list[Active] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    orphaned_checkpoints: list[dict[str, Any]] = field(default_factory=list)
    """Checkpoints of trainings that the configuration does not have: `path` and `bytes`."""

    @property
    def jobs(self) -> int:
        """Return the number of all jobs."""
        return sum(stage.jobs for stage in self.stages)

    @property
    def done(self) -> int:
        """Return the number of finished jobs."""
        return sum(stage.done for stage in self.stages)

    def plain(self) -> dict[str, Any]:
        """Return the survey as JSON values."""
        return {"jobs": self.jobs, "done": self.done, **asdict(self)}


def survey(chain: Chain, queue: Queue | None, *, topics: bool = False) -> Survey:
    """Look at the run in the current folder; `queue` is what squeue said, None where there is no SLURM."""
    running = job_arguments(Path())
    slurm = (queue.problem or "ok") if queue else "none"
    found = Survey(run=chain.config.run, head=snakemake_state(Path()), slurm=slurm)
    queued = queue.by_comment() if queue else {}
    failed = failed_outputs()
    by_stage: dict[str, list[Work]] = defaultdict(list)
    for work in jobs(chain, topics=topics):
        by_stage[work.stage].append(work)
    finished = {work: read_finished(work.statement) for members in by_stage.values() for work in members}
    whole = all(finished[work] for stage, works in by_stage.items() if _reads_source(stage) for work in works)
    sources = SourceRows({}, 0, False) if whole else source_rows(chain)
    outputs = {(work.stage, work.name): figures.rows for work, figures in finished.items() if figures}
    for stage, members in by_stage.items():
        status = StageStatus(stage=stage, jobs=len(members))
        progress: dict[Work, Progress] = {}
        for work in members:
            job = queued.get(work.comment)
            line = _look(work, finished[work], job, running, status, found, failed)
            if isinstance(line, Progress):
                progress[work] = line
            if line is not DONE:
                finished[work] = None
        _rows(status, members, finished, progress, sources, outputs)
        _speed(status, members, finished, progress)
        found.stages.append(status)
    found.stages.sort(key=lambda status: position(status.stage))
    found.orphaned_checkpoints = [{"path": str(item.path), "bytes": item.bytes} for item in orphaned_checkpoints(chain)]
    return found


def _reads_source(stage: str) -> bool:
    return STAGES[stage].rows_of == "source"


def snakemake_state(folder: Path) -> str:
    """Return whether Snakemake runs in a working folder, from the processes of this host and its lock."""
    if snakemakes(folder):
        return HEAD_RUNS
    return UNKNOWN if is_locked(folder) else HEAD_ENDED


def job_arguments(folder: Path) -> frozenset[tuple[str, str]]:
    """Return (command, argument) of the jobs that run on this host in a folder; a job's output is an argument."""
    return frozenset((process.command, word) for process in processes_in(folder) for word in process.words)


DONE = "done"


def _look(
    work: Work,
    figures: Finished | None,
    queued: QueuedJob | None,
    running: frozenset[tuple[str, str]],
    status: StageStatus,
    found: Survey,
    failed: set[str],
) -> Progress | str | None:
    """Find out what state a job is in and count it; give DONE, or the progress of a running job, or nothing."""
    living = queued if queued and (queued.runs or queued.waits) else None
    works = (STAGES[work.stage].command, str(work.output)) in running or bool(living and living.runs)
    if figures and not living and not works:
        status.done += 1
        return DONE
    attempt = last_attempt(work)
    if living and living.waits and not works:
        status.queued += 1
        found.active.append(_active(work, living, attempt, living.state.lower(), None))
        return None
    if works:
        status.running += 1
        line = last_progress(tail(work.log))
        found.active.append(_active(work, living, attempt, "running", line))
        return line
    failure = failure_of(work, queued, attempt, str(work.output) in failed)
    if failure:
        status.failed += 1
        found.failures.append(failure)
    return None


def _active(work: Work, living: QueuedJob | None, attempt: Attempt | None, state: str, line: Progress | None) -> Active:
    done = ""
    if line:
        done = f"{line.done:,} {line.unit}" if line.total is None else f"{line.done:,} of {line.total:,} {line.unit}"
    running = state == "running"
    since = time.time() - attempt.started if attempt and not attempt.ended else None
    return Active(
        stage=work.stage,
        job=work.name,
        state=state,
        seconds=(living.seconds if living else since) if running else None,
        node=living.node if living else attempt.host if attempt else "",
        slurm=living.id if living else "",
        progress=done,
        why="" if running or not living else living.reason,
    )


def _rows(
    status: StageStatus,
    members: Sequence[Work],
    finished: Mapping[Work, Finished | None],
    progress: Mapping[Work, Progress],
    sources: SourceRows,
    outputs: Mapping[tuple[str, str], int],
) -> None:
    """Count rows read, and how many there will be."""
    known: list[int] = []
    for work in members:
        figures = finished[work]
        if figures:
            known.append(figures.read)
            status.rows += figures.read
            continue
        above = (STAGES[work.stage].rows_of, work.name)
        total = sources.by_batch.get(work.name) if _reads_source(work.stage) else outputs.get(above)
        if total is not None:
            known.append(total)
            if work in progress:
                status.rows += round(total * progress[work].share)
    if known:
        missing = len(members) - len(known)
        status.rows_estimated = missing > 0 or (_reads_source(status.stage) and sources.estimated)
        status.rows_total = round(sum(known) + missing * sum(known) / len(known))


def _speed(
    status: StageStatus,
    members: Sequence[Work],
    finished: Mapping[Work, Finished | None],
    progress: Mapping[Work, Progress],
) -> None:
    """Work out the rate and the time left.

    Jobs count by the share of them that is done, so that stages whose logs count answers, steps or
    sequences are treated alike.
    """
    ended = [figures for work in members if (figures := finished[work])]
    seconds = sum(figures.seconds for figures in ended)
    rows = sum(figures.read for figures in ended)
    if ended and seconds > 0 and rows:
        status.rate = rows / seconds
    if not status.running:
        return
    moving = [line for line in progress.values() if line.rate > 0]
    if moving:
        status.rate, status.unit = sum(line.rate for line in moving), moving[0].unit
    mean = seconds / len(ended) if ended else 0.0
    shares = [line.rate / line.total for line in moving if line.total]
    silent = status.running - len(shares)
    pace = sum(shares) + (silent / mean if mean else 0.0)
    left = sum(1 - (progress[work].share if work in progress else 0.0) for work in members if not finished[work])
    if pace > 0:
        status.eta_seconds = left / pace


# --- the table -----------------------------------------------------------------------------------------------------


def status_table(found: Survey, *, lines: int = 20) -> str:
    """Write a survey for a terminal; of running, waiting and failed jobs at most `lines` each."""
    text = [f"Run {found.run}: {found.done:,} of {found.jobs:,} jobs done, Snakemake {found.head}"]
    if found.slurm not in {"none", "ok"}:
        text.append(f"SLURM: {found.slurm}")
    rows = [("stage", "files", "rows", "rate", "ETA", "")]
    rows += [
        (status.stage, f"{status.done:,}/{status.jobs:,}", _of(status), _rate(status), _eta(status), _state(status))
        for status in found.stages
    ]
    head, text = [*map(printable, text), "", table_text(rows, right=range(1, 5))], []
    text += _listed("Running", [_active_line(job) for job in found.active if job.state == "running"], lines)
    text += _listed("Waiting", [_active_line(job) for job in found.active if job.state != "running"], lines)
    text += _listed("Failed", [_failure_line(failure) for failure in found.failures], lines)
    orphans = [f"{item['path']}, {megabytes(item['bytes'])}" for item in found.orphaned_checkpoints]
    text += _listed("Checkpoints of other configurations (`d3 clean` removes them)", orphans, lines)
    return "\n".join([*head, *map(printable, text)])


def _of(status: StageStatus) -> str:
    if status.rows_total is None:
        return f"{status.rows:,}" if status.rows else "-"
    total = f"{'~' if status.rows_estimated else ''}{status.rows_total:,}"
    return total if status.done == status.jobs else f"{status.rows:,}/{total}"


def _rate(status: StageStatus) -> str:
    return f"{status.rate:,.1f} {status.unit}/s" if status.rate is not None else "-"


def _eta(status: StageStatus) -> str:
    return "-" if status.eta_seconds is None else clock(status.eta_seconds)


def _state(status: StageStatus) -> str:
    counts = [(status.running, "running"), (status.queued, "waiting"), (status.failed, "failed")]
    return ", ".join(f"{count} {word}" for count, word in counts if count)


def _active_line(job: Active) -> str:
    parts = [f"{job.stage} {job.job}".rstrip()]
    parts += [f"job {job.slurm}"] if job.slurm else []
    parts += [f"on {job.node}"] if job.node else []
    parts += [clock(job.seconds)] if job.seconds is not None else []
    parts += [text for text in (job.progress, job.why) if text]
    return ", ".join(parts)


def _failure_line(failure: Failure) -> str:
    where = f" (job {failure.slurm}{' on ' + failure.node if failure.node else ''})" if failure.slurm else ""
    tries = f", {failure.attempts} attempts" if failure.attempts > 1 else ""
    return f"{failure.stage} {failure.job}".rstrip() + f"{where}: {failure.reason}{tries}; see {failure.log}"


def _listed(title: str, lines: Sequence[str], most: int) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - most} more (--json lists all)"] if len(lines) > most else []
    return ["", title, *(f"  {line}" for line in lines[:most]), *more]
