"""Plain rows of your own: `task_id, entry_point, test[, prompt, start, canonical]`, in any file of rows."""

from collections.abc import Iterator
from keyword import iskeyword
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.task_file import TaskLine, task_lines
from d3.evals.tasks import Spec, Task

SPEC = Spec(
    title="plain rows",
    source="your own file",
    license="your own",
    format="task_id, entry_point, test (Python that calls the entry point), and optionally prompt (what is asked), "
    "start (the program to change) and canonical (a program that passes, which the gate needs)",
    tasks_in_file=100,
)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a task a row: synthesis where there is no start program; a benchmark must ask for something."""
    for line in task_lines(path):
        if not line.text("prompt").strip():
            raise line.error("field prompt must say what is asked")
        yield plain_task(line)


def plain_task(line: TaskLine) -> Task:
    """Return the task of a plain row."""
    entry_point, tests = line.text("entry_point"), line.text("test")
    if not entry_point.isidentifier() or iskeyword(entry_point):
        raise line.error("field entry_point must be the name of a function or class")
    if not tests.strip():
        raise line.error("field test must contain tests")
    prompt, start, canonical = (line.text_or_empty(field) for field in ("prompt", "start", "canonical"))
    if canonical:
        line.program("canonical", canonical)
    return line.task(
        task_id=line.identifier("task_id"),
        instruction=prompt,
        start=start,
        entry_point=entry_point,
        canonical=canonical,
        prompt=prompt if f"def {entry_point}" in prompt or f"class {entry_point}" in prompt else "",
        tests=tests if tests.endswith("\n") else f"{tests}\n",
    )
