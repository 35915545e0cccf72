"""The sandbox beside plain Python: the same programs and tests, judged by both; every difference is listed.

    make bench-differential ARGS="humaneval=embedded mbppplus=MbppPlus-OriginFmt.jsonl.gz --each 6"

Arguments are KIND=FILE as for `make bench-gate`. The programs are references, mutants of them and trivial
programs, which run outside of any sandbox too: name no file that you do not trust.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.core.progress import Progress
from d3.evals.execute import judge_all
from d3.evals.sandbox import Limits
from d3.evals.tasks import Task, load_tasks

sys.path += [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parent)]

from gate import embedded

from helpers.plain_python import plain_verdict, programs

LIMITS = Limits(timeout_seconds=3)


def todo(arguments: list[str], each: int, every: int) -> Iterator[tuple[Task, str, str]]:
    """Yield the programs of all benchmarks; task ids get the number of their benchmark."""
    for argument in arguments:
        kind, _, file = argument.partition("=")
        path = embedded() if file == "embedded" else Path(file)
        text = "OriginFmt" in path.name
        settings = Benchmark.model_validate({"kind": kind, "tasks": None, "plus_tests": False, "text_tests": text})
        yield from programs(load_tasks(settings, path)[::every], each)


def main() -> None:
    """Judge all programs twice and print the table of differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="+", metavar="KIND=FILE")
    parser.add_argument("--each", type=int, default=6, help="mutants of a task; a third as many trivial programs")
    parser.add_argument("--every", type=int, default=1, help="take every n-th task")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    work = list(todo(options.benchmarks, options.each, options.every))
    by_id = {task.task_id: task for task, _, _ in work}
    rows = [{"task_id": task.task_id, "status": "ok", "program": program} for task, _, program in work]
    progress = Progress("differential", len(work), "programs")
    table: Counter[tuple[str, str]] = Counter()
    with ThreadPoolExecutor(options.workers) as pool:
        plain = pool.map(lambda item: plain_verdict(item[2], item[0].test, LIMITS.timeout_seconds), work)
        judged = judge_all(rows, by_id, LIMITS, options.workers)
        for (task, name, _), ours, theirs in zip(work, judged, plain, strict=True):
            table[ours.verdict, theirs] += 1
            if ours.verdict != theirs:
                print(f"# {task.task_id}, {name}: sandbox {ours.verdict} ({ours.detail}), Python {theirs}", flush=True)
            progress.advance()
    progress.close()
    print("| sandbox | plain Python | programs |\n|---|---|---|")
    for (ours_is, theirs_is), count in sorted(table.items(), key=lambda item: (item[0][0] != item[0][1], -item[1])):
        print(f"| {ours_is} | {theirs_is} | {count} |")
    print(f"{len(work)} programs, {sum(count for pair, count in table.items() if pair[0] != pair[1])} differences")


if __name__ == "__main__":
    main()
