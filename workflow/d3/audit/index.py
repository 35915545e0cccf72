"""The index: one DuckDB file that answers what was made of what, down to the row.

    jobs        one row a statement
    artefacts   every file or folder that a job made or read; `job` made it, null for what came from outside;
                `folder` is what it is shown together with, `part_of` the folder that a file was read out of
    edges       (job, artefact): the job read it, when it had this SHA-256
    rows        (key, artefact, row): row `row` of a table is about `key`, the first 64 bits of a content id
                (of the Stack's hexsha for rejected rows); a dataset file's rows are those of its sidecar
    files       one row a corpus row: its id, that of the text before redaction, Stack row, licence, repository and path

Only statements that are new or changed are read, and only tables that they name. Rows are copied by
DuckDB itself, file by file and in bounded memory. The file is written beside the old one and takes
its place at the end, so a killed build leaves the old index.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from d3.audit.statements import Statement, find_statements, group_of, read_statement, stage_of
from d3.core.plain_links import PARQUET, plain_links
from d3.core.tables import written_whole
from d3.errors import D3Error, InputError, raise_system_error
from d3.pipeline.registry import STAGES

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

INDEX = Path("results/lineage/index.duckdb")
VERSION = 2
MEMORY = "512MB"
BATCH = 500
"""Statements that are read before they are written, and tables that one query copies."""

TABLES = """
create table if not exists meta(version integer);
create table if not exists jobs(
    id integer, statement varchar, mtime_ns bigint, size bigint, sha256 varchar, stage varchar, started varchar,
    finished varchar, "read" bigint, kept bigint, dropped varchar, code varchar, facts varchar, environment varchar);
create table if not exists artefacts(
    id integer, path varchar, folder varchar, sha256 varchar, bytes bigint, "rows" bigint, job integer,
    place integer, part_of integer);
create table if not exists edges(job integer, artefact integer, sha256 varchar);
create table if not exists rows(key ubigint, artefact integer, "row" integer, sample smallint, part smallint);
create table if not exists files(
    key ubigint, id varchar, original varchar, artefact integer, "row" integer, shard varchar, source_row bigint,
    hexsha varchar, repository varchar, path varchar, licences varchar, split varchar);
create or replace view parents as
    select a.id as child, e.artefact as parent from artefacts a join edges e on e.job = a.job
    union all select id, part_of from artefacts where part_of is not null;
"""
INCOMING = """
create or replace temp table new_jobs as select * from jobs limit 0;
create or replace temp table new_files(
    statement varchar, path varchar, folder varchar, sha256 varchar, bytes bigint, "rows" bigint, place integer);
"""
KEY = "try_cast('0x' || left({}, 16) as ubigint)"
METADATA = "metadata.max_stars_{}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What building the index came to."""

    jobs: int
    """Statements in the index."""
    new: int
    """Of those, read now."""
    gone: int
    """Statements that were in the index and are no more."""
    rows: int
    """Rows of tables that can be looked up."""
    faulty: tuple[str, ...]
    """Statements that could not be read."""


def open_index(root: Path, index: Path | None = None) -> "duckdb.DuckDBPyConnection":
    """Open the index for reading; raises D3Error when there is none or it is another version's."""
    import duckdb

    path = index or root / INDEX
    if not path.is_file():
        raise D3Error("no index of the lineage", where=str(path), remedy="run `d3 lineage`")
    try:
        connection = duckdb.connect(str(path), read_only=True, config=settings(path))
        found = connection.execute("select version from meta").fetchall()
    except duckdb.Error as error:
        raise_system_error(error, path)
        if "lock" in str(error).lower():
            remedy = "run the command again when that process has ended"
            raise D3Error("another process writes the index", where=str(path), remedy=remedy) from None
        reason = f"is no index that can be read ({str(error).splitlines()[0]})"
        raise D3Error(reason, where=str(path), remedy="delete it and run `d3 lineage`") from None
    if found != [(VERSION,)]:
        raise D3Error("was made by another version", where=str(path), remedy="delete it and run `d3 lineage`")
    return connection


def settings(path: Path) -> dict[str, Any]:
    """Return DuckDB's settings: bounded memory, spilling beside the index, nothing fetched."""
    return {
        "memory_limit": MEMORY,
        "temp_directory": str(path.parent / f".{path.name}.spill"),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "preserve_insertion_order": "true",
        "threads": "2",
    }


