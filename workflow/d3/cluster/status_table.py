"""How far a run is, as a table for a terminal."""

from collections.abc import Sequence

from d3.cluster.status import Active, Failure, StageStatus, Survey
from d3.progress import clock


def table(found: Survey, *, lines: int = 20) -> str:
    """Write a survey for a terminal; of running, waiting and failed jobs at most `lines` each."""
    text = [f"Run {found.run}: {found.done:,} of {found.jobs:,} jobs done, Snakemake {found.head}"]
    if found.slurm not in {"none", "ok"}:
        text.append(f"SLURM: {found.slurm}")
    rows = [("stage", "files", "rows", "rate", "ETA", "")]
    rows += [
        (status.stage, f"{status.done:,}/{status.jobs:,}", _of(status), _rate(status), _eta(status), _state(status))
        for status in found.stages
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    text.append("")
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, 5)), row[5]]
        text.append("  ".join(cells).rstrip())
    text += _listed("Running", [_active_line(job) for job in found.active if job.state == "running"], lines)
    text += _listed("Waiting", [_active_line(job) for job in found.active if job.state != "running"], lines)
    text += _listed("Failed", [_failure_line(failure) for failure in found.failures], lines)
    return "\n".join(text)


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
