"""Files, pairs and labels that contain a task of a benchmark: found in other shapes, dropped with the task's name."""

import ast
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from d3.config.load import parse_config
from d3.core import schemas
from d3.core.ids import content_id, normalise
from d3.core.tables import read_notes, read_rows
from d3.errors import InputError
from d3.stages import contamination, dataset
from d3.stages.contamination import Match, Tasks, matches
from d3.stages.corpus.stage import run as corpus
from helpers.corpus_tables import OPEN, stack_rows, write_rows, write_shard
from helpers.planted_tasks import CLEAN, SIGNATURE, SOLUTION, TASK, TASK_ID, write_tasks

SHAPES: dict[str, Callable[[str], str]] = {
    "verbatim": lambda code: code,
    "in a class": lambda code: "class Answers:\n" + textwrap.indent(code, "    "),
    "another function name": lambda code: code.replace("median_gap", "compute"),
    "other quotes, wrapped, commented": lambda code: ast.unparse(ast.parse(code)).replace(") -> ", ",  # why\n) -> "),
    "other variables": lambda code: re.sub(r"\b(values|ordered|gaps)\b", lambda name: f"{name[0][0]}_1", code),
    "without its docstring": lambda _: SOLUTION,
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks.jsonl")


def known(share: float = 0.1) -> Tasks:
    found = Tasks(13, share)
    found.add("own", TASK_ID, "", TASK)
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_a_task_is_found_in_every_shape(shape: str) -> None:
    program = SHAPES[shape](TASK)
    ast.parse(program)
    match = known().match(f"import os\n\n\n{program}\n\nprint(os.name)\n")
    assert match is not None
    assert (match.benchmark, match.task) == ("own", TASK_ID)
    assert match.reason == f"benchmark:{TASK_ID}"


@pytest.mark.parametrize("text", [CLEAN, "", "x = 1", SIGNATURE, "# Write a function\n" + SIGNATURE])
def test_other_programs_and_small_parts_are_not(text: str) -> None:
    assert known().match(text) is None


def test_the_share_is_of_the_task_and_not_of_the_text() -> None:
    words = [f"word{number}" for number in range(112)]  # 100 n-grams
    found = Tasks(13, 0.1)
    found.add("own", "long", " ".join(words), "pass")
    assert found.match(f"{CLEAN * 50} {' '.join(words[:23])}") == Match("own", "long", 11 / 101)
    assert found.match(" ".join(words[:22])) is None


@pytest.mark.parametrize("problem", ["Write a function to sort a list of elements.", "Find it."])
def test_a_short_problem_is_found_whole_or_by_its_solution(problem: str) -> None:
    found = Tasks(13, 0.1)
    found.add("own", "short", problem, SOLUTION)
    comment = f"def other(x):\n    # {problem}\n    return x\n"
    assert (found.match(comment) is not None) == (len(problem.split()) > 7)
    assert found.match(comment.replace("sort", "order").replace("Find", "See")) is None
    assert found.match(SOLUTION) is not None


def config(*files: Path, **corpus: object) -> object:
    return parse_config(
        {
            "corpus": {**OPEN["corpus"], **corpus},
            "contamination": {"files": [str(path) for path in files]},
        }
    )


def test_a_file_is_dropped_before_the_sample_and_a_clean_batch_keeps_its_bytes(tmp_path: Path, tasks: Path) -> None:
    texts = [TASK, CLEAN, *(f"x{number} = 1" for number in range(5))]
    shard = write_shard(tmp_path / "s.parquet", stack_rows(texts, "s"))
    clean = write_shard(tmp_path / "clean.parquet", stack_rows(texts[1:], "s"))
    settings = config(tasks, sample=6)
    for path in (shard, clean):
        contamination.run(settings, [path], path.with_suffix(".jsonl"), task_files=[tasks])
    (line,) = map(json.loads, shard.with_suffix(".jsonl").read_text().splitlines())
    assert line == {
        **{"kind": "file", "id": content_id(normalise(TASK)), "benchmark": "tasks.jsonl", "task": TASK_ID},
        "share": 1.0,
    }
    assert clean.with_suffix(".jsonl").read_bytes() == b"", "a batch without a match has the list of no benchmark"

    kept, rejected = tmp_path / "kept.parquet", tmp_path / "rejected.parquet"
    corpus(settings, [shard], kept, rejected, contamination=shard.with_suffix(".jsonl"))
    (row,) = read_rows(rejected, schemas.REJECTED)
    assert (row["reason"], row["row"]) == (f"benchmark:{TASK_ID}", 0)
    assert row["detail"] == "100% of this task of tasks.jsonl"
    assert len(list(read_rows(kept, schemas.CORPUS))) == 6
    assert read_notes(kept)["dropped"] == {"benchmark": 1}


def test_a_task_that_is_added_later_changes_only_the_lists_of_batches_that_contain_it(
    tmp_path: Path, tasks: Path
) -> None:
    later = tmp_path / "later.jsonl"
    later.write_text(json.dumps({"task_id": "Later/1", "prompt": CLEAN, "canonical_solution": ""}) + "\n")
    batches = {
        "first": [TASK, "x = 1"],
        "both": [TASK, CLEAN],
        "later": [CLEAN, "y = 2"],
        "none": ["z = 3"],
    }

    def lists(*files: Path) -> dict[str, bytes]:
        found = {}
        for name, texts in batches.items():
            shard = write_shard(tmp_path / f"{name}.parquet", stack_rows(texts, name))
            contamination.run(config(*files), [shard], tmp_path / "list.jsonl", task_files=files)
            found[name] = (tmp_path / "list.jsonl").read_bytes()
        return found

    before, after = lists(tasks), lists(tasks, later)
    assert {name for name in batches if before[name] != after[name]} == {"both", "later"}
    assert lists(later, tasks) == after, "the order of files changes nothing"


def test_nothing_is_listed_without_a_share(tmp_path: Path, tasks: Path) -> None:
    shard = write_shard(tmp_path / "s.parquet", stack_rows([TASK], "s"))
    off = parse_config({"contamination": {"share": None}})
    contamination.run(off, [shard], tmp_path / "list.jsonl", task_files=[tasks])
    assert (tmp_path / "list.jsonl").read_bytes() == b""


def test_a_pair_is_found_by_function_and_instruction(tmp_path: Path, tasks: Path) -> None:
    pair = {"id": "1" * 64, "text": SOLUTION, "instruction": "Return the gap.", "name": "median_gap", "file_id": "f"}
    other = pair | {"id": "2" * 64, "text": "def f(x):\n    return x", "instruction": ast.get_docstring(_function())}
    pairs = write_rows(tmp_path / "s.parquet", schemas.PAIRS, [other, pair, pair | {"id": "3" * 64, "text": CLEAN}])
    contamination.pair_contamination(config(tasks), [pairs], tmp_path / "out", task_files=[tasks])
    assert [key for _, key, _ in matches(tmp_path / "out" / "s.jsonl")] == [("1" * 64,), ("2" * 64,)]


def _function() -> ast.FunctionDef:
    (function,) = (node for node in ast.parse(TASK).body if isinstance(node, ast.FunctionDef))
    return function


def test_a_label_is_left_out_of_the_dataset_with_the_task_as_its_reason(tmp_path: Path, tasks: Path) -> None:
    doc = " ".join((ast.get_docstring(_function()) or "").split())
    label = {"id": "1" * 64, "sample": 0, "status": "ok", "start": 0, "end": 1}
    rows = [
        label | {"part": 0, "label": doc},
        label | {"part": 1, "label": "Write it."},
        label | {"part": 2, "label": None, "status": "unparsable"},
    ]
    labels = write_rows(tmp_path / "labels.parquet", schemas.LABELS, rows)
    listed = tmp_path / "labels.jsonl"
    contamination.label_contamination(config(tasks), labels, listed, task_files=[tasks])
    assert [key for _, key, _ in matches(listed)] == [("1" * 64, 0, 0)]

    diff = "@@ -0,0 +1 @@\n+x = 1"
    files = [{"id": "1" * 64, "text": "x = 1", "metadata": {}}]
    inputs = (
        write_rows(tmp_path / "corpus.parquet", schemas.CORPUS, files),
        write_rows(tmp_path / "diffs.parquet", schemas.DIFFS, [{"id": "1" * 64, "sample": 0, "diffs": [diff]}]),
        labels,
    )
    out = [tmp_path / "dataset" / name for name in ("data.parquet", "rows.parquet", "unused.parquet")]
    dataset.run(config(tasks), *inputs, *out, contamination=listed)
    left = {row["part"]: row["reason"] for row in read_rows(out[2], schemas.UNUSED)}
    assert left[0] == f"benchmark:{TASK_ID}"
    assert [row["part"] for row in read_rows(out[1], schemas.ROW_IDS)] == [1]
    assert read_notes(out[0])["dropped"]["benchmark"] == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"task_id": "a", "prompt": "Sort."}', "must have one of the fields canonical_solution"),
        ('{"task_id": "a", "code": "x"}', "must have one of the fields prompt"),
        ('{"prompt": "Sort.", "code": "x"}', "must have one of the fields task_id"),
        ("not JSON", "is not JSON"),
    ],
)
def test_a_broken_file_of_tasks_is_named_with_its_line(tmp_path: Path, tasks: Path, line: str, words: str) -> None:
    shard = write_shard(tmp_path / "s.parquet", stack_rows([TASK], "s"))
    tasks.write_text(f"{tasks.read_text()}{line}\n")
    with pytest.raises(InputError, match=f"line 2 {words}"):
        contamination.run(config(tasks), [shard], tmp_path / "list.jsonl", task_files=[tasks])
    assert not (tmp_path / "list.jsonl").exists()


@pytest.mark.parametrize("text", ["x\n", '{"kind": "file", "id": "1"}\n', "[]\n", '{"kind": "file", "id": "1", "be'])
def test_a_damaged_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.jsonl").write_text(text)
    with pytest.raises(InputError, match="line 1 is not a match"):
        list(matches(tmp_path / "list.jsonl"))
