"""Which accepted engines (`engine.accept`) answered which rows of a table, for `d3 why` and `d3 verify`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d3.audit.job_graph import Finding, Run
from d3.core.journal import Journal
from d3.core.printable import printable
from d3.core.tables import open_parquet
from d3.errors import D3Error
from d3.llm.accepted import numerics_of
from d3.llm.ask import SHOWN
from d3.llm.engine_log import recorded_engines
from d3.pipeline.registry import STAGES, stage_of_folder

JOURNALS = Path("work", "journal")
COLUMN = "answered_by"
UNKNOWN = "not in the journal any more"
ENGINE = re.compile(r"[0-9a-f]+")
"""The digest of an engine; rows of an adopted table have its name and version instead."""
MOST_RANGES = 8
"""Ranges of rows that are listed of an engine."""


@dataclass(kw_only=True, slots=True)
class Answering:
    """The rows of one engine."""

    ranges: list[tuple[int, int]]
    """First and last row number of each run of rows, from 0."""
    rows: int = 0

    def add(self, row: int) -> None:
        """Add a row, behind all that were added before."""
        if self.ranges and self.ranges[-1][1] == row - 1:
            self.ranges[-1] = (self.ranges[-1][0], row)
        else:
            self.ranges.append((row, row))
        self.rows += 1

    def __str__(self) -> str:
        """Return the numbers of the rows."""
        shown = [str(first) if first == last else f"{first}-{last}" for first, last in self.ranges[:MOST_RANGES]]
        more = len(self.ranges) - len(shown)
        return ", ".join(shown) + (f" and {more:,} more ranges" if more else "")


def rows_by_engine(table: Path) -> dict[str, Answering]:
    """Return the rows of each accepted engine by the first digits of its digest; none for a table without the column.

    Raise InputError for a table that cannot be read.
    """
    found: dict[str, Answering] = {}
    with open_parquet(table) as file:
        if COLUMN not in file.schema_arrow.names:
            return {}
        row = 0
        for batch in file.iter_batches(columns=[COLUMN]):
            for name in batch.column(0).to_pylist():
                if name is not None:
                    found.setdefault(_shown(str(name)), Answering(ranges=[])).add(row)
                row += 1
    return dict(sorted(found.items()))


def _shown(name: str) -> str:
    return name[:SHOWN] if ENGINE.fullmatch(name) else printable(name)


def sentences(root: Path, path: str) -> Iterator[str]:
    """Yield a sentence for each accepted engine of a table below the working folder `root`."""
    parts = Path(path).parts
    stage = stage_of_folder(parts[1]) if len(parts) > 2 else None
    if stage is None or not stage.asks or Path(path).suffix != ".parquet" or not (root / path).is_file():
        return
    found = rows_by_engine(root / path)
    if adopted := [digest for digest in found if not ENGINE.fullmatch(digest)]:
        for origin in adopted:
            rows = found.pop(origin)
            yield f"{rows.rows:,} rows are those of the adopted table {origin}: {rows}"
    known = _engines(root / JOURNALS / stage.name) if found else {}
    for digest, rows in found.items():
        yield f"{rows.rows:,} rows were answered by the accepted engine {digest} ({known.get(digest, UNKNOWN)}): {rows}"


def _engines(journal: Path) -> dict[str, str]:
    """Return the numerics of the engines that wrote into a journal, by the first digits of their digests."""
    if not journal.is_dir():
        return {}
    with Journal(journal) as kept:
        engines = recorded_engines(kept)
    return {digest[:SHOWN]: _words(identity) for digest, identity in engines.items()}


def _words(identity: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(numerics_of(identity).items()))


def check_answers(run: Run) -> Iterator[Finding]:
    """Yield which accepted engines answered rows, as notes, and tables whose rows are not those of their statement."""
    for statement in run.statements.values():
        path, record = statement.outputs[0].path, STAGES.get(statement.stage)
        if record is None or not record.asks or not (run.root / path).is_file() or not path.endswith(".parquet"):
            continue
        try:
            answered = rows_by_engine(run.root / path)
            rows = {digest: found.rows for digest, found in answered.items() if ENGINE.fullmatch(digest)}
            notes = list(sentences(run.root, path)) if answered else []
        except D3Error:
            continue  # a damaged table is a finding of its own
        counted = {
            name.removeprefix("accepted_"): int(number)
            for name, number in statement.usage.items()
            if name.startswith("accepted_")
        }
        yield from (Finding(path=path, what=text, note=True) for text in notes)
        if COLUMN in _columns(run.root / path):
            for digest in sorted(rows.keys() | counted.keys()):
                if rows.get(digest, 0) != counted.get(digest, 0):
                    what = (
                        f"has {rows.get(digest, 0):,} rows of the accepted engine {digest}, "
                        f"its statement counts {counted.get(digest, 0):,}"
                    )
                    yield Finding(path=path, what=what, jobs=(statement.path,))


def _columns(table: Path) -> list[str]:
    with open_parquet(table) as file:
        return list(file.schema_arrow.names)
