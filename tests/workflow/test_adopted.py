"""Grades, labels and a dataset made elsewhere enter a run; trace, why, verify and forget work across the seam."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3.core import schemas
from d3.core.ids import content_id
from d3.core.tables import Row, read_rows
from helpers.corpus_tables import stack_row, write_shard
from helpers.workflow_run import d3, run, tiny_config, write_config

SECRET = "ann/secret"
NAMES = [*(f"a_{number}" for number in range(6)), *(f"secret_{number}" for number in range(3))]
TARGETS = ("dataset", "attrition")


def program(name: str) -> str:
    body = "".join(f"    {line}\n" for line in (f'"""Return the {name}."""', f"wanted_{name} = side + {len(name)}"))
    return f"import os\n\n\ndef area_{name}(side):\n{body}    return wanted_{name}\n\n\nprint(area_{name}(os.getpid()))"


def write_shards(folder: Path) -> None:
    rows = [
        stack_row(program(name), max_stars_repo_name=SECRET if "secret" in name else f"bob/{name}") for name in NAMES
    ]
    write_shard(folder / "shards" / "a.parquet", rows[::2])
    write_shard(folder / "shards" / "b.parquet", rows[1::2])
    (folder / "opt-out.txt").write_text("# nobody yet\n")


def values(**changes: Any) -> dict[str, Any]:
    tiny = tiny_config(Path("model"))
    shared: dict[str, Any] = {
        **{name: tiny[name] for name in ("midtrain", "sft", "benchmarks")},
        "source": {"shards": ["shards/*.parquet"], "name": "mine", "opt_out": "opt-out.txt"},
        "corpus": {"min_lines": 3, "sample": None, "held_out": 0.0},
        "diffs": {"lint": False},
        "labels": {"mode": "constant", "sub_trajectories": 1},
    }
    return shared | changes


def table(path: str, **more: Any) -> Row:
    return {"path": path, "name": "judged", "version": "2.1", "license": "CC-BY-4.0", **more}


def make(folder: Path, settings: dict[str, Any], *targets: str) -> subprocess.CompletedProcess[str]:
    return run(folder, write_config(folder, settings), "--", *(targets or TARGETS))


def rows_of(folder: Path, pattern: str, schema: pa.Schema) -> list[Row]:
    return [row for path in sorted(folder.glob(f"results/{pattern}")) for row in read_rows(path, schema)]


def ask(folder: Path, *words: str) -> str:
    done = d3(*words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def forget(folder: Path) -> str:
    return ask(folder, "forget", SECRET, "--config", "config.yaml", "--run", "--target", *TARGETS)


def grades(names: list[str]) -> list[Row]:
    """Return grades by hexsha, under names of their own; the first file is bad, the second has no whole number."""
    scores = {0: 1, 1: 2.5}
    return [
        {"sha1": stack_row(program(name))["hexsha"], "quality": scores.get(place, 4), "rationale": f"on {name}"}
        for place, name in enumerate(names)
    ]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return a finished run with adopted grades, of which one file has none."""
    folder = tmp_path_factory.mktemp("graded")
    write_shards(folder)
    lines = "".join(f"{json.dumps(row)}\n" for row in grades([name for name in NAMES if name != "a_5"]))
    (folder / "grades.jsonl").write_text(lines)
    columns = {"hexsha": "sha1", "score": "quality"}
    settings = values(adopt={"grades": table("grades.jsonl", columns=columns)}, grades={"threshold": 3})
    done = make(folder, settings)
    assert done.returncode == 0, done.stdout[-6000:]
    ask(folder, "lineage")
    return folder, settings


