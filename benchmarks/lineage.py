"""How long the index and a trace take on a made-up run: `make bench-lineage` (one million dataset rows).

    .venv/bin/python benchmarks/lineage.py --rows 1000000 --shards 100

The tables have the real columns and made-up content; statements are those that jobs would leave.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from helpers.fake_run import make_run


USAGE = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, "-m", "d3", *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)
sys.exit(code)
"""
"""Starts the command from a small process: the kernel charges a new process with the memory of the one that forks."""


def measure(root: Path, *arguments: str) -> tuple[float, float, float]:
    """Run a command of the package; return its seconds, CPU-seconds and peak memory in MB."""
    began = time.monotonic()
    line = [sys.executable, "-c", USAGE, *arguments]
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    cpu, memory = map(float, done.stdout.split())
    return time.monotonic() - began, cpu, memory


def run(rows: int, shards: int) -> dict[str, tuple[float, float, float]]:
    """Make a run, index it and trace in it; give what each took."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        target = make_run(root, rows, shards)
        found = {"index from nothing": measure(root, "lineage"), "index again": measure(root, "lineage")}
        for what, name in target.items():
            found[f"trace of a {what}"] = measure(root, "trace", name)
        found["size of the index, MB"] = ((root / "results/lineage/index.duckdb").stat().st_size / 1e6, 0.0, 0.0)
        return found


def main() -> None:
    """Print what the index and traces take."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=100)
    arguments = parser.parse_args()
    found = run(arguments.rows, arguments.shards)
    print(f"{arguments.rows:,} dataset rows in {arguments.shards} shards, {7 * arguments.shards + 1:,} jobs")
    for what, (seconds, cpu, memory) in found.items():
        print(f"{what:24} {seconds:8.2f}" + (f" s  {cpu:6.2f} CPU-s  {memory:6.0f} MB" if cpu else ""))
    print(json.dumps(found), file=sys.stderr)


if __name__ == "__main__":
    main()
