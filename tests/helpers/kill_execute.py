"""The kill drill of `execute`: SIGKILL at random moments, the same command again, and the same bytes at the end.

    make execute-drill

Prints what was kept at each kill, how many programs ran more than once, and whether the table of verdicts is that
of an undisturbed run. A program is run again only if it was in flight: at most one a worker and kill.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from d3.config.evaluation import Benchmark
from d3.config.load import parse_config
from d3.core.journal import Journal
from d3.evals import sandbox
from d3.evals.execute import run
from d3.evals.tasks import load_tasks
from d3.evals.verdict_log import read_logs
from helpers.benchmark_files import humaneval, write_samples

WORKERS = 2


def child(folder: Path, name: str) -> None:
    """Be one run of `execute`, which notes every program that it starts."""
    judge = sandbox.Sandbox.judge
    log = os.open(folder / f"{name}.started", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def noted(self: sandbox.Sandbox, program: str, tests: str, entry_point: str, **limit: Any) -> sandbox.Verdict:
        os.write(log, f"{hash((program, tests, entry_point))}\n".encode())
        return judge(self, program, tests, entry_point, **limit)

    sandbox.Sandbox.judge = noted  # type: ignore[method-assign]
    settings = parse_config({"benchmarks": {"humaneval": {"tasks": None}}})
    run(
        settings, humaneval(), folder / "samples.parquet", folder / f"{name}.parquet",
        benchmark="humaneval", workers=WORKERS, journal=folder / f"{name}.journal",
    )  # fmt: skip


def start(folder: Path, name: str) -> "subprocess.Popen[bytes]":
    """Start a run."""
    command = [sys.executable, "-m", "helpers.kill_execute", "--child", str(folder), name]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONHASHSEED": "0"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def size(folder: Path) -> int:
    """Return how much the killed runs have noted."""
    log = folder / "killed.started"
    return log.stat().st_size if log.exists() else 0


def drill(folder: Path, kills: int, programs: int, seconds: float) -> bool:
    """Run undisturbed, then with kills; return whether the tables are equal and few programs ran twice."""
    tasks = load_tasks(Benchmark(tasks=None), humaneval())
    empty = "def {}(*args, **kwargs):\n    return {}\n"
    rows: list[tuple[str, int, str | None, str]] = [
        (task.task_id, number, task.canonical if number == 0 else empty.format(task.entry_point, number), "ok")
        for task in tasks
        for number in range(programs)
    ]
    write_samples(folder / "samples.parquet", rows)
    if start(folder, "undisturbed").wait() != 0:
        raise SystemExit("the undisturbed run failed")
    moments = random.Random(0)
    hit = 0
    while True:
        before = size(folder)
        process = start(folder, "killed")
        if hit < kills:
            while process.poll() is None and size(folder) == before:
                time.sleep(0.02)
            time.sleep(moments.uniform(0, seconds))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                hit += 1
                kept = {line.key for line in read_logs(folder / "killed.journal")[0]}
                with Journal(folder / "killed.journal") as journal:
                    kept.update(journal.keys())
                print(f"kill {hit}: {len(kept)} of {len(rows)} verdicts kept", flush=True)
                continue
        process.wait()
        break
    same = (folder / "undisturbed.parquet").read_bytes() == (folder / "killed.parquet").read_bytes()
    started = Counter((folder / "killed.started").read_text().split())
    again = started.total() - len(started)
    table = "the same, byte for byte" if same else "ANOTHER"
    print(f"{hit} kills: the table is {table}; {again} of {len(rows)} programs ran again")
    return same and len(started) == len(rows) and again <= WORKERS * hit


def main() -> None:
    """Do the drill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "NAME"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--programs", type=int, default=4, help="programs of a task")
    parser.add_argument("--seconds", type=float, default=3.0, help="latest moment of a kill after the first program")
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), options.child[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(not drill(Path(folder), options.kills, options.programs, options.seconds))


if __name__ == "__main__":
    main()
