"""Following one row: from a dataset row, a file id or a Stack hexsha to everything that belongs to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d3.audit.statements import made_with, read_finished, stage_of
from d3.audit.trace import graph
from d3.audit.trace.tree import Node
from d3.core.printable import printable
from d3.errors import InputError
from d3.pipeline.registry import STAGES, of_functions, position

if TYPE_CHECKING:
    import duckdb

LONGEST = 100
"""Characters of a text that are shown."""
LARGE = ("text", "content", "prompt", "completion", "program_start", "raw", "diffs", "edits")
"""Columns that say what a row holds rather than what it is; they are not shown in full."""
MOST_FILES = 20
"""File ids that one prefix may stand for."""


class RowTracer:
    """Finds rows by the index and reads them out of their tables."""

    def __init__(self, root: Path, connection: "duckdb.DuckDBPyConnection") -> None:
        self.root, self.connection = root, connection

    # --- targets ------------------------------------------------------------------------------------

    def row(self, path: str, row: int) -> Node:
        """Return the tree of a row: the rows before it, up to the Stack."""
        artefact = self.connection.execute("select id from artefacts where path = ?", [path]).fetchall()[0][0]
        values = read_row(self.root, path, row)
        found = self.connection.execute(
            'select key, sample, part from rows where artefact = ? and "row" = ? order by key', [artefact, row]
        ).fetchall()
        node = self._node(path, row, values)
        node.notes += self._made_with(path)
        if not found and stage_of(path) == "source":
            keys = self.connection.execute("select distinct key from files where hexsha = ?", [values["hexsha"]])
            node.children += [child for (key,) in keys.fetchall() for child in self._appearances(key, path)]
            return node
        for key, sample, part in found[:1] if stage_of(path) != "pairs" else found:
            before = self._upstream_rows(artefact, key, sample, part)
            for table, number in before:
                if (table, number) != (path, row):
                    child = self._node(table, number, read_row(self.root, table, number))
                    child.notes += self._made_with(table)
                    node.children.append(child)
            node.children += self._stack_rows(key, artefact)
        if of_functions(stage_of(path)):
            node.children += self._through_pairs(artefact, [key for key, _, _ in found[:1]])
        return node

    def content(self, prefix: str) -> Node:
        """Return the tree of a file: its Stack row, and every row that is about it.

        It is named by its id, the id that it had before redaction, or its Stack hexsha.
        """
        low = int(prefix[:16].ljust(16, "0"), 16)
        high = int(prefix[:16].ljust(16, "f"), 16)
        files = self.connection.execute(
            "select distinct id, key from files where (key between ? and ? and starts_with(id, ?)) "
            "or starts_with(hexsha, ?) or starts_with(original, ?) order by id limit ?",
            [low, high, prefix, prefix, prefix, MOST_FILES + 1],
        ).fetchall()
        if len(files) > 1:
            several = ", ".join(name[:16] for name, _ in files[:MOST_FILES])
            raise InputError("stands for several files", where=prefix, remedy=f"give more digits: {several}")
        if not files:
            return self._without_file(prefix, low, high)
        identifier, key = files[0]
        node = Node(name=identifier, text=f"file {identifier}", data={"file_id": identifier})
        node.children += self._stack_rows(key)
        node.children += self._appearances(key)
        node.children += self._trained_on(key)
        return node

    def _without_file(self, prefix: str, low: int, high: int) -> Node:
        """Return the tree of an id that is no corpus file's: a pair's, or the hexsha of a rejected row."""
        keys = self.connection.execute(
            "select distinct key from rows where key between ? and ? limit 2", [low, high]
        ).fetchall()
        if len(keys) != 1:
            what = "stands for several rows" if keys else "is no id, and no Stack hexsha, of these results"
            raise InputError(what, where=prefix, remedy="give more digits" if keys else "check it, or run `d3 lineage`")
        node = Node(name=prefix, text=f"id {prefix}", data={"id": prefix})
        node.children += self._appearances(keys[0][0])
        return node

    # --- rows of the same thing ---------------------------------------------------------------------

    def _upstream_rows(self, artefact: int, key: int, sample: int | None, part: int | None) -> list[tuple[str, int]]:
        """Return the rows about the same file, sequence and part in the tables that a table was made of."""
        graph.reach(self.connection, [artefact])
        rows = self.connection.execute(
            """
            select a.path, r."row" from rows r join reached on reached.id = r.artefact
                join artefacts a on a.id = r.artefact
            where r.key = ? and (r.sample is null or ?::integer is null or r.sample = ?)
                and (r.part is null or ?::integer is null or r.part = ?)
            """,
            [key, sample, sample, part, part],
        ).fetchall()
        return sorted(rows, key=lambda found: (_order(found[0]), found))

    def _appearances(self, key: int, but: str = "") -> list[Node]:
        """Return every row about a content id, in the order of the stages."""
        rows = self.connection.execute(
            'select a.path, r."row" from rows r join artefacts a on a.id = r.artefact where r.key = ?', [key]
        ).fetchall()
        ordered = sorted({row for row in rows if row[0] != but}, key=lambda found: (_order(found[0]), found))
        nodes = []
        for path, row in ordered:
            node = self._node(path, row, read_row(self.root, path, row))
            if stage_of(path) == "pairs" and int(str(node.data["id"])[:16], 16) != key:
                node.children += self._appearances(int(str(node.data["id"])[:16], 16), but=path)
            nodes.append(node)
        return nodes

    def _through_pairs(self, artefact: int, keys: list[int]) -> list[Node]:
        """Return the corpus rows of the files that fine-tuning pairs were taken from."""
        graph.reach(self.connection, [artefact])
        owners = self.connection.execute(
            """
            select distinct other.key from rows me join reached on reached.id = me.artefact
                join rows other on other.artefact = me.artefact and other."row" = me."row" and other.key != me.key
            where list_contains(?, me.key)
            """,
            [keys],
        ).fetchall()
        return [node for (key,) in owners for node in self._stack_rows(key, artefact)]

    def _stack_rows(self, key: int, artefact: int | None = None) -> list[Node]:
        """Return the Stack rows of a file: where it lay, and under which licence."""
        reached = "" if artefact is None else "join reached on reached.id = f.artefact"
        rows = self.connection.execute(
            f"""
            select distinct f.repository, f.path, f.licences, f.hexsha, f.shard, f.source_row, s.path, s.sha256
            from files f {reached} left join parents p on p.child = f.artefact
                left join artefacts s on s.id = p.parent and starts_with(parse_filename(s.path), f.shard || '.')
                    and not starts_with(s.path, 'results/contamination/')
            where f.key = ? and s.path is not null order by all
            """,
            [key],
        ).fetchall()
        return [
            Node(
                name=f"{source}#{row}",
                text=f"Stack row  {repository} {path}, {licence or 'no licence'}, hexsha {hexsha}",
                notes=[f"row {row} of {source}, sha256 {str(sha256)[:12]}"],
                data={"repository": repository, "path": path, "licences": licence, "hexsha": hexsha, "shard": source,
                      "row": row, "sha256": sha256},
            )
            for repository, path, licence, hexsha, shard, row, source, sha256 in rows
        ]  # fmt: skip

    def _trained_on(self, key: int) -> list[Node]:
        """Return the models that were trained on dataset rows or pairs of a file."""
        tables = self.connection.execute(
            """
            select distinct r.artefact from rows r join artefacts a on a.id = r.artefact where r.key = ?
                and (starts_with(a.path, 'results/dataset/') or starts_with(a.path, 'results/pairs/'))
            """,
            [key],
        ).fetchall()
        if not tables:
            return []
        graph.reach(self.connection, [artefact for (artefact,) in tables], down=True)
        models = self.connection.execute(
            """
            select a.path, a.sha256, j.stage from reached join artefacts a using (id) join jobs j on j.id = a.job
            where j.stage in ('midtrain', 'sft') order by j.stage, a.path
            """
        ).fetchall()
        return [
            Node(
                name=path,
                text=f"model trained on it  {path}, sha256 {sha256[:12]}",
                data={"path": path, "sha256": sha256, "stage": stage},
            )
            for path, sha256, stage in models
        ]

    def _made_with(self, path: str) -> list[str]:
        """Return lines about the job that wrote a table: code, prompts, and the model that it asked."""
        found = self.connection.execute(
            "select j.statement from artefacts a join jobs j on j.id = a.job where a.path = ?", [path]
        ).fetchall()
        statement = read_finished(self.root / found[0][0], self.root) if found else None
        if statement is None:
            return []
        models = [f"model {item.path}, sha256 {item.sha256[:12]}" for item in statement.inputs if item.role == "model"]
        return [*made_with(statement), *models]

    def _node(self, path: str, row: int, values: dict[str, Any]) -> Node:
        shown = {name: _shown(value) for name, value in values.items() if name not in (*LARGE, "metadata")}
        data = {name: value for name, value in values.items() if name not in LARGE}
        said = ", ".join(_words(stage_of(path), values, shown))
        return Node(
            name=f"{path}#{row}",
            text=f"{stage_of(path) or 'row'}  {said}",
            notes=[f"row {row} of {path}"],
            data={"table": path, "row_number": row, **data},
        )


def _words(stage: str, values: dict[str, Any], shown: dict[str, str]) -> Iterator[str]:
    """Yield what a row says, by its stage."""
    names = STAGES[stage].shown if stage in STAGES else ()
    for name in names or tuple(shown)[:6]:
        if values.get(name) is not None:
            yield f"{name} {shown[name]}"
    if values.get("diffs"):
        yield f"{len(values['diffs'])} diffs"


def _shown(value: Any) -> str:
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    text = printable(" ".join(text.split()))
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return f'"{text}"' if isinstance(value, str) and " " in text else text


def _order(path: str) -> int:
    """Return a rank by which rows of late stages come first; files of no stage come last."""
    stage = stage_of(path)
    return len(STAGES) - position(stage) if stage in STAGES else len(STAGES) + 1


def read_row(root: Path, path: str, row: int) -> dict[str, Any]:
    """Read one row of a Parquet table, only its row group; raises InputError if there is no such row."""
    from d3.core.tables import damage_named, open_parquet

    with open_parquet(root / path) as file, damage_named(root / path):
        first = 0
        for number in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            if row < first + rows:
                names = [name for name in file.schema_arrow.names if name not in LARGE or name == "diffs"]
                values: dict[str, Any] = file.read_row_group(number, columns=names).slice(row - first, 1).to_pylist()[0]
                return values
            first += rows
    raise InputError(f"has no row {row}, only {first}", where=path, remedy="rows are counted from 0")
