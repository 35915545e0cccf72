"""pass@k against counting every draw, and the score file."""

import itertools
import json
import random
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import read_rows
from d3.errors import D3Error, InputError
from d3.evals.compare import read_outcomes
from d3.evals.score import pass_at_k, run
from helpers.benchmark_files import write_samples
from helpers.corpus_tables import write_rows


def by_counting(samples: int, passed: int, k: int) -> float:
    """Draw every k of the samples and count the draws that hold one that passes."""
    draws = list(itertools.combinations([True] * passed + [False] * (samples - passed), k))
    return float(Fraction(sum(any(draw) for draw in draws), len(draws)))


@pytest.mark.parametrize("samples", range(1, 9))
def test_pass_at_k_equals_counting_all_draws(samples: int) -> None:
    for passed in range(samples + 1):
        for k in range(1, samples + 1):
            assert pass_at_k(samples, passed, k) == pytest.approx(by_counting(samples, passed, k), abs=1e-12)


def test_pass_at_k_refuses_what_has_no_answer() -> None:
    for values in ((2, 0, 3), (2, 3, 1), (2, -1, 1), (2, 1, 0)):
        with pytest.raises(ValueError, match="pass@"):
            pass_at_k(*values)
    assert pass_at_k(200, 1, 100) == pytest.approx(0.5)


def tables(folder: Path, rows: list[tuple[str, int, str, str]]) -> tuple[Path, Path]:
    """Write samples and verdicts from (task, sample, status, verdict)."""
    samples = [(task, sample, None, status) for task, sample, status, _ in rows]
    verdicts = [
        {
            "task_id": task,
            "sample": sample,
            "verdict": "no_program" if status == "repaired" else verdict,
            "lenient_verdict": verdict,
        }
        for task, sample, status, verdict in rows
    ]
    return (
        write_samples(folder / "samples.parquet", samples),
        write_rows(folder / "verdicts.parquet", schemas.VERDICTS, verdicts),
    )


def gate(folder: Path, *left_out: str, tasks: Iterable[str] = (), benchmark: str = "humaneval") -> Path:
    """Write the result of a gate that examined the tasks of `tables` and leaves some out."""
    verdicts = folder / "verdicts.parquet"
    names = list(tasks) or sorted(set(pq.read_table(verdicts)["task_id"].to_pylist()))
    found = {"benchmark": benchmark, "interpreter": "3.11.7", "tasks": names, "left_out": list(left_out)}
    found |= {"starts": names[:1], "skipped": [{"task_id": "z", "reason": "too few lines"}]}
    path = folder / "gate.json"
    path.write_text(json.dumps(found))
    return path


def config(k: list[int], **scores: object) -> Config:
    return parse_config({"seed": 5, "generate": {"samples": max(k)}, "scores": {"k": k, **scores}})


def drawn(tasks: int, samples: int) -> list[tuple[str, int, str, str]]:
    draws = random.Random(1)
    outcomes = [("ok", "passed"), ("ok", "failed"), ("ok", "timeout"), ("no_diff", "no_program")]
    return [(f"task/{t}", s, *draws.choice(outcomes)) for t in range(tasks) for s in range(samples)]


def test_scores_of_a_small_table_by_hand(tmp_path: Path) -> None:
    rows = [
        ("a", 0, "ok", "passed"), ("a", 1, "ok", "failed"), ("a", 2, "malformed_diff", "no_program"),
        ("b", 0, "ok", "passed"), ("b", 1, "ok", "passed"), ("b", 2, "ok", "passed"),
        ("c", 0, "no_diff", "no_program"), ("c", 1, "ok", "error"), ("c", 2, "ok", "crashed"),
    ]  # fmt: skip
    samples, verdicts = tables(tmp_path, rows)
    output = tmp_path / "scores.json"
    run(config([1, 2, 3]), verdicts, samples, gate(tmp_path), output, benchmark="humaneval", arm="d3")
    result = json.loads(output.read_text())
    assert result["benchmark"] == "humaneval"
    assert (result["arm"], result["format"]) == ("d3", "diff")
    assert (result["tasks"], result["samples"]) == (3, 9)
    values = {k: entry["value"] for k, entry in result["pass_at_k"].items()}
    assert values == {"1": pytest.approx(4 / 9), "2": pytest.approx(5 / 9), "3": pytest.approx(2 / 3)}
    assert result["built"] == {"share": 7 / 9, "statuses": {"malformed_diff": 1, "no_diff": 1, "ok": 7}}
    assert result["verdicts"] == {"crashed": 1, "error": 1, "failed": 1, "no_program": 2, "passed": 4}
    assert result["per_task"] == [
        {"task_id": "a", "samples": 3, "built": 2, "passed": 1},
        {"task_id": "b", "samples": 3, "built": 3, "passed": 3},
        {"task_id": "c", "samples": 3, "built": 2, "passed": 0},
    ]
    assert (result["solved_by_start"], result["unsupported"]) == (1, 0)
    assert result["skipped"] == [{"task_id": "z", "reason": "too few lines"}]
    assert result["tokens"] == {"per_sample": 0.0, "per_solution": 0.0}
    assert (tmp_path / "scores.json.prov.json").exists()


