"""Tables as tests need them: shards of The Stack, sound and broken, corpora, and any table of a schema."""

import ast
import base64
import json
import random
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id, unit_interval
from d3.core.tables import Row, TableWriter, read_rows
from d3.stages import inputs
from d3.stages.corpus.stage import run

# --- any table ------------------------------------------------------------------------------------


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a table as a stage does; columns that a row lacks are null."""
    blank = dict.fromkeys(schema.names)
    writer = TableWriter(path, schema)
    for row in rows:
        writer.write(blank | dict(row))
    writer.finish()
    writer.publish()
    return path


def columns_of(schema: pa.Schema, **columns: Sequence[Any]) -> pa.Table:
    """Return a table of these columns; the others of the schema are null."""
    rows = len(next(iter(columns.values())))
    arrays = [pa.array(columns.get(field.name, [None] * rows), type=field.type) for field in schema]
    return pa.table(arrays, schema=schema)


# --- shards of The Stack --------------------------------------------------------------------------

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


def stack_row(content: str | None, /, *, path: str = "folder/file.py", **columns: Any) -> Row:
    """Return a row of The Stack; half a character in the content is put there after the numbers are computed."""
    safe = (content or "").encode("utf-8", "replace").decode()
    row = inputs.stack_row(path, safe, repository="owner/name", revision="0" * 40, licences=["MIT"])
    return {**row, "content": content, **columns}


def stack_rows(contents: Iterable[str], name: str) -> list[Row]:
    """Return rows of files NAME/0.py, NAME/1.py, ... of as many repositories NAME-owner/0, NAME-owner/1, ..."""
    return [
        inputs.stack_row(f"{name}/{n}.py", text, repository=f"{name}-owner/{n}", revision="0" * 40, licences=["MIT"])
        for n, text in enumerate(contents)
    ]


def _bytes(value: Any) -> Any:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def write_shard(path: Path, rows: Sequence[Row], **options: Any) -> Path:
    """Write a shard; strings may be bytes that are not UTF-8, as a broken writer would leave them."""
    arrays = []
    for field in schemas.STACK:
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
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays, schema=schemas.STACK), path, **options)
    return path


def write_lines(path: Path, rows: Sequence[Row | bytes]) -> Path:
    """Write a shard as JSON lines; bytes stand as they are."""
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in rows))
    return path


# --- two small shards of real functions ------------------------------------------------------------

MANY, FEW = 100, 4
SEED, HELD_OUT = 0, 0.25


def programs() -> Iterator[str]:
    """Yield short, different programs, none of them held out: functions of the standard library."""
    seen = set()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            code = ast.get_source_segment(text, node) if isinstance(node, ast.FunctionDef) else None
            if code and 5 <= code.count("\n") <= 9 and code.isascii() and code not in seen and not held_out(code):
                seen.add(code)
                yield code


def held_out(code: str) -> bool:
    return unit_interval(SEED, "held-out", content_id(code)) < HELD_OUT


def large_program() -> str:
    """Return a program of more than a megabyte that compression does not shrink, among those held out."""
    for number in range(1000):
        draw = random.Random(number)
        lines = [base64.b85encode(draw.randbytes(700)).decode().replace(";", ":") for _ in range(1600)]
        code = "\n".join(f"A{index} = {line!r}" for index, line in enumerate(lines))
        if held_out(code):
            return code
    raise AssertionError("no draw is held out")


def write_small_shards(folder: Path) -> None:
    """Write many.parquet (100 programs), few.parquet (4 and a large one), and beside the folder later.parquet."""
    source = programs()
    many, few, later = ([next(source) for _ in range(count)] for count in (MANY, FEW, FEW))
    write_shard(folder / "many.parquet", stack_rows(many, "many"))
    write_shard(folder / "few.parquet", [*stack_rows(few, "few"), *stack_rows([large_program()], "large")])
    write_shard(folder.parent / "later.parquet", stack_rows([*later, few[0]], "zlater"))


# --- the corpus -----------------------------------------------------------------------------------

OPEN = {
    "corpus": {
        **{"min_lines": 1, "max_lines": 10_000, "max_bytes": 10_000_000, "sample": None, "held_out": 0.0},
        **{"licenses": None, "max_encoded": 1.0, "max_repeated": 1.0, "max_comments": 1.0, "max_data": 1.0},
    },
}
"""A configuration that keeps every file that can be kept."""


def open_config(**corpus: Any) -> Config:
    """Return a configuration that keeps every file but for these settings."""
    return parse_config({"corpus": {**OPEN["corpus"], **corpus}, "source": {"allow_empty": True}})


def corpus_row(text: str, row: int = 0, **columns: Any) -> Row:
    """Return a row of a corpus for mid-training."""
    names = {"id": content_id(text), "original": content_id(text), "text": text, "split": "midtrain", "shard": "s"}
    return {**names, "row": row, "source": "t", "metadata": None, **columns}


def write_corpus(path: Path, texts: Iterable[str]) -> Path:
    """Write a corpus of these texts, in this order."""
    return write_rows(path, schemas.CORPUS, (corpus_row(text, row) for row, text in enumerate(texts)))


def run_corpus(shard: Path, settings: Config | None = None, more: Sequence[Path] = ()) -> tuple[list[Row], list[Row]]:
    """Run the corpus stage over a batch; return the kept and the rejected rows, both read back from disk."""
    kept, rejected = shard.parent / "out" / "kept.parquet", shard.parent / "out" / "rejected.parquet"
    run(settings or open_config(), [shard, *more], kept, rejected)
    return list(read_rows(kept, schemas.CORPUS)), list(read_rows(rejected, schemas.REJECTED))
