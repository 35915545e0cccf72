"""What checks of stages are handed, and that they find what was changed together with its digests."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from d3.core import schemas
from d3.core.tables import TableWriter
from d3.evals import execute, score
from d3.pipeline.checks import FinishedJob, read_columns, rows_by_key, select

SCHEMA = pa.schema([("id", pa.string()), ("part", pa.int64()), ("text", pa.string())])
VERDICTS = "results/execute/k/t/arm.parquet"
SAMPLES = "results/generate/k/t/arm.parquet"


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
