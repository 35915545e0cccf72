"""Reading raw shards: any row may be broken, and a broken row is an answer, not an exception.

A file that is broken as a whole (truncated, a missing column) raises InputError; a row that cannot
be read comes as `Broken` with a reason.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from d3.core.ids import canonical_json
from d3.core.opt_out import REPOSITORY_COLUMNS, repositories_of
from d3.core.schemas import STACK
from d3.core.tables import Row, cast_batch, check_types, damage_named, format_of, open_lines, open_parquet

SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""Half a character outside the basic plane, as some encoders write it; no valid UTF-8."""

REMEDY = "give a shard in the schema of The Stack (29 columns, see README)"


class Broken(NamedTuple):
    """A row that cannot be read."""

    reason: str
    detail: str
    hexsha: str | None = None
    repositories: tuple[str, ...] = ()
    """Repositories that it names, as far as they can be read."""


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
    with open_parquet(path, STACK.names, REMEDY) as file, damage_named(path):
        for batch in file.iter_batches(batch_size=128, columns=STACK.names):
            yield from map(_decode_row, cast_batch(batch, BYTES_SCHEMA, path, REMEDY).to_pylist())


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
            surrogate = SURROGATE.match(error.object, error.start)
            reason = "lone_surrogate" if surrogate else "invalid_utf8"
            return Broken(reason, f"column {name}, byte {error.start}", **_known(row))
    return decoded


def _known(row: Row) -> dict[str, Any]:
    """Give what is known of a broken row: its hexsha and its repositories."""
    sound: Row = {}
    for name in ("hexsha", *REPOSITORY_COLUMNS):
        value = row.get(name)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        sound[name] = value if isinstance(value, str) and (name != "hexsha" or value.isascii()) else None
    try:
        canonical_json(sound).encode()
    except UnicodeEncodeError:
        return {}
    return {"hexsha": sound["hexsha"], "repositories": tuple(repositories_of(sound))}


def _read_lines(path: Path) -> Iterator[Row | Broken]:
    with open_lines(path) as lines:
        yield from map(_parse_line, lines)


def _parse_line(line: bytes) -> Row | Broken:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Broken("invalid_utf8", f"byte {error.start} of the line")
    except (ValueError, RecursionError) as error:
        return Broken("malformed_json", str(error)[:200])
    if not isinstance(row, dict):
        return Broken("malformed_json", "the line is no object")
    known = _known(row)
    missing = [name for name in STACK.names if name not in row]
    if missing:
        return Broken("missing_column", ", ".join(missing), **known)
    row = {name: row[name] for name in STACK.names}
    try:
        check_types(row, STACK)
    except UnicodeEncodeError:
        return Broken("lone_surrogate", "a string holds half a character", **known)
    except TypeError as error:
        return Broken("wrong_type", str(error)[:200], **known)
    return row