def test_adopted_grades_decide_and_say_where_they_are_from(graded: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = graded
    found = {row["id"]: row for row in rows_of(folder, "grades/*/*.parquet", schemas.GRADES)}
    told = [found[content_id(program(name))] for name in NAMES]
    assert [(row["status"], row["score"]) for row in told[:6]] == [
        ("ok", 1), ("unparsable", None), ("ok", 4), ("ok", 4), ("ok", 4), ("not_adopted", None),
    ]  # fmt: skip
    assert {row["answered_by"] for row in told if row["status"] == "ok"} == {"judged@2.1"}
    assert told[1]["detail"] == "score 2.5 is not a whole number from 0 to 4"
    assert told[5]["detail"] == "judged@2.1 has no grade of it"
    attrition = next(folder.glob("results/file_counts/*/attrition.tsv")).read_text()
    for reason in ("below_threshold", "ungraded", "not_adopted"):
        assert f"grades\t{reason}\t9\t1\t6" in attrition
    used = {row["id"] for row in rows_of(folder, "dataset/*/rows/*.parquet", schemas.ROW_IDS)}
    assert used == {content_id(program(name)) for name in NAMES} - {row["id"] for row in told if row["score"] != 4}


def test_a_row_is_traced_across_the_seam_and_verified(graded: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = graded
    data = next(folder.glob("results/dataset/*/data/a.parquet")).relative_to(folder)
    text = ask(folder, "trace", f"{data}#0")
    assert "adopted_grades" in text
    assert "judged@2.1, CC-BY-4.0: grades.jsonl" in text
    whole = ask(folder, "trace", str(data))
    assert "judged@2.1, CC-BY-4.0: grades.jsonl" in whole
    assert "input  grades.jsonl" in whole
    assert "nothing wrong" in ask(folder, "verify")


def test_why_names_the_table_that_changed(graded: tuple[Path, dict[str, Any]]) -> None:
    folder, settings = graded
    made = next(folder.glob("results/adopted_grades/*/a.parquet")).relative_to(folder)
    assert f"{made}: up to date" in ask(folder, "why", str(made), "--config", "config.yaml")
    before = (folder / "grades.jsonl").read_text()
    (folder / "grades.jsonl").write_text(before.replace('"quality": 4', '"quality": 0', 1))
    assert "grades.jsonl" in ask(folder, "why", str(made), "--config", "config.yaml")
    pinned = {"grades": {**settings["adopt"]["grades"], "sha256": "0" * 64}}
    done = make(folder, {**settings, "adopt": pinned})
    assert "grades.jsonl: has changed: its SHA-256 is" in done.stdout
    (folder / "grades.jsonl").write_text(before)
    write_config(folder, settings)


def test_a_dataset_of_another_run_enters_and_is_forgotten(
    graded: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = graded
    ids = rows_of(folder, "dataset/*/rows/*.parquet", schemas.ROW_IDS)
    data = rows_of(folder, "dataset/*/data/*.parquet", schemas.DATASET)
    rows = [
        {"file": place["id"], "prompt": row["prompt"], "completion": row["completion"], "start": row["program_start"]}
        for place, row in zip(ids, data, strict=True)
    ]
    torn = {**rows[0], "completion": rows[0]["completion"][:-20]}
    write_shards(tmp_path)
    pq.write_table(pa.Table.from_pylist([*rows, torn]), tmp_path / "rows.parquet")
    columns = {"id": "file", "program_start": "start"}
    settings = values(adopt={"dataset": table("rows.parquet", columns=columns)}, labels={})
    monkeypatch.chdir(tmp_path)
    done = make(tmp_path, settings)
    assert done.returncode == 0, done.stdout[-6000:]
    stages = {path.name for path in (tmp_path / "results").iterdir()}
    assert not {"grades", "diffs", "labels"} & stages
    again = rows_of(tmp_path, "dataset/*/data/*.parquet", schemas.DATASET)
    assert sorted(map(repr, again)) == sorted(map(repr, data))
    unused = rows_of(tmp_path, "dataset/*/unused/*.parquet", schemas.UNUSED)
    assert [row["reason"] for row in unused] == ["malformed_row"]
    attrition = next(tmp_path.glob("results/file_counts/*/attrition.tsv")).read_text()
    assert "dataset\tnot_adopted\t9\t3\t6" in attrition

    ask(tmp_path, "lineage")
    assert "nothing wrong" in ask(tmp_path, "verify")
    table_name = next(tmp_path.glob("results/dataset/*/data/a.parquet")).relative_to(tmp_path)
    text = ask(tmp_path, "trace", f"{table_name}#0")
    assert "adopted_dataset" in text
    assert "judged@2.1, CC-BY-4.0: rows.parquet" in text
    assert "Stack row" in text

    about = sum(row["file"] in {content_id(program(name)) for name in NAMES[6:]} for row in rows)
    assert about > 0
    said = forget(tmp_path)
    assert f"adopted table with {about} rows about them, an input of yours: rows.parquet" in said
    assert "nothing is left\n" in said
    left = rows_of(tmp_path, "dataset/*/data/*.parquet", schemas.DATASET)
    assert len(left) == len(data) - about
    assert not any("secret" in row["completion"] for row in left)


def test_adopted_grades_are_forgotten(graded: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = graded
    monkeypatch.chdir(folder)
    said = forget(folder)
    assert "adopted table with 3 rows about them, an input of yours: grades.jsonl" in said
    assert "nothing is left\n" in said
    gone = {content_id(program(name)) for name in NAMES[6:]}
    for pattern, schema in (("grades/*/*.parquet", schemas.GRADES), ("adopted_grades/*/*.parquet", schemas.GRADES)):
        assert not gone & {row["id"] for row in rows_of(folder, pattern, schema)}
