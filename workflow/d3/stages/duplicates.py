"""Equal rows in different batches: which batch keeps them is decided by what they are, not where they lie.

Reads the ids of all batches and what orders them, never a text, and writes for every batch the ids that
go on in another one: a text file, one id a line, sorted. A batch whose list stays the same has the same
bytes, so a shard more makes only those batches again that it takes a file from. The stages that read a batch
leave the rows of its list out (`ids_elsewhere`).
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from d3.config.models import Config
from d3.core.plain_links import PARQUET, plain_links
from d3.core.tables import damage_named, open_parquet, part_name, remove, table_name
from d3.errors import InputError
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job

if TYPE_CHECKING:  # stages that only read the lists run where there is no DuckDB
    import duckdb

REASON = "duplicate_elsewhere"
ID = re.compile(r"[0-9a-f]{64}")
MEMORY = "2GB"
"""Of the data base; what does not fit is spilled to the disk beside the results."""

ORDERS = {
    "corpus": """
        coalesce(metadata.max_stars_repo_name, ''),
        coalesce(metadata.max_stars_repo_path, ''),
        coalesce(metadata.max_stars_repo_head_hexsha, ''),
        coalesce(metadata.hexsha, ''),
        shard,
        row
    """,
    "pairs": "file_id",
}
"""Which of equal rows stays: the smallest by these. Of files it is `d3.stages.corpus.sampling.order_key`, of
functions the one out of the file with the smallest id."""

TWINS = f"CREATE TEMP TABLE twins AS SELECT id FROM {PARQUET} GROUP BY id HAVING count(*) > 1"
LOSERS = f"""
    SELECT filename, id FROM (
        SELECT filename, id, row_number() OVER (PARTITION BY id ORDER BY {{order}}) AS place
        FROM {PARQUET} SEMI JOIN twins USING (id)
    ) WHERE place > 1 ORDER BY filename, id
"""
"""Two passes, so that only the keys of ids that occur twice are ever sorted."""


def run(config: Config, corpus: Sequence[Path], out: Path) -> None:
    """List for each batch the files that another batch contains too and that are kept there.

    Write `out/NAME.txt` for every table NAME. Ids are unique in each table. Memory is bounded, whatever
    the number of rows. Raise InputError if a table cannot be read or two share a name.

    Example: d3 duplicates --corpus a.parquet b.parquet --out duplicates
    """
    _list_losers("duplicates", config, corpus, ["id", "metadata", "shard", "row"], ORDERS["corpus"], out)


def pair_duplicates(config: Config, pairs: Sequence[Path], out: Path) -> None:
    """List for each batch the functions that another batch contains too and that are kept there.

    See `run`.

    Example: d3 pair-duplicates --pairs a.parquet b.parquet --out pair_duplicates
    """
    _list_losers("pair_duplicates", config, pairs, ["id", "file_id"], ORDERS["pairs"], out)


def _list_losers(
    stage: str, config: Config, tables: Sequence[Path], columns: list[str], order: str, folder: Path
) -> None:
    outputs: dict[str, Path] = {}
    for path in tables:
        output = folder / f"{table_name(path)}.txt"
        if output in outputs.values():
            raise InputError("two tables share this name", where=str(path), remedy="rename one")
        outputs[str(path)] = output
    with Job(stage, config=config) as job:
        for path in tables:
            with open_parquet(job.input(path), columns) as file:
                job.read += file.metadata.num_rows
        lists = {name: job.file(output) for name, output in outputs.items()}
        losers = _losers(list(outputs), order, folder)
        name, identifier = next(losers, ("", ""))
        for table, path in lists.items():
            with path.open("w", encoding="ascii", newline="\n") as lines:
                while name == table:
                    lines.write(f"{identifier}\n")
                    job.drop(REASON)
                    name, identifier = next(losers, ("", ""))
        job.keep(job.read - job.dropped[REASON])


def _losers(files: list[str], order: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (table, id) of every row that goes on elsewhere: tables in the order of `files`, ids sorted."""
    if not files:
        return
    with plain_links(files) as links, _data_base(folder) as base:
        base.execute(TWINS, {"files": list(links)})
        found = base.execute(LOSERS.format(order=order), {"files": list(links)})
        while rows := found.fetchmany(10_000):
            yield from ((links[link], identifier) for link, identifier in rows)


@contextmanager
def _data_base(folder: Path) -> Iterator["duckdb.DuckDBPyConnection"]:
    """Give an empty data base that spills into a folder of its own, removed at the end or by the next run."""
    import duckdb

    spill = part_name(folder / "spill")
    remove(spill)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "temp_directory": str(spill),
        "preserve_insertion_order": False,
    }
    try:
        with duckdb.connect(":memory:", config=settings) as base:
            yield base
    except duckdb.Error as error:
        raise InputError(f"cannot be compared ({error})", where=str(folder), remedy="make its inputs again") from None
    finally:
        remove(spill)


def ids_elsewhere(job: Job, path: Path | None) -> frozenset[str]:
    """Read the list of a batch, or none; raises InputError for a line that is no id."""
    if path is None:
        return frozenset()
    with damage_named(job.input(path)):
        lines = path.read_text(encoding="ascii").split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        if not ID.fullmatch(line):
            raise InputError(f"line {number} is no id", where=str(path), remedy="run `duplicates` again")
    if lines[-1]:
        raise InputError("ends in the middle of a line", where=str(path), remedy="run `duplicates` again")
    return frozenset(lines[:-1])


def check(job: FinishedJob) -> Faults:
    """Compare the lists with the rows that are equal in several of the tables."""
    tables = {table_name(job.root / name): str(job.root / name) for name in job.inputs}
    listed = {Path(name).stem: name for name in job.outputs}
    if listed.keys() != tables.keys():
        yield job.name(), f"lists {', '.join(listed)} of the tables {', '.join(tables)}"
        return
    stage = Path(next(iter(job.inputs))).parts[1]
    with tempfile.TemporaryDirectory() as scratch:
        found: dict[str, list[str]] = {table: [] for table in tables.values()}
        for table, identifier in _losers(list(found), ORDERS[stage], Path(scratch)):
            found[table].append(identifier)
    for name, path in listed.items():
        if (job.root / path).read_text(encoding="ascii").split() != found[tables[name]]:
            yield path, "does not list the rows that its table shares with another one, where they are kept"
