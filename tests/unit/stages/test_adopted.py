"""Tables made outside of the pipeline: matched to files, each fault one line, nothing lost without a count."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.example_format import example_completion, example_prompt
from d3.core.tables import Row, read_notes, read_rows
from d3.core.unified_diff import make_diff
from d3.errors import ConfigError, D3Error, InputError
from d3.pipeline.pipeline import Chain
from d3.stages import adopted, labels
from d3.stages.adopted_rows import adopted_row
from helpers.corpus_tables import corpus_row, stack_row, write_rows

TEXTS = {name: f"{name} = 1\nprint({name})" for name in ("one", "two", "held", "twin", "gone")}
METADATA = {name: {**stack_row(text), "content": None} for name, text in TEXTS.items()}
FILES = {
    name: corpus_row(
        text,
        metadata={key: METADATA[name][key] for key in schemas.METADATA.names},
        split="sft" if name == "held" else "midtrain",
    )
    for name, text in TEXTS.items()
}
IDS = {name: row["id"] for name, row in FILES.items()}


def tables(folder: Path) -> dict[str, list[Path]]:
    """Write a corpus of two batches: `twin` goes on in the second one, `gone` was rejected."""
    batches = {"a": ("one", "held", "twin"), "b": ("two", "twin")}
    rejected = [{"id": IDS["gone"], "hexsha": METADATA["gone"]["hexsha"], "reason": "opted_out"}]
    found: dict[str, list[Path]] = {"corpus": [], "rejected": [], "duplicates": []}
    for batch, names in batches.items():
        rows = [FILES[name] for name in names]
        found["corpus"].append(write_rows(folder / "corpus" / f"{batch}.parquet", schemas.CORPUS, rows))
        rows = rejected if batch == "a" else []
        found["rejected"].append(write_rows(folder / "rejected" / f"{batch}.parquet", schemas.REJECTED, rows))
        found["duplicates"].append(folder / f"{batch}.txt")
        found["duplicates"][-1].write_text(f"{IDS['twin']}\n" if batch == "a" else "")
    return found


def config_of(path: Path, kind: str = "grades", **more: Any) -> Config:
    given = {"path": str(path), "name": "judged", "version": "2", "license": "MIT", **more}
    return parse_config({"adopt": {kind: given}})


def write_lines(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def match(folder: Path, rows: Sequence[Row], **more: Any) -> dict[str, list[Row]]:
    """Adopt grades; return the rows of each batch."""
    path = write_lines(folder / "grades.jsonl", rows)
    adopted.adopted_grades(config_of(path, **more), **tables(folder), adopted=[path], out=folder / "out")
    return {batch: list(read_rows(folder / "out" / f"{batch}.parquet", schemas.GRADES)) for batch in ("a", "b")}


@pytest.mark.parametrize("key", ["id", "hexsha"])
def test_a_row_goes_to_the_batch_in_which_its_file_goes_on(tmp_path: Path, key: str) -> None:
    names = {name: IDS[name] if key == "id" else METADATA[name]["hexsha"] for name in TEXTS}
    rows = [{"sha": names[name], "score": 3} for name in ("twin", "two", "held", "gone", "one")]
    found = match(tmp_path, rows, columns={key: "sha"})
    assert {batch: [row["id"] for row in rows] for batch, rows in found.items()} == {
        "a": [IDS["one"]],
        "b": sorted([IDS["two"], IDS["twin"]]),
    }
    assert {(row["score"], row["status"], row["answered_by"]) for row in found["b"]} == {(3, "ok", "judged@2")}
    counts = read_notes(tmp_path / "out" / "a.parquet")
    assert (counts["read"], counts["kept"], counts["dropped"]) == (5, 3, {"held_out": 1, "rejected": 1})


def test_parquet_and_lines_give_equal_bytes_and_the_statement_names_the_origin(tmp_path: Path) -> None:
    rows = [{"id": IDS["one"], "score": 2, "expected_score": 2.25, "rationale": "why"}, {"id": IDS["two"], "score": 9}]
    match(tmp_path, [{**dict.fromkeys(rows[0]), **row} for row in rows])
    lines = (tmp_path / "out" / "a.parquet").read_bytes()
    assert next(iter(read_rows(tmp_path / "out" / "a.parquet", schemas.GRADES)))["expected_score"] == 2.25
    path = tmp_path / "grades.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    adopted.adopted_grades(config_of(path), **tables(tmp_path), adopted=[path], out=tmp_path / "out")
    assert (tmp_path / "out" / "a.parquet").read_bytes() == lines
    bad = next(iter(read_rows(tmp_path / "out" / "b.parquet", schemas.GRADES)))
    assert (bad["status"], bad["score"], bad["detail"]) == (
        "unparsable", None, "score 9 is not a whole number from 0 to 4",
    )  # fmt: skip
    statement = json.loads((tmp_path / "out" / "a.parquet.prov.json").read_text())
    inputs = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    (item,) = (item for item in inputs if item["annotations"].get("role") == "adopted")
    assert (item["annotations"]["origin"], item["annotations"]["license"]) == ("judged@2", "MIT")
    assert item["digest"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ([{"id": IDS["one"], "grade": 3}], {}, r"line 1 has no column score; name the column in `columns`"),
        ([{"id": IDS["one"], "score": 3}], {"columns": {"score": "grade"}}, r"line 1 has no column grade"),
        ([{"id": IDS["one"], "score": n} for n in (1, 2)], {}, r"row 1: id \w{64} occurs twice; keep one"),
        ([{"id": "f" * 64, "score": 1}], {}, r"row 0: id f{64} is not that of a file of the corpus; set adopt"),
        ([{"id": IDS["one"], "score": "good"}], {}, r"row 0: score must be a number \(got 'good'\)"),
        ([{"id": None, "score": 1}], {}, r"row 0 has no id"),
        ([{"id": IDS["one"], "score": 1}], {"sha256": "0" * 64}, r"has changed: its SHA-256 is \w{64}, adopt.gr"),
        ([{"id": IDS["gone"], "score": 1}], {}, r"adopted_grades keeps none of 1 rows: 1 rejected"),
        ([{"id": IDS["one"], "score": 1, "rationale": "\ud800"}], {}, r"row 0: rationale contains half a character"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_and_leaves_nothing(tmp_path: Path, rows: list[Row], more: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        match(tmp_path, rows, **more)
    assert "\n" not in str(caught.value)
    assert "grades.jsonl" in str(caught.value)
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_column_that_a_parquet_table_lacks_and_torn_lines_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "grades.parquet"
    pq.write_table(pa.Table.from_pylist([{"id": IDS["one"]}]), path)
    for content, said in ((None, "has no column score; name the column"), (b"PAR1torn", "truncated or damaged")):
        if content:
            path.write_bytes(content)
        with pytest.raises(D3Error, match=said):
            adopted.adopted_grades(config_of(path), **tables(tmp_path), adopted=[path], out=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"adopt.grades.path: no file matches 'none.parquet'; check the path"):
        Chain(config_of(Path("none.parquet"))).adopted_files("adopt.grades")
    (tmp_path / "a.csv").touch()
    with pytest.raises(ConfigError, match=r"adopt.grades.path: .*not a table"):
        Chain(config_of(tmp_path / "a.csv")).adopted_files("adopt.grades")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"grades": {"mode": "adopted"}}, "grades.mode is adopted, but adopt.grades is null; name the table in"),
        ({"labels": {"mode": "adopted"}}, "labels.mode is adopted, but adopt.labels is null"),
    ],
)
def test_a_mode_without_its_table_is_refused(values: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config(values)


def test_the_mode_follows_from_the_table_and_unknown_columns_are_refused() -> None:
    assert config_of(Path("x.parquet")).grades.mode == "adopted"
    assert config_of(Path("x.parquet"), "labels").labels.mode == "adopted"
    assert config_of(Path("x.parquet"), "dataset").labels.mode == "none"
    with pytest.raises(ConfigError, match=r"adopt.grades: columns: given 'scor', allowed is id, hexsha, score"):
        config_of(Path("x.parquet"), columns={"scor": "x"})
    given = {"path": "x", "name": "n", "version": "1", "license": "MIT"}
    with pytest.raises(ConfigError, match=r"adopt\.grades is set; remove the mode"):
        parse_config({"adopt": {"grades": given}, "grades": {"mode": "model"}})


def test_unknown_files_may_be_dropped_with_a_count(tmp_path: Path) -> None:
    rows = [{"id": IDS["one"], "score": 1}, {"id": "f" * 64, "score": 1}]
    assert len(match(tmp_path, rows, unmatched="drop")["a"]) == 1
    assert read_notes(tmp_path / "out" / "a.parquet")["dropped"] == {"no_such_file": 1}


def test_adopted_labels_are_cleaned_and_a_part_without_one_says_so(tmp_path: Path) -> None:
    diffs = [make_diff("", "one = 1"), make_diff("one = 1", TEXTS["one"])]
    sequence = {"id": IDS["one"], "sample": 0, "status": "ok", "diffs": diffs}
    path = write_rows(tmp_path / "diffs.parquet", schemas.DIFFS, [sequence])
    given = [{"id": IDS["one"], "part": 0, "label": "Instruction: Print the number one."}]
    given.append({"id": IDS["two"], "part": 7, "label": "Print two."})
    config = config_of(write_lines(tmp_path / "labels.jsonl", given), "labels")
    where = tables(tmp_path)
    adopted.adopted_labels(config, **where, adopted=[tmp_path / "labels.jsonl"], out=tmp_path / "out")
    labels.run(
        config,
        where["corpus"][0],
        path,
        tmp_path / "labels.parquet",
        model=None,
        adopted=tmp_path / "out" / "a.parquet",
    )
    rows = [row for row in read_rows(tmp_path / "labels.parquet", schemas.LABELS) if row["status"] != "repeated"]
    assert (rows[0]["label"], rows[0]["answered_by"]) == ("Print the number one.", "judged@2")
    assert {(row["status"], row["detail"]) for row in rows[1:]} == {("not_adopted", "judged@2 has no label of it")}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"completion": None}, "null_column"),
        ({"prompt": ""}, "malformed_row"),
        ({"completion": "x = 1"}, "malformed_row"),
        ({"completion": f"<|diff|>{make_diff(TEXTS['one'], 'one = 2')}\n</code>"}, "not_replayed"),
    ],
)
def test_a_row_of_a_dataset_is_checked(change: Row, expected: str | None) -> None:
    prompt = example_prompt("a.py", "", "Print one.")
    completion = example_completion(prompt, [make_diff("", TEXTS["one"])])
    row = {"id": IDS["one"], "prompt": prompt, "completion": completion, "program_start": "", **change}
    built = adopted_row(row, FILES["one"])
    if expected:
        assert built == expected
        return
    assert isinstance(built, dict)
    assert (built["completion"], built["lines_changed"], built["metadata"]) == (
        completion, 2, FILES["one"]["metadata"],
    )  # fmt: skip
    alone = {**row, "completion": completion.removeprefix(prompt)}
    assert adopted_row(alone, FILES["one"]) == built
