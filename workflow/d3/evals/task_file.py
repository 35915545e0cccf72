"""Files of tasks (JSON lines, a JSON array, Parquet): fields are checked when they are read, tasks made in one way.

for line in task_lines(path):
    yield line.task(task_id=line.text("task_id"), ...)
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from d3.config.evaluation import Benchmark
from d3.core.tables import open_lines, open_parquet
from d3.errors import InputError, raise_system_error
from d3.evals.solutions import parse, signature, supporting_code, trimmed
from d3.evals.tasks import Task

REMEDY = "use the benchmark's own file, or check `kind`"
SURROGATE = re.compile("[\ud800-\udfff]")
READ_ROWS = 64
"""Rows of a Parquet file in memory at a time: tests can have megabytes."""


def task_lines(path: Path) -> Iterator["TaskLine"]:
    """Yield the rows of a file of tasks; raise InputError if it cannot be read, or is none."""
    for number, row in numbered_rows(path):
        yield TaskLine(path, number, row)


def numbered_rows(path: Path) -> Iterator[tuple[int, bytes | dict[str, Any]]]:
    """Yield the rows of a file with their numbers, from 1: lines of text (.gz, .zst), or of an array or Parquet.

    Raise InputError for a file that cannot be read; what a line contains is not examined.
    """
    if path.name.endswith(".parquet"):
        number = 0
        for batch in open_parquet(path, remedy=REMEDY).iter_batches(batch_size=READ_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield number, row
        return
    try:
        with open_lines(path) as lines:
            for number, text in enumerate(lines, start=1):
                if number == 1 and text.lstrip().startswith(b"["):
                    yield from _rows_of_array(path, text + lines.read())
                    return
                if text.strip():
                    yield number, text
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the benchmark's path") from None
    except (OSError, EOFError) as error:
        raise_system_error(error, path)
        raise InputError(f"not a readable file of tasks ({error})", where=str(path), remedy="fetch it again") from None


def _rows_of_array(path: Path, text: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not a JSON array ({error})", where=str(path), remedy=REMEDY) from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(f"line {number} must be a JSON object", where=str(path), remedy=REMEDY)
        yield number, row


def rows_in(path: Path) -> int:
    """Return the number of rows of a file of tasks; raise InputError if it cannot be read."""
    if path.name.endswith(".parquet"):
        return int(open_parquet(path, remedy=REMEDY).metadata.num_rows)
    return sum(1 for _ in numbered_rows(path))


class TaskLine:
    """A row of a file of tasks; every method raises InputError that names the row and the field."""

    def __init__(self, path: Path, number: int, row: bytes | dict[str, Any], *, remedy: str = REMEDY) -> None:
        self.path, self.number, self.remedy = path, number, remedy
        if isinstance(row, bytes):
            try:
                row = json.loads(row)
            except (ValueError, RecursionError) as error:
                raise self.error(f"is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise self.error("must be a JSON object")
        self._row: dict[str, Any] = row

    def error(self, reason: str) -> InputError:
        """Return the error about this row."""
        return InputError(f"line {self.number} {reason}", where=str(self.path), remedy=self.remedy)

    # --- fields -----------------------------------------------------------------------------------

    def text(self, field: str) -> str:
        """Return a field that must be text."""
        value = self._value(field)
        if not isinstance(value, str):
            raise self.error(f"field {field} must be text")
        return value

    def text_or_empty(self, field: str) -> str:
        """Return a field that must be text where it is there and not null, empty text otherwise."""
        return "" if self._row.get(field) is None else self.text(field)

    def texts(self, field: str) -> list[str]:
        """Return a field that must be a list of texts."""
        value = self._value(field)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"field {field} must be a list of texts")
        return value

    def first(self, fields: Sequence[str]) -> str:
        """Return the first of some fields that the line has, as text."""
        for field in fields:
            if field in self._row:
                return self.identifier(field)
        raise self.error(f"must have one of the fields {', '.join(fields)}")

    def identifier(self, field: str) -> str:
        """Return a field that must be text or a whole number, as text."""
        value = self._value(field)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.error(f"field {field} must be text or a whole number")
        if SURROGATE.search(str(value)):
            raise self.error(f"field {field} must not contain half of a surrogate pair")
        return str(value)

    def count(self, field: str) -> int:
        """Return a field that must be a whole number from 0."""
        value = self._value(field)
        if type(value) is not int or not 0 <= value < 2**31:
            raise self.error(f"field {field} must be a whole number from 0")
        return value

    def has(self, field: str) -> bool:
        """Return whether the row has a field."""
        return field in self._row

    def is_null(self, field: str) -> bool:
        """Return whether a field is null."""
        return self._value(field) is None

    def lists(self, field: str) -> list[list[Any]]:
        """Return a field that must be a list of lists."""
        value = self._value(field)
        if not isinstance(value, list) or not all(isinstance(item, list) for item in value):
            raise self.error(f"field {field} must be a list of lists")
        return value

    def decimal(self, field: str) -> float:
        """Return a field that must be a number."""
        value = self._value(field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"field {field} must be a number")
        return value

    def _value(self, field: str) -> Any:
        if field not in self._row:
            raise self.error(f"has no field {field}")
        return self._row[field]

    # --- programs ---------------------------------------------------------------------------------

    def program(self, field: str, text: str) -> ast.Module:
        """Parse a program that was made from a field."""
        try:
            return parse(text)
        except (SyntaxError, ValueError) as error:
            raise self.error(f"field {field} is not Python ({error})") from None

    def function(self, field: str, program: str, name: str) -> ast.FunctionDef:
        """Return a function of a program that was made from a field."""
        for node in self.program(field, program).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node
        raise self.error(f"field {field} defines no function {name}")

    def task(
        self,
        *,
        task_id: str,
        instruction: str,
        entry_point: str,
        canonical: str,
        tests: str,
        start: str = "",
        prompt: str = "",
        problem: str | None = None,
    ) -> Task:
        """Return a task; its tests bring what they need of the reference solution `canonical`."""
        try:
            support = supporting_code(canonical, tests, entry_point)
        except (SyntaxError, ValueError) as error:
            raise self.error(f"field test is not Python ({error})") from None
        return Task(
            task_id=task_id,
            instruction=instruction,
            name=f"{entry_point}_solution.py",
            start=trimmed(start),
            test=support + tests,
            entry_point=entry_point,
            canonical=trimmed(canonical),
            prompt=prompt.replace("\r\n", "\n"),
            problem=problem,
        )


def docstring_prompt(sentence: str, *tests: str) -> str:
    """Return a prompt for models that continue text: a docstring with the problem and the tests that show its names."""
    lines = "\n".join([sentence.strip(), *tests]).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""\n{lines}\n"""\n'


def to_write(function: ast.FunctionDef) -> str:
    """Return the beginning of an instruction to write a function, in the words of HumanEvalPack."""
    return f"Write a Python function `{signature(function)}` to solve the following problem:"


def require_text_tests(line: TaskLine, settings: Benchmark) -> None:
    """Raise InputError unless the configuration takes extended tests that are text."""
    if not settings.text_tests:
        remedy = "use EvalPlus' own JSON (with base_input and plus_input), or set text_tests: true for the benchmark"
        reason = "has extended tests as text only, whose comparison lets wrong answers pass"
        raise InputError(f"line {line.number} {reason}", where=str(line.path), remedy=remedy)
