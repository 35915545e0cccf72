"""MBPP+: write a function from one sentence, tested with EvalPlus' own data."""

import ast
from collections.abc import Iterator
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.evalplus import differential_tests, is_evalplus, mbpp_types
from d3.evals.task_file import TaskLine, docstring_prompt, require_text_tests, task_lines, to_write
from d3.evals.tasks import Spec, Task

SPEC = Spec(
    title="MBPP+",
    source="https://github.com/evalplus/mbppplus_release (MbppPlus.jsonl.gz, or MbppPlus-OriginFmt.jsonl.gz)",
    license="Apache-2.0",
    format="EvalPlus' own JSON: task_id, prompt, entry_point, canonical_solution, base_input, plus_input, atol; "
    "OriginFmt: task_id, code, prompt, test_imports and test_list (MBPP's tests), test (`text_tests`)",
    tasks_in_file=378,
)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a synthesis task a line, with the tests that `plus_tests` asks for."""
    for line in task_lines(path):
        if is_evalplus(line):
            yield evalplus_task(line, plus=settings.plus_tests)
        elif settings.plus_tests:
            require_text_tests(line, settings)
            yield mbpp_task(line, line.text("test"))
        else:
            yield mbpp_task(line, "\n".join([*line.texts("test_imports"), *line.texts("test_list")]) + "\n")


def evalplus_task(line: TaskLine, *, plus: bool) -> Task:
    """Return the task of a line of EvalPlus' own data."""
    entry_point, code = line.text("entry_point"), line.text("canonical_solution")
    function = line.function("canonical_solution", code, entry_point)
    number = line.identifier("task_id").rpartition("/")[2]
    if not number.isdecimal():
        raise line.error("field task_id must end with a number")
    sentence = line.text("prompt").strip().strip('"').partition("assert ")[0]
    return line.task(
        task_id=line.identifier("task_id"),
        instruction=instruction(function, sentence),
        entry_point=entry_point,
        canonical=code,
        tests=differential_tests(line, code, plus=plus, typed=mbpp_types(int(number))),
        prompt=line.text("prompt"),
    )


def mbpp_task(line: TaskLine, tests: str) -> Task:
    """Return a task whose tests are text; its entry point is the function that MBPP's first test calls."""
    code = line.text("code")
    first = line.program("test_list", (line.texts("test_list") or [""])[0])
    named = {node.id for node in ast.walk(first) if isinstance(node, ast.Name)}
    functions = [node for node in line.program("code", code).body if isinstance(node, ast.FunctionDef)]
    function = next((node for node in functions if node.name in named), None)
    if function is None:
        raise line.error("field code defines no function that field test_list calls")
    return line.task(
        task_id=line.identifier("task_id"),
        instruction=instruction(function, line.text("prompt")),
        entry_point=function.name,
        canonical=code,
        tests=tests,
        prompt=docstring_prompt(line.text("prompt"), *line.texts("test_list")[:1]),
        problem=line.text("prompt"),
    )


def instruction(function: ast.FunctionDef, sentence: str) -> str:
    """Return the instruction as in [authors' code], with the problem in its own case."""
    problem = sentence.strip().replace(" to that ", " that ").split("function to ")[-1]
    return f"{to_write(function)} {problem[:1].upper()}{problem[1:]}"
