"""Check of the index of the lineage: it must say what the statements and the tables say."""

import tempfile
from collections.abc import Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING

from d3.audit.index import INDEX, build, open_index
from d3.audit.job_graph import Finding, Run
from d3.errors import D3Error

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Base

INPUT = "the input"
MADE = "join jobs j on j.id = a.job"
OUTSIDE = "a.job is null and (select count(distinct sha256) from edges e where e.artefact = a.id) = 1"
CONTENTS = {
    "the job of": (
        "jobs",
        'statement, sha256, stage, started, finished, "read", kept, dropped, code, facts, environment',
    ),
    "the outputs of": (
        f"artefacts a {MADE}",
        'j.statement, a.path, a.folder, a.sha256, a.bytes, a."rows", a.place, a.part_of',
    ),
    "the inputs of": (
        "edges e join artefacts a on a.id = e.artefact join jobs j on j.id = e.job",
        "j.statement, a.path, e.sha256",
    ),
    "rows of": (
        f"rows r join artefacts a on a.id = r.artefact {MADE}",
        'j.statement, a.path, r.key, r."row", r.sample, r.part',
    ),
    "the source files of": (
        f"files f join artefacts a on a.id = f.artefact {MADE}",
        'j.statement, a.path, f.key, f.id, f."row", f.shard, f.source_row, f.hexsha, f.repository, f.path, f.licences,'
        "f.split",
    ),
    INPUT: (
        f"artefacts a left join artefacts w on w.id = a.part_of where {OUTSIDE}",
        "a.path, a.folder, a.sha256, a.bytes, w.path",
    ),
}
"""What the index says of a statement, or of an input from outside: tables, and the columns that no order of building
decides; the first one is what it is about."""
SCHEMA = (
    "select sql from duckdb_tables() where not internal union all select sql from duckdb_views() where not internal"
)


def check_index(run: Run, damaged: Set[str]) -> Iterator[Finding]:
    """Yield what an index says that one built anew does not; one that only is not up to date is a note.

    Statements that only one of the two knows are left out, and those of `damaged` tables.
    """
    if not (run.root / INDEX).exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch, INDEX.name)
        build(run.root, fresh)
        try:
            with open_index(run.root) as one, open_index(run.root, fresh) as other:
                for what, note in _differences(one, other, damaged):
                    remedy = "run `d3 lineage`" if note else "delete it and run `d3 lineage`"
                    yield Finding(path=INDEX.as_posix(), what=f"{what}; {remedy}", note=note)
        except D3Error as error:
            yield Finding(path=INDEX.as_posix(), what=error.reason)


def _differences(one: "Base", other: "Base", damaged: Set[str]) -> Iterator[tuple[str, bool]]:
    """Yield (what differs, whether it is only a note)."""
    if sorted(one.execute(SCHEMA).fetchall()) != sorted(other.execute(SCHEMA).fetchall()):
        yield "has other tables or views than this version makes", False
        return
    stamps, actual = (
        _by_name(base, "jobs", "statement", "any_value((mtime_ns, size, sha256))") for base in (one, other)
    )
    both = stamps.keys() & actual.keys()
    for name in sorted(name for name in both if stamps[name][:2] == actual[name][:2] and stamps[name] != actual[name]):
        yield f"knows another {name} than there is, of the same time", False
    if stale := stamps != actual:
        yield "is not up to date", True
    current = {name for name in both if stamps[name] == actual[name]} - damaged
    for about, (tables, columns) in CONTENTS.items():
        value = f"(count(*), sum(hash({columns})::hugeint))"
        known, found = (_by_name(base, tables, columns, value) for base in (one, other))
        for name in sorted(known.keys() | found.keys()):
            comparable = not stale if about == INPUT else name in current
            if comparable and known.get(name) != found.get(name):
                yield f"says something else about {about} {name}", False


def _by_name(base: "Base", tables: str, columns: str, value: str) -> dict[str, tuple[int, ...]]:
    """Return an aggregate of some rows by the first column."""
    return dict(base.execute(f"select {columns.partition(',')[0]}, {value} from {tables} group by 1").fetchall())
