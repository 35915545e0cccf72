"""MBPP+ in EvalPlus' OriginFmt: write a function from one sentence."""

import ast
from collections.abc import Iterator
from pathlib import Path

from d3.config.models import Benchmark
from d3.evals.task_file import TaskLine, task_lines, to_write
from d3.evals.tasks import Spec, Task

SPEC = Spec(
    title="MBPP+",
    source="https://github.com/evalplus/mbppplus_release (MbppPlus-OriginFmt.jsonl.gz)",
    license="Apache-2.0",
    format="task_id, code, prompt, test_imports and test_list (MBPP's tests), test (EvalPlus' extended tests)",
    tasks_in_file=378,
)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a synthesis task a line, with the tests that `plus_tests` asks for."""
    for line in task_lines(path):
        if settings.plus_tests:
            yield mbpp_task(line, line.text("test"))
        else:
            yield mbpp_task(line, "\n".join([*line.texts("test_imports"), *line.texts("test_list")]) + "\n")


def mbpp_task(line: TaskLine, tests: str) -> Task:
    """Return a task; entry point and instruction as in [authors' code], the problem in its own case."""
    code = line.text("code")
    first = line.program("test_list", (line.texts("test_list") or [""])[0])
    named = {node.id for node in ast.walk(first) if isinstance(node, ast.Name)}
    functions = [node for node in line.program("code", code).body if isinstance(node, ast.FunctionDef)]
    function = next((node for node in functions if node.name in named), None)
    if function is None:
        raise line.error("field code defines no function that field test_list calls")
    problem = line.text("prompt").strip().replace(" to that ", " that ").split("function to ")[-1]
    problem = problem[:1].upper() + problem[1:]
    return line.task(
        task_id=line.identifier("task_id"),
        instruction=f"{to_write(function)} {problem}",
        entry_point=function.name,
        canonical=code,
        tests=tests,
        problem=line.text("prompt"),
    )
