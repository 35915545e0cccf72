"""A benchmark is added with one file: this one is, to a copy of the package, and used by the commands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.benchmark_files import write_samples
from helpers.paths import ROOT

pytestmark = pytest.mark.slow

EXAMPLE = re.compile(r"```python\n# workflow/d3/evals/benchmarks/mbpp\.py\n(.*?)```", re.DOTALL)
MBPP = EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text())[0]
"""The worked example of the documentation."""
ROWS = [
    {
        "task_id": number,
        "text": f"Write a function to add {number}.",
        "code": f"def add(x):\r\n  return x + {number}",
        "test_setup_code": "",
        "test_list": [f"assert add(1) == {1 + number}", f"assert add(-1) == {number - 1}"],
    }
    for number in (11, 12, 13)
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the package and add one file to it."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("workflow", "config", "profiles", "envs", "containers"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "workflow" / "d3" / "evals" / "benchmarks" / "mbpp.py").write_text(MBPP)
    (copy / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
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
    assert len(MBPP.splitlines()) < 60
    program = """
import json
from dataclasses import asdict
from pathlib import Path
from d3.config.models import Config
from d3.evals.tasks import load_tasks
config = Config.model_validate({"benchmarks": {"x": {"kind": "mbpp", "path": "mbpp.jsonl", "tasks": 2}}})
schema = Config.model_json_schema()["$defs"]["Benchmark"]["properties"]["kind"]
print(json.dumps([schema["enum"], *map(asdict, load_tasks(config.benchmarks["x"], Path("mbpp.jsonl")))]))
"""
    kinds, first, second = json.loads(printed(tree, program))
    assert kinds == ["humaneval", "humanevalfix", "humanevalplus", "humanevalsynth", "mbpp", "mbppplus"]
    assert first == {
        "task_id": "11",
        "instruction": "Write a function to add 11.",
        "name": "add_solution.py",
        "start": "",
        "test": "\nassert add(1) == 12\nassert add(-1) == 10\n",
        "entry_point": "add",
        "canonical": "def add(x):\n  return x + 11",
        "problem": None,
    }
    assert second["task_id"] == "12"


def test_a_wrong_kind_is_answered_with_all_kinds(tree: Path) -> None:
    done = python(tree, "-m", "d3", "plan", "--quick", "--set", "benchmarks={x: {kind: mbpq}}")
    assert done.returncode == 1
    kinds = "'humaneval', 'humanevalfix', 'humanevalplus', 'humanevalsynth', 'mbpp' or 'mbppplus'"
    assert f"benchmarks.x.kind: given 'mbpq', allowed is {kinds}" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_planned(tree: Path) -> None:
    setting = "benchmarks={x: {kind: mbpp, path: mbpp.jsonl, tasks: 3}}"
    done = python(tree, "-m", "d3", "plan", "--quick", "--set", setting)
    assert done.returncode == 0, done.stderr
    generate = next(line.split() for line in done.stdout.splitlines() if line.startswith("generate"))
    assert generate[2] == "6"  # three tasks, two arms


def test_execute_judges_right_and_wrong_solutions(tree: Path) -> None:
    program = "def add(x):\n    return x + 11"
    write_samples(tree / "samples.parquet", [(task, 0, program, "ok") for task in ("11", "12")])
    setting = "benchmarks={x: {kind: mbpp, path: mbpp.jsonl}}"
    files = ["--tasks", "mbpp.jsonl", "--samples", "samples.parquet", "--out", "verdicts.parquet"]
    done = python(tree, "-m", "d3", "execute", "--set", setting, "--benchmark", "x", *files)
    assert done.returncode == 0, done.stderr
    assert [row["verdict"] for row in pq.read_table(tree / "verdicts.parquet").to_pylist()] == ["passed", "failed"]


OTHERS = """
from d3.pipeline.pipeline import code_of
def digests(stage, kind):
    return sorted(code_of(stage, {"benchmarks": {"x": {"kind": kind}}}).values())
print([digests(stage, "humaneval") for stage in ("corpus", "generate", "execute", "scores")])
"""
OWN = f'{OTHERS}print([digests(stage, "mbpp") for stage in ("generate", "execute")])'


def test_its_code_decides_its_own_jobs_alone(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    file = copy / "workflow" / "d3" / "evals" / "benchmarks" / "mbpp.py"
    others, own = printed(copy, OWN).splitlines()
    file.write_text(MBPP.replace('line.text("text")', 'line.text("text").strip()'))
    edited = printed(copy, OWN).splitlines()
    assert edited[0] == others
    assert edited[1] != own
    file.write_text(MBPP + "# A comment.\n")
    assert printed(copy, OWN).splitlines() == [others, own]
    file.unlink()
    assert printed(copy, OTHERS).strip() == others
