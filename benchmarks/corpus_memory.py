"""Memory of `d3 corpus` on a batch of synthetic rows: `make bench-corpus-memory`.

    make bench-corpus-memory ARGS="--rows 10000 1000000 --sample 600000"

Every row names a repository, a path and hashes of its own; one in fifty is the copy of an earlier one. A process of its
own runs the stage for each number of rows, so that what is printed is the peak of the whole process.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3.core.schemas import STACK

AT_ONCE = 10_000


def write_shard(path: Path, rows: int) -> Path:
    """Write a shard of short programs."""
    with pq.ParquetWriter(path, STACK) as writer:
        for first in range(0, rows, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, rows))
            hashes = [hashlib.sha1(str(number).encode()).hexdigest() for number in numbers]
            columns: dict[str, list[Any]] = {
                "hexsha": hashes,
                "lang": ["Python"] * len(hashes),
                "content": [f"number = {number - number % 50 % 2 * (number % 50 == 49)}\n" for number in numbers],
            }
            for event in ("stars", "issues", "forks"):
                columns[f"max_{event}_repo_name"] = [f"owner-{number % 7919}/project-{number}" for number in numbers]
                columns[f"max_{event}_repo_path"] = [f"source/package/module_{number}.py" for number in numbers]
                columns[f"max_{event}_repo_head_hexsha"] = hashes
                columns[f"max_{event}_repo_licenses"] = [["MIT"]] * len(hashes)
            arrays = [pa.array(columns.get(field.name, [None] * len(hashes)), type=field.type) for field in STACK]
            writer.write_table(pa.table(arrays, schema=STACK))
    return path


def peak(rows: int, sample: int | None) -> tuple[int, float, int]:
    """Return the peak memory in bytes, CPU-seconds and rows kept of the stage."""
    with tempfile.TemporaryDirectory() as scratch:
        shard = write_shard(Path(scratch) / "shard.parquet", rows)
        more = ["--sample", str(sample)] if sample else []
        command = [sys.executable, "-P", __file__, "--child", str(shard), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, seconds, kept = json.loads(done.stdout.splitlines()[-1])
    return size, seconds, kept


def measure(shard: Path, sample: int | None) -> None:
    """Run the stage and print what it took."""
    import resource

    from d3.config.models import Config
    from d3.core.tables import count_rows
    from d3.stages.corpus.stage import run

    config = Config.model_validate({"corpus": {"min_lines": 1, "held_out": 0, "sample": sample}})
    kept = shard.with_name("kept.parquet")
    run(config, [shard], kept, shard.with_name("rejected.parquet"))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([used.ru_maxrss * 1024, used.ru_utime + used.ru_stime, count_rows(kept)]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--sample", type=int)
    parser.add_argument("--child", type=Path)
    arguments = parser.parse_args()
    if arguments.child:
        measure(arguments.child, arguments.sample)
        return
    print("      rows        kept     peak MB   bytes a row   CPU-seconds")
    first: tuple[int, int] | None = None
    for rows in arguments.rows:
        size, seconds, kept = peak(rows, arguments.sample)
        first = first or (rows, size)
        more = (size - first[1]) / (rows - first[0]) if rows > first[0] else 0.0
        print(f"{rows:10,} {kept:11,} {size / 1e6:11.0f} {more:13.0f} {seconds:13.1f}", flush=True)


if __name__ == "__main__":
    main()
