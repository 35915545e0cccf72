"""How long the index and a trace take on a made-up run: `make bench-lineage` (one million dataset rows).

    .venv/bin/python benchmarks/lineage.py --rows 1000000 --shards 100

The tables have the real columns and made-up content; statements are those that jobs would leave.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3.core import schemas
from d3.core.ids import canonical_json
from d3.provenance.statement import BUILD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, settings_digest, statement_path

LABELS = 5
"""Dataset rows of one source file: the whole program and four sub-trajectories."""
KEY = "0123456789ab"
FACTS: dict[str, Any] = {"config": {"seed": 0}}


def make_run(root: Path, rows: int, shards: int) -> dict[str, str]:
    """Write a run of about `rows` dataset rows; give some targets to trace."""
    tokens: list[str] = []
    target = {}
    for number in range(shards):
        name = f"shard-{number:05d}"
        tables = dict(_tables(name, max(1, rows // shards // LABELS)))
        paths = {stage: f"results/{folder}/{name}.parquet" for stage, folder in FOLDERS.items()}
        for stage, table in tables.items():
            _write(root / paths[stage], table)
        for stage, before in READS.items():
            outputs = [stage, "row_ids"] if stage == "dataset" else [stage]
            _state(root, stage, [paths[item] for item in outputs], [paths[item] for item in before])
        token = f"results/tokens/{KEY}/{name}.npy"
        _small(root / token)
        _state(root, "tokens", [token], [paths["dataset"]])
        tokens.append(token)
        target["row"] = f"{paths['dataset']}#{len(tables['dataset']) // 2}"
        target["file"] = tables["corpus"]["id"][0].as_py()
    model = f"results/midtrain/{KEY}/model"
    _small(root / model / "model.safetensors")
    _state(root, "midtrain", [model], tokens)
    return target | {"model": model}


FOLDERS = {
    "source": f"source/{KEY}",
    "corpus": f"corpus/{KEY}",
    "grades": f"grades/{KEY}",
    "diffs": f"diffs/{KEY}",
    "labels": f"labels/{KEY}",
    "dataset": f"dataset/{KEY}/data",
    "row_ids": f"dataset/{KEY}/rows",
}
READS: dict[str, list[str]] = {
    "source": [],
    "corpus": ["source"],
    "grades": ["corpus"],
    "diffs": ["corpus", "grades"],
    "labels": ["corpus", "diffs"],
    "dataset": ["corpus", "diffs", "labels"],
}


def _tables(name: str, files: int) -> Iterator[tuple[str, pa.Table]]:
    ids = [hashlib.sha256(f"{name}/{row}".encode()).hexdigest() for row in range(files)]
    metadata = [
        {
            **dict.fromkeys(schemas.METADATA.names),
            "hexsha": identifier[:40],
            "max_stars_repo_name": f"user-{row % 997}/repository-{row % 7919}",
            "max_stars_repo_path": f"package/module_{row}.py",
            "max_stars_repo_licenses": [("MIT", "Apache-2.0", "BSD-3-Clause")[row % 3]],
        }
        for row, identifier in enumerate(ids)
    ]
    fields = list(schemas.METADATA)
    stacks = [dict.fromkeys(schemas.STACK.names) | row | {"content": "pass"} for row in metadata]
    yield "source", pa.Table.from_pylist(stacks, schema=schemas.STACK)
    yield "corpus", _table(
        schemas.CORPUS, files, id=ids, text=["pass"] * files, split=["midtrain"] * files, shard=[name] * files,
        row=list(range(files)), metadata=pa.array(metadata, type=pa.struct(fields)),
    )  # fmt: skip
    yield "grades", _table(schemas.GRADES, files, id=ids, score=[3] * files, status=["ok"] * files)
    yield (
        "diffs",
        _table(
            schemas.DIFFS,
            files,
            id=ids,
            sample=[0] * files,
            status=["ok"] * files,
            diffs=[["@@ -0,0 +1 @@\n+pass"]] * files,
        ),
    )
    count = files * LABELS
    many = [identifier for identifier in ids for _ in range(LABELS)]
    places = {"id": many, "sample": [0] * count, "part": list(range(LABELS)) * files, "start": [0] * count}
    labels = {**places, "end": [1] * count, "label": ["Write a program."] * count, "status": ["ok"] * count}
    yield "labels", _table(schemas.LABELS, count, **labels)
    numbers = [int(identifier[:16], 16) >> 1 for identifier in many]
    yield "dataset", _table(schemas.DATASET, count, prompt=["p"] * count, source_program_id=numbers)
    yield "row_ids", _table(schemas.ROW_IDS, count, **places, end=[1] * count, row=list(range(count)))


def _table(schema: pa.Schema, rows: int, **columns: Any) -> pa.Table:
    """Make a table; columns that are not given are null."""
    arrays = [
        columns[field.name]
        if isinstance(columns.get(field.name), pa.Array)
        else pa.array(columns.get(field.name, [None] * rows), type=field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", row_group_size=1000)


def _small(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())


def _state(root: Path, stage: str, outputs: list[str], inputs: list[str]) -> None:
    """Write the statement of a made-up job."""

    def item(name: str) -> dict[str, Any]:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return {"name": name, "digest": {"sha256": digest}, "annotations": {"bytes": 1000, "rows": 1000}}

    now = "2026-01-01T00:00:00.000Z"
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [item(name) for name in outputs],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"stage": stage, "config": settings_digest(FACTS["config"]), "prompts": {}},
                "internalParameters": {"code": "c" * 32, "shared": FACTS, "seed": 0},
                "resolvedDependencies": [item(name) for name in inputs],
            },
            "runDetails": {"metadata": {"startedOn": now, "finishedOn": now}, "byproducts": []},
        },
    }
    statement_path(root / outputs[0]).write_text(canonical_json(body) + "\n", encoding="utf-8")


def measure(root: Path, *arguments: str) -> tuple[float, float, float]:
    """Run a command of the package; give its seconds, CPU-seconds and peak memory in MB."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "d3", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu, after.ru_maxrss / 1000


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
