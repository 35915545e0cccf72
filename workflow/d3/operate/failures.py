"""Why jobs failed, on one screen: the reason, the end of the log, and what to do."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from d3.audit.statements import seconds_of
from d3.core.printable import printable
from d3.operate.events import JobError
from d3.operate.logs import reason_of, tail
from d3.operate.slurm import FAILED, QueuedJob, ended_job
from d3.pipeline.job_list import Work
from d3.provenance.attempts import read_attempts

SHOWN_FAILURES = 4
"""Jobs that are shown in full."""
TAIL_LINES = 8
LONGEST = 400
"""Characters of a message that are shown."""
RESUME = "Finished jobs are kept; run the same command again to resume."
LIMIT = re.compile(r"Exceeded job memory limit|DUE TO TIME LIMIT|No space left on device")
SLURM_LOGS = Path("logs/slurm")
SILENT = "it ended without a word: killed, out of memory or over its time limit"

REMEDIES = (
    (
        r"submit limit|MaxSubmit|temporarily unable to accept job",
        "set `jobs:` in the profile below the site's limit of submitted jobs (sacctmgr show assoc, sacctmgr show qos)",
    ),
    (
        r"can never start|configuration is not available|can not be satisfied|Memory required by task|Invalid",
        "fit rule {rule} to a partition: resources in the profile, partitions.yaml",
    ),
    (
        r"DUE TO TIME LIMIT|\bTIMEOUT\b|over its time limit",
        "raise `runtime` of rule {rule}; the next run resumes",
    ),
    (
        r"Exceeded job memory limit|oom.kill|OUT_OF_MEMORY|Out Of Memory",
        "raise `mem_mb` of rule {rule} in the profile (`retries` doubles it by itself)",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError",
        "give rule {rule} more GPUs, or lower the batch or max_length in the configuration",
    ),
    (r"No space left on device|Disk quota exceeded", "make room (or set TMPDIR to a larger disk), then start again"),
    (r"NODE_FAIL|its node failed", "start again; SLURM takes another node"),
    (r"CANCELLED|\bcancelled\b", "somebody cancelled the job; start again"),
    (
        r"\.sif\b.*(?:no such|not exist)|could not open image|unknown image format|squashfs",
        "build the image again: `make images-check`, `make images`",
    ),
    (r"MissingOutputException|missing after", "raise `latency-wait` in the profile: the file system shows files late"),
)
"""What a reason looks like, and what helps. The first that fits is shown; our own errors carry their remedy."""


def explain(error: JobError, folder: Path, stuck: Mapping[str, str]) -> list[str]:
    """Return the lines about one failed job; `stuck` has SLURM's reasons of jobs that could not start."""
    state, node = ended_job(error.slurm)
    texts = [] if error.refused else [tail(folder / log) for log in error.logs]
    everything = "\n".join([error.message, state, *(line for text in texts for line in text)])
    why = "; ".join(dict.fromkeys(_reasons(error, stuck.get(error.slurm, ""), state, texts)))
    place = f" (SLURM job {error.slurm}{', node ' + node if node else ''})" if error.slurm else ""
    lines = [f"{error.rule}{place}: {error.output}", f"  why    {why}"]
    for pattern, remedy in REMEDIES:
        if re.search(pattern, f"{why}\n{everything[-3000:]}", re.IGNORECASE):
            lines.append(f"  remedy {remedy.format(rule=error.rule)}")
            break
    if texts:
        lines.append(f"  log    {error.logs[0]}")
        lines += [f"    | {line[:160]}" for line in texts[0][-TAIL_LINES:]]
    return lines


def _reasons(error: JobError, stuck: str, state: str, texts: Sequence[list[str]]) -> Iterator[str]:
    """Yield why a job failed: SLURM's reason, then that of its own log, else that of SLURM's log."""
    if error.refused:
        yield _flat(error.message.partition("sbatch call:")[0])
        return
    known = False
    if stuck:
        known = True
        yield f"SLURM can never start it: {stuck} (can never start)"
    if state in FAILED and state != "FAILED":
        known = True
        yield f"{FAILED[state]} ({state})"
    found = LIMIT.search("\n".join([error.message, *(line for text in texts for line in text)]))
    if found and not known:
        known = True
        yield found[0].lower()
    if own := reason_of(texts[0]) if texts else "":
        yield own
    elif not known:
        yield next((line for text in texts[1:] if (line := reason_of(text))), "no reason found in the logs")


def screen(errors: Sequence[JobError], folder: Path, stuck: Mapping[str, str], exception: str = "") -> str:
    """Return the text about all failed jobs, or about what stopped Snakemake; it fits a screen."""
    if not errors:
        return f"d3 run: Snakemake stopped: {printable(_flat(exception)) or 'it reported no reason'}\n\n{RESUME}"
    rules = Counter(error.rule for error in errors)
    counts = ", ".join(f"{count} x {rule}" for rule, count in rules.items())
    lines = [f"d3 run: {len(errors)} job{'s' * (len(errors) != 1)} failed: {counts}"]
    for error in errors[:SHOWN_FAILURES]:
        lines += ["", *explain(error, folder, stuck)]
    if len(errors) > SHOWN_FAILURES:
        lines += ["", f"and {len(errors) - SHOWN_FAILURES} more; `python -m d3 status` lists them"]
    return "\n".join(map(printable, [*lines, "", RESUME]))


def _flat(text: str) -> str:
    """Return a text on one line, cut off where it gets long."""
    return " ".join(text.split())[:LONGEST]


# --- after the fact, for `d3 status` ---------------------------------------------------------------------------------


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
    """Return what is recorded of the last attempt at a job; None if there was none."""
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


def failure_of(work: Work, queued: QueuedJob | None, attempt: Attempt | None, reported: bool) -> Failure | None:
    """Return why a job that neither runs nor finished is not done; None for one that never started.

    `reported`: Snakemake's log calls it failed.
    """
    ended = queued if queued and queued.state in FAILED else None
    if attempt and attempt.ended and not attempt.error:  # it ended well, and somebody took its results away
        attempt = None
    if not ended and not attempt and not reported:
        return None
    reason = attempt.error if attempt else ""
    if not reason and (reported or not attempt):
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
    """Return the log that SLURM keeps of a job (`slurm-logdir` in `profiles/slurm`)."""
    return SLURM_LOGS / f"rule_{work.rule}" / work.name.replace("/", "_") / f"{number}.log"
