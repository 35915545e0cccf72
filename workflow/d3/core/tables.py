"""Tables on disk: Parquet and JSON lines, read row by row, written whole or not at all."""

import glob
import gzip
import hashlib
import io
import json
import os
import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from d3.core.leftovers import is_leftover
from d3.errors import REMEDIES, InputError, file_named, name_file, number_of

Row = dict[str, Any]

ROW_GROUP_ROWS = 1000
ROW_GROUP_BYTES = 64 * 2**20
READ_BYTES = 2**20
"""Read of a column at a time: without it and `pre_buffer=False` a row group, often of 400 MB, is in memory whole."""
LINES = (".jsonl", ".json")
FORMATS = (".parquet", *(f"{lines}{packed}" for lines in LINES for packed in ("", ".gz", ".zst")))


def format_of(path: Path) -> str:
    """Return the table format that a file name ends in; raises InputError for any other name."""
    if suffix := next(filter(path.name.endswith, FORMATS), None):
        return suffix
    raise InputError("not a table", where=str(path), remedy=f"name it with one of {', '.join(FORMATS)}")


def table_name(path: Path) -> str:
    """Return a table's name: its file name without the format."""
    return path.name.removesuffix(format_of(path))


# --- reading ------------------------------------------------------------------------------------


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn what reading a missing, truncated or damaged file raises into an InputError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the path") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and number_of(error) in REMEDIES:  # nothing is wrong with the file itself
            name_file(error, path)
            raise
        reason = f"cannot be read, truncated or damaged ({error})"
        raise InputError(reason, where=str(path), remedy="fetch or make it again") from None


STAGE_BEFORE = "give a file of the stage before"


def open_parquet(path: Path, columns: Sequence[str] = (), remedy: str = STAGE_BEFORE) -> pq.ParquetFile:
    """Open a Parquet file that has each of `columns` once; raise InputError for any other, damaged or missing."""
    with damage_named(path):
        file = pq.ParquetFile(path, page_checksum_verification=True, buffer_size=READ_BYTES, pre_buffer=False)
        names = file.schema_arrow.names
    for what, faulty in (
        ("no column", [name for name in columns if name not in names]),
        ("more than one column", [name for name in columns if names.count(name) > 1]),
    ):
        if faulty:
            file.close()
            raise InputError(f"has {what} {', '.join(faulty)}", where=str(path), remedy=remedy)
    return file


@contextmanager
def open_lines(path: Path) -> Iterator[IO[bytes]]:
    """Open a JSON-lines file for reading bytes, compressed or not, by its name; raise InputError for a damaged one.

    Of the readers of zstd Arrow's alone notices a stream that stops early and reads on after a first frame.
    """
    with damage_named(path):
        if path.suffix == ".gz":
            with gzip.open(path) as unpacked:
                yield cast(IO[bytes], unpacked)
        elif path.suffix == ".zst":
            with io.BufferedReader(pa.input_stream(path, compression="zstd")) as unpacked:
                yield cast(IO[bytes], unpacked)
        else:
            with path.open("rb") as plain:
                yield plain


def read_rows(path: Path, schema: pa.Schema) -> Iterator[Row]:
    """Yield the rows of a table as dicts with exactly the columns of `schema`, in file order.

    Raises InputError that names a missing or wrongly typed column, or the faulty line of JSON.
    """
    if format_of(path) == ".parquet":
        yield from _read_parquet(path, schema)
    else:
        yield from _read_lines(path, schema)


def _read_parquet(path: Path, schema: pa.Schema) -> Iterator[Row]:
    with open_parquet(path, schema.names) as file, damage_named(path):
        for batch in file.iter_batches(batch_size=256, columns=schema.names):
            yield from cast_batch(batch, schema, path).to_pylist()


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema, path: Path, remedy: str = STAGE_BEFORE) -> pa.RecordBatch:
    """Return a batch the types of `schema`; raises InputError for a column that cannot have its type."""
    columns = []
    for field in schema:
        column = batch.column(field.name)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowException:
            wanted = str(field.type).replace("binary", "string")  # text that is not decoded yet
            reason = f"column {field.name} is {column.type}, not {wanted}"
            raise InputError(reason, where=str(path), remedy=remedy) from None
    return pa.record_batch(columns, schema=schema)


