"""Two per-sample files are compared task by task, whoever wrote them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from d3.cli import main
from d3.errors import InputError
from d3.evals.compare import compare, read_outcomes
from d3.evals.statistics import in_steps


def lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_verdicts_and_logged_samples_of_lm_eval_are_read(tmp_path: Path) -> None:
    ours = [{"task_id": "a", "sample": n, "verdict": verdict} for n, verdict in enumerate(["passed", "failed"])]
    theirs = [{"doc_id": 3, "metrics": ["exact_match"], "exact_match": 1.0, "filter": "none", "resps": [["x"]]}]
    assert read_outcomes(lines(tmp_path / "a.jsonl", ours)) == {"a": [1, 0]}
    assert read_outcomes(lines(tmp_path / "b.jsonl", theirs)) == {"3": [1]}
    assert read_outcomes(lines(tmp_path / "c.jsonl", [{"n": "x", "ok": True}]), "ok", "n") == {"x": [1]}


def test_a_clear_difference_is_told_from_none(tmp_path: Path) -> None:
    base = {f"t{n}": [0.0] for n in range(40)}
    better = base | {f"t{n}": [1.0] for n in range(12)}
    found = compare(base, better)
    assert (found.difference, found.better, found.worse) == (pytest.approx(0.3), 12, 0)
    assert found.p_value == 2 / 2**12
    assert found.interval.low > 0
    same = compare(better, better | {"more": [1.0]})
    assert (same.p_value, same.left_out) == (1, (0, 1))
    assert same.interval.low < 0 < same.interval.high


def test_the_command_prints_one_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = lines(tmp_path / "one.jsonl", ({"task_id": n, "passed": False} for n in range(8)))
    other = lines(tmp_path / "other.jsonl", ({"task_id": n, "passed": n < 6} for n in range(9)))
    assert main(["compare", str(one), str(other)]) == 0
    shown = capsys.readouterr().out
    assert "one.jsonl: 0.0% (95 % interval 0.0% to 36.9%, 8 tasks)" in shown
    assert "better on 6 tasks, worse on 0; exact sign-flip test p = 0.0312" in shown
    assert "0 and 1 tasks" in shown


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "contains no samples"),
        ("[1]\n", "must be a JSON object"),
        ('{"task_id": 1}\n', "has none of the fields passed"),
        ('{"task_id": 1, "passed": 7}\n', "a number from 0 to 1"),
        ('{"task_id": 1, "passed": 1}\n{"task_id": 2}\n', "has no field 'passed'"),
        ("\xff", "cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text.encode("latin-1"))
    assert main(["compare", str(path), str(path)]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_steps_are_whole() -> None:
    assert in_steps([0.3, -0.1, 0.0]) == [3, -1, 0]
    assert in_steps([1 / 3, 0.5]) == [2, 3]


def test_scores_of_several_filters_are_not_averaged(tmp_path: Path) -> None:
    rows = [
        {"doc_id": 0, "filter": name, "metrics": ["exact_match"], "exact_match": value}
        for name, value in (("strict", 0.0), ("strict", 0.0), ("flexible", 1.0))
    ]
    path = lines(tmp_path / "samples.jsonl", rows)
    with pytest.raises(InputError, match=r':3: has lines of several filters \("flexible" and "strict"\)'):
        read_outcomes(path)
    assert read_outcomes(lines(path, rows[:2])) == {"0": [0.0, 0.0]}
