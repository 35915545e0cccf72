"""Equal rows in different batches: which batch keeps them is decided by what they are, not where they lie.

Reads the ids of all batches and what orders them, never a text, and writes for every batch the ids that
go on in another one, and those of near-duplicates (`d3.stages.near_duplicates`), which go on nowhere: a text file,
one id a line and behind that of a near-duplicate its reason, sorted. A batch whose list stays the same has the same
bytes, so a shard more makes only those batches again that it takes a file from. The stages that read a batch
leave the rows of its list out (`ids_elsewhere`).
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from d3.config.models import Config
from d3.core.data_base import data_base
from d3.core.plain_links import PARQUET, plain_links
from d3.core.tables import damage_named, open_parquet, table_name
from d3.errors import InputError
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job

REASON, NEAR_DUPLICATE = "duplicate_elsewhere", "near_duplicate"
LINE = re.compile(rf"([0-9a-f]{{64}})( {NEAR_DUPLICATE})?")

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
NEAR = "INSERT INTO near SELECT id FROM read_parquet($near, hive_partitioning = false)"
LOSERS = f"""
    SELECT filename, id, CASE WHEN place > 1 THEN '{REASON}' ELSE '{NEAR_DUPLICATE}' END FROM (
        SELECT filename, id, row_number() OVER (PARTITION BY id ORDER BY {{order}}) AS place
        FROM {PARQUET} SEMI JOIN (FROM twins UNION ALL FROM near) USING (id)
    ) WHERE place > 1 OR id IN (FROM near) ORDER BY filename, id
"""
"""Two passes, so that only the keys of ids that occur twice are ever sorted."""


def run(config: Config, corpus: Sequence[Path], out: Path, *, near_duplicates: Path | None = None) -> None:
    """List for each batch the files that another batch contains too and that are kept there.

    Write `out/NAME.txt` for every table NAME, with the files of the table `near_duplicates` too. Ids are unique in
    each table. Memory is bounded, whatever the number of rows. Raise InputError if a table cannot be read or two
    share a name.

    Example: d3 duplicates --corpus a.parquet b.parquet --out duplicates
    """
    columns = ["id", "metadata", "shard", "row"]
    _list_losers("duplicates", config, corpus, columns, ORDERS["corpus"], out, near_duplicates)


def pair_duplicates(config: Config, pairs: Sequence[Path], out: Path) -> None:
    """List for each batch the functions that another batch contains too and that are kept there.

    See `run`.

    Example: d3 pair-duplicates --pairs a.parquet b.parquet --out pair_duplicates
    """
    _list_losers("pair_duplicates", config, pairs, ["id", "file_id"], ORDERS["pairs"], out)


def _list_losers(
    stage: str,
    config: Config,
    tables: Sequence[Path],
    columns: list[str],
    order: str,
    folder: Path,
    near: Path | None = None,
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
        if near is not None:
            open_parquet(job.input(near), ["id"]).close()
        lists = {name: job.file(output) for name, output in outputs.items()}
        losers = _losers(list(outputs), order, folder, near)
        end = ("", "", "")
        name, identifier, reason = next(losers, end)
        for table, path in lists.items():
            with path.open("w", encoding="ascii", newline="\n") as lines:
                while name == table:
                    lines.write(_line(identifier, reason))
                    job.drop(reason)
                    name, identifier, reason = next(losers, end)
        job.keep(job.read - sum(job.dropped.values()))


def _line(identifier: str, reason: str) -> str:
    return f"{identifier}\n" if reason == REASON else f"{identifier} {reason}\n"


def _losers(files: list[str], order: str, folder: Path, near: Path | None) -> Iterator[tuple[str, str, str]]:
    """Yield (table, id, reason) of every row that does not go on here: tables in the order of `files`, ids sorted."""
    if not files:
        return
    with plain_links(files) as links, plain_links([near] if near else []) as other, data_base(folder) as base:
        base.execute(TWINS, {"files": list(links)})
        base.execute("CREATE TEMP TABLE near (id VARCHAR)")
        if other:
            base.execute(NEAR, {"near": list(other)})
        found = base.execute(LOSERS.format(order=order), {"files": list(links)})
        while rows := found.fetchmany(10_000):
            yield from ((links[link], identifier, reason) for link, identifier, reason in rows)


def ids_elsewhere(job: Job, path: Path | None) -> dict[str, str]:
    """Return the reason of every id in the list of a batch, or none; raise InputError for a line that is no id."""
    if path is None:
        return {}
    with damage_named(job.input(path)):
        lines = path.read_text(encoding="ascii").split("\n")
    found: dict[str, str] = {}
    for number, line in enumerate(lines[:-1], start=1):
        if not (match := LINE.fullmatch(line)):
            raise InputError(f"line {number} is no id", where=str(path), remedy="run `duplicates` again")
        found[match[1]] = NEAR_DUPLICATE if match[2] else REASON
    if lines[-1]:
        raise InputError("ends in the middle of a line", where=str(path), remedy="run `duplicates` again")
    return found


def check(job: FinishedJob) -> Faults:
    """Compare the lists with the rows that are equal in several of the tables, and with the near-duplicates."""
    near = job.inputs_of("near_duplicates")
    paths = [str(job.root / name) for name in job.inputs if job.root / name not in near]
    tables = {table_name(Path(path)): path for path in paths}
    listed = {Path(name).stem: name for name in job.outputs}
    if listed.keys() != tables.keys():
        yield job.name(), f"lists {', '.join(listed)} of the tables {', '.join(tables)}"
        return
    order = ORDERS["pairs" if job.inputs_of("pairs") else "corpus"]
    with tempfile.TemporaryDirectory() as scratch:
        found = dict.fromkeys(tables.values(), "")
        for table, identifier, reason in _losers(list(found), order, Path(scratch), near[0] if near else None):
            found[table] += _line(identifier, reason)
    for name, path in listed.items():
        if (job.root / path).read_text(encoding="ascii") != found[tables[name]]:
            yield path, "does not list the rows that its table shares with another one, where they are kept"