def test_tokens_and_what_the_sandbox_cannot_carry_are_counted(tmp_path: Path) -> None:
    rows = [("a", 0, "ok", "passed"), ("a", 1, "ok", "failed"), ("b", 0, "ok", "unsupported"), ("b", 1, "ok", "failed")]
    samples, verdicts = tables(tmp_path, rows)
    counts = iter((5, 7, 9, None))
    drawn = [row | {"answer_tokens": next(counts)} for row in read_rows(samples, schemas.SAMPLES)]
    write_rows(samples, schemas.SAMPLES, drawn)
    output = tmp_path / "s.json"
    run(config([1]), verdicts, samples, gate(tmp_path), output, benchmark="humaneval", arm="d3")
    result = json.loads(output.read_text())
    assert result["tokens"] == {"per_sample": 21 / 4, "per_solution": 21.0}
    assert result["unsupported"] == result["verdicts"]["unsupported"] == 1
    none = [("a", 0, "ok", "failed")]
    samples, verdicts = tables(tmp_path, none)
    run(config([1]), verdicts, samples, gate(tmp_path), output, benchmark="humaneval", arm="d3")
    assert json.loads(output.read_text())["tokens"]["per_solution"] is None


def test_each_sample_is_one_line(tmp_path: Path) -> None:
    rows = [("a", 0, "ok", "passed"), ("a", 1, "malformed_diff", "no_program"), ("b", 0, "ok", "failed")]
    samples, verdicts = tables(tmp_path, [*rows, ("b", 1, "repaired", "passed")])
    diff = "@@ -0,0 +1 @@\n+x = '\u2028'"
    more = iter(
        [
            {"prompt": "p", "raw": f"\n<|diff|>{diff}\n</code>", "program": "x = '\u2028'", "answer_tokens": 9},
            {"raw": "no", "detail": "a reason"},
            {"raw": None, "program": "y"},
            {"program": "z", "repairs": ["blank_lines"]},
        ]
    )
    write_rows(samples, schemas.SAMPLES, [row | next(more) for row in read_rows(samples, schemas.SAMPLES)])
    judged = [row | {"detail": "assert x"} for row in read_rows(verdicts, schemas.VERDICTS)]
    write_rows(verdicts, schemas.VERDICTS, judged)
    out, lines = tmp_path / "s.json", tmp_path / "s.jsonl"
    run(config([1]), verdicts, samples, gate(tmp_path, "b"), out, benchmark="humaneval", arm="d3", lines=lines)
    text = lines.read_text(encoding="utf-8")
    assert text.count("\n") == 4
    found = [json.loads(line) for line in text.split("\n")[:-1]]
    first = found[0]
    assert (first["benchmark"], first["arm"], first["format"]) == ("humaneval", "d3", "diff")
    assert (first["prompt"], first["diffs"], first["program"], first["tokens"]) == ("p", [diff], "x = '\u2028'", 9)
    assert [row["passed"] for row in found] == [True, False, False, False]
    assert [row["counted"] for row in found] == [True, True, False, False]
    assert [row["lenient_verdict"] for row in found] == ["passed", "no_program", "failed", "passed"]
    assert (found[1]["reason"], found[1]["output"], found[1]["diffs"]) == ("a reason", None, [])
    assert (found[2]["answer"], found[2]["output"], found[3]["repairs"]) == (None, "assert x", ["blank_lines"])
    assert read_outcomes(lines) == {"a": [1.0, 0.0], "b": [0.0, 0.0]}  # `d3 compare` reads it
    sample_paths = tables(tmp_path, [("a", 0, "ok", "passed"), ("b", 0, "ok", "passed")])
    reordered = sorted(read_rows(sample_paths[1], schemas.VERDICTS), key=lambda row: row["task_id"], reverse=True)
    write_rows(verdicts, schemas.VERDICTS, reordered)
    with pytest.raises(InputError, match="not in the order of the samples at task a, sample 0"):
        run(config([1]), verdicts, samples, gate(tmp_path), out, benchmark="humaneval", arm="d3", lines=lines)


def test_repaired_answers_count_in_the_lenient_score_alone(tmp_path: Path) -> None:
    rows = [("a", 0, "ok", "passed"), ("a", 1, "repaired", "passed"), ("b", 0, "repaired", "failed")]
    samples, verdicts = tables(tmp_path, [*rows, ("b", 1, "no_diff", "no_program")])
    kinds = [[], ["blank_lines", "line_number"], ["blank_lines"], []]
    rewritten = [row | {"repairs": kind} for row, kind in zip(read_rows(samples, schemas.SAMPLES), kinds, strict=True)]
    write_rows(samples, schemas.SAMPLES, rewritten)
    run(config([1]), verdicts, samples, gate(tmp_path, benchmark="b"), tmp_path / "s.json", benchmark="b", arm="x")
    result = json.loads((tmp_path / "s.json").read_text())
    assert result["pass_at_k"]["1"]["value"] == 0.25
    assert result["built"]["share"] == 0.25
    assert result["verdicts"] == {"passed": 1, "no_program": 3}
    lenient = result["lenient"]
    assert (lenient["pass_at_k"]["1"]["value"], lenient["share"]) == (0.5, 0.75)
    assert lenient["repairs"] == {"blank_lines": 2, "line_number": 1}


