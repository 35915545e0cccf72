"""Verdicts for whole tables of samples."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from d3.config.evaluation import Benchmark
from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import Row
from d3.errors import ConfigError, InputError, ToolError
from d3.evals import sandbox
from d3.evals.execute import judge_all, package_folders, run
from d3.evals.tasks import Task, load_tasks
from helpers.benchmark_files import humaneval, mbpp, pack, write_samples, written

LIMITS = sandbox.Limits(timeout_seconds=20)


def config(**execute: object) -> Config:
    return parse_config({"execute": {"timeout_seconds": 20, **execute}})


def judged(
    tasks: list[Task], programs: list[str], workers: int = 2, limits: sandbox.Limits = LIMITS
) -> dict[str, sandbox.Verdict]:
    rows: list[Row] = [
        {"task_id": task.task_id, "status": "ok", "program": program}
        for task, program in zip(tasks, programs, strict=True)
    ]
    found = judge_all(rows, {task.task_id: task for task in tasks}, limits, workers)
    return {task.task_id: verdict for task, verdict in zip(tasks, found, strict=True)}


@pytest.mark.slow
def test_all_canonical_solutions_of_humaneval_pass() -> None:
    tasks = load_tasks(Benchmark(tasks=None), humaneval())
    found = judged(tasks, [task.canonical for task in tasks])
    assert {name: verdict for name, verdict in found.items() if verdict.verdict != "passed"} == {}
    assert len(found) == 164


@pytest.mark.slow
def test_buggy_solutions_of_the_pack_do_not_pass_and_right_ones_do(tmp_path: Path) -> None:
    tasks = load_tasks(Benchmark(kind="humanevalfix", tasks=None), pack(tmp_path))[::5]
    short = sandbox.Limits(timeout_seconds=3)  # some loop for ever
    wrong = [verdict.verdict for verdict in judged(tasks, [task.start for task in tasks], limits=short).values()]
    assert "passed" not in wrong
    assert set(wrong) <= {"failed", "error", "timeout"}
    right = judged(tasks, [task.canonical for task in tasks])
    assert {verdict.verdict for verdict in right.values()} == {"passed"}


@pytest.mark.slow
def test_a_sample_of_mbpp_passes_its_base_and_extended_tests(tmp_path: Path) -> None:
    for plus in (False, True):
        settings = Benchmark(kind="mbppplus", tasks=None, plus_tests=plus, text_tests=True)
        tasks = load_tasks(settings, mbpp(tmp_path))[::40]
        found = judged(tasks, [task.canonical for task in tasks])
        assert {verdict.verdict for verdict in found.values()} == {"passed"}


def test_an_empty_program_passes_nowhere() -> None:
    tasks = load_tasks(Benchmark(tasks=8), humaneval())
    assert {verdict.verdict for verdict in judged(tasks, [""] * len(tasks)).values()} == {"error"}


def small_benchmark(tmp_path: Path) -> Path:
    row = {
        "prompt": 'def add(a, b):\n    """Add."""\n',
        "canonical_solution": "    return a + b\n",
        "entry_point": "add",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(2, 2) == 4\n",
    }
    return written(tmp_path / "tasks.jsonl", *({"task_id": f"T/{number}", **row} for number in range(3)))


GOOD = "def add(a, b):\n    return a + b"
ROWS: list[tuple[str, int, str | None, str]] = [
    ("T/2", 0, GOOD, "ok"),
    ("T/0", 0, None, "no_diff"),
    ("T/0", 1, "def add(a, b):\n    return a", "ok"),
    ("T/0", 2, GOOD, "ok"),
    ("T/1", 0, "def add(a, b):\n    while True: pass", "ok"),
    ("T/1", 1, "def add(a, b):\n    return [0] * 10**11", "ok"),
    ("T/1", 2, "import os\nos._exit(0)", "ok"),
    ("T/1", 3, "1 +", "ok"),
    ("T/1", 4, None, "malformed_diff"),
    ("T/1", 5, GOOD, "ok"),
    ("T/1", 6, GOOD, "repaired"),
]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_every_sample_has_its_verdict_in_order(tmp_path: Path, workers: int) -> None:
    samples, output = write_samples(tmp_path / "samples.parquet", ROWS), tmp_path / "verdicts.parquet"
    tasks = small_benchmark(tmp_path)
    run(config(timeout_seconds=2), tasks, samples, output, benchmark="humaneval", workers=workers)
    found = pq.read_table(output)
    assert found.schema.equals(schemas.VERDICTS)
    rows = found.to_pylist()
    assert [(row["task_id"], row["sample"]) for row in rows] == [row[:2] for row in ROWS]
    assert [row["verdict"] for row in rows] == [
        "passed", "no_program", "failed", "passed", "timeout", "memory", "crashed", "error", "no_program", "passed",
        "no_program",
    ]  # fmt: skip
    assert [row["lenient_verdict"] for row in rows] == [*(row["verdict"] for row in rows[:-1]), "passed"]
    assert rows[-1]["detail"] == "repaired"
    assert rows[0]["detail"] is None
    assert rows[1]["detail"] == "no_diff"
    assert rows[2]["detail"] == "assert candidate(1, 2) == 3"
    statement = json.loads((tmp_path / "verdicts.parquet.prov.json").read_text())
    counted, _ = statement["predicate"]["runDetails"]["byproducts"]
    assert counted["content"] == {"stage": "execute", "read": 11, "kept": 11, "dropped": {}}


def test_equal_programs_of_a_task_are_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    judge = sandbox.Sandbox.judge

    def counted(self: sandbox.Sandbox, program: str, *rest: Any, **limit: Any) -> sandbox.Verdict:
        runs.append(program)
        return judge(self, program, *rest, **limit)

    monkeypatch.setattr(sandbox.Sandbox, "judge", counted)
    tasks = load_tasks(Benchmark(), small_benchmark(tmp_path))
    rows: list[Row] = [{"task_id": f"T/{n % 2}", "status": "ok", "program": GOOD} for n in range(10)]
    assert len(list(judge_all(rows, {task.task_id: task for task in tasks}, LIMITS, 1))) == 10
    assert runs.count(GOOD) == 2


def test_tables_without_a_program_need_no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d3.evals.sandbox.supervisor.bubblewraps", list)
    samples = write_samples(tmp_path / "samples.parquet", [("T/0", 0, None, "no_diff")])
    run(config(), small_benchmark(tmp_path), samples, tmp_path / "v.parquet", benchmark="humaneval")
    assert pq.read_table(tmp_path / "v.parquet").to_pylist()[0]["verdict"] == "no_program"


def test_without_a_sandbox_the_stage_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d3.evals.sandbox.supervisor.bubblewraps", list)
    samples = write_samples(tmp_path / "samples.parquet", ROWS)
    with pytest.raises(ToolError, match="there is no bubblewrap; install bubblewrap"):
        run(config(), small_benchmark(tmp_path), samples, tmp_path / "v.parquet", benchmark="humaneval")
    assert list(tmp_path.glob("*v.parquet*")) == []


def test_wrong_inputs_are_named(tmp_path: Path) -> None:
    tasks = small_benchmark(tmp_path)
    samples = write_samples(tmp_path / "samples.parquet", [("T/7", 0, GOOD, "ok")])
    with pytest.raises(InputError, match="sample 0 is of task 'T/7', which the benchmark does not have"):
        run(config(), tasks, samples, tmp_path / "v.parquet", benchmark="humaneval")
    with pytest.raises(ConfigError, match="no such benchmark"):
        run(config(), tasks, samples, tmp_path / "v.parquet", benchmark="nothing")


def test_packages_of_the_tests() -> None:
    names = {folder.name for folder in package_folders(["numpy", "no_such_package_anywhere"])}
    assert "numpy" in names
    assert "no_such_package_anywhere" not in names


@pytest.mark.slow
def test_a_killed_run_judges_only_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, tasks = write_samples(tmp_path / "samples.parquet", ROWS), small_benchmark(tmp_path)
    judge = sandbox.Sandbox.judge
    judged_programs: list[str] = []

    def killed(self: sandbox.Sandbox, program: str, *rest: Any, **limit: Any) -> sandbox.Verdict:
        if "while True" in program:
            raise KeyboardInterrupt
        return judge(self, program, *rest, **limit)

    def counted(self: sandbox.Sandbox, program: str, *rest: Any, **limit: Any) -> sandbox.Verdict:
        judged_programs.append(program)
        return judge(self, program, *rest, **limit)

    def once(folder: Path, name: str) -> bytes:
        out = tmp_path / name
        run(config(timeout_seconds=2), tasks, samples, out, benchmark="humaneval", journal=folder)
        return out.read_bytes()

    monkeypatch.setattr(sandbox.Sandbox, "judge", killed)
    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "journal", "killed.parquet")
    monkeypatch.setattr(sandbox.Sandbox, "judge", counted)
    resumed = once(tmp_path / "journal", "resumed.parquet")
    assert ROWS[4][2] in judged_programs  # what was in flight
    assert not {GOOD, ROWS[2][2]} & set(judged_programs)  # what came before was kept
    assert resumed == once(tmp_path / "other", "fresh.parquet")
    assert {GOOD, ROWS[2][2]} <= set(judged_programs)
    judged_programs.clear()
    assert resumed == once(tmp_path / "journal", "again.parquet")
    assert judged_programs == []


@pytest.mark.slow
def test_a_program_whose_sandbox_does_not_start_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = sandbox.Sandbox._judge
    tries: list[str] = []

    def faulty(self: sandbox.Sandbox, program: str, *rest: Any, **limit: Any) -> sandbox.Verdict:
        if "return a" in program and "a + b" not in program:
            tries.append(program)
            raise sandbox.SandboxError("no more processes", "run fewer programs at a time")
        return inner(self, program, *rest, **limit)

    monkeypatch.setattr("d3.evals.sandbox.supervisor.PAUSES", (0, 0, 0, 0))
    monkeypatch.setattr(sandbox.Sandbox, "_judge", faulty)
    samples, tasks = write_samples(tmp_path / "samples.parquet", ROWS), small_benchmark(tmp_path)
    with pytest.raises(ToolError, match="1 programs were not run: no more processes; run fewer"):
        run(
            config(timeout_seconds=2),
            tasks,
            samples,
            tmp_path / "v.parquet",
            benchmark="humaneval",
            journal=tmp_path / "j",
        )
    assert len(tries) == 5
    monkeypatch.setattr(sandbox.Sandbox, "_judge", inner)
    run(
        config(timeout_seconds=2), tasks, samples, tmp_path / "v.parquet", benchmark="humaneval", journal=tmp_path / "j"
    )
    assert pq.read_table(tmp_path / "v.parquet")["verdict"].to_pylist().count("failed") == 1
