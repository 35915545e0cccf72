"""Following a number, a file, a model or a row back to the sources.

A target is one of

    results/runs/NAME/numbers.json#pass@1/humaneval/d3   a key number of a report (or only its name)
    results/labels/KEY/SHARD.parquet                     a file or folder that a job made or read
    results/dataset/KEY/data/SHARD.parquet#17            a row of a table, counted from 0
    1a9a6000e77d00b5                                     a file id, also of before redaction, or a Stack hexsha

Of a file or number the tree shows the stages before it, one node for each folder, and at its end
which source files are behind it, with their licences. Of a row it shows the rows before it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d3.audit.statements import enclosing, made_with, name_below, read_finished, stage_of
from d3.audit.trace import graph
from d3.audit.trace.graph import Group
from d3.audit.trace.rows import RowTracer
from d3.audit.trace.tree import Node
from d3.errors import InputError
from d3.pipeline.registry import has_rows, of_functions

if TYPE_CHECKING:
    import duckdb

CONTENT_ID = re.compile(r"[0-9a-f]{8,64}")
ROW = re.compile(r"(?P<path>.+)#(?P<row>\d+)")
NUMBERS = "numbers.json"
STAGE_OF_NUMBER = {
    "files_read": "corpus",
    "files_kept": "corpus",
    "files_graded": "grades",
    "scores_missing": "grades",
    "judge_bounds_broken": "judge_health",
    "files_diffed": "diffs",
    "sequences": "diffs",
    "labels": "labels",
    "dataset_rows": "dataset",
    "tokens": "tokens",
}
"""Key numbers of the report and the stage whose files they are counted from."""
PAIRS_TO_FILES = """
insert into wanted select distinct other.key from wanted own join rows me on me.key = own.key
    join artefacts a on a.id = me.artefact and starts_with(a.path, 'results/pairs/')
    join rows other on other.artefact = me.artefact and other."row" = me."row" and other.key != me.key
