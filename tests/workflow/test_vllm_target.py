"""Grades and labels on vLLM through the real workflow, in its own environment; then from their journals without it."""

import re
from pathlib import Path
from typing import Any

import pytest

from d3 import records
from d3.tables import read_rows
from helpers.tiny_models import chat_model
from helpers.workflow_run import run, tiny_config, write_config


def rows(folder: Path, stage: str, schema: Any) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob(f"results/{stage}/*/*.parquet")) for row in read_rows(path, schema)]


@pytest.mark.slow
def test_grades_and_labels_on_vllm_are_complete(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "model", hidden=128)  # vLLM has no attention for smaller heads on CPUs
    engine = {"kind": "vllm", "model": str(model), "max_length": 2048, "batch": 8}
    values = tiny_config(model, source={"embedded_shards": 2, "shards_per_job": 2})
    values["grades"] |= {"engine": engine}
    values["labels"] |= {"engine": engine}
    done = run(tmp_path, write_config(tmp_path, values), "--cores", "2", "dataset")
    assert done.returncode == 0, done.stdout[-6000:]

    files = {row["id"] for row in rows(tmp_path, "corpus", records.CORPUS) if row["split"] == "midtrain"}
    grades = rows(tmp_path, "grades", records.GRADES)
    assert {row["id"] for row in grades} == files
    assert len(grades) == len(files) == 6
    for row in grades:
        assert row["status"] == "ok"
        assert row["score"] in range(5)
        assert 0 <= row["expected_score"] <= 4
        assert (row["finish_reason"], row["answer_tokens"]) in {("length", 4), *(("stop", n) for n in range(1, 5))}
    sequences = {(row["id"], row["sample"]): len(row["diffs"]) for row in rows(tmp_path, "diffs", records.DIFFS)}
    labels = rows(tmp_path, "labels", records.LABELS)
    assert {(row["id"], row["sample"]) for row in labels} == set(sequences)
    assert {row["status"] for row in labels} <= {"ok", "unparsable", "repeated"}  # a random model writes anything
    assert all(row["raw"] is not None for row in labels if row["status"] != "repeated")
    assert [row["part"] for row in labels] == [*range(3)] * len(sequences)

    starts = [path.read_text() for stage in ("grades", "labels") for path in (tmp_path / "logs" / stage).iterdir()]
    assert len(starts) == 2  # two shards, one start of the engine for each stage
    asked = [re.search(r"(\d+) asked, 0 from the journal", text) for text in starts]
    assert [int(found[1]) for found in asked if found] == [6, sum(row["status"] != "repeated" for row in labels)]

    values["grades"] |= {"engine": engine | {"kind": "replay"}}
    values["labels"] |= {"engine": engine | {"kind": "replay"}}
    (model / "model.safetensors").unlink()
    done = run(tmp_path, write_config(tmp_path, values), "--cores", "2", "dataset")
    assert done.returncode == 0, done.stdout[-6000:]
    assert sorted(map(str, rows(tmp_path, "grades", records.GRADES))) == sorted(map(str, grades * 2))
    assert sorted(map(str, rows(tmp_path, "labels", records.LABELS))) == sorted(map(str, labels * 2))
