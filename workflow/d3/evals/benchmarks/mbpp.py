"""MBPP as published, whole or sanitized: write a function from one sentence."""

import ast
from collections.abc import Iterator
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.task_file import TaskLine, docstring_prompt, task_lines, to_write
from d3.evals.tasks import Spec, Task

SPEC = Spec(
    title="MBPP",
    source="https://github.com/google-research/google-research/tree/master/mbpp (mbpp.jsonl, sanitized-mbpp.json), or "
    "https://huggingface.co/datasets/google-research-datasets/mbpp",
    license="CC-BY-4.0",
    format="task_id, text (sanitized: prompt), code, test_setup_code (sanitized: test_imports), test_list",
    tasks_in_file=974,
)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a synthesis task a row."""
    for line in task_lines(path):
        sentence = line.text("text" if line.has("text") else "prompt")
        setup = [line.text("test_setup_code")] if line.has("test_setup_code") else line.texts("test_imports")
        yield mbpp_task(line, sentence, "\n".join([*setup, *line.texts("test_list")]) + "\n")


def mbpp_task(line: TaskLine, sentence: str, tests: str) -> Task:
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
        instruction=instruction(function, sentence),
        entry_point=function.name,
        canonical=code,
        tests=tests,
        prompt=docstring_prompt(sentence, *line.texts("test_list")[:1]),
        problem=sentence,
    )


def instruction(function: ast.FunctionDef, sentence: str) -> str:
    """Return the instruction as in [authors' code], with the problem in its own case."""
    problem = sentence.strip().replace(" to that ", " that ").split("function to ")[-1]
    return f"{to_write(function)} {problem[:1].upper()}{problem[1:]}"
