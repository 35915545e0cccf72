"""What becomes of every file: one unit, one reason each, sums that add up."""

import json
from pathlib import Path

import pytest

from d3.config.load import parse_config
from d3.core import schemas
from d3.core.tables import Row
from d3.errors import InputError
from d3.stages import file_counts
from helpers.corpus_tables import corpus_row, write_rows

NAMES = ("elsewhere", "near", "held", "low", "lost", "cut", "dumb", "unused", "used", "both")


def identifier(name: str) -> str:
    return f"{NAMES.index(name):064x}"


def rows(schema: object, *given: Row) -> list[Row]:
    return [dict.fromkeys(schema.names) | {**row, "id": identifier(row["id"])} for row in given]  # type: ignore[attr-defined]


def tables(folder: Path, **other: list[Row]) -> list[Path]:
    """Write the tables of one batch, some of them replaced; return their paths in the order of `run`."""
    files = [corpus_row("x", id=identifier(name), split="sft" if name == "held" else "midtrain") for name in NAMES]
    sampled = ("cut", "dumb", "unused", "used", "both")
    found = {
        "corpus": (schemas.CORPUS, files),
        "rejected": (schemas.REJECTED, [dict.fromkeys(schemas.REJECTED.names) | {"reason": reason}
                                        for reason in ("licence", "benchmark:T/1", "benchmark:T/2")]),
        "grades": (schemas.GRADES, rows(schemas.GRADES, *({"id": name, "score": 1 if name == "low" else 3}
                                                          for name in ("low", *sampled)))),
        "diffs": (schemas.DIFFS, rows(schemas.DIFFS, *({"id": name, "status": "timeout" if name == "cut" else "ok"}
                                                       for name in sampled))),
        "labels": (schemas.LABELS, rows(schemas.LABELS,
                                        {"id": "dumb", "status": "unparsable"}, {"id": "unused", "status": "ok"},
                                        {"id": "used", "status": "ok"}, {"id": "both", "status": "too_long"},
                                        {"id": "both", "status": "ok"})),
        "rows": (schemas.ROW_IDS, rows(schemas.ROW_IDS, {"id": "used"}, {"id": "used"}, {"id": "both"})),
        "unused": (schemas.UNUSED, rows(schemas.UNUSED, {"id": "unused", "reason": "label_repeated"},
                                        {"id": "both", "reason": "label_too_long"})),
    }  # fmt: skip
    paths = {}
    for name, (schema, table) in found.items():
        paths[name] = write_rows(folder / f"{name}.parquet", schema, other.get(name, table))
    paths["duplicates"] = folder / "a.txt"
    paths["duplicates"].write_text(f"{identifier('elsewhere')}\n{identifier('near')} near_duplicate\n")
    order = ("corpus", "rejected", "duplicates", "grades", "diffs", "labels", "rows", "unused")
    return [paths[name] for name in order]


def count(folder: Path, *batches: list[Path]) -> list[tuple[object, ...]]:
    out, table = folder / "attrition.json", folder / "attrition.tsv"
    config = parse_config({"grades": {"threshold": 2}})
    file_counts.run(config, *map(list, zip(*batches, strict=True)), out=out, table=table)  # type: ignore[arg-type]
    found = json.loads(out.read_text())
    assert table.read_text() == file_counts.table_text(found)
    return [tuple(row.values()) for row in found]


def test_each_file_leaves_once_and_the_sums_add_up(tmp_path: Path) -> None:
    assert count(tmp_path, tables(tmp_path)) == [
        ("corpus", "benchmark", 13, 2, 10),
        ("corpus", "licence", 13, 1, 10),
        ("duplicates", "duplicate_elsewhere", 10, 1, 8),
        ("duplicates", "near_duplicate", 10, 1, 8),
        ("held_out", "held_out", 8, 1, 7),
        ("grades", "below_threshold", 7, 1, 5),
        ("grades", "ungraded", 7, 1, 5),
        ("diffs", "timeout", 5, 1, 4),
        ("labels", "unparsable", 4, 1, 3),
        ("dataset", "label_repeated", 3, 1, 2),
    ]


def test_batches_are_added_and_a_stage_that_drops_nothing_has_a_row(tmp_path: Path) -> None:
    batches = [tables(tmp_path / name) for name in "ab"]
    assert count(tmp_path, *batches)[0] == ("corpus", "benchmark", 26, 4, 20)
    empty = tables(tmp_path / "c", rejected=[])
    assert count(tmp_path, empty)[0] == ("corpus", "", 10, 0, 10)


@pytest.mark.parametrize(
    ("table", "more"),
    [
        ("diffs", rows(schemas.DIFFS, {"id": "held", "status": "ok"})),
        ("labels", rows(schemas.LABELS, {"id": "cut", "status": "ok"})),
        ("rows", rows(schemas.ROW_IDS, {"id": "dumb"})),
    ],
)
def test_files_from_nowhere_are_refused(tmp_path: Path, table: str, more: list[Row]) -> None:
    with pytest.raises(InputError, match=rf"{table}\.parquet.*run the stages before again"):
        count(tmp_path, tables(tmp_path, **{table: more}))
    assert not (tmp_path / "attrition.tsv").exists()
