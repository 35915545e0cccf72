"""Rows in order without holding them: sorted runs in a temporary file, merged while they are read back."""

import heapq
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from d3.core.tables import Row

RUN_ROWS = 10_000
RUN_TEXT = 16 * 2**20
"""A run ends at so many rows, or at so many letters of text."""
BLOCK_ROWS = 64
"""Rows of each run that are in memory while runs are merged."""


class Spill(AbstractContextManager["Spill"]):
    """Takes rows of JSON values in any order and gives them back in the order of `key`, equal keys as they came.

    In memory lie one run, and while merging `BLOCK_ROWS` rows of each; the others lie in a file without
    a name in `folder`, which the system removes when the process ends, however it ends.
    """

    def __init__(self, folder: Path, key: Callable[[Row], Any], *, run_rows: int = RUN_ROWS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._key, self._run_rows = key, run_rows
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed in __exit__
        self._runs: list[list[tuple[int, int]]] = []  # of every run its blocks: where, how many bytes
        self._rows: list[Row] = []
        self._text = 0

    def add(self, row: Row) -> None:
        """Take a row."""
        self._rows.append(row)
        self._text += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(self._rows) >= self._run_rows or self._text >= RUN_TEXT:
            self._write_run()

    def rows(self) -> Iterator[Row]:
        """Yield all rows in order; afterwards none is left."""
        last = sorted(self._rows, key=self._key)
        self._rows, self._text = [], 0
        runs = [self._read_run(blocks) for blocks in self._runs]
        yield from heapq.merge(*runs, last, key=self._key)
        self._runs = []

    def _write_run(self) -> None:
        self._rows.sort(key=self._key)
        blocks = []
        for begin in range(0, len(self._rows), BLOCK_ROWS):
            data = json.dumps(self._rows[begin : begin + BLOCK_ROWS]).encode()
            blocks.append((self._file.tell(), len(data)))
            self._file.write(data)
        self._file.flush()
        self._runs.append(blocks)
        self._rows, self._text = [], 0

    def _read_run(self, blocks: list[tuple[int, int]]) -> Iterator[Row]:
        for begin, size in blocks:
            yield from json.loads(os.pread(self._file.fileno(), size, begin))

    def __enter__(self) -> Self:
        """Return the spill."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the file go."""
        self._file.close()
