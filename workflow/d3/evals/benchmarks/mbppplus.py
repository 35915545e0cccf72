"""MBPP+: write a function from one sentence, tested with EvalPlus' own data."""

from collections.abc import Iterator
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.benchmarks.mbpp import instruction, mbpp_task
from d3.evals.evalplus import differential_tests, is_evalplus, mbpp_types
from d3.evals.task_file import TaskLine, require_text_tests, task_lines
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
            yield mbpp_task(line, line.text("prompt"), line.text("test"))
        else:
            tests = [*line.texts("test_imports"), *line.texts("test_list")]
            yield mbpp_task(line, line.text("prompt"), "\n".join(tests) + "\n")


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