def test_intervals_hold_the_value_and_shrink_with_more_tasks(tmp_path: Path) -> None:
    widths = []
    for tasks in (10, 160):
        samples, verdicts = tables(tmp_path, drawn(tasks, 4))
        run(config([1, 4]), verdicts, samples, gate(tmp_path), tmp_path / "s.json", benchmark="humaneval", arm="d3")
        for entry in json.loads((tmp_path / "s.json").read_text())["pass_at_k"].values():
            assert 0 <= entry["low"] < entry["value"] < entry["high"] <= 1
        widths.append(entry["high"] - entry["low"])
    assert widths[1] < widths[0] / 2


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    samples, verdicts = tables(tmp_path, drawn(20, 2))
    texts = []
    for arm, name in (("d3", "a.json"), ("d3", "b.json"), ("baseline", "c.json")):
        run(config([1]), verdicts, samples, gate(tmp_path), tmp_path / name, benchmark="humaneval", arm=arm)
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    assert json.loads(texts[2])["pass_at_k"] == json.loads(texts[0])["pass_at_k"]


def test_tables_that_do_not_belong_together(tmp_path: Path) -> None:
    rows = drawn(3, 2)
    samples, verdicts = tables(tmp_path, rows)
    other, fewer = tmp_path / "other", tmp_path / "fewer"
    for folder, changed in ((other, [(f"{t}x", s, a, b) for t, s, a, b in rows]), (fewer, rows[:-1])):
        folder.mkdir()
        foreign, some = tables(folder, changed)
        with pytest.raises(InputError, match="execute the samples again"):
            run(config([1]), some, samples, gate(tmp_path, benchmark="b"), tmp_path / "s.json", benchmark="b", arm="x")
        with pytest.raises(InputError, match="execute the samples again"):
            run(
                config([1]),
                verdicts,
                foreign,
                gate(tmp_path, benchmark="b"),
                tmp_path / "s.json",
                benchmark="b",
                arm="x",
            )
    with pytest.raises(InputError, match="pass@5 needs more"):
        run(config([5]), verdicts, samples, gate(tmp_path, benchmark="b"), tmp_path / "s.json", benchmark="b", arm="x")
    wrong, judged = tables(tmp_path, [("a", 0, "no_diff", "passed")])
    with pytest.raises(InputError, match="execute the samples again"):
        run(config([1]), judged, wrong, gate(tmp_path, benchmark="b"), tmp_path / "s.json", benchmark="b", arm="x")
    assert not (tmp_path / "s.json").exists()


def test_a_bench_without_verdicts_is_an_error(tmp_path: Path) -> None:
    samples, verdicts = tables(tmp_path, [])
    with pytest.raises(InputError, match="holds no verdict"):
        run(config([1]), verdicts, samples, gate(tmp_path, benchmark="b"), tmp_path / "s.json", benchmark="b", arm="x")


def test_tasks_that_the_gate_leaves_out_are_not_counted(tmp_path: Path) -> None:
    rows = [("a", 0, "ok", "passed"), ("b", 0, "ok", "failed"), ("c", 0, "ok", "passed")]
    samples, verdicts = tables(tmp_path, rows)
    output = tmp_path / "s.json"
    for vacuous, tasks, value in ((False, 2, 1 / 2), (True, 3, 2 / 3)):
        settings = config([1], vacuous=vacuous)
        run(settings, verdicts, samples, gate(tmp_path, "c"), output, benchmark="humaneval", arm="d3")
        result = json.loads(output.read_text())
        assert (result["tasks"], result["tasks_vacuous"]) == (tasks, 1)
        assert result["pass_at_k"]["1"]["value"] == pytest.approx(value)
        assert result["gate"]["interpreter"] == "3.11.7"
    with pytest.raises(InputError, match="leaves out every task"):
        run(config([1]), verdicts, samples, gate(tmp_path, "a", "b", "c"), output, benchmark="humaneval", arm="d3")


def test_scores_without_a_gate_of_their_benchmark_are_refused(tmp_path: Path) -> None:
    samples, verdicts = tables(tmp_path, [("a", 0, "ok", "passed"), ("b", 0, "ok", "failed")])
    output = tmp_path / "s.json"
    with pytest.raises(InputError, match="examines another benchmark"):
        run(config([1]), verdicts, samples, gate(tmp_path), output, benchmark="mbpp", arm="d3")
    with pytest.raises(InputError, match="not task b"):
        run(config([1]), verdicts, samples, gate(tmp_path, tasks=["a"]), output, benchmark="humaneval", arm="d3")
    with pytest.raises(D3Error, match="no such file"):
        run(config([1]), verdicts, samples, tmp_path / "none.json", output, benchmark="humaneval", arm="d3")
    assert not output.exists()
