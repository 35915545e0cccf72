"""The header of the report: times, machines, commits, cost and throughput are those of the statements and metrics."""

import json
from pathlib import Path
from typing import Any

import pytest

from d3.config.load import parse_config
from d3.provenance.statement import statement_path
from d3.report.charts import draw
from d3.report.data import imported
from d3.report.execution import execution, model_name, models_of
from d3.report.page import duration, render
from helpers.report_run import Made

COMMIT = "0123456789ab" + "c" * 28


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path, files=8, tasks=2)


def edited(output: Path, start: str, end: str, host: str, **usage: float) -> None:
    """Change what the statement of an output says of its job."""
    path = statement_path(output)
    statement = json.loads(path.read_text())
    details = statement["predicate"]["runDetails"]
    details["metadata"] |= {"startedOn": start, "finishedOn": end, "host": host}
    next(item for item in details["byproducts"] if item["name"] == "usage")["content"] = usage
    internal = statement["predicate"]["buildDefinition"]["internalParameters"]
    internal["shared"]["git"] = {"commit": COMMIT, "dirty": host == "b"}
    internal["gpu"] = {"visible": "0", "models": ["NVIDIA H100"]} if host == "b" else None
    path.write_text(json.dumps(statement))


def statements(made: Made) -> list[Path]:
    first, second = made.paths["grades"]
    edited(first, "2026-01-01T10:00:00.000Z", "2026-01-01T11:00:00.000Z", "a", cpu_seconds=5.4, cost_millionths=250_000)
    edited(
        second, "2026-01-02T09:00:00.000Z", "2026-01-02T09:30:00.000Z", "b", cpu_seconds=2, cost_millionths=1_250_000
    )
    return [first, second, made.folder / "no statement.parquet"]


def test_times_machines_and_cost_are_those_of_the_statements(made: Made) -> None:
    found = execution(statements(made), {})
    assert (found["jobs"], found["started"]) == (2, "2026-01-01T10:00:00.000Z")
    assert found["finished"] == "2026-01-02T09:30:00.000Z"
    assert (found["seconds"], found["job_seconds"], found["cpu_seconds"]) == (84_600, 5_400, 7)
    assert found["cost"] == 1.5
    assert found["hosts"] == ["a", "b"]
    assert found["devices"] == ["NVIDIA H100"]
    assert found["commits"] == [COMMIT[:12], f"{COMMIT[:12]} (modified)"]
    assert found["stage_seconds"] == {"grades": 5_400}
    assert found["environments"]


def test_without_statements_nothing_is_made_up(tmp_path: Path) -> None:
    found = execution([tmp_path / "a.parquet"], {"d3": tmp_path / "none.jsonl"})
    assert (found["jobs"], found["started"], found["cost"], found["throughput"]) == (0, None, None, {})
    assert found["hosts"] == found["commits"] == found["devices"] == []


def test_throughput_is_read_around_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rates = [{"step": step, "tokens_per_second": rate} for step, rate in ((1, 80.0), (2, 120.0), (3, 100.0))]
    lines = [json.dumps({"step": 0, "held_out_loss": 2.5}), *map(json.dumps, rates), '{"step": 4, "tokens_per_s']
    path.write_text("\n".join(lines))
    assert execution([], {"d3": path})["throughput"] == {"d3": {"median": 100.0, "steps": rates}}


def facts(page: str) -> dict[str, str]:
    part = page.split('<dl class="facts made">')[1].split("</dl>")[0]
    pairs = [row.split("</dt><dd>") for row in part.split("<div><dt>")[1:]]
    return {name: value.split("</dd>")[0] for name, value in pairs}


def numbers_of(made: Made, **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(made.write_report()["numbers"].read_text())
    return values | more


def test_the_header_names_everything(made: Made) -> None:
    found = execution(statements(made), {})
    shown = facts(render(numbers_of(made, execution=found)))
    assert shown["Run"] == "demo, seed 0"
    assert shown["Date (UTC)"] == "2026-01-01, 10:00 to 2026-01-02, 09:30"
    assert shown["Commits"] == f"{COMMIT[:12]}, {COMMIT[:12]} (modified)"
    assert shown["Machines"] == "a, b"
    assert shown["GPUs"] == "NVIDIA H100"
    assert shown["Base model"] == shown["Judge (grades)"] == "SmolLM2-135M-Instruct (embedded)"
    assert shown["Duration"] == "90 min in 2 jobs, 7 s of CPU"
    assert shown["Cost"] == "1.50 for requests"
    assert "Date (UTC)" not in facts(render(numbers_of(made, execution=execution([], {}))))


def test_models_are_named_by_folder_commit_or_mode() -> None:
    assert model_name("/scratch/models/my-base/", None) == "my-base"
    assert model_name("owner/name", "a" * 40) == f"owner/name @ {'a' * 12}"
    config = parse_config({"model": {"path": "/models/x"}, "grades": {"mode": "none"}, "labels": {"mode": "constant"}})
    assert models_of(config) == {"base": "x", "grades": "none (mode: none)", "labels": "none (mode: constant)"}


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (119, "119 s"), (600, "10 min"), (90_000, "25 h 0 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_packages_are_those_that_diffs_import() -> None:
    diffs = [
        "@@ -0,0 +1,4 @@\n+import os.path, numpy as np\n+    from torch.nn import functional\n+from . import own",
        "@@ -4,0 +5,1 @@\n+from .x import y",
        '@@ -1,0 +2,2 @@\n+"""Words from the import of things."""\n-import removed\n+imported = 1\n+import sys',
    ]
    assert imported(diffs) == {"os", "numpy", "torch", "sys"}
    assert imported(["+import " + "a" * 1000]) == {"a" * 40}


def test_topics_and_throughput_are_drawn_where_they_were_counted(tmp_path: Path) -> None:
    made = Made(tmp_path, tasks=2)
    plain = numbers_of(made)
    assert plain["topics"] is None
    assert {"topics", "tokens_per_second-sft"}.isdisjoint(draw(plain))
    counts = made.folder / "counts.json"
    named = {name: {f"{name} {number}": number for number in range(30, 0, -1)} for name in ("topics", "libraries")}
    counts.write_text(json.dumps({"rows": 9, **named, "difficulty": {"easy": 9}, "task_type": {"create": 9}}))
    metrics = made.folder / "metrics.jsonl"
    metrics.write_text('{"step": 1, "tokens_per_second": 80.0}\n')
    made.paths |= {"topics": counts, "metrics": {"d3": metrics}}
    numbers = numbers_of(made)
    figures = draw(numbers)
    assert {"topics", "topic_libraries", "difficulty", "task_type", "tokens_per_second-sft"} <= set(figures)
    assert "tokens_per_second-midtrain" not in figures
    assert len(numbers["topics"]["topics"]) == 20
    assert "Topics of the instructions" in render(numbers)
