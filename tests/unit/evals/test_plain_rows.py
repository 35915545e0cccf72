"""`d3 execute` without a configuration: plain rows in, one verdict row a sample out, faulty rows one line each."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from d3.cli import main
from d3.evals import sandbox
from d3.evals.processor_time import children, processor_seconds
from helpers.benchmark_files import written

TASKS: list[dict[str, Any]] = [
    {"task_id": "add", "entry_point": "add", "test": "assert add(1, 2) == 3", "prompt": "def add(a, b):\n"},
    {"task_id": 2, "entry_point": "sub", "test": "def check(f):\n    assert f(3, 2) == 1\n\ncheck(sub)\n", "extra": 1},
]
SUB = "def sub(a, b):\n    "
SAMPLES: list[tuple[dict[str, Any], str]] = [
    ({"task_id": "add", "solution": "def add(a, b):\n    return a + b"}, "passed"),
    ({"task_id": "add", "completion": "    return a + b"}, "passed"),
    ({"task_id": "add", "solution": "def add(a, b):\n    return a - b"}, "failed"),
    ({"task_id": 2, "solution": f"{SUB}while True: pass"}, "timeout"),
    ({"task_id": "2", "solution": f"{SUB}return [0] * 10**12"}, "memory"),
    ({"task_id": 2, "solution": "import os\nos._exit(0)"}, "crashed"),
    ({"task_id": 2, "solution": "import multiprocessing as m\ndef sub(a, b):\n    m.Pool(1)"}, "unsupported"),
    ({"task_id": 2, "completion": "    return a - b"}, "error"),  # there is no prompt to continue
    ({"task_id": 2, "solution": None}, "no_program"),
    ({"task_id": 2, "solution": ""}, "error"),
    ({"task_id": 2, "sample": 7, "solution": "\ud800"}, "error"),
]
KEYS = "task_id sample verdict reason wall cpu limit interpreter sandbox executor"


def execute(folder: Path, *more: str, samples: list[dict[str, Any]] | None = None) -> tuple[int, list[dict[str, Any]]]:
    tasks = written(folder / "T.jsonl", *TASKS)
    given = written(folder / "S.jsonl", *([row for row, _ in SAMPLES] if samples is None else samples))
    out = folder / "V.jsonl"
    files = ["--tasks", str(tasks), "--samples", str(given), "--out", str(out), "--workers", "2"]
    code = main(["execute", *files, "--set", "execute.timeout_seconds=2", *more])
    return code, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_every_verdict_has_its_row_in_order(tmp_path: Path) -> None:
    code, rows = execute(tmp_path, "--journal", str(tmp_path / "journal"))
    assert code == 0
    assert [row["verdict"] for row in rows] == [verdict for _, verdict in SAMPLES]
    assert {tuple(row) for row in rows} == {tuple(KEYS.split())}
    assert [row["task_id"] for row in rows] == [str(row["task_id"]) for row, _ in SAMPLES]
    assert [row["sample"] for row in rows] == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7]
    version = ".".join(map(str, sys.version_info[:3]))
    for row in rows:
        assert (row["limit"], row["interpreter"], row["sandbox"]) == (2, f"Python {version}", "bubblewrap")
        assert row["executor"].startswith("d3 ")
        run = row["verdict"] != "no_program"
        assert (row["wall"] is not None, row["cpu"] is not None) == (run, run)
        assert row["reason"] is None or "\n" not in row["reason"]
    assert rows[3]["wall"] >= 2 > rows[0]["wall"]
    assert rows[3]["cpu"] > 0.2 > rows[0]["cpu"]
    assert rows[2]["reason"] == "assert add(1, 2) == 3"
    assert execute(tmp_path, "--journal", str(tmp_path / "journal")) == (0, rows)  # times and all: nothing runs again


FAULTY: list[tuple[str, str, str]] = [
    ("T", '{"task_id": "x", "entry_point": "f"}', "T.jsonl: line 3 has no field test"),
    ("T", '{"task_id": "x", "test": "f()"}', "T.jsonl: line 3 has no field entry_point"),
    ("T", '{"entry_point": "f", "test": "f()"}', "T.jsonl: line 3 has no field task_id"),
    ("T", '{"task_id": "x", "entry_point": "f()", "test": "f()"}', "entry_point must be the name of a function"),
    ("T", '{"task_id": "x", "entry_point": "f", "test": " "}', "field test must contain tests"),
    ("T", '{"task_id": "x", "entry_point": "f", "test": "f("}', "field test is not Python"),
    ("T", '{"task_id": "x", "entry_point": "f", "test": "f()", "canonical": "def"}', "canonical is not Python"),
    ("T", '{"task_id": "x", "entry_point": "f", "test": 7}', "field test must be text"),
    ("T", '{"task_id": "add", "entry_point": "f", "test": "f()"}', "the task_id 'add' of an earlier row"),
    ("T", '{"task_id": "\\ud800", "entry_point": "f", "test": "f()"}', "task_id must not contain half of a surrogate"),
    ("T", "nonsense", "T.jsonl: line 3 is not JSON"),
    ("T", "[" * 100_000, "T.jsonl: line 3 is not JSON"),
    ("T", "7", "T.jsonl: line 3 must be a JSON object"),
    ("S", '{"task_id": "y", "solution": ""}', "S.jsonl: line 2 has the task_id 'y', which no task has"),
    ("S", '{"task_id": "add"}', "must have one of the fields solution and completion"),
    ("S", '{"task_id": "add", "solution": "", "completion": ""}', "must have one of the fields solution"),
    ("S", '{"task_id": "add", "solution": ["x"]}', "field solution must be text"),
    ("S", '{"task_id": "add", "solution": "", "sample": -1}', "field sample must be a whole number"),
    ("S", '{"task_id": "add", "solution": "", "sample": 0}', "task_id 'add' and sample 0 of an earlier row"),
    ("S", '{"solution": ""}', "S.jsonl: line 2 has no field task_id"),
    ("S", "null", "S.jsonl: line 2 must be a JSON object"),
]


@pytest.mark.parametrize(("file", "row", "words"), FAULTY)
def test_faulty_rows_are_one_line_each_and_nothing_is_run(
    file: str, row: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox.Sandbox, "__enter__", lambda self: pytest.fail("a sandbox was opened"))
    tasks, samples = written(tmp_path / "T.jsonl", *TASKS), written(tmp_path / "S.jsonl", SAMPLES[0][0])
    with (tmp_path / f"{file}.jsonl").open("a") as lines:
        lines.write(f"{row}\n{row}\n")
    out = tmp_path / "V.jsonl"
    assert main(["execute", "--tasks", str(tasks), "--samples", str(samples), "--out", str(out)]) == 1
    first, second, last = capsys.readouterr().err.splitlines()
    assert words in first
    assert first.split("line ")[1].split(" ", 1)[1] == second.split("line ")[1].split(" ", 1)[1]
    assert "2 rows of tasks and samples are faulty" in last
    assert not out.exists()


def test_a_program_that_could_not_be_run_is_named_and_the_exit_code_is_not_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = sandbox.Sandbox.judge

    def refused(self: sandbox.Sandbox, program: str, tests: str, entry_point: str) -> sandbox.Verdict:
        if "a - b" in program:
            raise sandbox.SandboxError("no more processes", "run fewer")
        return judge(self, program, tests, entry_point)

    monkeypatch.setattr(sandbox.Sandbox, "judge", refused)
    code, rows = execute(tmp_path, samples=[row for row, _ in SAMPLES[:3]])
    assert (code, [row["verdict"] for row in rows]) == (1, ["passed", "passed", "not_run"])
    assert rows[2]["reason"] == "no more processes; run fewer"
    assert (rows[2]["wall"], rows[2]["cpu"]) == (None, None)


def test_processor_time_is_that_of_a_process_and_its_children() -> None:
    before = children()
    inner = "sum(i * i for i in range(4_000_000))"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{inner}']); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert children() - before == {process.pid}
        assert 0.05 < processor_seconds([process.pid]) < 10
        process.communicate(b"\n")
    assert processor_seconds([process.pid]) == 0
