"""The dataset: the released columns and types, rows that replay, and a sidecar that says which is which."""

import itertools
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import Row, read_notes, read_rows
from d3.core.unified_diff import apply_diffs, make_diff
from d3.errors import InputError
from d3.evals.answer import read_answer
from d3.stages.dataset import run
from helpers.corpus_tables import STACK_COLUMNS, run_corpus, stack_row, write_rows, write_shard

PROGRAMS = [
    "import os\n\n\ndef first(x):\n    return os.sep + x",
    "def second(x):\n    y = x\n    return y",
]
TYPES = {
    "prompt": "string",
    "completion": "string",
    "program_start": "string",
    "lines_changed": "int64",
    "source_program_id": "int64",
    "source": "string",
}


def sequence(identifier: str, text: str) -> Row:
    lines = text.split("\n")
    steps = ["", *["\n".join(lines[: end + 1]) for end in range(len(lines)) if lines[end]]]
    diffs = [make_diff(old, new) for old, new in itertools.pairwise(steps)]
    return {"id": identifier, "sample": 0, "status": "ok", "detail": None, "edits": [], "diffs": diffs}


def label(identifier: str, part: int, start: int, end: int, sample: int = 0) -> Row:
    answer = {
        "status": "ok",
        "detail": None,
        "raw": "",
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "answer_tokens": 1,
        "answered_by": None,
        "verb_first": True,
        "truncated": False,
    }
    base = {"id": identifier, "sample": sample, "part": part, "start": start, "end": end, "label": f"Do part {part}."}
    return {**base, **answer}