def _read_lines(path: Path, schema: pa.Schema) -> Iterator[Row]:
    with open_lines(path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                row = {name: row[name] for name in schema.names}
                check_types(row, schema)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                what = f"has no {error}" if isinstance(error, KeyError) else f"is no row of this table ({error})"
                raise InputError(f"line {number} {what}", where=str(path), remedy="mend or drop the line") from None
            yield row


def check_types(row: Row, schema: pa.Schema) -> None:
    """Raise TypeError for a value that is not of its column's type, UnicodeEncodeError for half characters.

    Arrow itself would take `1.5` as the integer 1 and the string "MIT" as a list of three letters.
    """
    for field in schema:
        if not _fits(row[field.name], field.type):
            raise TypeError(f"column {field.name} is {row[field.name]!r:.80}, not {field.type}")
    json.dumps(row, ensure_ascii=False).encode()


def _fits(value: Any, kind: pa.DataType) -> bool:
    if value is None:
        return True
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(_fits(item, kind.value_type) for item in value)
    if pa.types.is_struct(kind):
        return isinstance(value, dict) and all(_fits(value.get(field.name), field.type) for field in kind)
    if pa.types.is_integer(kind):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole and not isinstance(value, bool) and abs(value) < 2 ** (kind.bit_width - 1)
    if pa.types.is_floating(kind):
        return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool))
    return isinstance(value, bool if pa.types.is_boolean(kind) else str)


def in_order(rows: Iterable[Row], names: Sequence[str], path: Path) -> Iterator[Row]:
    """Yield the rows of the table `path`; raise InputError at the first that is not in the order of some columns."""
    last: tuple[Any, ...] | None = None
    for row in rows:
        key = tuple(row[name] for name in names)
        if last is not None and key < last:
            reason = f"rows must be in the order of ({', '.join(names)}) (got {last} before {key})"
            raise InputError(reason, where=str(path), remedy=STAGE_BEFORE)
        yield row
        last = key


def count_rows(path: Path) -> int:
    """Count the rows of a table without parsing them."""
    if format_of(path) == ".parquet":
        with open_parquet(path) as file:
            return int(file.metadata.num_rows)
    with open_lines(path) as lines:
        return sum(1 for _ in lines)


def read_notes(path: Path) -> dict[str, Any]:
    """Return what the job that wrote a Parquet table noted in its footer (see `TableWriter.note`)."""
    with open_parquet(path) as file:
        metadata = file.metadata.metadata or {}
    notes: dict[str, Any] = json.loads(metadata.get(b"d3", b"{}"))
    return notes


# --- writing ------------------------------------------------------------------------------------


class HashingFile(io.RawIOBase):
    """A file that is hashed while it is written, so that no second pass is needed."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")
        self._sha256 = hashlib.sha256()
        self._abandoned = False
        self.size = 0

    def writable(self) -> bool:
        """Say that this file can be written."""
        return True

    def write(self, data: Any) -> int:
        """Write and hash some bytes."""
        view = memoryview(data).cast("B")
        if self._abandoned:
            return len(view)
        self._file.write(view)
        self._sha256.update(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self.size

    def close(self) -> None:
        """Bring the bytes to the disk and close."""
        if not self.closed and not self._abandoned:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        super().close()

    def abandon(self) -> None:
        """Let the bytes go: an encoder that is closed later writes its last ones to nowhere."""
        self._abandoned = True
        with suppress(OSError):  # a full disk
            self._file.close()

    def hexdigest(self) -> str:
        """Return the SHA-256 of what was written."""
        return self._sha256.hexdigest()


def part_name(path: Path) -> Path:
    """Return this process's temporary name for a file, in the same folder; leftovers of others are removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_parts(path, alone=False)
    return path.parent / f".{path.name}.{socket.gethostname()}-{os.getpid()}.part"


