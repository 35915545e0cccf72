"""EvalPlus' own data as tests: what passes and what does not."""

from pathlib import Path
from typing import Any

import pytest

from d3.config.evaluation import Benchmark
from d3.errors import InputError
from d3.evals.evalplus import mbpp_types
from d3.evals.execute import package_folders
from d3.evals.sandbox import Limits, Sandbox
from d3.evals.tasks import Task, load_tasks
from helpers.benchmark_files import MBPP_ROW, written


def row(entry_point: str, code: str, *inputs: list[Any], task_id: str = "Mbpp/1", **more: Any) -> dict[str, Any]:
    prompt = f'"""\nWrite a function to do it.\nassert {entry_point}(1) == 1\n"""\n'
    base, plus = [*inputs[:1]], [*inputs[1:]]
    return {
        "task_id": task_id, "prompt": prompt, "entry_point": entry_point, "canonical_solution": code,
        "base_input": base, "plus_input": plus, "atol": 0, **more,
    }  # fmt: skip


def loaded(path: Path, *rows: dict[str, Any], **settings: Any) -> list[Task]:
    return load_tasks(Benchmark(kind="mbppplus", tasks=None, **settings), written(path / "tasks.jsonl", *rows))


ROWS = {
    "compare": (row("compare", "def compare(x, y):\n    return x == y\n", [1, 2], [2, 2]),
                "def compare(x, y): return not x != y"),
    "area": (row("area", "def area(r):\n    return 3.1 * r\n", [2], [0.1], [7]), "def area(r): return r * 31 / 10"),
    "parts": (row("parts", "def parts(x):\n    return [x / 3, x / 7]\n", [2], [5]),
              "def parts(x): return [x / 3, x * (1 / 7)]"),
    "Diff": (row("Diff", "def Diff(x):\n    return x\n", [[1, 2]], [[3, 4]]), "def Diff(x): return x[::-1]"),
    "check_str": (row("check_str", "import re\ndef check_str(x):\n    return re.match('a', x)\n", ["a"], ["b"]),
                  "def check_str(x): return x == 'a'"),
    "sum_div": (row("sum_div", "def sum_div(x):\n    return 1\n", [7]), "def sum_div(x): return 0"),
    "are_equivalent": (row("are_equivalent", "def are_equivalent(a, b):\n    return a == b\n", [1, 2], [3, 3]),
                       "def are_equivalent(a, b): return not a != b"),
    "digit_distance_nums": (row("digit_distance_nums", "def digit_distance_nums(a, b):\n    return 0\n", [12, 3]),
                            "def digit_distance_nums(a, b): return 2"),
}  # fmt: skip
WRONG = {
    "an empty list for a number": ("area", "def area(r): return []"),
    "a list for a number": ("area", "def area(r): return [3.1 * r]"),
    "a tuple for a list": ("parts", "def parts(x): return (x / 3, x * (1 / 7))"),
    "a shorter list": ("parts", "def parts(x): return [x / 3]"),
    "an empty list": ("parts", "def parts(x): return []"),
    "another number": ("area", "def area(r): return 3.1 * r + 1e-3"),
    "another set": ("Diff", "def Diff(x): return x[:1]"),
    "always true": ("check_str", "def check_str(x): return True"),
    "any answer": ("are_equivalent", "def are_equivalent(a, b): return None"),
    "another distance": ("digit_distance_nums", "def digit_distance_nums(a, b): return 1"),
}


@pytest.fixture(scope="module")
def place() -> Any:
    with Sandbox(Limits(timeout_seconds=5), packages=package_folders(["numpy"])) as opened:
        yield opened


@pytest.mark.parametrize("name", ROWS)
def test_references_and_other_right_programs_pass(place: Sandbox, tmp_path: Path, name: str) -> None:
    line, other = ROWS[name]
    (task,) = loaded(tmp_path, line)
    for program in (task.canonical, other):
        assert place.judge(program, task.test, task.entry_point).verdict == "passed"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_programs_do_not(place: Sandbox, tmp_path: Path, name: str) -> None:
    entry_point, program = WRONG[name]
    (task,) = loaded(tmp_path, ROWS[entry_point][0])
    assert place.judge(program, task.test, task.entry_point).verdict == "failed"


def test_humaneval_plus_asks_as_humaneval_and_tests_a_root_by_its_value(place: Sandbox, tmp_path: Path) -> None:
    line = row("find_zero", "    return -xs[0] / xs[1]\n", [[1, 2]], [[3, 4]], atol=1e-4)
    line["prompt"] = 'def find_zero(xs):\n    """Find a zero."""\n'
    (task,) = load_tasks(Benchmark(kind="humanevalplus"), written(tmp_path / "h.jsonl", line))
    assert task.instruction.endswith("Find a zero.")
    assert place.judge(task.canonical, task.test, "find_zero").verdict == "passed"
    assert place.judge("def find_zero(xs): return -xs[0] / xs[1] + 1e-6", task.test, "find_zero").verdict == "passed"
    assert place.judge("def find_zero(xs): return 0.0", task.test, "find_zero").verdict == "failed"


def test_base_tests_alone_and_the_instruction(tmp_path: Path) -> None:
    (plus,) = loaded(tmp_path, ROWS["area"][0])
    (base,) = loaded(tmp_path, ROWS["area"][0], plus_tests=False)
    assert "[[2], [0.1], [7]]" in plus.test
    assert "[[2]]" in base.test
    assert plus.instruction == "Write a Python function `area(r)` to solve the following problem: Do it."


@pytest.mark.parametrize(
    ("task", "given", "typed"),
    [
        (1, [[1]], [[1]]),
        (2, [[1], [2]], [(1,), (2,)]),
        (63, [[[1]]], [[(1,)]]),
        (75, [[[1]], 2], [[(1,)], 2]),
        (106, [[1], [2]], [[1], (2,)]),
        (115, [[[1], []]], [[{1}, {}]]),
        (124, ["1.5", "2j"], (1.5, 2j)),
        (250, [[1], 2], [(1,), 2]),
        (252, ["1j"], [1j]),
        (259, [[[1]]], [((1,),)]),
        (278, [[1, [2]]], [(1, (2,))]),
        (307, [[1], 2, 3], [(1,), 2, 3]),
        (580, [[1, [2]]], ((1, (2,)),)),
        (722, [{"a": [1]}, 2], [{"a": (1,)}, 2]),
    ],
)
def test_inputs_of_mbpp_get_their_types_back(task: int, given: list[Any], typed: Any) -> None:
    assert mbpp_types(task)(given) == typed


def test_text_tests_are_never_the_default(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"extended tests as text only.*text_tests: true"):
        loaded(tmp_path, MBPP_ROW)
    assert loaded(tmp_path, MBPP_ROW, text_tests=True)
    assert loaded(tmp_path, MBPP_ROW, plus_tests=False)
