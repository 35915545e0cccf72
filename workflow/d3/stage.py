"""The frame of every job: read rows, conserve them, write all outputs at once, leave a statement.

    with Job("corpus", code="d3.corpus.stage", params=section) as job:
        kept = job.table(path, records.CORPUS)
        for row in job.rows(shard, records.STACK):
            ...
            kept.write(row)
            job.keep()          # or job.drop("too_long")

Outputs get their names only when the block ends without an error and every row that was read is
either kept or dropped with a reason. The old statement goes first and the new one comes last, so
that outputs without a statement are not finished. A killed job leaves nothing that looks finished.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from d3.errors import D3Error
from d3.provenance import code_digest, file_digest, write_statement
from d3.tables import Row, TableWriter, part_name, publish, read_rows, remove


class Job:
    """One run of one stage over some files; see the module's text."""

    def __init__(self, stage: str, *, code: str, params: Any) -> None:
        self.stage, self.params = stage, params
        self.code = code_digest(code)
        self.read = 0
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        self._inputs: list[Path] = []
        self._tables: list[TableWriter] = []
        self._files: list[tuple[Path, Path]] = []
        self._started = time.time()

    def input(self, path: Path) -> Path:
        """Register a file or folder that decides the result; gives it back."""
        if not path.exists():
            raise D3Error("no such file or folder", where=str(path), remedy="check the path")
        if path not in self._inputs:
            self._inputs.append(path)
        return path

    def rows(self, path: Path, schema: pa.Schema) -> Iterator[Row]:
        """Read an input table whose rows are to be conserved."""
        for row in read_rows(self.input(path), schema):
            self.read += 1
            yield row

    def side_rows(self, path: Path, schema: pa.Schema) -> Iterator[Row]:
        """Read an input table that is only looked things up in: its rows are not counted."""
        yield from read_rows(self.input(path), schema)

    def keep(self, rows: int = 1) -> None:
        """Count rows that went on."""
        self.kept += rows

    def drop(self, reason: str, rows: int = 1) -> None:
        """Count rows that did not, by their reason."""
        self.dropped[reason] += rows

    def table(self, path: Path, schema: pa.Schema) -> TableWriter:
        """Open an output table."""
        writer = TableWriter(path, schema)
        self._tables.append(writer)
        return writer

    def file(self, path: Path) -> Path:
        """Give the temporary path of an output file or folder that the stage writes itself."""
        part = part_name(path)
        remove(part)
        self._files.append((part, path))
        return part

    @property
    def counts(self) -> dict[str, Any]:
        """Give rows read, kept and dropped by reason."""
        return {
            "stage": self.stage,
            "read": self.read,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
        }

    def __enter__(self) -> Self:
        """Begin the job."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish everything, or discard everything."""
        try:
            if kind is None:
                self._commit()
        finally:
            for table in self._tables:
                table.discard()
            for part, _ in self._files:
                remove(part)

    def _commit(self) -> None:
        lost = self.read - self.kept - sum(self.dropped.values())
        if lost:
            raise D3Error(
                f"{self.stage}: {lost} of {self.read} rows are neither kept nor dropped", remedy="report this"
            )
        outputs = []
        for table in self._tables:
            table.note(self.counts)
            digest = table.finish()
            outputs.append({"name": str(table.path), "digest": {"sha256": digest}, "annotations": {"rows": table.rows}})
        outputs += [{"name": str(path), "digest": {"sha256": file_digest(part)}} for part, path in self._files]
        inputs = [{"name": str(path), "digest": {"sha256": file_digest(path)}} for path in self._inputs]
        if outputs:
            first = Path(str(outputs[0]["name"]))
            statement = first.parent / f"{first.name}.prov.json"
            remove(statement)  # it comes last: outputs of which some are old have no statement
            for table in self._tables:
                table.publish()
            for part, path in self._files:
                publish(part, path)
            write_statement(
                statement,
                stage=self.stage,
                outputs=outputs,
                inputs=inputs,
                params=self.params,
                code=self.code,
                counts=self.counts,
                started=self._started,
                ended=time.time(),
            )
