"""What plain Python says of a program and its tests in one file, beside which the sandbox is held."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from d3.evals.tasks import Task
from d3.evals.wrong_programs import mutants, trivial_programs

MEMORY = 1024 * 2**20


def plain_verdict(program: str, tests: str, timeout: float) -> str:
    """Return the verdict of `python program_and_test.py`: passed, failed, error, timeout, memory or crashed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "solution.py"
        file.write_text(f"{program}\n{tests}\n", encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-s", "-B", str(file)],
                cwd=folder,
                env={"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=timeout,
                check=False,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
            )
        except subprocess.TimeoutExpired:
            return "timeout"
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    name = lines[-1].partition(":")[0] if lines else ""
    if done.returncode < 0:
        return "crashed"
    return (
        "passed" if done.returncode == 0 else {"AssertionError": "failed", "MemoryError": "memory"}.get(name, "error")
    )


def programs(tasks: Sequence[Task], each: int, seed: int = 0) -> Iterator[tuple[Task, str, str]]:
    """Yield a task, a name and a program: the reference, and some mutants and trivial programs of every task."""
    for task in tasks:
        yield task, "reference", task.canonical
        random = Random(f"{seed} {task.task_id}")
        trivial = list(trivial_programs(task.entry_point))
        wrong = [*mutants(task.canonical, task.task_id, each), *random.sample(trivial, max(each // 3, 1))]
        yield from ((task, name, program) for name, program in wrong)