class Shard:
    """A corpus of two files with their sequences; the labels are a test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = ["deep/na me.py", "[end of x.py"]
        rows = [stack_row(text, max_stars_repo_path=path) for text, path in zip(PROGRAMS, paths, strict=True)]
        self.files, _ = run_corpus(write_shard(folder / "a.parquet", rows))
        self.ids = [line["id"] for line in self.files]
        self.sequences = [sequence(line["id"], line["text"]) for line in self.files]
        self.diffs = write_rows(folder / "diffs.parquet", schemas.DIFFS, self.sequences)

    def build(self, labels: list[Row], config: Config | None = None) -> tuple[list[Row], list[Row], list[Row]]:
        outputs = [self.folder / name for name in ("d3.parquet", "ids.parquet", "unused.parquet")]
        labels_path = write_rows(self.folder / "labels.parquet", schemas.LABELS, labels)
        run(config or Config(), self.folder / "out" / "kept.parquet", self.diffs, labels_path, *outputs)
        written = zip(outputs, (schemas.DATASET, schemas.ROW_IDS, schemas.UNUSED), strict=True)
        rows, ids, unused = (list(read_rows(path, schema)) for path, schema in written)
        return rows, ids, unused


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return Shard(tmp_path)


def test_rows_replay_from_their_start_to_their_end(shard: Shard) -> None:
    first, second = shard.ids
    labels = [label(second, 0, 0, 3), label(first, 1, 1, 3), label(first, 0, 0, 3)]
    rows, ids, unused = shard.build(labels)
    assert unused == []
    ordered = sorted(labels, key=lambda line: (line["id"], line["part"]))
    expected = [{name: line[name] for name in ("id", "sample", "part", "start", "end")} for line in ordered]
    assert [{name: line[name] for name in expected[0]} for line in ids] == expected
    assert [line["row"] for line in ids] == [0, 1, 2]
    for built, line in zip(rows, ordered, strict=True):
        at = shard.ids.index(line["id"])
        diffs = shard.sequences[at]["diffs"]
        steps = read_answer(built["completion"].removeprefix(built["prompt"])).diffs
        assert steps == diffs[line["start"] : line["end"]]
        assert built["program_start"] == apply_diffs("", diffs[: line["start"]])
        assert apply_diffs(built["program_start"], steps) == PROGRAMS[at]
        assert f"<issue>\nDo part {line['part']}.\n</issue>" in built["prompt"]
        changed = [text for step in steps for text in step.split("\n") if not text.startswith("@@")]
        assert built["lines_changed"] == len(changed)
        assert built["source_program_id"] == int(line["id"], 16) >> 193
        assert (built["metadata"], built["source"]) == (shard.files[at]["metadata"], Config().source.name)


def test_equal_tables_in_any_order_give_equal_bytes(shard: Shard, tmp_path: Path) -> None:
    labels = [label(identifier, part, part, 3) for identifier in shard.ids for part in range(3)]
    outputs = []
    for order in (labels, labels[::-1]):
        shard.build(order)
        outputs.append([(tmp_path / name).read_bytes() for name in ("d3.parquet", "ids.parquet", "unused.parquet")])
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "too_long", "label": None}, "label_too_long"),
        ({"label": "Close </code> here."}, "format_marker"),
        ({"start": 0, "end": 4}, "part_outside_sequence"),
        ({"start": 2, "end": 2}, "part_outside_sequence"),
        ({"start": -1}, "part_outside_sequence"),
    ],
)
def test_what_is_left_out_has_its_reason(shard: Shard, tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    good, bad = label(shard.ids[0], 0, 0, 3), {**label(shard.ids[0], 1, 0, 3), **changes}
    rows, _, unused = shard.build([good, bad])
    assert len(rows) == 1
    assert unused == [{"id": shard.ids[0], "sample": 0, "part": 1, "reason": reason}]
    counts = read_notes(tmp_path / "d3.parquet")
    assert (counts["read"], counts["kept"], counts["dropped"]) == (2, 1, {reason: 1})


def test_sequences_that_do_not_replay_are_left_out(shard: Shard) -> None:
    shard.sequences[0]["diffs"] = shard.sequences[0]["diffs"][:-1]
    shard.sequences[1]["diffs"] = ["nonsense"]
    write_rows(shard.diffs, schemas.DIFFS, shard.sequences)
    labels = [label(identifier, 0, 0, 1) for identifier in shard.ids]
    _, _, unused = shard.build(labels)
    assert {line["id"]: line["reason"] for line in unused} == dict(
        zip(shard.ids, ("not_replayed", "malformed_diff"), strict=True)
    )


def test_labels_of_another_shard_are_refused(shard: Shard) -> None:
    for foreign in (label("0" * 64, 0, 0, 1), label(shard.ids[0], 0, 0, 1, sample=1)):
        with pytest.raises(InputError, match="which is not in") as caught:
            shard.build([foreign])
        assert str(shard.folder / "labels.parquet") in str(caught.value)
        assert not (shard.folder / "d3.parquet").exists()


def test_names_are_random_or_those_of_the_files(shard: Shard) -> None:
    labels = [label(identifier, part, 0, 3) for identifier in shard.ids for part in range(2)]
    rows, _, _ = shard.build(labels)
    names = {line["prompt"].split("\n")[1] for line in rows}
    assert len(names) == 4
    assert "[start of na me.py]" not in names
    rows, _, unused = shard.build(labels, parse_config({"dataset": {"names": "path"}}))
    assert {line["prompt"].split("\n")[1] for line in rows} == {"[start of na me.py]"}
    assert {(line["id"], line["reason"]) for line in unused} == {(shard.ids[1], "format_marker")}


def test_the_columns_are_those_of_the_released_dataset(shard: Shard, tmp_path: Path) -> None:
    shard.build([label(shard.ids[0], 0, 0, 3)])
    schema = pq.read_schema(tmp_path / "d3.parquet")
    assert schema.names == [*list(TYPES)[:5], "metadata", "source"]
    assert {name: str(schema.field(name).type) for name in TYPES} == TYPES
    assert [field.name for field in schema.field("metadata").type] == [n for n in STACK_COLUMNS if n != "content"]


@pytest.mark.slow
def test_datasets_loads_it(shard: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import List, Value, load_dataset

    rows, _, _ = shard.build([label(identifier, part, part, 3) for identifier in shard.ids for part in range(2)])
    files = [str(tmp_path / "d3.parquet")]
    loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert {name: loaded.features[name] for name in TYPES} == {name: Value(kind) for name, kind in TYPES.items()}
    metadata = loaded.features["metadata"]
    assert list(metadata) == [name for name in STACK_COLUMNS if name != "content"]
    assert metadata["max_stars_repo_licenses"] == List(Value("string"))
    assert (metadata["size"], metadata["avg_line_length"]) == (Value("int64"), Value("float64"))
    assert list(loaded) == rows


def test_a_listed_duplicate_becomes_no_row(shard: Shard) -> None:
    first, _ = shard.ids
    labels = write_rows(shard.folder / "l.parquet", schemas.LABELS, [label(first, part, 0, 3) for part in (0, 1)])
    listed = shard.folder / "l.txt"
    listed.write_text(f"{first} 0 1\n")
    outputs = [shard.folder / name for name in ("d3.parquet", "ids.parquet", "unused.parquet")]
    kept = shard.folder / "out" / "kept.parquet"
    run(Config(), kept, shard.diffs, labels, *outputs, label_duplicates=listed)
    assert [row["part"] for row in read_rows(outputs[1], schemas.ROW_IDS)] == [0]
    assert [(row["part"], row["reason"]) for row in read_rows(outputs[2], schemas.UNUSED)] == [(1, "label_duplicate")]
