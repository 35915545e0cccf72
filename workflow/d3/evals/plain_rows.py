"""`d3 execute` without a configuration: tasks, samples and verdicts as plain JSON lines.

A task has `task_id`, `entry_point`, `test` and may have `prompt`, `start`, `canonical`
(`d3.evals.benchmarks.rows`). A sample has `task_id` and either `solution`, a whole program, or
`completion`, which continues the `prompt` of its task; null is an answer without a program. `sample`
numbers the samples of a task; where no row has it, their order does.
"""

import json
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from d3 import __version__
from d3.config.models import Config
from d3.core.printable import printable
from d3.core.programs import ask
from d3.core.progress import Progress
from d3.core.tables import Row, written_whole
from d3.errors import InputError, ToolError
from d3.evals import sandbox
from d3.evals.benchmarks.rows import plain_task
from d3.evals.execute import NOT_RUN, MeasuredVerdicts, judge_all, limits_of
from d3.evals.task_file import TaskLine, numbered_rows
from d3.evals.tasks import Task
from d3.provenance.code_digest import code_digest

FIX_ROW = "fix or remove the row"
MOST_REASON = 200
"""Characters of a reason."""
SHOWN_FAULTS = 50
"""Faulty rows that are shown one by one."""


class PlainTask(NamedTuple):
    """A task, and what a completion continues."""

    task: Task
    prompt: str


def execute_rows(config: Config, tasks: Path, samples: Path, out: Path, *, workers: int, journal: Path | None) -> int:
    """Write one verdict row for each sample, in their order; return 1 if programs could not be run, else 0.

    Keys of a row: `task_id`, `sample`, `verdict`, `reason` (one line, null for none), `wall` and `cpu` (seconds of
    program and tests; null for what was not run), `limit` (seconds), `interpreter`, `sandbox`, `executor`. Every
    faulty row is printed as one line; then nothing is run and InputError is raised. Raise ToolError without a working
    sandbox.
    """
    faults: list[str] = []
    by_id = _read_tasks(tasks, faults)
    rows = list(_read_samples(samples, by_id, faults))
    for fault in faults[:SHOWN_FAULTS]:
        print(printable(f"d3 execute: {fault}"), file=sys.stderr)
    if faults:
        raise InputError(f"{len(faults)} rows of tasks and samples are faulty", remedy="fix or remove them; see above")
    if not rows:
        raise InputError("contains no sample", where=str(samples), remedy="give a row with task_id and solution")
    limits = limits_of(config)
    made_by = {
        "limit": limits.timeout_seconds,
        "interpreter": interpreter_of(limits),
        "sandbox": "bubblewrap",
        "executor": f"d3 {__version__} {code_digest('d3.evals.execute')[:12]}",
    }
    counts: Counter[str] = Counter()
    progress = Progress("execute", len(rows), "programs")
    try:
        with MeasuredVerdicts(journal, limits) as kept, written_whole(out) as part, part.open("w") as file:
            judged = judge_all(rows, {name: plain.task for name, plain in by_id.items()}, limits, workers, kept)
            for row, verdict in zip(rows, judged, strict=True):
                wall, cpu = kept.measured(row["task_id"], row["program"])
                found = {
                    "task_id": row["task_id"],
                    "sample": row["sample"],
                    "verdict": verdict.verdict,
                    "reason": printable(verdict.detail)[:MOST_REASON] or None,
                    "wall": wall,
                    "cpu": cpu,
                }
                file.write(json.dumps(found | made_by) + "\n")
                counts[verdict.verdict] += 1
                progress.advance()
    except sandbox.SandboxError as error:
        raise ToolError(error.reason, where="sandbox", remedy=error.remedy) from None
    progress.close()
    print("verdicts: " + ", ".join(f"{count} {name}" for name, count in counts.most_common()), file=sys.stderr)
    return 1 if counts[NOT_RUN] else 0


def interpreter_of(limits: sandbox.Limits) -> str:
    """Return the version of the Python that runs the programs; its path if it does not answer."""
    if limits.interpreter is None:
        return f"Python {platform.python_version()}"
    answer = ask([limits.interpreter, "-I", "-S", "-c", "import platform; print(platform.python_version())"])
    return printable(f"Python {answer.text}" if answer.status == 0 else limits.interpreter)[:MOST_REASON]


def _read_tasks(path: Path, faults: list[str]) -> dict[str, PlainTask]:
    """Return the tasks by their id; add a line for each faulty row."""
    found: dict[str, PlainTask] = {}
    for number, row in numbered_rows(path):
        try:
            line = TaskLine(path, number, row, remedy=FIX_ROW)
            task = plain_task(line)
            if task.task_id in found:
                raise line.error(f"has the task_id {task.task_id!r} of an earlier row")
            found[task.task_id] = PlainTask(task, line.text_or_empty("prompt"))
        except InputError as error:
            faults.append(str(error))
    return found


def _read_samples(path: Path, tasks: dict[str, PlainTask], faults: list[str]) -> Iterator[Row]:
    """Yield the samples as `judge_all` reads them; add a line for each faulty row."""
    earlier: Counter[str] = Counter()
    seen: set[tuple[str, int]] = set()
    for number, row in numbered_rows(path):
        try:
            line = TaskLine(path, number, row, remedy=FIX_ROW)
            task_id = line.identifier("task_id")
            if task_id not in tasks:
                raise line.error(f"has the task_id {task_id!r}, which no task has")
            sample: Any = line.count("sample") if line.has("sample") else earlier[task_id]
            if (task_id, sample) in seen:
                raise line.error(f"has the task_id {task_id!r} and sample {sample} of an earlier row")
            program = _program_of(line, tasks[task_id].prompt)
        except InputError as error:
            faults.append(str(error))
            continue
        earlier[task_id] += 1
        seen.add((task_id, sample))
        status = "the row has no program" if program is None else "ok"
        yield {"task_id": task_id, "sample": sample, "program": program, "status": status}


def _program_of(line: TaskLine, prompt: str) -> str | None:
    """Return the program of a sample; raise InputError for a row that must have one."""
    given = [field for field in ("solution", "completion") if line.has(field)]
    if len(given) != 1:
        raise line.error("must have one of the fields solution and completion")
    if line.is_null(given[0]):
        return None
    text = line.text(given[0])
    return prompt + text if given[0] == "completion" else text
