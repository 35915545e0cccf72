"""What lies upstream of some artefacts, folded to one node for each folder of a stage.

A run of ten thousand shards has as many nodes as one of two: a stage's folder, a model, a benchmark,
a folder of source shards.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from d3.audit.statements import stage_of
from d3.pipeline.registry import lists_ids

if TYPE_CHECKING:
    import duckdb


@dataclass(kw_only=True, slots=True)
class Group:
    """What a folder holds of the artefacts that were reached."""

    folder: str
    stage: str
    """What the jobs called themselves; empty for what came from outside."""
    files: int
    rows: int | None
    """Rows of the jobs' first outputs together."""
    bytes: int | None
    path: str
    """The first of the artefacts."""
    sha256: str
    """Its digest."""
    statement: str | None
    """The statement of the job that made it."""
    parents: list[str] = field(default_factory=list)
    """Folders that its jobs read."""


def reach(connection: "duckdb.DuckDBPyConnection", artefacts: Sequence[int], *, down: bool = False) -> None:
    """Put all ancestors of some artefacts (or descendants), and themselves, into the table `reached`."""
    near, far = ("parent", "child") if down else ("child", "parent")
    connection.execute("create or replace temp table begin(id integer)")
    connection.execute("insert into begin select unnest(?)", [list(artefacts)])
    connection.execute(
        f"""
        create or replace temp table reached as
        with recursive up(id) as (
            select id from begin union select p.{far} from up join parents p on p.{near} = up.id)
        select id from up
        """
    )


def groups(connection: "duckdb.DuckDBPyConnection") -> dict[str, Group]:
    """Fold what `reach` found; parents that another parent leads to are left out."""
    found = {
        row[0]: Group(folder=row[0], stage=row[1] or "", files=row[2], rows=row[3], bytes=row[4], path=row[5],
                      sha256=row[6], statement=row[7])
        for row in connection.execute(
            """
            select a.folder, any_value(j.stage), count(*),
                sum(a."rows") filter (a.place = 0 or j.stage = 'source'), sum(a.bytes), min(a.path),
                arg_min(a.sha256, a.path), arg_min(j.statement, a.path)
            from reached join artefacts a using (id) left join jobs j on j.id = a.job
            group by a.folder order by a.folder
            """
        ).fetchall()
    }  # fmt: skip
    edges = connection.execute(
        """
        select distinct c.folder, p.folder from reached r join parents e on e.child = r.id
            join artefacts c on c.id = e.child join artefacts p on p.id = e.parent
            where c.folder != p.folder order by all
        """
    ).fetchall()
    for child, parent in edges:
        if parent in found:
            found[child].parents.append(parent)
    for group in found.values():
        group.parents = _nearest(found, group.parents)
    return found


def _nearest(found: dict[str, Group], parents: Iterable[str]) -> list[str]:
    """Leave out stages that another one of these leads to; those with the shortest history come first.

    Models, benchmarks and other inputs stay: who read a model is worth saying. Lists of what to leave
    out stand in nobody's way.
    """
    parents = list(parents)
    above = {name: ancestors(found, name) for name in parents}
    stages = {name for name in parents if stage_of(found[name].path)}
    ways = {name for name in stages if not lists_ids(stage_of(found[name].path))}
    near = [name for name in parents if name not in stages or not any(name in above[other] for other in ways)]
    return sorted(near, key=lambda name: (len(above[name]), name))


def ancestors(found: dict[str, Group], folder: str) -> set[str]:
    """Return all folders above one."""
    seen: set[str] = set()
    waiting = list(found[folder].parents)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += found[name].parents
    return seen
