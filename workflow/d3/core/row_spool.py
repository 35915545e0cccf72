"""Rows put aside on the disk until it is known which of them are kept; they become Python objects once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from d3.core.tables import ROW_GROUP_BYTES, ROW_GROUP_ROWS, Row, TableWriter

SPOOLED_ROWS, SPOOLED_BYTES = 256, 16 * 2**20
"""Rows and characters of the texts of one piece in memory."""


class RowSpool:
    """`add` rows and `finish`, then read some columns (`pieces`), or copy some rows into a table (`copy`)."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema, self.rows = path, schema, 0
        self._waiting: list[Row] = []
        self._bytes = 0
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._file = pa.ipc.new_stream(str(path), schema, options=options)

    def add(self, row: Row) -> None:
        """Put a row aside."""
        self.rows += 1
        self._waiting.append(row)
        self._bytes += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(self._waiting) >= SPOOLED_ROWS or self._bytes >= SPOOLED_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_batch(pa.RecordBatch.from_pylist(self._waiting, schema=self.schema))
        self._waiting, self._bytes = [], 0

    def finish(self) -> None:
        """Close the file: all rows have been added."""
        self._flush()
        self._file.close()

    def pieces(self, *names: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, all columns or those that are named."""
        fields = [self.schema.names.index(name) for name in names]
        options = pa.ipc.IpcReadOptions(included_fields=fields or None)
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file, options=options) as stream:
            yield from stream

    def copy(self, kept: npt.NDArray[np.bool_], table: TableWriter, other: Callable[[int, Row], None]) -> None:
        """Write the rows that are `kept` to a table, in the row groups of `TableWriter.write`.

        Call `other` with the number and the row of each that is not.
        """
        first = 0
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        for piece in self.pieces():
            mask = kept[first : first + piece.num_rows]
            for place in np.flatnonzero(~mask).tolist():
                other(first + place, piece.slice(place, 1).to_pylist()[0])
            first += piece.num_rows
            piece = piece.filter(pa.array(mask))
            begin = 0
            for number, more in enumerate(_sizes(piece), start=1):
                rows, size = rows + 1, size + more
                if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
                    table.write_group(pa.Table.from_batches([*waiting, piece.slice(begin, number - begin)]))
                    waiting, begin, rows, size = [], number, 0, 0
            waiting.append(piece.slice(begin))
        if rows:
            table.write_group(pa.Table.from_batches(waiting))


def _sizes(piece: pa.RecordBatch) -> list[int]:
    """Return the characters of each row in columns of strings."""
    total = np.zeros(piece.num_rows, dtype=np.int64)
    for column in piece.columns:
        if pa.types.is_string(column.type):
            total += pc.fill_null(pc.utf8_length(column), 0).to_numpy(zero_copy_only=False)
    sizes: list[int] = total.tolist()
    return sizes
