"""HumanEval+: HumanEval's tasks, tested with EvalPlus' own data."""

from collections.abc import Iterator
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.benchmarks import humaneval
from d3.evals.evalplus import differential_tests, is_evalplus
from d3.evals.task_file import require_text_tests, task_lines
from d3.evals.tasks import Spec, Task

SPEC = Spec(
    title="HumanEval+",
    source="https://github.com/evalplus/humanevalplus_release (HumanEvalPlus.jsonl.gz)",
    license="Apache-2.0",
    format="EvalPlus' own JSON: task_id, prompt, entry_point, canonical_solution, base_input, plus_input, atol; "
    "OriginFmt: test (`text_tests`) instead of the inputs",
    tasks_in_file=164,
)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a synthesis task a line, asked as HumanEval's, with the tests that `plus_tests` asks for."""
    for line in task_lines(path):
        if is_evalplus(line):
            reference = line.text("prompt") + line.text("canonical_solution")
            yield humaneval.task_of(line, differential_tests(line, reference, plus=settings.plus_tests))
        else:
            require_text_tests(line, settings)
            yield humaneval.task_of(line, humaneval.tests_of(line))
