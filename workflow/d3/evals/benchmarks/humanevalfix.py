"""HumanEvalPack Python as repair: correct a function that fails its tests."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.benchmarks import humanevalsynth
from d3.evals.task_file import task_lines
from d3.evals.tasks import Task

SPEC = replace(
    humanevalsynth.SPEC,
    title="HumanEvalFix (HumanEvalPack, Python)",
    format="task_id, prompt, canonical_solution, buggy_solution, test (which calls `check`), entry_point",
)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a repair task a line; the instruction is [authors' code].

    What the authors show as the start is not known (their published script shows an empty file);
    ours is the buggy function with its docstring, which describes what it should do.
    """
    for line in task_lines(path):
        start = line.text("prompt") + line.text("buggy_solution")
        line.program("buggy_solution", start)
        yield humanevalsynth.pack_task(line, instruction=f"Fix bugs in {line.text('entry_point')}.", start=start)
