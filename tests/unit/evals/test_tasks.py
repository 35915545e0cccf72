"""Benchmark files as tasks."""

import ast
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from d3.config.evaluation import Benchmark
from d3.errors import InputError
from d3.evals.solutions import supporting_code
from d3.evals.tasks import load_tasks
from helpers.benchmark_files import MBPP_ROW, PACK_ROW, humaneval, mbpp, pack, written


def test_humaneval_of_the_wheel() -> None:
    tasks = load_tasks(Benchmark(tasks=None), humaneval())
    assert len(tasks) == 164
    first = tasks[0]
    assert first.task_id == "HumanEval/0"
    assert first.name == "has_close_elements_solution.py"
    assert first.start == ""
    assert first.instruction.startswith(
        "Write a Python function `has_close_elements(numbers: List[float], threshold: float) -> bool` to solve the "
        "following problem:\nCheck if in given list of numbers, are any two numbers closer to each other than\n"
        "given threshold.\n>>> has_close_elements([1.0, 2.0, 3.0], 0.5)\nFalse"
    )
    assert first.test.endswith("\ncheck(has_close_elements)\n")
    for task in tasks:
        ast.parse(task.test)
        ast.parse(task.canonical)
        assert task.instruction.split(":\n", 1)[1].strip(), task.task_id
    assert [task.task_id for task in load_tasks(Benchmark(tasks=3), humaneval())] == [
        f"HumanEval/{n}" for n in range(3)
    ]


def test_tests_bring_the_helpers_of_the_prompt() -> None:
    tasks = {task.task_id: task for task in load_tasks(Benchmark(tasks=None), humaneval())}
    assert tasks["HumanEval/32"].test.startswith("import math\n\ndef poly(")
    assert tasks["HumanEval/38"].test.startswith("def encode_cyclic(")
    assert tasks["HumanEval/50"].test.startswith("def encode_shift(")
    assert "def decode_cyclic" not in tasks["HumanEval/38"].test


def test_synthesis_and_repair_of_the_pack(tmp_path: Path) -> None:
    path = pack(tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    synth = load_tasks(Benchmark(kind="humanevalsynth", tasks=None), path)
    repair = load_tasks(Benchmark(kind="humanevalfix", tasks=None), path)
    assert len(synth) == len(repair) == len(rows)
    for row, one, other in zip(rows, synth, repair, strict=True):
        assert one.instruction == row["instruction"].strip()
        assert one.start == ""
        assert other.instruction == f"Fix bugs in {row['entry_point']}."
        assert other.start == (row["prompt"] + row["buggy_solution"]).strip("\n").rstrip()
        assert one.canonical == (row["prompt"] + row["canonical_solution"]).strip("\n").rstrip()
        assert one.test == other.test


@pytest.mark.slow
def test_mbpp_plus(tmp_path: Path) -> None:
    path = written(tmp_path / "mbpp.jsonl", MBPP_ROW)
    (task,) = load_tasks(Benchmark(kind="mbppplus", plus_tests=False), path)
    assert (task.task_id, task.entry_point, task.name) == ("7", "double", "double_solution.py")
    assert task.instruction == (
        "Write a Python function `double(x, times=2)` to solve the following problem: Find the double of Integers."
    )
    assert (
        task.test == "import sys\n\nimport math\nassert double(2) == math.floor(4.5)\nassert double(sys.maxsize) > 0\n"
    )
    (extended,) = load_tasks(Benchmark(kind="mbppplus", text_tests=True), path)
    assert extended.test == MBPP_ROW["test"]
    real = load_tasks(Benchmark(kind="mbppplus", tasks=None, text_tests=True), mbpp(tmp_path))
    assert len({task.entry_point for task in real}) > len(real) * 0.9


def test_supporting_code_takes_what_is_needed_in_order() -> None:
    program = "import math\nimport os\nK = 2\ndef b(): return math.pi * K\ndef a(): return b()\ndef f(): return a()\n"
    assert supporting_code(program, "assert f() == a()", "f") == (
        "import math\n\nK = 2\n\ndef b():\n    return math.pi * K\n\ndef a():\n    return b()\n\n"
    )
    assert supporting_code(program, "assert f() == 1", "f") == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test": None}, "line 2 field test must be text"),
        ({"entry_point": ...}, "line 2 has no field entry_point"),
        ({"prompt": "def area(:\n"}, "line 2 field prompt is not Python"),
        ({"test": "def check("}, "line 2 field test is not Python"),
        ({"entry_point": "volume"}, "line 2 field prompt defines no function volume"),
        ({"task_id": 3}, "line 2 field task_id must be text"),
        ({"task_id": "Python/0"}, "two tasks have the same task_id"),
    ],
)
def test_malformed_files_are_named_with_line_and_field(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    second = {key: value for key, value in {**PACK_ROW, "task_id": "Python/1", **change}.items() if value is not ...}
    path = written(tmp_path / "pack.jsonl", PACK_ROW, second)
    with pytest.raises(InputError, match=words) as caught:
        load_tasks(Benchmark(kind="humanevalsynth"), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test_list": "assert double(2) == 4"}, "line 1 field test_list must be a list of texts"),
        ({"test_list": ["assert True"]}, "line 1 field code defines no function that field test_list calls"),
        ({"code": "def double(x)"}, "line 1 field code is not Python"),
        ({"task_id": True}, "line 1 field task_id must be text or a whole number"),
    ],
)
def test_malformed_mbpp_rows(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_tasks(
            Benchmark(kind="mbppplus", text_tests=True), written(tmp_path / "mbpp.jsonl", {**MBPP_ROW, **change})
        )


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_tasks(Benchmark(), tmp_path / "nothing.jsonl")
    for name, data in (
        ("text.jsonl", b"hello\n"),
        ("list.jsonl", b"[1]\n"),
        ("empty.jsonl", b""),
        ("false.jsonl.gz", b"hello"),
        ("cut.jsonl.gz", gzip.compress(json.dumps(PACK_ROW).encode())[:-20]),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            load_tasks(Benchmark(kind="humanevalsynth"), tmp_path / name)
    with pytest.raises(InputError, match="check `kind`"):
        load_tasks(Benchmark(kind="humaneval"), written(tmp_path / "mbpp.jsonl", MBPP_ROW))
