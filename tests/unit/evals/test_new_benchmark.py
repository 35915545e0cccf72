"""A benchmark is added with one file: this one is, to a copy of the package without it, and used by the commands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d3.config.evaluation import benchmark_kinds
from helpers.benchmark_files import write_samples
from helpers.paths import ROOT

pytestmark = pytest.mark.slow

BLOCK = re.compile(r"```python\n# workflow/d3/evals/benchmarks/canitedit\.py\n(.*?)```", re.DOTALL)
EXAMPLE_FILE = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())[0]
"""The worked example of the documentation."""
ROWS = [
    {
        "full_name": f"{number}_add",
        "before": "def add(x):\n    return x",
        "after": f"def helper(x):\n    return x\n\n\ndef add(x):\n    return helper(x) + {number}",
        "tests": f"assert add(1) == {1 + number}\nassert add(-1) == {number - 1}",
        "instruction_descriptive": f"Add {number}.",
        "instruction_lazy": "more",
    }
    for number in (11, 12, 13)
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the package and add one file to it."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("workflow", "config", "profiles", "envs", "containers"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / "workflow" / "d3" / "evals" / "benchmarks" / "canitedit.py"
    assert file.read_text() == EXAMPLE_FILE
    file.unlink()
    file.write_text(EXAMPLE_FILE)
    (copy / "edits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return copy


def python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree / "workflow")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )


def printed(tree: Path, program: str) -> str:
    done = python(tree, "-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_configuration_accepts_it_and_its_tasks_load(tree: Path) -> None:
    assert len(EXAMPLE_FILE.splitlines()) < 60
    program = """
import json
from dataclasses import asdict
from pathlib import Path
from d3.config.models import Config
from d3.evals.tasks import load_tasks
config = Config.model_validate({"benchmarks": {"x": {"kind": "canitedit", "path": "edits.jsonl", "tasks": 2}}})
schema = Config.model_json_schema()["$defs"]["Benchmark"]["properties"]["kind"]
print(json.dumps([schema["enum"], *map(asdict, load_tasks(config.benchmarks["x"], Path("edits.jsonl")))]))
"""
    kinds, first, second = json.loads(printed(tree, program))
    assert kinds == sorted({"canitedit", *benchmark_kinds()})
    assert first == {
        "task_id": "11_add",
        "instruction": "Add 11.",
        "name": "add_solution.py",
        "start": "def add(x):\n    return x",
        "test": "assert add(1) == 12\nassert add(-1) == 10\n",
        "entry_point": "add",
        "canonical": "def helper(x):\n    return x\n\n\ndef add(x):\n    return helper(x) + 11",
        "prompt": "",
        "problem": None,
    }
    assert second["task_id"] == "12_add"


def test_a_wrong_kind_is_answered_with_all_kinds(tree: Path) -> None:
    done = python(tree, "-m", "d3", "plan", "--quick", "--set", "benchmarks={x: {kind: canitedir}}")
    assert done.returncode == 1
    assert "benchmarks.x.kind: given 'canitedir', allowed is 'canitedit', 'humaneval'," in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_planned(tree: Path) -> None:
    setting = "benchmarks={x: {kind: canitedit, path: edits.jsonl, tasks: 3}}"
    done = python(tree, "-m", "d3", "plan", "--quick", "--set", setting)
    assert done.returncode == 0, done.stderr
    generate = next(line.split() for line in done.stdout.splitlines() if line.startswith("generate"))
    assert generate[2] == "6"  # three tasks, two arms


def test_execute_judges_right_and_wrong_solutions(tree: Path) -> None:
    program = "def add(x):\n    return x + 11"
    write_samples(tree / "samples.parquet", [(task, 0, program, "ok") for task in ("11_add", "12_add")])
    setting = "benchmarks={x: {kind: canitedit, path: edits.jsonl}}"
    files = ["--tasks", "edits.jsonl", "--samples", "samples.parquet", "--out", "verdicts.parquet"]
    done = python(tree, "-m", "d3", "execute", "--set", setting, "--benchmark", "x", *files)
    assert done.returncode == 0, done.stderr
    assert [row["verdict"] for row in pq.read_table(tree / "verdicts.parquet").to_pylist()] == ["passed", "failed"]


OTHERS = """
from d3.pipeline.pipeline import code_of
def digests(stage, kind):
    return sorted(code_of(stage, {"benchmarks": {"x": {"kind": kind}}}).values())
print([digests(stage, "humaneval") for stage in ("corpus", "generate", "execute", "scores")])
"""
OWN = f'{OTHERS}print([digests(stage, "canitedit") for stage in ("generate", "execute")])'


def test_its_code_decides_its_own_jobs_alone(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    file = copy / "workflow" / "d3" / "evals" / "benchmarks" / "canitedit.py"
    others, own = printed(copy, OWN).splitlines()
    file.write_text(EXAMPLE_FILE.replace(".strip()", ".strip().lower()"))
    edited = printed(copy, OWN).splitlines()
    assert edited[0] == others
    assert edited[1] != own
    file.write_text(EXAMPLE_FILE + "# A comment.\n")
    assert printed(copy, OWN).splitlines() == [others, own]
    file.unlink()
    assert printed(copy, OTHERS).strip() == others
