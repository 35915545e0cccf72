"""Benchmarks as tasks: what is asked of a model, and the tests that judge its program.

A benchmark is one file of `d3/evals/benchmarks`, and its name there is the `kind` in the configuration:

    SPEC = Spec(title="...", source="...", license="...", format="...", tasks_in_file=164)

    def read(path: Path, settings: Benchmark) -> Iterator[Task]: ...

What all benchmarks share is here: the number of tasks and the checks of what a reader yields. `d3.evals.task_file`
reads their files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from d3.config.evaluation import BENCHMARKS, Benchmark
from d3.errors import ConfigError, InputError


@dataclass(kw_only=True, slots=True, frozen=True)
class Task:
    """One programming task."""

    task_id: str
    """The benchmark's own name for it."""
    instruction: str
    """What the prompt asks for."""
    name: str
    """File name in the prompt: `{entry_point}_solution.py` [authors' code]."""
    start: str
    """The program that the prompt shows; empty for synthesis."""
    test: str
    """Python text that defines the tests and runs them on the function named `entry_point`."""
    entry_point: str
    """The function that the tests call."""
    canonical: str
    """A program that passes."""
    prompt: str = ""
    """The beginning of a program as the benchmark gives it to models that continue text; empty: there is none."""
    problem: str | None = None
    """The problem as published, empty where it is the docstring of `canonical`; None: it is the instruction."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Spec:
    """What a benchmark is."""

    title: str
    """Its name in the literature."""
    source: str
    """Where its file is published."""
    license: str
    """License of its file, as an SPDX expression."""
    format: str
    """What one line of the file contains."""
    tasks_in_file: int
    """Tasks of the file as published: the number that an estimate uses while the file is not there."""
    harness: str = ""
    """Program of others that judges its solutions; empty: they are judged here."""


class Reader(Protocol):
    """A module of `d3/evals/benchmarks`."""

    SPEC: Spec

    def read(self, path: Path, settings: Benchmark) -> Iterator[Task]:
        """Yield the tasks of a file in its order; raise InputError for what is malformed."""
        ...


def reader(kind: str) -> Reader:
    """Return the module of a kind of benchmark, which the configuration has checked."""
    return cast(Reader, import_module(f"{BENCHMARKS}.{kind}"))


def load_tasks(benchmark: Benchmark, path: Path) -> list[Task]:
    """Return the tasks of a benchmark as its file has them; `d3.evals.completion.asked_tasks` makes variants.

    Raise InputError that names the file and the line or task of what is malformed.
    """
    tasks: list[Task] = []
    for task in reader(benchmark.kind).read(path, benchmark):
        tasks.append(task)
        if len(tasks) == benchmark.tasks:
            break
    if not tasks:
        raise no_tasks(path)
    identifiers = {task.task_id for task in tasks}
    if len(identifiers) < len(tasks):
        raise InputError("two tasks have the same task_id", where=str(path), remedy="remove one of them")
    return tasks


def check_judged_here(kind: str) -> None:
    """Raise ConfigError for a kind of benchmark whose solutions another program judges."""
    if harness := reader(kind).SPEC.harness:
        remedy = "run `d3 generate`, then `d3 predictions`"
        raise ConfigError(f"benchmarks of the kind {kind} are judged by {harness}", remedy=remedy)


def no_tasks(path: Path) -> InputError:
    """Return the error about a file in which there is nothing to ask."""
    return InputError("contains no task", where=str(path), remedy="use the benchmark's own file")