def build(root: Path, index: Path | None = None) -> Built:
    """Bring the index up to date with the statements below a working folder.

    Statements whose size and time of change are known are not read again. Faulty ones are left out
    and named. Tables that are missing or damaged give no rows; `d3 verify` names them.
    """
    import duckdb

    target = index or root / INDEX
    if {"?", "\\"} & set(str(target.absolute())):  # DuckDB opens another file
        raise D3Error("the path must not contain `?` or `\\`", where=str(target.absolute()), remedy="rename the folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as part:
        with suppress(D3Error):  # there is none, or another version's
            open_index(root, target).close()
            shutil.copyfile(target, part)
        connection = duckdb.connect(str(part), config=settings(target))
        try:
            built = _update(connection, root)
            connection.execute("checkpoint")
        finally:
            connection.close()
            Path(f"{part}.wal").unlink(missing_ok=True)
    shutil.rmtree(target.parent / f".{target.name}.spill", ignore_errors=True)
    return built


def _update(connection: "duckdb.DuckDBPyConnection", root: Path) -> Built:
    connection.execute("set preserve_insertion_order = true")
    connection.execute(TABLES)
    if not connection.execute("select 1 from meta").fetchall():
        connection.execute("insert into meta values (?)", [VERSION])
    known, found = _known(connection), _stamps(root)
    fresh = sorted(found - known)
    gone = {name for name, _, _ in known} - {name for name, _, _ in found}
    _forget(connection, sorted({name for name, _, _ in known - found}))
    faulty: list[str] = []
    tables: list[str] = []
    for stamps in batched(fresh, BATCH):
        tables += _add(connection, list(_readings(root, stamps, faulty)))
    if fresh or gone:
        _join_parts(connection)
    for names in batched((path for path in tables if path.endswith(".parquet")), BATCH):
        _add_rows(connection, root, names)
    jobs, rows = (
        int(connection.execute(f"select count(*) from {table}").fetchall()[0][0]) for table in ("jobs", "rows")
    )
    return Built(jobs=jobs, new=len(fresh) - len(faulty), gone=len(gone), rows=rows, faulty=tuple(faulty))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most `size` items."""
    several = iter(items)
    while batch := list(islice(several, size)):
        yield batch


Stamp = tuple[str, int, int]
"""Name of a statement, its time of change and its size."""


def _known(connection: "duckdb.DuckDBPyConnection") -> set[Stamp]:
    return set(connection.execute("select statement, mtime_ns, size from jobs").fetchall())


def _stamps(root: Path) -> set[Stamp]:
    stats = {path.relative_to(root).as_posix(): path.stat() for path in find_statements(root)}
    return {(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()}


def _readings(root: Path, stamps: Iterable[Stamp], faulty: list[str]) -> Iterator[tuple[Statement, int, int]]:
    for name, mtime_ns, size in stamps:
        try:
            yield read_statement(root, root / name), mtime_ns, size
        except (InputError, OSError) as error:
            faulty.append(str(error))


def _forget(connection: "duckdb.DuckDBPyConnection", statements: Sequence[str]) -> None:
    """Take statements out, with the rows of what they made."""
    if not statements:
        return
    connection.execute("create or replace temp table old(statement varchar)")
    connection.execute("insert into old select unnest(?)", [list(statements)])
    jobs = "select id from jobs join old using (statement)"
    made = f"select id from artefacts where job in ({jobs})"
    for table in ("rows", "files"):
        connection.execute(f"delete from {table} where artefact in ({made})")
    connection.execute(f"delete from edges where job in ({jobs})")
    connection.execute(f"update artefacts set job = null, place = null where job in ({jobs})")
    connection.execute("delete from jobs where statement in (select statement from old)")
    connection.execute("update artefacts set part_of = null")
    used = "select artefact from edges union all select id from artefacts where job is not null"
    connection.execute(f"delete from artefacts where id not in ({used})")


def _add(connection: "duckdb.DuckDBPyConnection", readings: Sequence[tuple[Statement, int, int]]) -> list[str]:
    """Put statements in; give the paths of what their jobs made."""
    import pyarrow as pa

    if not readings:
        return []
    first = connection.execute("select coalesce(max(id), -1) + 1 from jobs").fetchall()[0][0]
    jobs = [_job(first + place, *reading) for place, reading in enumerate(readings)]
    files = [
        {"statement": item.path, "path": file.path, "folder": group_of(file.path), "sha256": file.sha256,
         "bytes": file.bytes, "rows": file.rows, "place": place if made else None}
        for item, _, _ in readings
        for made, several in ((True, item.outputs), (False, item.inputs))
        for place, file in enumerate(several)
    ]  # fmt: skip
    connection.execute(INCOMING)
    connection.register("arrived_jobs", pa.Table.from_pylist(jobs))
    connection.execute("insert into new_jobs by name select * from arrived_jobs")
    schema = pa.schema(
        [(name, pa.string()) for name in ("statement", "path", "folder", "sha256")]
        + [(name, pa.int64()) for name in ("bytes", "rows", "place")]
    )
    connection.register("arrived_files", pa.Table.from_pylist(files, schema=schema))
    connection.execute("insert into new_files by name select * from arrived_files")
    connection.execute("insert into jobs select * from new_jobs")
    connection.execute(
        """
        insert into artefacts select (select coalesce(max(id), -1) from artefacts) + row_number() over (order by path),
            path, any_value(folder), any_value(sha256), any_value(bytes), any_value("rows"), null, null, null
        from new_files where path not in (select path from artefacts) group by path
        """
    )
    connection.execute(
        """
        update artefacts set job = j.id, place = n.place, sha256 = n.sha256, bytes = n.bytes, "rows" = n."rows"
        from new_files n join new_jobs j on j.statement = n.statement
        where n.place is not null and n.path = artefacts.path
        """
    )
    connection.execute(
        """
        insert into edges select j.id, a.id, n.sha256 from new_files n join new_jobs j using (statement)
            join artefacts a on a.path = n.path where n.place is null
        """
    )
    connection.unregister("arrived_jobs")
    connection.unregister("arrived_files")
    return [str(file["path"]) for file in files if file["place"] is not None]


def _job(number: int, item: Statement, mtime_ns: int, size: int) -> dict[str, Any]:
    counts, environment = item.counts, item.environment
    return {
        "id": number,
        "statement": item.path,
        "mtime_ns": mtime_ns,
        "size": size,
        "sha256": item.digest,
        "stage": item.stage,
        "started": item.started_on,
        "finished": item.finished_on,
        "read": counts.get("read"),
        "kept": counts.get("kept"),
        "dropped": json.dumps(counts.get("dropped", {}), sort_keys=True),
        "code": item.code or None,
        "facts": item.internal.get("facts"),
        "environment": f"{environment.get('name', '')} {environment.get('identity', '')}".strip(),
    }


def _join_parts(connection: "duckdb.DuckDBPyConnection") -> None:
    """Say of files that were read alone, such as a model's tokenizer, which folder they lie in."""
    for above in ("/[^/]+$", "/[^/]+/[^/]+$"):
        connection.execute(
            f"""
            update artefacts set part_of = folder.id from artefacts folder where artefacts.job is null
                and folder.job is not null and regexp_replace(artefacts.path, '{above}', '') = folder.path
            """
        )


# --- rows -----------------------------------------------------------------------------------------


def _add_rows(connection: "duckdb.DuckDBPyConnection", root: Path, names: Sequence[str]) -> None:
    """Copy the ids of some tables, those of one kind together."""
    import duckdb

    kinds: dict[str, list[str]] = {}
    for name in names:
        kind = _kind(name)
        if kind:
            kinds.setdefault(kind, []).append(name)
    for kind, several in kinds.items():
        try:
            _copy(connection, root, kind, several)
        except duckdb.Error:  # one of them is damaged: the others still count
            for name in several:
                with suppress(duckdb.Error):
                    _copy(connection, root, kind, [name])


def _kind(name: str) -> str | None:
    """Return how the rows of a table are found by content id, None for one without rows to look up."""
    stage = STAGES.get(stage_of(name))
    output = stage.output_of("/".join(name.split("/")[3:])) if stage else None
    return output.ids or None if output else None


def _copy(connection: "duckdb.DuckDBPyConnection", root: Path, kind: str, names: Sequence[str]) -> None:
    """Insert the rows of tables of one kind; a sidecar's rows are put under its dataset file."""
    with plain_links(root / name for name in names) as links:
        owners = [name.replace("/rows/", "/data/") if kind == "rows" else name for name in names]
        joined = f"""
            {PARQUET} t
            join (select unnest($files) as link, unnest($owners) as owner) l on l.link = t.filename
            join artefacts a on a.path = l.owner
        """
        files = {"files": list(links), "owners": owners}
        sample = "t.sample" if kind in ("sequence", "example", "rows") else "null"
        part = "t.part" if kind in ("example", "rows") else "null"
        place = 't."row"' if kind == "rows" else "t.file_row_number"
        key = KEY.format("t.hexsha" if kind == "rejected" else "t.id")
        connection.execute(f"insert into rows select {key}, a.id, {place}, {sample}, {part} from {joined}", files)
        if kind == "pairs":
            owner = KEY.format("t.file_id")
            connection.execute(f"insert into rows select {owner}, a.id, {place}, null, null from {joined}", files)
        if kind == "corpus":
            named = ", ".join(f"t.{METADATA.format(name)}" for name in ("repo_name", "repo_path"))
            licences = f"array_to_string(t.{METADATA.format('repo_licenses')}, ', ')"
            connection.execute(
                f'insert into files select {key}, t.id, t.original, a.id, {place}, t.shard, t."row", '
                f"t.metadata.hexsha, {named}, {licences}, t.split from {joined}",
                files,
            )


def newer_statements(root: Path, connection: "duckdb.DuckDBPyConnection") -> bool:
    """Return whether there are other statements than the index knows, by their names, sizes and times."""
    return _known(connection) != _stamps(root)


def licences_of(connection: "duckdb.DuckDBPyConnection", statements: Sequence[str]) -> dict[str, int]:
    """Count the kept source files of some jobs by licence, the most frequent first."""
    rows = connection.execute(
        """
        select coalesce(nullif(f.licences, ''), 'no licence'), count(*) from files f
            join artefacts a on a.id = f.artefact join jobs j on j.id = a.job
        where list_contains(?, j.statement) group by 1 order by 2 desc, 1
        """,
        [list(statements)],
    ).fetchall()
    return dict(rows)