def remove_parts(path: Path, *, alone: bool = True) -> None:
    """Remove what killed processes left of a file; `alone`: no process of another machine is at work on it."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if is_leftover(part, alone=alone):
            remove(part)


def remove(path: Path) -> None:
    """Remove a file or a folder tree, if it is there."""
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def publish(part: Path, path: Path) -> None:
    """Rename a finished temporary file or folder, in one step that survives a crash; an older folder is put aside."""
    for written in [*part.rglob("*"), part] if part.is_dir() else [part]:
        if not written.is_symlink():
            _sync(written)
    aside = part.with_name(part.name.removesuffix(".part") + "-old.part")
    if path.is_dir() or (part.is_dir() and path.exists()):
        remove(aside)
        os.replace(path, aside)
    os.replace(part, path)
    _sync(path.parent)
    remove(aside)


def _sync(path: Path) -> None:
    """Bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Return a temporary path to write; it becomes `path` only if the block ends without an error."""
    with file_named(path):
        part = part_name(path)
        remove(part)
        try:
            yield part
            publish(part, path)
        finally:
            remove(part)


class TableWriter:
    """Writes rows to a temporary file; `finish` closes it and `publish` gives it its name.

    Equal rows in equal order give equal bytes, in every format.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self.format = format_of(path)
        self.rows = 0
        self._part = part_name(path)
        self._file = HashingFile(self._part)
        self._notes: Mapping[str, Any] | None = None
        self._buffer: list[Row] = []
        self._buffer_bytes = 0
        self._parquet: pq.ParquetWriter | None = None
        self._lines: Any = self._file
        if self.format == ".parquet":
            self._parquet = pq.ParquetWriter(self._file, schema, compression="zstd", write_page_checksum=True)
        elif self.format.endswith(".gz"):
            self._lines = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, mtime=0)
        elif self.format.endswith(".zst"):
            import zstandard

            self._lines = zstandard.ZstdCompressor().stream_writer(cast(IO[bytes], self._file), closefd=False)

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row; raises KeyError for a missing column and ValueError for a foreign one."""
        ordered = {name: row[name] for name in self.schema.names}
        if len(row) != len(ordered):
            raise ValueError(f"unknown columns {sorted(set(row) - set(ordered))} for {self.path}")
        self.rows += 1
        if self._parquet is None:
            self._lines.write(json.dumps(ordered, ensure_ascii=False).encode() + b"\n")
            return
        self._buffer.append(ordered)
        self._buffer_bytes += sum(len(value) for value in ordered.values() if isinstance(value, str))
        if len(self._buffer) >= ROW_GROUP_ROWS or self._buffer_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def write_group(self, group: pa.Table) -> None:
        """Add rows as a row group of their own, to a table without other rows."""
        if self._parquet is None:
            list(map(self.write, group.to_pylist()))
        else:
            self.rows += group.num_rows
            self._parquet.write_table(group.combine_chunks())

    def note(self, notes: Mapping[str, Any]) -> None:
        """Keep `notes` in the footer of a Parquet file, for `read_notes`; other formats have none."""
        self._notes = notes

    def _flush(self) -> None:
        if self._parquet is not None and self._buffer:
            self._parquet.write_table(pa.Table.from_pylist(self._buffer, schema=self.schema))
        self._buffer, self._buffer_bytes = [], 0

    def finish(self) -> str:
        """Close the temporary file and give its SHA-256."""
        self._flush()
        if self._parquet is not None:
            if self._notes is not None:
                self._parquet.add_key_value_metadata({"d3": json.dumps(self._notes, sort_keys=True)})
            self._parquet.close()
        elif self._lines is not self._file:
            self._lines.close()
        self._file.close()
        return self._file.hexdigest()

    def publish(self) -> None:
        """Return the finished file its real name."""
        publish(self._part, self.path)

    def discard(self) -> None:
        """Remove the temporary file, finished or not."""
        self._file.abandon()
        if self._parquet is not None:
            self._parquet.close()
        elif self._lines is not self._file:
            self._lines.close()
        self._file.close()
        remove(self._part)


@contextmanager
def scratch_folder(output: Path, name: str) -> Iterator[Path]:
    """Return an empty folder beside an output, removed at the end or, after a kill, by the next run."""
    remove_parts(output.with_suffix(f".{name}"))
    folder = part_name(output.with_suffix(f".{name}"))
    remove(folder)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)
