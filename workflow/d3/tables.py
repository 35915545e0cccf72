"""Tables on disk: Parquet and JSON lines, read row by row, written whole or not at all."""

import gzip
import hashlib
import io
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from d3.errors import InputError

Row = dict[str, Any]

ROW_GROUP_ROWS = 1000
ROW_GROUP_BYTES = 64 * 2**20
FORMATS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")


def format_of(path: Path) -> str:
    """Give the table format that a file name ends in; raises InputError for any other name."""
    for suffix in FORMATS:
        if path.name.endswith(suffix):
            return suffix
    raise InputError("not a table", where=str(path), remedy=f"name it with one of {', '.join(FORMATS)}")


# --- reading ------------------------------------------------------------------------------------


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file; raises InputError when it is missing, truncated or something else."""
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the path") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"not a readable Parquet file ({error})", where=str(path), remedy="fetch or make it again"
        ) from None


def open_lines(path: Path) -> IO[bytes]:
    """Open a JSON-lines file for reading bytes, compressed or not, by its name."""
    if path.name.endswith(".gz"):
        return io.BufferedReader(gzip.open(path, "rb"))
    if path.name.endswith(".zst"):
        import zstandard

        return io.BufferedReader(zstandard.open(path, "rb"))
    return path.open("rb")


def read_rows(path: Path, schema: pa.Schema) -> Iterator[Row]:
    """Yield the rows of a table as dicts with exactly the columns of `schema`, in file order.

    Raises InputError that names a missing column, or the line of malformed JSON.
    """
    if format_of(path) == ".parquet":
        yield from _read_parquet(path, schema)
    else:
        yield from _read_lines(path, schema)


def _read_parquet(path: Path, schema: pa.Schema) -> Iterator[Row]:
    with open_parquet(path) as file:
        missing = [name for name in schema.names if name not in file.schema_arrow.names]
        if missing:
            raise InputError(
                f"has no column {', '.join(missing)}", where=str(path), remedy="give a file of the stage before"
            )
        try:
            for batch in file.iter_batches(batch_size=256, columns=schema.names):
                yield from batch.to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"damaged ({error})", where=str(path), remedy="make it again") from None


def _read_lines(path: Path, schema: pa.Schema) -> Iterator[Row]:
    with open_lines(path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                yield {name: row[name] for name in schema.names}
            except (ValueError, KeyError, TypeError) as error:
                what = f"has no {error}" if isinstance(error, KeyError) else f"is no JSON object ({error})"
                raise InputError(f"line {number} {what}", where=str(path), remedy="mend or drop the line") from None


def count_rows(path: Path) -> int:
    """Count the rows of a table without parsing them."""
    if format_of(path) == ".parquet":
        with open_parquet(path) as file:
            return int(file.metadata.num_rows)
    with open_lines(path) as lines:
        return sum(1 for _ in lines)


def read_notes(path: Path) -> dict[str, Any]:
    """Give what the job that wrote a Parquet table noted in its footer (see `TableWriter.note`)."""
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
        self.size = 0

    def writable(self) -> bool:
        """Say that this file can be written."""
        return True

    def write(self, data: Any) -> int:
        """Write and hash some bytes."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._sha256.update(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        """Give the number of bytes written."""
        return self.size

    def close(self) -> None:
        """Bring the bytes to the disk and close."""
        if not self.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        super().close()

    def hexdigest(self) -> str:
        """Give the SHA-256 of what was written."""
        return self._sha256.hexdigest()


def part_name(path: Path) -> Path:
    """Give this process's temporary name for a file, in the same folder.

    Leftovers of dead processes of this host are removed on the way.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    host = socket.gethostname()
    for old in path.parent.glob(f".{path.name}.{host}-*.part"):
        pid = int(old.name.removesuffix(".part").rsplit("-", 1)[1])
        if not Path(f"/proc/{pid}").exists():
            remove(old)
    return path.parent / f".{path.name}.{host}-{os.getpid()}.part"


def remove(path: Path) -> None:
    """Remove a file or a folder tree, if it is there."""
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def publish(part: Path, path: Path) -> None:
    """Give a finished temporary file or folder its real name, in one step that survives a crash."""
    if part.is_dir():
        remove(path)
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; it becomes `path` only if the block ends without an error."""
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
            self._parquet = pq.ParquetWriter(self._file, schema, compression="zstd")
        elif self.format == ".jsonl.gz":
            self._lines = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, mtime=0)
        elif self.format == ".jsonl.zst":
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
        """Give the finished file its real name."""
        publish(self._part, self.path)

    def discard(self) -> None:
        """Remove the temporary file, finished or not."""
        self._file.close()
        remove(self._part)
