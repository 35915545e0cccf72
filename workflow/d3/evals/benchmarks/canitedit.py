"""CanItEdit: change a program as an instruction says."""

import ast
from collections.abc import Iterator
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.solutions import names_used
from d3.evals.task_file import task_lines
from d3.evals.tasks import Spec, Task

SPEC = Spec(
    title="CanItEdit",
    source="https://huggingface.co/datasets/nuprl/CanItEdit (data/test-00000-of-00001.parquet)",
    license="MIT",
    format="full_name, before, after, tests, instruction_descriptive",
    tasks_in_file=105,
)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a task a row; its entry point is the first function or class of the result that its tests use."""
    for line in task_lines(path):
        after, tests = line.text("after"), line.text("tests")
        line.program("tests", tests)
        used, parts = names_used(tests), line.program("after", after).body
        names = [part.name for part in parts if isinstance(part, ast.FunctionDef | ast.ClassDef) and part.name in used]
        if not names:
            raise line.error("field tests uses nothing that field after defines")
        yield line.task(
            task_id=line.identifier("full_name"),
            instruction=line.text("instruction_descriptive").strip(),
            start=line.text("before"),
            entry_point=names[0],
            canonical=after,
            tests=f"{tests}\n",
        )
