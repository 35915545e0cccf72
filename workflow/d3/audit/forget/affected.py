"""What a run knows of certain files: their rows and texts, and everything that was made of them.

Tables are followed by the ids that ride along, models and what comes after them by the inputs that the
statements of their jobs name. Paths are those of the working folder.
"""

import csv
import gzip
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from d3.audit.statements import find_statements, read_statement
from d3.core import schemas
from d3.core.ids import content_id, normalise, program_number
from d3.core.opt_out import OptOut, repositories_of
from d3.core.tables import open_parquet, read_rows
from d3.errors import InputError
from d3.pipeline.pipeline import ADOPTABLE, Chain
from d3.pipeline.registry import STAGES
from d3.sources.adopted_table import read_adopted
from d3.sources.shard import read_shard
from d3.sources.values import Broken

RESULTS = Path("results")
TRAINED = tuple(stage.name for stage in STAGES.values() if stage.trains)
"""Stages whose outputs are models."""
WRITTEN = tuple(stage.name for stage in STAGES.values() if stage.over == "evaluation")
"""Stages whose outputs come of what models wrote."""


@dataclass(kw_only=True, slots=True)
class Files:
    """The files that are to be forgotten, as far as the results know them."""

    texts: dict[str, str] = field(default_factory=dict)
    """Normalised text by id; of files that are kept anyway, from another repository, it is not here."""
    matched: set[str] = field(default_factory=set)
    """Entries that some row matches."""
    ids: set[str] = field(default_factory=set)
    """Ids of all rows that match, also where the text is not to be had."""
    rows: set[tuple[str, int]] = field(default_factory=set)
    """(shard, row) of all rows that match."""
    names: set[str] = field(default_factory=set)
    """Hexshas of these rows, and their ids before redaction."""
    kept_elsewhere: set[str] = field(default_factory=set)
    """Ids of files that also lie in a repository that has not opted out."""
    lacking: set[tuple[str, int]] = field(default_factory=set)
    """Rows whose text was found nowhere."""


def find_files(chain: Chain, entries: OptOut) -> Files:
    """Find the rows of all corpora below the results that match, with their texts."""
    files = Files()
    texts: dict[tuple[str, int], str] = {}
    staying: set[str] = set()
    for path in _corpora():
        for row in read_rows(path, schemas.CORPUS):
            place = row["shard"], row["row"]
            if found := entries.matching(
                repositories_of(row["metadata"]), row["id"], row["original"], row["metadata"]["hexsha"]
            ):
                files.matched |= found
                files.ids.add(row["id"])
                files.names |= {row["original"], row["metadata"]["hexsha"]} - {None}
                texts[place] = row["text"]
            else:
                staying.add(row["id"])
    for path in _rejected():
        for row in read_rows(path, schemas.REJECTED):
            if found := entries.matching(row["repositories"] or (), row["id"], row["original"], row["hexsha"]):
                files.matched |= found
                files.ids |= {row["id"]} - {None}
                files.names |= {row["original"], row["hexsha"]} - {None}
                files.rows.add((row["shard"], row["row"]))
    files.rows |= set(texts)
    texts |= _source_texts(chain, files.rows - set(texts))
    files.lacking = files.rows - set(texts)
    files.kept_elsewhere = files.ids & staying
    files.ids -= staying
    for text in texts.values():
        identifier = content_id(text)
        if identifier not in staying:
            files.texts[identifier] = text
    return files


def _corpora() -> list[Path]:
    return sorted(RESULTS.glob("corpus/*/*.parquet"))


def _rejected() -> list[Path]:
    return sorted(RESULTS.glob("corpus/*/rejected/*.parquet"))


def nearest(entry: str) -> str | None:
    """Return the most similar entry that rows of the results would match; None for a file and where none is similar."""
    names = {
        name for path in _corpora() for row in _columns(path, "metadata") for name in repositories_of(row["metadata"])
    }
    names |= {
        name for path in _rejected() for row in _columns(path, "repositories") for name in row["repositories"] or ()
    }
    known = {
        "repo": {f"repo:{name.lower()}" for name in names},
        "user": {f"user:{name.lower().partition('/')[0]}" for name in names},
    }
    return next(iter(get_close_matches(entry, known.get(entry.partition(":")[0], ()), n=1)), None)


