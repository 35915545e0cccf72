"""Checks of what the files of one job contain: its counts of rows, and the check of its stage.

They find what no digest of a file can: a row that was changed together with the digests around it. What a
stage's outputs must contain is checked by the stage's own module, see `d3.pipeline.checks`.
"""

import random
from collections.abc import Iterator

from d3.audit.job_graph import Finding
from d3.audit.statements import Statement, stage_of
from d3.core.tables import count_rows, read_notes
from d3.errors import D3Error
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.registry import STAGES, stage_of_folder
from d3.pipeline.stage import Stage

UNREADABLE = (D3Error, LookupError, ValueError, TypeError, AttributeError, OSError, ArithmeticError, ImportError)
"""What reading files raises that are not what a check expects."""


def check_data(statement: Statement, *, sample: int, draw: random.Random) -> Iterator[Finding]:
    """Yield what is wrong with the contents of a job's outputs; `draw` draws the `sample` rows that are built again."""
    folder, stage = stage_of(statement.outputs[0].path), STAGES.get(statement.stage)
    if stage is None or stage.results_folder != folder:
        stage = stage_of_folder(folder)
    job = finished_job(statement, sample=sample, draw=draw)
    try:
        for path, what in _faults(statement, stage, job):
            yield Finding(path=path, what=what, jobs=(statement.path,))
    except UNREADABLE as error:
        reason = error.reason if isinstance(error, D3Error) else f"{type(error).__name__}: {error}"
        yield Finding(path=job.name(), what=f"cannot be checked: {reason}", jobs=(statement.path,))
    yield from (Finding(path=path, what=what, note=True) for path, what in job.notes)


def finished_job(statement: Statement, *, sample: int, draw: random.Random) -> FinishedJob:
    """Return what the check of a stage gets."""
    return FinishedJob(
        root=statement.root,
        outputs={item.path: item.sha256 for item in statement.outputs},
        inputs={item.path: item.sha256 for item in statement.inputs},
        counts=statement.counts,
        config=statement.config,
        code=statement.code,
        sample=sample,
        draw=draw,
    )


def _faults(statement: Statement, stage: Stage | None, job: FinishedJob) -> Faults:
    yield from _count_faults(statement, one_row_each=stage is not None and stage.one_row_each)
    check = stage.check() if stage else None
    if check is not None:
        yield from check(job)


def _count_faults(statement: Statement, *, one_row_each: bool) -> Faults:
    """Compare the counts of rows in the statement with the tables and their footers."""
    counts = statement.counts
    for place, item in enumerate(statement.outputs):
        path = statement.root / item.path
        if path.suffix != ".parquet":
            continue
        rows = count_rows(path)
        if item.rows is not None and item.rows != rows:
            yield item.path, f"has {rows:,} rows, its statement counts {item.rows:,}"
        notes = read_notes(path)
        if notes and {name: notes.get(name) for name in counts} != counts:
            yield item.path, f"its footer counts {notes}, its statement {counts}"
        if place == 0 and one_row_each and rows != counts["kept"]:
            yield item.path, f"has {rows:,} rows, but {counts['kept']:,} were kept"