"""


class Tracer:
    """Follows targets through one index."""

    def __init__(self, root: Path, connection: "duckdb.DuckDBPyConnection", *, limit: int = 5) -> None:
        self.root, self.connection, self.limit = root, connection, limit

    def trace(self, target: str) -> Node:
        """Return the tree of a target; raises InputError for what the lineage does not know."""
        path, _, name = target.partition("#")
        if Path(path).name == NUMBERS and name:
            return self._number(self._relative(path), name)
        if "@" in target and not self._known(self._relative(target)):
            return self._number(self._only_run(), target)
        row = ROW.fullmatch(target)
        if row and self._known(self._relative(row["path"])):
            return RowTracer(self.root, self.connection).row(self._relative(row["path"]), int(row["row"]))
        if CONTENT_ID.fullmatch(path) and not (self.root / path).exists():
            return RowTracer(self.root, self.connection).content(path)
        relative = self._relative(target).removesuffix(".prov.json")
        artefact = self._known(relative)
        if artefact is None:
            reason = "is neither a file of the lineage nor an id in it"
            raise InputError(reason, where=target, remedy="check the name, or bring the index up to date: `d3 lineage`")
        return self._tree(Node(name=relative, text=relative, data={"path": relative}), [artefact])

    # --- targets ------------------------------------------------------------------------------------

    def _relative(self, path: str) -> str:
        """Return a path as statements name it."""
        return name_below(self.root, path) or path.rstrip("/")

    def _known(self, path: str) -> int | None:
        """Return the artifact of a path, or of the folder that a job made and the path lies in."""
        for place in enclosing(path):
            found = self.connection.execute("select id from artefacts where path = ?", [place]).fetchall()
            if found:
                return int(found[0][0])
        return None

    def _only_run(self) -> str:
        found = sorted(self.root.glob(f"results/runs/*/{NUMBERS}"))
        if len(found) != 1:
            several = ", ".join(path.parent.name for path in found) or "none"
            reason = f"which run is meant? There is {several}"
            raise InputError(reason, remedy="write results/runs/NAME/numbers.json#NUMBER")
        return found[0].relative_to(self.root).as_posix()

    def _number(self, path: str, name: str) -> Node:
        """Trace a key number of a report: only the files that decide it are followed."""
        try:
            values = json.loads((self.root / path).read_text(encoding="utf-8"))
            rows = {str(row["name"]): row for row in values["key"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"holds no numbers of a report ({error})", where=path, remedy="run the workflow") from None
        names = {name, "/".join(reversed(name.split("/"))), "/".join([name.split("/")[-1], *name.split("/")[:-1]])}
        row = next((rows[known] for known in rows if known in names), None)
        if row is None:
            raise InputError(f"has no number {name}", where=path, remedy=f"it has {', '.join(rows)}")
        report = self._known(path)
        if report is None:
            raise InputError("is not in the index", where=path, remedy="run `d3 lineage`")
        inputs = self.connection.execute(
            "select a.id, a.path from parents p join artefacts a on a.id = p.parent where p.child = ?", [report]
        ).fetchall()
        behind = list(self._files_of_number(row, inputs))
        if not behind:
            raise InputError(f"names no file that {row['name']} was counted from", where=path, remedy="run `d3 verify`")
        text = f"{row['label']}: {_value(row)}, in {path}"
        root = Node(name=f"{path}#{row['name']}", text=text, data={"number": row, "path": path})
        return self._tree(root, behind)

    def _files_of_number(self, row: dict[str, Any], inputs: Sequence[tuple[int, str]]) -> Iterator[int]:
        stage = STAGE_OF_NUMBER.get(row["name"])
        for artefact, path in inputs:
            if stage is not None:
                if stage_of(path) == stage:
                    yield artefact
            elif stage_of(path) == "scores":
                score = json.loads((self.root / path).read_text(encoding="utf-8"))
                _, benchmark, arm = row["name"].split("/")
                if (score["benchmark"], score["arm"]) == (benchmark, arm):
                    yield artefact

    # --- the tree of files --------------------------------------------------------------------------

    def _tree(self, root: Node, artefacts: Sequence[int]) -> Node:
        graph.reach(self.connection, artefacts)
        found = graph.groups(self.connection)
        nodes: dict[str, Node] = {}

        def grow(folder: str) -> Node:
            if folder not in nodes:
                nodes[folder] = self._node(found[folder])
                nodes[folder].children = [grow(parent) for parent in found[folder].parents]
            return nodes[folder]

        marks = ", ".join("?" * len(artefacts))
        tops = self.connection.execute(
            f"select distinct folder from artefacts where id in ({marks}) order by folder", list(artefacts)
        ).fetchall()
        root.children = [grow(folder) for (folder,) in tops]
        self._add_sources(found, nodes)
        root.notes += self._commits(found)
        return root

    def _node(self, group: Group) -> Node:
        statement = read_finished(self.root / group.statement, self.root) if group.statement else None
        data: dict[str, Any] = {
            "folder": group.folder,
            "path": group.path,
            "files": group.files,
            "rows": group.rows,
            "bytes": group.bytes,
            "sha256": group.sha256,
            "stage": group.stage,
            "statement": group.statement,
        }
        size = f"{group.rows:,} rows" if group.rows is not None else _bytes(group.bytes)
        place = group.path if group.files == 1 else group.folder
        where = ("…/" + "/".join(Path(place).parts[-3:])) if place.startswith("/") else place
        where += f", {group.files:,} files" if group.files > 1 else ""
        name = stage_of(group.path) if stage_of(group.path) not in ("", "runs") else group.stage or "input"
        text = ", ".join(part for part in (f"{name}  {where}", size) if part)
        text += f", sha256 {group.sha256[:12]}" if group.files == 1 else ""
        notes = []
        if statement is not None:
            notes += list(made_with(statement))
            data |= {
                "code": statement.code or None,
                "environment": statement.environment or None,
                "config": statement.config,
                "prompts": statement.prompts,
                "counts": statement.counts,
            }
        return Node(name=group.folder, text=text, notes=notes, data=data)

    def _commits(self, found: dict[str, Group]) -> list[str]:
        """Return lines with the commits of the code that made what was reached."""
        lines: dict[str, None] = {}
        for group in found.values():
            statement = read_finished(self.root / group.statement, self.root) if group.statement else None
            git = (statement.facts.get("git") if statement else None) or {}
            if git.get("commit"):
                changes = ", with uncommitted changes" if git.get("dirty") else ""
                lines[f"code: git {git['commit'][:12]}{changes}"] = None
        return list(lines)

    # --- the sources --------------------------------------------------------------------------------

    def _add_sources(self, found: dict[str, Group], nodes: dict[str, Node]) -> None:
        """Hang below every folder of source shards which of its files are behind the target."""
        frontier = _frontier(found)
        if not frontier:
            return
        marks = ", ".join("?" * len(frontier))
        self.connection.execute(
            f"""
            create or replace temp table wanted as select distinct r.key from rows r
                join reached on reached.id = r.artefact join artefacts a on a.id = r.artefact and a.folder in ({marks})
            """,
            frontier,
        )
        if any(of_functions(stage_of(found[folder].path)) for folder in frontier):
            self.connection.execute(PAIRS_TO_FILES)
        sources = self.connection.execute(
            """
            create or replace temp table behind as
            select f.artefact, f."row", f.licences from files f semi join wanted using (key)
                semi join reached on reached.id = f.artefact;
            select distinct b.artefact, s.folder from (select distinct artefact from behind) b
                join parents p on p.child = b.artefact join artefacts s on s.id = p.parent
            """
        ).fetchall()
        for folder in sorted({name for _, name in sources}):
            corpora = [artefact for artefact, name in sources if name == folder]
            if folder in nodes:
                nodes[folder].children += list(self._files_behind(folder, corpora))

    def _files_behind(self, folder: str, corpora: Sequence[int]) -> Iterator[Node]:
        marks = ", ".join("?" * len(corpora))
        which = f"from behind where artefact in ({marks})"
        licences = self.connection.execute(
            f"select coalesce(nullif(licences, ''), 'no licence'), count(*) {which} group by 1 order by 2 desc, 1",
            list(corpora),
        ).fetchall()
        total = sum(count for _, count in licences)
        counted = ", ".join(f"{licence} {count:,}" for licence, count in licences[:5])
        more = f" and {len(licences) - 5} other licences" if len(licences) > 5 else ""
        files = self.connection.execute(
            f"""
            select repository, path, licences, hexsha, id, shard, source_row from files
                semi join (select artefact, "row" {which}) using (artefact, "row") order by 1, 2, "row" limit ?
            """,
            [*corpora, self.limit],
        ).fetchall()
        children = [
            Node(
                name=f"{shard}#{row}",
                text=f"{repository} {path}  {licence or 'no licence'}, hexsha {hexsha[:12]}, row {row} of {shard}",
                data={"repository": repository, "path": path, "licences": licence, "hexsha": hexsha,
                      "file_id": identifier, "shard": shard, "row": row},
            )
            for repository, path, licence, hexsha, identifier, shard, row in files
        ]  # fmt: skip
        if total > len(children):
            text = f"… {total - len(children):,} more, see --limit"
            children.append(Node(name=f"{folder}#more", text=text, data={"left_out": total - len(children)}))
        yield Node(
            name=f"{folder}#files",
            text=f"{total:,} source file{'' if total == 1 else 's'} behind this: {counted}{more}",
            data={"files": total, "licences": dict(licences)},
            children=children,
        )


def _frontier(found: dict[str, Group]) -> list[str]:
    """Return the folders of row tables from which no other reached table of rows was made."""
    bearing = [name for name, group in found.items() if has_rows(stage_of(group.path))]
    above: set[str] = set()
    for name in bearing:
        above |= graph.ancestors(found, name)
    return [name for name in bearing if name not in above]


def _value(row: dict[str, Any]) -> str:
    """Write a key number as the report does."""
    value = row.get("value")
    if "tasks" not in row or value is None:
        return f"{value:,}" if isinstance(value, int | float) else "none"
    text = f"{100 * value:.1f} %"
    if row.get("low") is not None:
        text += f" ({100 * row['confidence']:g} % interval {100 * row['low']:.1f} % to {100 * row['high']:.1f} %"
        text += f", {row['tasks']} tasks)"
    return text


def _bytes(size: int | None) -> str:
    if size is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:,.1f} TB"
