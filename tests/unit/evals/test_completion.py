"""Completion variants: what is removed, what stays, which tasks have none and why."""

import ast
from pathlib import Path

import pytest

from d3.config.evaluation import Benchmark
from d3.errors import InputError
from d3.evals.completion import Skipped, asked_tasks, completion_variant, lint_errors, without_some_lines
from d3.evals.tasks import load_tasks
from helpers.benchmark_files import MBPP_ROW, PACK_ROW, mbpp, pack, written

SETTINGS = Benchmark(kind="humanevalsynth", tasks=None, complete=True)
COUNT = "def count(words):\n    found = {}\n    for word in words:\n        found[word] = 1\n    return found"


def no_errors(program: str) -> list[str]:
    return []


def test_variants_lint_clean_keep_imports_and_the_entry_and_lose_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "pack.jsonl", PACK_ROW, {**PACK_ROW, "task_id": "Python/1"})
    for task in asked_tasks(SETTINGS, pack(tmp_path)).tasks[::6] + asked_tasks(SETTINGS, path).tasks:
        names = [node.name for node in ast.parse(task.start).body if isinstance(node, ast.FunctionDef)]
        assert task.entry_point in names
        assert lint_errors(task.start) == []
        start, whole = ([line.rstrip() for line in text.split("\n")] for text in (task.start, task.canonical))
        rest = iter(whole)
        assert all(line in rest for line in start)  # a subsequence
        gone = len([line for line in whole if line.strip()]) - len([line for line in start if line.strip()])
        assert gone >= 1
        assert [line for line in whole if "import" in line] == [line for line in start if "import" in line]
        assert task.instruction == f"Complete the Python function {task.entry_point}."  # the docstring states the rest
        assert (
            ast.get_docstring(ast.parse(task.canonical).body[-1]) is None or '"""' in task.start or "'''" in task.start
        )


def test_an_undefined_name_is_no_start_program() -> None:
    """Without a linter, lines that define what others use are removed; with it they are not."""
    seeds = range(40)
    loose = {without_some_lines(COUNT, "count", seed, no_errors).program for seed in seeds}
    clean = {without_some_lines(COUNT, "count", seed, lint_errors).program for seed in seeds}
    assert any("found = {}" not in start for start in loose)
    assert clean
    assert all("found = {}" in start or "found" not in start for start in clean)
    assert all(start.startswith("def count(words):\n    ") for start in clean)


def test_variants_are_drawn_from_seed_and_task(tmp_path: Path) -> None:
    body = "".join(f"    x{number} = {number}\n" for number in range(30)) + "    return r\n"
    rows = [{**PACK_ROW, "task_id": f"Python/{n}", "canonical_solution": body} for n in range(4)]
    starts = [task.start for task in asked_tasks(SETTINGS, written(tmp_path / "a.jsonl", *rows), seed=1).tasks]
    assert len(set(starts)) == 4
    turned = asked_tasks(SETTINGS, written(tmp_path / "b.jsonl", *rows[::-1]), seed=1).tasks
    assert [task.start for task in turned][::-1] == starts
    assert [task.start for task in asked_tasks(SETTINGS, tmp_path / "a.jsonl", seed=2).tasks] != starts
    first = SETTINGS.model_copy(update={"tasks": 2})
    assert [task.start for task in asked_tasks(first, tmp_path / "a.jsonl", seed=1).tasks] == starts[:2]


def test_tasks_without_a_variant_are_named_with_the_reason(tmp_path: Path) -> None:
    short = {**PACK_ROW, "task_id": "Python/9", "canonical_solution": "    return 1\n"}
    wrong = {**PACK_ROW, "task_id": "Python/8", "canonical_solution": "    a = 1\n    b = a\n    return c\n"}
    path = written(tmp_path / "pack.jsonl", short, wrong, PACK_ROW)
    found = asked_tasks(SETTINGS, path)
    assert [task.task_id for task in found.tasks] == ["Python/0"]
    reason = "the reference has linter errors: E0602"
    assert found.skipped == [Skipped("Python/9", "too few lines"), Skipped("Python/8", reason)]
    assert completion_variant(load_tasks(Benchmark(kind="humanevalsynth"), path)[0], 0) == "too few lines"
    with pytest.raises(InputError, match="contains no task"):
        asked_tasks(SETTINGS, written(tmp_path / "short.jsonl", short))
    asked = asked_tasks(Benchmark(kind="humanevalsynth"), path)
    assert (len(asked.tasks), asked.skipped) == (3, [])  # no completion is asked for


def test_a_program_that_never_lints_clean_is_given_up() -> None:
    faults = iter([[]])
    start = without_some_lines(COUNT, "count", 1, lambda text: next(faults, ["E0602"]))
    assert start.program == ""
    assert start.reason in ("50 draws leave linter errors",
                            "1000 draws leave no program that defines the entry point without errors")  # fmt: skip


def test_the_problem_is_in_the_prompt_where_no_docstring_states_it(tmp_path: Path) -> None:
    settings = Benchmark(kind="mbppplus", plus_tests=False, complete=True, tasks=None)
    row = {**MBPP_ROW, "code": COUNT.replace("count", "double") + "\n", "test_list": ["assert double([]) == {}"]}
    (task,) = asked_tasks(settings, written(tmp_path / "mbpp.jsonl", row)).tasks
    assert task.instruction == f"Complete the Python function double.\n{MBPP_ROW['prompt']}"
    for real in (
        asked_tasks(settings.model_copy(update={"tasks": 9}), mbpp(tmp_path)).tasks
        if mbpp(tmp_path).suffix == ".gz"
        else []
    ):
        assert real.problem
        assert real.problem in real.instruction
