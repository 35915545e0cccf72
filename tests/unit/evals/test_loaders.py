"""Files of benchmarks as tasks: MBPP, CanItEdit, plain rows; JSON lines, arrays, Parquet, and files of the hub."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3.config.evaluation import Benchmark, benchmark_kinds
from d3.config.load import parse_config
from d3.errors import ConfigError, InputError
from d3.evals import sandbox
from d3.evals.execute import judge_all
from d3.evals.task_file import rows_in
from d3.evals.tasks import Task, load_tasks, reader
from d3.operate.doctor import machine
from d3.operate.plan import plan
from d3.pipeline.job_list import jobs
from d3.pipeline.pipeline import Chain
from helpers.benchmark_files import BENCHMARKS, MBPP_ROW, PACK_ROW, written

COMMIT = "0a" * 20
LIMITS = sandbox.Limits(timeout_seconds=20)
WHOLE = {
    "text": "Write a function to find the depth of a tree.",
    "code": "class Node:\r\n  def __init__(self, left=None):\r\n    self.left = left\r\n"
    "def depth(root):\r\n  return 0 if root is None else 1 + depth(root.left)\r\n",
    "task_id": 927,
    "test_setup_code": "root = Node(Node()) ",
    "test_list": ["assert (depth(root)) == 2", "assert depth(None) == 0"],
    "challenge_test_list": [],
}
SANITIZED = {
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "task_id": 2,
    "prompt": "Write a function to find the shared elements from the given two lists.",
    "code": "def similar_elements(one, two):\n  return tuple(set(one) & set(two))",
    "test_imports": ["import math"],
    "test_list": ["assert set(similar_elements((3, 4), (4, 5))) == {4}", "assert similar_elements((), (1,)) == ()"],
}
EDIT = {
    "full_name": "1_point",
    "before": "class Point:\n    def __init__(self, x):\n        self.x = x\n",
    "after": "class Point:\n    def __init__(self, x):\n        self.x = x\n\n"
    "    def twice(self):\n        return 2 * self.x\n\n\ndef origin():\n    return Point(0)\n",
    "tests": "point = Point(3)\nassert point.twice() == 6\nassert origin().twice() == 0",
    "instruction_descriptive": "Add a method `twice` and a function `origin`.\n",
    "instruction_lazy": "more",
}
ROW = {"task_id": "add", "entry_point": "add", "test": "assert add(1, 2) == 3", "prompt": "Add two numbers."}


def verdicts(tasks: list[Task], programs: list[str]) -> list[str]:
    rows = [
        {"task_id": task.task_id, "status": "ok", "program": program}
        for task, program in zip(tasks, programs, strict=True)
    ]
    return [found.verdict for found in judge_all(rows, {task.task_id: task for task in tasks}, LIMITS, 2)]


def test_whole_mbpp(tmp_path: Path) -> None:
    tasks = load_tasks(Benchmark(kind="mbpp"), written(tmp_path / "mbpp.jsonl", WHOLE))
    (task,) = tasks
    assert (task.task_id, task.entry_point, task.problem) == ("927", "depth", WHOLE["text"])
    assert task.instruction == (
        "Write a Python function `depth(root)` to solve the following problem: Find the depth of a tree."
    )
    assert task.prompt == f'"""\n{WHOLE["text"]}\nassert (depth(root)) == 2\n"""\n'
    assert verdicts(tasks, [task.canonical]) == ["passed"]
    assert verdicts(tasks, [task.canonical.replace("1 +", "2 +")]) == ["failed"]


def test_sanitized_mbpp_is_an_array(tmp_path: Path) -> None:
    path = tmp_path / "sanitized-mbpp.json"
    path.write_text("\n " + json.dumps([SANITIZED, {**SANITIZED, "task_id": 3}], indent=1))
    path.write_text(path.read_text().lstrip())
    tasks = load_tasks(Benchmark(kind="mbpp"), path)
    assert [task.task_id for task in tasks] == ["2", "3"]
    assert rows_in(path) == 2
    assert tasks[0].test.startswith("import math\nassert set(similar_elements(")
    assert verdicts(tasks[:1], [tasks[0].canonical]) == ["passed"]
    assert verdicts(tasks[:1], ["def similar_elements(one, two):\n    return ()"]) == ["failed"]


@pytest.mark.slow
def test_references_of_the_real_mbpp_pass() -> None:
    path = BENCHMARKS / "mbpp.jsonl"
    if not path.exists():
        pytest.skip("the file is not here")
    tasks = load_tasks(Benchmark(kind="mbpp"), path)
    assert len(tasks) == reader("mbpp").SPEC.tasks_in_file == 974
    some = tasks[::20]
    assert set(verdicts(some, [task.canonical for task in some])) == {"passed"}
    assert "passed" not in verdicts(some, [f"def {task.entry_point}(*_):\n    raise KeyError" for task in some])


def test_edits(tmp_path: Path) -> None:
    tasks = load_tasks(Benchmark(kind="canitedit"), written(tmp_path / "edits.jsonl", EDIT))
    (task,) = tasks
    assert (task.task_id, task.entry_point, task.instruction) == (
        "1_point",
        "Point",
        "Add a method `twice` and a function `origin`.",
    )
    assert task.start == EDIT["before"].rstrip()
    assert verdicts(tasks, [task.canonical]) == ["passed"]
    assert verdicts(tasks, [task.start]) == ["error"]


def test_parquet_is_read_as_lines_are(tmp_path: Path) -> None:
    """Files on the hub are Parquet; a column that some rows lack is null in them."""
    for kind, rows in (("canitedit", [EDIT]), ("mbpp", [WHOLE]), ("mbpp", [SANITIZED]), ("rows", [ROW]),
                       ("humanevalsynth", [PACK_ROW])):  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
        lines = written(tmp_path / "a.jsonl", *rows)
        settings = Benchmark(kind=kind)
        assert load_tasks(settings, tmp_path / "a.parquet") == load_tasks(settings, lines)
        assert rows_in(tmp_path / "a.parquet") == rows_in(lines) == 1
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a.parquet: line 1 has no field"):
        load_tasks(Benchmark(kind="rows"), tmp_path / "a.parquet")


def test_every_kind_says_where_it_is_from() -> None:
    for kind in benchmark_kinds():
        spec = reader(kind).SPEC
        assert spec.title
        assert spec.source
        assert spec.license
        assert spec.tasks_in_file > 0


FAULTY: list[tuple[str, str, dict[str, Any], str]] = [
    ("mbpp", "{}", {}, "line 1 has no field prompt"),
    ("mbpp", "[1]", {}, "line 1 must be a JSON object"),
    ("mbpp", "[{", {}, "is not a JSON array"),
    ("mbpp", "[" * 100_000, {}, "is not a JSON array"),
    ("mbpp", "", {"test_list": ["assert True"]}, "field code defines no function that field test_list calls"),
    ("mbpp", "", {"test_list": ["assert ("]}, "field test_list is not Python"),
    ("canitedit", "", {"tests": "assert True"}, "field tests uses nothing that field after defines"),
    ("canitedit", "", {"after": "def"}, "field after is not Python"),
    ("canitedit", "", {"before": None}, "field before must be text"),
    ("rows", "", {"prompt": " "}, "field prompt must say what is asked"),
    ("rows", "", {"prompt": None}, "field prompt must be text"),
    ("rows", "", {"entry_point": "class"}, "field entry_point must be the name of a function"),
]


@pytest.mark.parametrize(("kind", "text", "change", "words"), FAULTY)
def test_faulty_files_are_named(kind: str, text: str, change: dict[str, Any], words: str, tmp_path: Path) -> None:
    row = {"mbpp": SANITIZED, "canitedit": EDIT, "rows": ROW}[kind]
    path = tmp_path / "tasks.json"
    path.write_text(text or json.dumps([{**row, **change}]))
    with pytest.raises(InputError, match=words) as caught:
        load_tasks(Benchmark(kind=kind), path)
    assert "\n" not in str(caught.value)


# --- files of the hub ---------------------------------------------------------------------------------


def on_hub(path: str) -> Chain:
    return Chain(parse_config({"benchmarks": {"edits": {"kind": "canitedit", "path": path}}}))


def test_a_file_of_the_hub_is_fetched_by_a_job_of_its_own() -> None:
    chain = on_hub(f"hf://datasets/nuprl/CanItEdit@{COMMIT}/data/test-00000-of-00001.parquet")
    name = f"nuprl--CanItEdit@{COMMIT}/data/test-00000-of-00001.parquet"
    assert [str(work.output) for work in jobs(chain) if work.stage == "hub_dataset"] == [f"resources/datasets/{name}"]
    (benchmark,) = chain.config.benchmarks.values()
    assert chain.tasks_path(benchmark) == f"resources/datasets/{name}"
    planned = {item.stage: item for item in plan(chain).stages}
    assert planned["hub_dataset"].jobs == 1
    assert planned["generate"].rows == 2 * 105  # what its spec says, while it is not here
    assert f"nuprl/CanItEdit@{COMMIT}" in machine.hub_models(chain)
    assert chain.own_task_files == []


@pytest.mark.parametrize(
    "path",
    [
        "hf://datasets/nuprl/CanItEdit/data/test.parquet",
        "hf://datasets/nuprl/CanItEdit@main/data/test.parquet",
        f"hf://datasets/nuprl/CanItEdit@{COMMIT}/*.parquet",
        f"hf://datasets/nuprl/CanItEdit@{COMMIT}/test-{{0..3}}.parquet",
    ],
)
def test_files_of_the_hub_without_a_commit_are_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"benchmarks\.\*\.path"):
        list(jobs(on_hub(path)))


def test_mbpp_plus_of_the_hub_reads_as_before(tmp_path: Path) -> None:
    path = tmp_path / "mbppplus.parquet"
    pq.write_table(pa.Table.from_pylist([MBPP_ROW]), path)
    (task,) = load_tasks(Benchmark(kind="mbppplus", plus_tests=False), path)
    assert task.entry_point == "double"
