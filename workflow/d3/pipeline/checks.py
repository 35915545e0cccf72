"""What the check of a stage gets and yields: the interface between `d3 verify` and the module of a stage.

A module checks the outputs of its stage with a function `check`, or `check_STAGE` where it does two stages:

    def check(job: FinishedJob) -> Faults:
        for row in read_columns([job.path()], records.CORPUS, "id", "text"):
            if content_id(row["text"]) != row["id"]:
                yield job.name(), "..."

It is called only for jobs whose files have the digests of their statement. Whatever it raises is reported.

A check decides no output: functions that take a `FinishedJob` are in no digest of code
(`d3.provenance.code_syntax`), so an edited check makes nothing stale. What only the check needs is imported
inside of it.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3.core.tables import Row, read_rows

Faults = Iterator[tuple[str, str]]
"""(name of the file, what is wrong with it)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedJob:
    """One finished job. Names of files are relative to the working folder `root`."""

    root: Path
    outputs: Mapping[str, str]
    """SHA-256 by name; the first one names the job."""
    inputs: Mapping[str, str]
    """SHA-256 by name."""
    counts: Mapping[str, Any]
    """Rows read, kept and dropped by reason."""
    config: Mapping[str, Any]
    """The settings that decided the job; empty when they are lost."""
    code: str
    """Digest of the code that ran."""
    sample: int
    """Rows of a table to build again where building all of them takes too long."""
    draw: random.Random
    notes: list[tuple[str, str]] = field(default_factory=list)
    """(name of the file, what could not be checked): nothing is wrong because of it."""

    def name(self, place: int = 0) -> str:
        """Return the name of an output."""
        return list(self.outputs)[place]

    def path(self, place: int = 0) -> Path:
        """Return the path of an output."""
        return self.root / self.name(place)

    def inputs_of(self, stage: str, folder: str = "") -> list[Path]:
        """Return the inputs that another stage wrote; only those in one of its folders if `folder` is given."""
        parts = ((name, name.split("/")) for name in self.inputs)
        return [
            self.root / name
            for name, (root, *inner) in parts
            if root == "results" and len(inner) > 1 and inner[0] == stage and (not folder or inner[2] == folder)
        ]

    def inputs_from_outside(self) -> list[Path]:
        """Return the inputs that no stage of the results wrote: tasks, models, shards of the user."""
        return [self.root / name for name in self.inputs if not name.startswith("results/")]

    def sample_rows(self, path: Path, schema: pa.Schema, fits: Callable[[Row], bool] = lambda row: True) -> list[Row]:
        """Draw a sample of a table's rows in one pass, each row as likely as any other."""
        kept: list[Row] = []
        for seen, row in enumerate(filter(fits, read_rows(path, schema)), start=1):
            if len(kept) < self.sample:
                kept.append(row)
            elif (place := self.draw.randrange(seen)) < self.sample:
                kept[place] = row
        return kept


def select(schema: pa.Schema, *columns: str) -> pa.Schema:
    """Return some columns of a schema."""
    return pa.schema([schema.field(column) for column in columns])


def read_columns(paths: Iterable[Path], schema: pa.Schema, *columns: str) -> Iterator[Row]:
    """Yield the rows of several tables with only some columns."""
    part = select(schema, *columns)
    return (row for path in paths for row in read_rows(path, part))


def rows_by_key(paths: Iterable[Path], schema: pa.Schema, wanted: set[Any], *key: str) -> dict[Any, Row]:
    """Return the rows whose key is wanted, by it: the value of one column, or the tuple of several."""
    found: dict[Any, Row] = {}
    for path in paths:
        for row in read_rows(path, schema):
            values = tuple(row[name] for name in key) if len(key) > 1 else row[key[0]]
            if values in wanted:
                found[values] = row
    return found
