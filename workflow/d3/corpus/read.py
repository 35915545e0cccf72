"""Reading raw shards: any row may be broken, and a broken row is an answer, not an exception.

A file that is broken as a whole (truncated, a missing column) raises InputError; a row that cannot
be read comes as `Broken` with a reason.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from d3.errors import InputError
from d3.records import STACK
from d3.tables import Row, format_of, open_lines, open_parquet

REMEDY = "give a shard in the schema of The Stack (29 columns, see README)"


class Broken(NamedTuple):
    """A row that cannot be read."""

    reason: str
    detail: str
    hexsha: str | None = None


def read_shard(path: Path) -> Iterator[Row | Broken]:
    """Yield every row of a Parquet or JSON-lines shard, in file order; raises InputError."""
    if format_of(path) == ".parquet":
        yield from _read_parquet(path)
    else:
        yield from _read_lines(path)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """Give the type in which strings stay bytes, since Arrow would stop at the first invalid one."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    return kind


BYTES_SCHEMA = pa.schema([(field.name, _as_bytes(field.type)) for field in STACK])


def _read_parquet(path: Path) -> Iterator[Row | Broken]:
    with open_parquet(path) as file:
        missing = [name for name in STACK.names if name not in file.schema_arrow.names]
        if missing:
            raise InputError(f"has no column {', '.join(missing)}", where=str(path), remedy=REMEDY)
        try:
            for batch in file.iter_batches(batch_size=128, columns=STACK.names):
                yield from map(_decode_row, _cast(batch, path).to_pylist())
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"damaged ({error})", where=str(path), remedy="fetch or make it again") from None


def _cast(batch: pa.RecordBatch, path: Path) -> pa.RecordBatch:
    columns = []
    for name in STACK.names:
        column, wanted = batch.column(name), BYTES_SCHEMA.field(name).type
        try:
            columns.append(column.cast(wanted))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            reason = f"column {name} is {column.type}, not {STACK.field(name).type}"
            raise InputError(reason, where=str(path), remedy=REMEDY) from None
    return pa.record_batch(columns, schema=BYTES_SCHEMA)


def _decode(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value


def _decode_row(row: Row) -> Row | Broken:
    decoded: Row = {}
    for name, value in row.items():
        try:
            decoded[name] = _decode(value)
        except UnicodeDecodeError as error:
            surrogate = 0xED in error.object[error.start : error.start + 1]
            reason = "lone_surrogate" if surrogate else "invalid_utf8"
            return Broken(reason, f"column {name}, byte {error.start}", decoded.get("hexsha"))
    return decoded


def _read_lines(path: Path) -> Iterator[Row | Broken]:
    try:
        with open_lines(path) as lines:
            yield from map(_parse_line, lines)
    except (EOFError, OSError) as error:
        raise InputError(f"damaged ({error})", where=str(path), remedy="fetch or make it again") from None


def _parse_line(line: bytes) -> Row | Broken:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Broken("invalid_utf8", f"byte {error.start} of the line")
    except (ValueError, RecursionError) as error:
        return Broken("malformed_json", str(error)[:200])
    if not isinstance(row, dict):
        return Broken("malformed_json", "the line is no object")
    hexsha = row.get("hexsha")
    hexsha = hexsha if isinstance(hexsha, str) and hexsha.isascii() else None
    missing = [name for name in STACK.names if name not in row]
    if missing:
        return Broken("missing_column", ", ".join(missing), hexsha)
    row = {name: row[name] for name in STACK.names}
    try:
        pa.RecordBatch.from_pylist([row], schema=STACK)
    except UnicodeEncodeError:
        return Broken("lone_surrogate", "a string holds half a character", hexsha)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        return Broken("wrong_type", str(error)[:200], hexsha)
    return row
