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
from typing import Any, NamedTuple

from d3.attempts import read_attempts
from d3.chain import Chain
from d3.cluster.jobs import Work, jobs
from d3.cluster.logs import Progress, failed_outputs, last_progress, reason_of, tail
from d3.cluster.processes import Here, look
from d3.cluster.queue import FAILED, Queue, QueuedJob
from d3.cluster.source import SourceRows, source_rows
from d3.lineage.statements import Statement as Finished
from d3.lineage.statements import read_finished, seconds_of
from d3.pipeline.registry import STAGES, position

SLURM_LOGS = Path("logs/slurm")
SILENT = "it ended without a word: killed, out of memory or over its time limit"


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A job that ended without its outputs."""

    stage: str
    job: str
    reason: str
    attempts: int
    log: str
    node: str = ""
    slurm: str = ""


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
    """What is known of the Snakemake process; see `d3.cluster.processes`."""
    slurm: str
    """`none`, `ok`, or why squeue could not be asked."""
    stages: list[StageStatus] = field(default_factory=list)
    active: list[Active] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        """Give the number of all jobs."""
        return sum(stage.jobs for stage in self.stages)

    @property
    def done(self) -> int:
        """Give the number of finished jobs."""
        return sum(stage.done for stage in self.stages)

    def plain(self) -> dict[str, Any]:
        """Give the survey as JSON values."""
        return {"jobs": self.jobs, "done": self.done, **asdict(self)}


class Attempt(NamedTuple):
    """The last attempt at a job."""

    number: int
    """Attempts since the job last ended well."""
    started: float
    ended: bool
    error: str
    host: str
    slurm: str


def last_attempt(work: Work) -> Attempt | None:
    """Read what is noted of the last attempt at a job; None if there is nothing."""
    number, start, end = 0, None, None
    for line in read_attempts(work.output):
        if line.get("event") == "start":
            number, start, end = number + 1, line, None
        else:
            end = line
            number = 0 if line.get("status") == "ok" else number
    if start is None:
        return None
    slurm = start.get("slurm") or {}
    return Attempt(
        number=max(number, 1),
        started=seconds_of(start["time"]),
        ended=end is not None,
        error=str(end.get("error") or "") if end else "",
        host=str(slurm.get("node") or start.get("host", "")),
        slurm=str(slurm.get("job", "")),
    )


def survey(chain: Chain, queue: Queue | None, *, topics: bool = False) -> Survey:
    """Look at the run in the current folder; `queue` is what squeue said, None where there is no SLURM."""
    here = look(Path())
    found = Survey(run=chain.config.run, head=here.state(Path()), slurm=(queue.problem or "ok") if queue else "none")
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
            line = _look(work, finished[work], job, here, status, found, failed)
            if isinstance(line, Progress):
                progress[work] = line
            if line is not DONE:
                finished[work] = None
        _rows(status, members, finished, progress, sources, outputs)
        _speed(status, members, finished, progress)
        found.stages.append(status)
    found.stages.sort(key=lambda status: position(status.stage))
    return found


def _reads_source(stage: str) -> bool:
    return STAGES[stage].rows_of == "source"


DONE = "done"


def _look(
    work: Work,
    figures: Finished | None,
    queued: QueuedJob | None,
    here: Here,
    status: StageStatus,
    found: Survey,
    failed: set[str],
) -> Progress | str | None:
    """Find out what state a job is in and count it; give DONE, or the progress of a running job, or nothing."""
    living = queued if queued and (queued.runs or queued.waits) else None
    works = str(work.output) in here.words or bool(living and living.runs)
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
    failure = _failure(work, queued, attempt, str(work.output) in failed)
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


def _failure(work: Work, queued: QueuedJob | None, attempt: Attempt | None, told: bool) -> Failure | None:
    """Say why a job that neither runs nor finished is not done; None for one that never started."""
    ended = queued if queued and queued.state in FAILED else None
    if attempt and attempt.ended and not attempt.error:  # it ended well, and somebody took its results away
        attempt = None
    if not ended and not attempt and not told:
        return None
    reason = attempt.error if attempt else ""
    if not reason and (told or not attempt):
        reason = reason_of(tail(work.log))
    if ended:
        reason = reason or reason_of(tail(_slurm_log(work, ended.id)))
        reason = f"{FAILED[ended.state]}: {reason}" if reason else FAILED[ended.state]
    return Failure(
        stage=work.stage,
        job=work.name,
        reason=reason or SILENT,
        attempts=attempt.number if attempt else 1,
        log=str(work.log),
        node=ended.node if ended else attempt.host if attempt else "",
        slurm=ended.id if ended else attempt.slurm if attempt else "",
    )


def _slurm_log(work: Work, number: str) -> Path:
    """Give the log that SLURM keeps of a job (`slurm-logdir` in `profiles/slurm`)."""
    return SLURM_LOGS / f"rule_{work.rule}" / work.name.replace("/", "_") / f"{number}.log"


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
