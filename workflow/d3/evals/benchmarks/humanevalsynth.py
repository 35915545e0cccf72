"""HumanEvalPack Python as synthesis: write a function from an instruction."""

from collections.abc import Iterator
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.task_file import TaskLine, task_lines
from d3.evals.tasks import Spec, Task

SPEC = Spec(
    title="HumanEvalSynthesize (HumanEvalPack, Python)",
    source="https://huggingface.co/datasets/bigcode/humanevalpack (data/python/data/humanevalpack.jsonl)",
    license="MIT",
    format="task_id, prompt, canonical_solution, test (which calls `check`), entry_point, instruction",
    tasks_in_file=164,
)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a synthesis task a line."""
    for line in task_lines(path):
        yield pack_task(line, instruction=line.text("instruction").strip())


def pack_task(line: TaskLine, *, instruction: str, start: str = "") -> Task:
    """Return the task of a line of HumanEvalPack."""
    entry_point = line.text("entry_point")
    canonical = line.text("prompt") + line.text("canonical_solution")
    line.function("prompt", canonical, entry_point)
    return line.task(
        task_id=line.text("task_id"),
        instruction=instruction,
        start=start,
        entry_point=entry_point,
        canonical=canonical,
        tests=line.text("test"),
        prompt=line.text("prompt"),
        problem="",
    )
