"""The gate: sound tasks stay, tests that anything passes are found, and so are references that do not pass."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from d3.config.load import parse_config
from d3.evals.gate import examine, run
from d3.evals.sandbox import Limits
from d3.evals.tasks import Task
from d3.evals.wrong_programs import mutants, trivial_programs
from helpers.benchmark_files import written

REFERENCE = "def f(x):\n    if x < 2:\n        return 1\n    return x * f(x - 1)\n"
SOUND = "assert f(0) == 1 and f(1) == 1 and f(2) == 2 and f(5) == 120\n"


def task(task_id: str, test: str, canonical: str = REFERENCE) -> Task:
    return Task(task_id=task_id, instruction="", name="", start="", test=test, entry_point="f", canonical=canonical)


@pytest.mark.slow
def test_only_sound_tasks_stay() -> None:
    tasks = [
        task("sound", SOUND),
        task("no assertion", "f(3)\n"),
        task("a constant", "assert f(1) == 1\n"),
        task(
            "any exception", "try:\n    f(1)\nexcept ValueError:\n    pass\nelse:\n    assert f(1) == 1 and f(2) == 2\n"
        ),
        task("broken", SOUND, REFERENCE.replace("* f", "+ f")),
        task("never called", "assert True\n"),
    ]
    found = examine(tasks, Limits(timeout_seconds=3), 2)
    assert found["tasks"] == [each.task_id for each in tasks]
    assert [row["task_id"] for row in found["broken"]] == ["broken", "never called"]
    passed = {row["task_id"]: row["passed"] for row in found["vacuous"]}
    assert passed["no assertion"][:2] == ["returns its first argument", "returns None"]
    assert {"returns 1", "returns True"} <= set(passed["a constant"])
    assert "raises ValueError" in passed["any exception"]
    assert set(passed) == {"no assertion", "a constant", "any exception"}
    assert found["left_out"] == ["no assertion", "a constant", "any exception", "broken", "never called"]
    survivors = {row["task_id"]: row["mutants"] for row in found["survivors"]}
    assert len(survivors["no assertion"]) > len(survivors.get("sound", []))


def test_start_programs_that_pass_are_named_and_stay() -> None:
    found = examine(
        [replace(task("solved", SOUND), start=REFERENCE), replace(task("sound", SOUND), start="def f(x): pass")],
        Limits(timeout_seconds=3),
        2,
    )
    assert (found["starts"], found["left_out"]) == (["solved"], [])


def test_mutants_are_other_programs_and_always_the_same() -> None:
    chosen = mutants(REFERENCE, "task/1")
    texts = [text for _, text in chosen]
    assert len(set(texts)) == len(texts) >= 10
    assert ast.unparse(ast.parse(REFERENCE)) not in texts
    assert chosen == mutants(REFERENCE, "task/1")
    kinds = {name.split(",")[0] for name, _ in chosen}
    assert {"comparison", "operator", "constant", "statement dropped", "returns nothing"} <= kinds
    assert not any("Doc!" in text for _, text in mutants('def f():\n    """Doc"""\n    return "a"\n', "x"))


def test_trivial_programs_cover_constants_and_exceptions() -> None:
    programs = dict(trivial_programs("f"))
    assert {"empty program", "returns []", "returns float('nan')", "raises StopIteration", "raises SystemExit"} <= set(
        programs
    )
    for program in programs.values():
        ast.parse(program)


@pytest.mark.slow
def test_the_gate_is_a_file(tmp_path: Path) -> None:
    row = {
        "task_id": "T/0",
        "prompt": 'def add(a, b):\n    """Add."""\n',
        "canonical_solution": "    return a + b\n",
        "entry_point": "add",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(2, 2) == 4\n",
    }
    vacuous = {**row, "task_id": "T/1", "test": "def check(candidate):\n    candidate(1, 2)\n"}
    tasks = written(tmp_path / "tasks.jsonl", row, vacuous)
    out = tmp_path / "gate.json"
    run(parse_config({}), tasks, out, benchmark="humaneval", workers=2)
    found = json.loads(out.read_text())
    assert found["left_out"] == ["T/1"]
    assert found["tasks"] == ["T/0", "T/1"]
    assert found["limits"]["timeout_seconds"] == 5
