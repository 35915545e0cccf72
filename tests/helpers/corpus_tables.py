"""Small shards in the schema of The Stack for tests, sound and broken."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3 import records
from d3.config import Config
from d3.config_read import parse_config
from d3.corpus.stage import run
from d3.embedded import stack_row
from d3.tables import Row, read_rows

OPEN = {
    "corpus": {"min_lines": 1, "max_lines": 10_000, "max_bytes": 10_000_000, "sample": None, "held_out": 0.0},
}
"""A configuration that keeps every file that can be kept."""
STACK_COLUMNS = [
    *["hexsha", "size", "ext", "lang"],
    *[
        f"max_{event}_{column.format(event)}"
        for event in ("stars", "issues", "forks")
        for column in (
            "repo_path",
            "repo_name",
            "repo_head_hexsha",
            "repo_licenses",
            "count",
            "repo_{}_event_min_datetime",
            "repo_{}_event_max_datetime",
        )
    ],
    *["content", "avg_line_length", "max_line_length", "alphanum_fraction"],
]
"""The columns of The Stack as published."""


def config(**corpus: Any) -> Config:
    return parse_config({"corpus": {**OPEN["corpus"], **corpus}})


def row(content: str | None, /, **columns: Any) -> Row:
    """A row of The Stack; half a character in the content is put there after the numbers are computed."""
    safe = (content or "").encode("utf-8", "replace").decode()
    base = stack_row("folder/file.py", safe, repository="owner/name", revision="0" * 40, licences=["MIT"])
    return {**base, "content": content, **columns}


def _bytes(value: Any) -> Any:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def write_parquet(path: Path, rows: list[Row], **options: Any) -> Path:
    """Write rows whose strings may be bytes that are no UTF-8, as a broken writer would."""
    arrays = []
    for field in records.STACK:
        values = [line[field.name] for line in rows]
        if field.type == pa.string():
            raw = pa.array([_bytes(value) for value in values], pa.binary())
            arrays.append(pa.Array.from_buffers(pa.string(), len(raw), raw.buffers()))
        elif pa.types.is_list(field.type):
            flat = pa.array([_bytes(item) for value in values for item in value or []], pa.binary())
            offsets = [0]
            for value in values:
                offsets.append(offsets[-1] + len(value or []))
            strings = pa.Array.from_buffers(pa.string(), len(flat), flat.buffers())
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), strings))
        else:
            arrays.append(pa.array(values, field.type))
    pq.write_table(pa.table(arrays, schema=records.STACK), path, **options)
    return path


def write_lines(path: Path, rows: list[Row | bytes]) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in rows))
    return path


def run_corpus(shard: Path, settings: Config | None = None, more: Sequence[Path] = ()) -> tuple[list[Row], list[Row]]:
    """Run the stage over a batch; gives the kept and the rejected rows, both read back from disk."""
    kept, rejected = shard.parent / "out" / "kept.parquet", shard.parent / "out" / "rejected.parquet"
    run(settings or config(), [shard, *more], kept, rejected)
    return list(read_rows(kept, records.CORPUS)), list(read_rows(rejected, records.REJECTED))
