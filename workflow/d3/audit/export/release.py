"""A folder with a run's dataset, ready to publish: what `load_dataset(folder)` reads, its card and its Croissant.

    README.md            the card, with the splits in its header
    data/train-*         rows to train on, a file per batch of the run
    data/validation-*    rows of the files that were held out (`tokens.held_out`), if any
    croissant.json       files with SHA-256, columns, provenance
    provenance/          the statement of every file of the run that the rows come from
    SHA256SUMS           of all of the above, for `sha256sum -c`

Equal results give equal bytes.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3.audit.diff import Side
from d3.audit.export.croissant import ReleasedFile, write_croissant
from d3.audit.export.dataset_card import card
from d3.core import schemas
from d3.core.ids import file_digest
from d3.core.splits import NAMES, is_held_out
from d3.core.tables import open_parquet, part_name, remove
from d3.errors import InputError
from d3.provenance.statement import SUFFIX

ROW_GROUP = 10_000
"""Rows that are in memory at once."""


@dataclass(kw_only=True, slots=True)
class Counts:
    """What is in a release."""

    rows: Counter[str] = field(default_factory=Counter)
    """Rows by split."""
    files: Counter[str] = field(default_factory=Counter)
    """Source files by split."""
    licences: Counter[str] = field(default_factory=Counter)
    """Source files by licence."""


def write_release(side: Side, folder: Path) -> Counts:
    """Write the dataset of a run into a new folder, which appears when it is whole; return what is in it.

    Raise InputError if the folder exists, or if a file of the dataset is missing or changed.
    """
    if folder.exists():
        raise InputError("exists already", where=str(folder), remedy="name a new folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = part_name(folder)
    remove(part)
    part.mkdir()
    try:
        counts, files = _write_data(side, part)
        licences = dict(sorted(counts.licences.items(), key=lambda item: (-item[1], item[0])))
        (part / "README.md").write_text(card(side, counts.rows, counts.files, licences), encoding="utf-8")
        write_croissant(side, licences, part / "croissant.json", files)
        _copy_statements(side, part / "provenance")
        sums = [f"{file_digest(path)}  {path.relative_to(part).as_posix()}\n" for path in _files_in(part)]
        (part / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
        part.replace(folder)
    finally:
        remove(part)
    return counts


def _files_in(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _write_data(side: Side, folder: Path) -> tuple[Counts, list[ReleasedFile]]:
    """Write the rows of every file of the dataset into one file per split; files without rows are left out."""
    share = float(side.numbers["config"]["tokens"].get("held_out", 0.0))
    statements = [item for item in side.stages.get("dataset") or [] if item.outputs[0].path.endswith(".parquet")]
    if not statements:
        raise InputError("has no dataset", where=side.name, remedy="run the workflow to the end")
    counts, seen = Counts(), set[int]()
    drafts: dict[str, list[tuple[Path, Any, int]]] = {split: [] for split in NAMES}
    (folder / "data").mkdir()
    for number, statement in enumerate(statements):
        output = statement.outputs[0]
        source = side.root / output.path
        if not source.is_file() or file_digest(source) != output.sha256:
            remedy = "run `d3 verify`, and the workflow again"
            raise InputError("is missing or not the file that its statement is about", where=output.path, remedy=remedy)
        for split, path, rows in _split(source, folder / "data" / f"{number}.part", share, counts, seen):
            drafts[split].append((path, output, rows))
    files = []
    for split, written in drafts.items():
        for number, (path, output, rows) in enumerate(written):
            name = f"{split}-{number:05d}-of-{len(written):05d}.parquet"
            path.rename(folder / "data" / name)
            files.append(ReleasedFile(f"data/{name}", split, rows, output.path, output.sha256))
    if not counts.rows["train"]:
        raise InputError("no row is left to train on", where=side.name, remedy="lower tokens.held_out")
    return counts, files


def _split(
    source: Path, draft: Path, share: float, counts: Counts, seen: set[int]
) -> Iterator[tuple[str, Path, int]]:  # fmt: skip
    """Write the rows of a file by split; yield the files that have rows, and count rows, source files and licences."""
    writers: dict[str, pq.ParquetWriter] = {}
    rows: Counter[str] = Counter()
    schema = schemas.DATASET
    try:
        with open_parquet(source) as file:
            for batch in file.iter_batches(batch_size=ROW_GROUP, columns=schema.names):
                table = pa.Table.from_batches([batch]).cast(schema)
                programs = table.column("source_program_id").to_pylist()
                sides = [NAMES[is_held_out(program, share)] for program in programs]
                for program, split, metadata in zip(programs, sides, _licences(table), strict=True):
                    if program not in seen:
                        seen.add(program)
                        counts.files[split] += 1
                        counts.licences[metadata] += 1
                for split in sorted(set(sides)):
                    chosen = table.filter(pa.array([side == split for side in sides]))
                    if split not in writers:
                        writers[split] = pq.ParquetWriter(f"{draft}.{split}", schema, compression="zstd")
                    writers[split].write_table(chosen)
                    rows[split] += chosen.num_rows
    finally:
        for writer in writers.values():
            writer.close()
    counts.rows.update(rows)
    for split in NAMES:
        if split in writers:
            yield split, Path(f"{draft}.{split}"), rows[split]


def _licences(table: pa.Table) -> list[str]:
    """Return the licences of every row's source file as one text."""
    rows = table.column("metadata").to_pylist()
    return [", ".join((row or {}).get("max_stars_repo_licenses") or []) or "no licence" for row in rows]


def _copy_statements(side: Side, folder: Path) -> None:
    """Copy the statements of the dataset and of all jobs before it, under the paths of what they are about."""
    for stage in _stages_before(side.stages):
        for statement in side.stages[stage]:
            name = statement.outputs[0].path
            source = side.root / f"{name}{SUFFIX}"
            target = folder / f"{re.sub('^results/', '', name)}{SUFFIX}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _stages_before(stages: Mapping[str, Any]) -> list[str]:
    from d3.pipeline.registry import before

    wanted = {"dataset", *before("dataset")}
    return [stage for stage in stages if stage in wanted]
