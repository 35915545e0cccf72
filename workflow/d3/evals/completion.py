"""Completion variants of a benchmark's tasks: start programs that are the reference without some of its lines.

This module needs the linter of the pipeline. What only judges programs takes `d3.evals.tasks.load_tasks`.
"""

import ast
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from d3.config.evaluation import Benchmark
from d3.core.ids import derive_seed
from d3.errors import ToolError
from d3.evals.solutions import parse, trimmed
from d3.evals.tasks import Task, load_tasks, no_tasks

MOST_DRAWS = 1000
"""Draws of removed lines before a solution counts as having no completion variant [authors' code]."""
MOST_LINTED = 50
"""Programs of a task that are linted at most: our default."""
PROBLEM = "to solve the following problem:"
"""What stands before the problem in an instruction to write a function."""

Errors = Callable[[str], list[str]]
"""Returns the codes of the linter's errors in a program."""


class Skipped(NamedTuple):
    """A task that is not asked."""

    task_id: str
    reason: str


class Asked(NamedTuple):
    """The tasks of a benchmark that are asked, and those that are not, in the order of its file."""

    tasks: list[Task]
    skipped: list[Skipped]


def asked_tasks(benchmark: Benchmark, path: Path, *, seed: int = 0) -> Asked:
    """Return the tasks of a benchmark as they are asked; `seed` is the run's, used for completion variants alone.

    Raise InputError as `load_tasks` does, and if every task is skipped; ToolError without a linter.
    """
    if not benchmark.complete:
        return Asked(load_tasks(benchmark, path), [])
    tasks: list[Task] = []
    skipped: list[Skipped] = []
    for task in load_tasks(benchmark.model_copy(update={"tasks": None}), path):
        variant = completion_variant(task, seed)
        if isinstance(variant, str):
            skipped.append(Skipped(task.task_id, variant))
            continue
        tasks.append(variant)
        if len(tasks) == benchmark.tasks:
            break
    if not tasks:
        raise no_tasks(path)
    return Asked(tasks, skipped)


def completion_variant(task: Task, seed: int, errors: Errors | None = None) -> Task | str:
    """Return the task that starts from the reference without some of its lines, or why there is none.

    The instruction is [authors' code], followed by the problem where the start program does not state it.
    """
    found = without_some_lines(
        task.canonical, task.entry_point, derive_seed(seed, "complete", task.task_id), errors or lint_errors
    )
    if found.reason:
        return found.reason
    instruction = f"Complete the Python function {task.entry_point}."
    problem = task.instruction.partition(PROBLEM)[2] or task.instruction if task.problem is None else task.problem
    return replace(task, start=found.program, instruction=f"{instruction}\n{problem.strip()}".strip())


class Start(NamedTuple):
    """A start program, or why there is none."""

    program: str
    reason: str = ""


def without_some_lines(program: str, entry_point: str, seed: int, errors: Errors) -> Start:
    """Return a program without some of its lines, in which the linter finds no error [authors' code].

    Candidate lines hold code and no import, comment or part of a longer string; a random number of
    them, from one to all but two, is removed [authors' code]. Drawn again until what remains still defines the
    entry point, keeps a line of the candidates beside that, and has no error of the linter.
    """
    lines = program.split("\n")
    candidates = _candidate_lines(program)
    if len(candidates) <= 2:
        return Start("", "too few lines")
    if faults := errors(program):
        return Start("", f"the reference has linter errors: {', '.join(sorted(set(faults)))}")
    draws = random.Random(seed)
    linted: set[str] = set()
    for _ in range(MOST_DRAWS):
        gone = set(draws.sample(candidates, draws.randint(1, len(candidates) - 2)))
        start = trimmed("\n".join(line for number, line in enumerate(lines) if number not in gone))
        if start in linted or not _keeps(start, entry_point):
            continue
        linted.add(start)
        if not errors(start):
            return Start(start)
        if len(linted) == MOST_LINTED:
            return Start("", f"{MOST_LINTED} draws leave linter errors")
    return Start("", f"{MOST_DRAWS} draws leave no program that defines the entry point without errors")


@cache
def _linter() -> Callable[[str], list[str]]:
    try:
        from d3.lintseq.import_sandbox import standard_library
        from d3.lintseq.linter import Linter
    except ImportError as error:
        remedy = "install pylint and astroid as in envs/main.lock, or set complete: false"
        raise ToolError(f"completion variants need the linter ({error})", where="pylint", remedy=remedy) from None
    # The standard library alone, so that what is installed decides nothing.
    folder = TemporaryDirectory(prefix="d3-lint-")
    linter = Linter(Path(folder.name), standard_library(), ignore_unresolved=True)

    def codes(text: str, _: TemporaryDirectory[str] = folder) -> list[str]:
        return [trace.msg_id for trace in linter(text)]

    return codes


def lint_errors(program: str) -> list[str]:
    """Return the codes of pylint's errors in a program, without imports that do not resolve; raise ToolError."""
    return [code for code in _linter()(program) if code[0] in "EF"]


def _keeps(start: str, entry_point: str) -> bool:
    """Return whether a program parses, and still defines the entry point with a line of code in it."""
    try:
        body = parse(start).body
    except (SyntaxError, ValueError):
        return False
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = [node for node in body if isinstance(node, functions) and node.name == entry_point]
    return any(not _is_text(node) for part in defined for node in part.body)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _candidate_lines(program: str) -> list[int]:
    """Return the numbers, from 0, of lines that may be removed."""
    inside: set[int] = set()
    for node in ast.walk(parse(program)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.end_lineno is not None:
            statement = node.end_lineno > node.lineno
            inside.update(range(node.lineno - 1, node.end_lineno) if statement else ())
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.end_lineno is not None:
            inside.update(range(node.lineno - 1, node.end_lineno))
    return [
        number
        for number, line in enumerate(program.split("\n"))
        if line.strip() and not line.lstrip().startswith("#") and "import" not in line and number not in inside
    ]