def _source_texts(chain: Chain, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Read the texts of rows that no corpus holds from the source shards, as far as these are there."""
    by_shard: dict[str, set[int]] = defaultdict(set)
    for shard, number in wanted:
        by_shard[shard].add(number)
    texts = {}
    for shard, numbers in sorted(by_shard.items()):
        path = Path(chain.shards.get(shard, ""))
        if not path.exists():
            continue
        for number, row in enumerate(read_shard(path, chain.config.source.columns)):
            if number in numbers and not isinstance(row, Broken) and row["content"]:
                try:
                    text = normalise(row["content"])
                    content_id(text)
                except UnicodeEncodeError:
                    continue
                texts[shard, number] = text
    return texts


def find_adopted(chain: Chain, files: Files) -> dict[Path, int]:
    """Return how many rows of each table made outside of the pipeline are about these files, without tables of none."""
    found: Counter[Path] = Counter()
    for setting in ADOPTABLE:
        section, kind = setting.split(".")
        adopted = getattr(getattr(chain.config, section), kind)
        for path in map(Path, chain.adopted_files(setting)):
            found[path] += sum(
                name in files.ids or name in files.names - files.kept_elsewhere
                for name, _, _ in read_adopted(path, adopted, ())
            )
    return {path: rows for path, rows in found.items() if rows}


def other_texts(entries: OptOut) -> Iterator[str]:
    """Yield the texts of all kept files that do not match."""
    for path in _corpora():
        for row in read_rows(path, schemas.CORPUS):
            if not entries.entry(
                repositories_of(row["metadata"]), row["id"], row["original"], row["metadata"]["hexsha"]
            ):
                yield row["text"]


# --- what holds rows of theirs ------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Held:
    """Files of the results that hold rows of the forgotten files, or were made from such."""

    rows: Counter[Path] = field(default_factory=Counter)
    """Rows by file, told by ids."""
    models: dict[Path, str] = field(default_factory=dict)
    """Models that were trained on them, with the SHA-256 that their statement tells."""
    after: set[Path] = field(default_factory=set)
    """What was made with these models or out of these files: solutions, scores, reports."""
    ids: set[str] = field(default_factory=set)
    """Ids of the files, and of the functions that were taken out of them."""


def find_held(files: Files) -> Held:
    """Follow the ids through all tables, and the files through the statements of the jobs."""
    held = Held(ids=set(files.ids))
    if not files.ids:
        return held
    held.ids |= _functions(files.ids)
    numbers = {program_number(identifier) for identifier in files.ids}
    documents: set[str] = set()
    for path in sorted(RESULTS.glob("dataset/*/data/*.parquet")):
        for row in _columns(path, "source_program_id", "completion"):
            if row["source_program_id"] in numbers:
                held.rows[path] += 1
                documents.add(content_id(row["completion"]))
    for path in sorted(RESULTS.glob("*/*/**/*.parquet")):
        if path not in held.rows and not path.is_symlink():
            held.rows[path] = _count(path, held.ids)
    for path in sorted(RESULTS.glob("tokens/*/*.csv.gz")):
        held.rows[path.with_name(path.name.removesuffix(".csv.gz") + ".npy")] = _documents(path, documents)
    for path in RESULTS.glob("duplicates/*/*.txt"):
        held.rows[path] = len(held.ids.intersection(path.read_text(errors="replace").split()))
    held.rows = Counter({path: rows for path, rows in held.rows.items() if rows})
    _follow(held)
    return held


def _columns(path: Path, *names: str) -> Iterator[dict[str, Any]]:
    try:
        with open_parquet(path, names) as file:
            for batch in file.iter_batches(columns=list(names)):
                yield from batch.to_pylist()
    except InputError:
        return  # not a table of this kind


def _functions(ids: set[str]) -> set[str]:
    """Return the ids of functions that come out of these files and of no others."""
    found: set[str] = set()
    staying: set[str] = set()
    for path in RESULTS.glob("pairs/*/*.parquet"):
        for row in _columns(path, "id", "file_id"):
            (found if row["file_id"] in ids else staying).add(row["id"])
    return found - staying


def _count(path: Path, ids: set[str]) -> int:
    """Count the rows of a table that are about some ids; rejected rows hold nothing and do not count."""
    if "rejected" in path.parts:
        return 0
    try:
        with open_parquet(path) as file:
            names = [name for name in ("id", "file_id") if name in file.schema_arrow.names]
            if not names:
                return 0
            values = pa.array(sorted(ids))
            rows = 0
            for batch in file.iter_batches(columns=names):
                columns = [pc.is_in(batch.column(name), value_set=values) for name in names]
                mask = columns[0] if len(columns) == 1 else pc.or_(*columns)
                rows += mask.true_count
            return rows
    except InputError:
        return 0


def _documents(path: Path, documents: set[str]) -> int:
    with gzip.open(path, "rt", newline="") as lines:
        return sum(row[2] in documents for row in csv.reader(lines))


def _follow(held: Held) -> None:
    """Find the models, and what was made with them, by the inputs that statements name."""
    tainted = {os.path.abspath(path) for path in held.rows}
    waiting = []
    for path in find_statements(Path()):
        with suppress(InputError):
            waiting.append(read_statement(Path(), path))
    grew = True
    while grew:
        grew = False
        for statement in list(waiting):
            if not {os.path.abspath(item.path) for item in statement.inputs} & tainted:
                continue
            waiting.remove(statement)
            for item in statement.outputs:
                path = Path(item.path)
                if statement.stage in TRAINED:
                    held.models[path] = item.sha256
                elif statement.stage in (*WRITTEN, "report"):
                    held.after.add(path)
                if statement.stage in (*TRAINED, *WRITTEN):
                    tainted.add(os.path.abspath(path))
                    grew = True
