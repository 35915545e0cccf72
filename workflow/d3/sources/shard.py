"""Reading a source: any row may be broken, and a broken row is an answer, not an exception.

A file that is broken as a whole (truncated, without a text) raises InputError; a row that cannot be read comes
as `Broken` with a reason. Where a row of the data set is a repository, each of its files is a row here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import pyarrow as pa

from d3.core.tables import FORMATS, Row, damage_named, format_of, open_lines, open_parquet, table_name
from d3.errors import D3Error, InputError
from d3.sources.folder import NoTextError, folder_rows
from d3.sources.layout import layout_of, stack_rows
from d3.sources.layouts import stack_v2
from d3.sources.spec import Layout
from d3.sources.values import Broken, known_of, stack_row

BOM = b"\xef\xbb\xbf"
NO_TEXT = "name the column of the text in the configuration, as in `source: {columns: {content: NAME}}`"
NO_FILES = Broken("no_files", "the list of files is empty")
LINES_LOOKED_AT = 100
BATCH = 128
Columns = Mapping[str, str]


def shard_name(path: Path) -> str:
    """Return the name of a source: its file name without the format, or that of the folder; raise InputError."""
    if not path.is_dir():
        return table_name(path)
    if path.name.endswith(FORMATS):
        raise InputError("must be a file (got a folder)", where=str(path), remedy=f"name the files in it: {path}/*")
    return path.resolve().name


def read_shard(path: Path, columns: Columns) -> Iterator[Row | Broken]:
    """Yield every source file of a shard or folder as a row of The Stack, in order; raise InputError.

    `columns` is `source.columns` of the configuration.
    """
    if path.is_dir():
        shard_name(path)
        yield from map(stack_row, folder_rows(path))
    elif format_of(path) == ".parquet":
        yield from _read_parquet(path, columns)
    else:
        yield from _read_lines(path, columns)


def count_files(path: Path, columns: Columns) -> int:
    """Count the rows that `read_shard` yields; those of most Parquet files are in the footer."""
    if not path.is_dir() and format_of(path) == ".parquet":
        with open_parquet(path) as file:
            found = layout_of(file.schema_arrow.names, columns)
            if found is None or not found.files:
                return int(file.metadata.num_rows)
    return sum(1 for _ in read_shard(path, columns))


def check_columns(path: Path, columns: Columns) -> bool:
    """Return whether a source has rows; raise NoTextError for one whose rows have no text.

    What cannot be read counts as rows: that is left to the job that reads it.
    """
    try:
        if path.is_dir():
            return next(folder_rows(path), None) is not None
        if format_of(path) == ".parquet":
            with open_parquet(path) as file:
                if file.metadata.num_rows:
                    _parquet_layout(path, file.schema_arrow, columns)
                return bool(file.metadata.num_rows)
        with open_lines(path) as lines:
            first = list(islice(lines, LINES_LOOKED_AT))
        rows = [row for line in first if isinstance(row := _parsed(line), dict)]
        if rows and not any(_line_layout(row, columns) for row in rows):
            raise _no_text(path, _names_of(rows[0]))
        return len(first) == LINES_LOOKED_AT or any(line.strip() for line in first)
    except NoTextError:
        raise
    except D3Error:
        return True


def _no_text(path: Path, names: Iterable[str]) -> NoTextError:
    names = list(names)
    if stack_v2.has_ids_alone(names):
        return NoTextError("contains ids of Software Heritage and no texts", where=str(path), remedy=stack_v2.REMEDY)
    shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
    return NoTextError(f"has no column `content` or `text` (got {shown})", where=str(path), remedy=NO_TEXT)


# --- Parquet --------------------------------------------------------------------------------------


def _read_parquet(path: Path, columns: Columns) -> Iterator[Row | Broken]:
    with open_parquet(path) as file, damage_named(path):
        if not file.metadata.num_rows:
            return
        layout = _parquet_layout(path, file.schema_arrow, columns)
        names = [name for name in file.schema_arrow.names if name in layout.roots]
        for batch in file.iter_batches(batch_size=1 if layout.files else BATCH, columns=names):
            for raw in _with_bytes(batch).to_pylist():
                yield from _rows(raw, layout)


def _parquet_layout(path: Path, schema: pa.Schema, columns: Columns) -> Layout:
    names = schema.names
    layout = layout_of(names, columns)
    if layout is None:
        raise _no_text(path, names)
    twice = sorted(name for name in layout.roots if names.count(name) > 1)
    if twice:
        reason = f"has more than one column {', '.join(twice)}"
        raise InputError(reason, where=str(path), remedy="remove all but one of them")
    if layout.files:
        kind = schema.field(layout.files).type
        nested = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        inner = [field.name for field in kind.value_type] if nested and pa.types.is_struct(kind.value_type) else []
        if "content" not in inner:
            raise _no_text(path, inner)
    return layout


def _with_bytes(batch: pa.RecordBatch) -> pa.Table:
    """Return a batch whose strings are bytes, since Arrow would stop at the first invalid one."""
    return pa.table(
        {name: batch.column(name).cast(_as_bytes(batch.column(name).type), safe=False) for name in batch.schema.names}
    )


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _as_bytes(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_as_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _as_bytes(field.type)) for field in kind])
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    return kind


# --- JSON lines -----------------------------------------------------------------------------------


def _read_lines(path: Path, columns: Columns) -> Iterator[Row | Broken]:
    with open_lines(path) as lines:
        for line in lines:
            raw = _parsed(line)
            if isinstance(raw, Broken):
                yield raw
            elif raw is not None:
                layout = _line_layout(raw, columns)
                if layout is None:
                    yield Broken("missing_column", "content", **known_of(raw))
                else:
                    yield from _rows(raw, layout)


def _parsed(line: bytes) -> Row | Broken | None:
    """Return a line of JSON, or why it is none; None for a blank one."""
    if not line.strip():
        return None
    try:
        row = json.loads(line.removeprefix(BOM).decode("utf-8"))
    except UnicodeDecodeError as error:
        return Broken("invalid_utf8", f"byte {error.start} of the line")
    except (ValueError, RecursionError) as error:
        return Broken("malformed_json", str(error)[:200])
    return row if isinstance(row, dict) else Broken("malformed_json", "the line is no object")


def _line_layout(row: Row, columns: Columns) -> Layout | None:
    layout = layout_of(row, columns)
    return None if layout is not None and layout.files and stack_v2.has_ids_alone(_names_of(row)) else layout


def _names_of(row: Row) -> list[str]:
    """Return the keys of a row, or those of the first file of a repository."""
    files = row.get("files")
    first = files[0] if isinstance(files, list) and files else None
    return list(first if isinstance(first, dict) else row)


def _rows(raw: Row, layout: Layout) -> Iterator[Row | Broken]:
    if layout.files and not raw.get(layout.files):
        yield NO_FILES
        return
    yield from map(stack_row, stack_rows(raw, layout))
