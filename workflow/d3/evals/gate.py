"""The gate of a benchmark: every task is passed by its reference, and by nothing that solves no task.

Scores count no task that the gate leaves out, and there are none without a gate. A task is left out if
its reference does not pass three times (`broken`), or if a constant, its first argument, a raising
body or an empty program passes (`vacuous`). Mutants of the reference that pass are listed: some are
equivalent to it, others show what the tests do not look at.
"""

import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from d3.config.models import Config
from d3.core.progress import Progress
from d3.core.tables import Row
from d3.errors import ConfigError, ToolError
from d3.evals import sandbox
from d3.evals.completion import asked_tasks
from d3.evals.execute import NOT_RUN, judge_all, limits_of
from d3.evals.tasks import Task, check_judged_here
from d3.evals.wrong_programs import mutants, trivial_programs
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job

REPEATS = 3
"""How often a reference has to pass."""


class Trial(NamedTuple):
    """One program that is judged to examine a task."""

    task: Task
    kind: str
    name: str
    program: str

    def row(self) -> Row:
        """Return the trial as `judge_all` reads samples."""
        return {"task_id": self.task.task_id, "status": "ok", "program": self.program}


def run(config: Config, tasks: Path, out: Path, *, benchmark: str, workers: int = 1) -> None:
    """Examine a benchmark before it is used: its references must pass, and nothing else may.

    Write JSON: `benchmark`, `interpreter`, `limits`, `tasks` (task ids), `broken`, `vacuous`, `survivors`
    (mutants that pass), `starts` (task ids whose start program passes as it is), `left_out` (task ids) and `skipped`
    (tasks without a completion variant, with the reason); equal inputs give equal bytes. Raises ToolError when
    there is no working sandbox.

    Example: d3 gate --benchmark humaneval --tasks tasks.jsonl.gz --out gate.json --workers 8
    """
    if benchmark not in config.benchmarks:
        raise ConfigError("no such benchmark", where=benchmark, remedy=f"one of {', '.join(config.benchmarks)}")
    check_judged_here(config.benchmarks[benchmark].kind)
    with Job("gate", config=config) as job:
        todo, skipped = asked_tasks(config.benchmarks[benchmark], job.input(tasks), seed=config.seed)
        limits = limits_of(config)
        try:
            result = examine(todo, limits, workers, what=f"gate {benchmark}")
        except sandbox.SandboxError as error:
            raise ToolError(error.reason, where="sandbox", remedy=error.remedy) from None
        job.read = len(todo)
        for _ in todo:
            job.keep()
        result |= {
            "benchmark": benchmark,
            "interpreter": platform.python_version(),
            "limits": asdict(limits),
            "skipped": [task._asdict() for task in skipped],
        }
        job.file(out).write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def trials(tasks: list[Task]) -> Iterator[Trial]:
    """Yield all programs that examine the tasks, a task's after each other."""
    for task in tasks:
        for number in range(REPEATS):
            yield Trial(task, "reference", "reference", f"{task.canonical}\n# {number}\n")
        if task.start:
            yield Trial(task, "start", "start program", task.start)
        for name, program in trivial_programs(task.entry_point):
            yield Trial(task, "trivial", name, program)
        for name, program in mutants(task.canonical, task.task_id):
            yield Trial(task, "mutant", name, program)


def examine(tasks: list[Task], limits: sandbox.Limits, workers: int, *, what: str = "gate") -> dict[str, Any]:
    """Judge references and wrong programs, and return which tasks are sound; raise SandboxError."""
    todo = list(trials(tasks))
    broken: dict[str, dict[str, str]] = {}
    passed: dict[str, dict[str, list[str]]] = {"trivial": {}, "mutant": {}, "start": {}}
    progress = Progress(what, len(todo), "programs")
    verdicts = judge_all((trial.row() for trial in todo), {task.task_id: task for task in tasks}, limits, workers)
    for trial, (verdict, detail) in zip(todo, verdicts, strict=True):
        task_id = trial.task.task_id
        if verdict == NOT_RUN:
            raise sandbox.SandboxError(f"{task_id}, {trial.name}: {detail}", "run the same command again")
        if trial.kind == "reference" and verdict != "passed":
            broken.setdefault(task_id, {"task_id": task_id, "verdict": verdict, "detail": detail})
        elif trial.kind != "reference" and verdict == "passed":
            passed[trial.kind].setdefault(task_id, []).append(trial.name)
        progress.advance()
    progress.close()
    vacuous = passed["trivial"]
    return {
        "tasks": [task.task_id for task in tasks],
        "programs": len(todo),
        "broken": list(broken.values()),
        "vacuous": [{"task_id": task_id, "passed": names} for task_id, names in vacuous.items()],
        "survivors": [{"task_id": task_id, "mutants": names} for task_id, names in passed["mutant"].items()],
        "starts": list(passed["start"]),
        "left_out": [task.task_id for task in tasks if task.task_id in broken or task.task_id in vacuous],
    }


def check(job: FinishedJob) -> Faults:
    """Check that what is left out is what is broken or vacuous."""
    found = json.loads(job.path().read_bytes())
    faulty = {row["task_id"] for row in [*found["broken"], *found["vacuous"]]}
    if set(found["left_out"]) != faulty or not faulty <= set(found["tasks"]):
        yield job.name(), "leaves out other tasks than those that are broken or vacuous"
