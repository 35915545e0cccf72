"""The target `topics`, and the ablations of grades and labels, through the real workflow."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from d3.core import schemas
from d3.core.tables import read_rows
from helpers.tiny_models import chat_model
from helpers.workflow_run import run, tiny_config, write_config


@pytest.mark.slow
def test_topics_are_counted_and_ablations_need_no_model(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "model")
    engine = {"model": str(model), "max_length": 1500, "batch": 4}
    values = tiny_config(model, topics={"engine": engine, "sampling": {"max_tokens": 8}, "price": [1, 2]})
    done = run(tmp_path, write_config(tmp_path, values), "--cores", "2", "topics")
    assert done.returncode == 0, done.stdout[-3000:]
    (path,) = tmp_path.glob("results/topic_counts/*/counts.json")
    counts = json.loads(path.read_text())
    labels = [
        row["status"]
        for table in tmp_path.glob("results/labels/*/*.parquet")
        for row in read_rows(table, schemas.LABELS)
    ]
    assert counts["rows"] == Counter(labels)["ok"] > 0
    assert sum(counts["difficulty"].values()) == sum(counts["task_type"].values()) == counts["rows"]
    for log in (tmp_path / "logs" / "topics").iterdir():
        # Before the first request.
        assert re.match(r"topics: started\n.* at most [\d,]+ answer tokens", log.read_text()), log

    nobody = {"engine": {"model": "nobody/at-all", "revision": "0" * 40}}
    values |= {"grades": {"mode": "none", **nobody}, "labels": {"mode": "none", **nobody}}
    done = run(tmp_path, write_config(tmp_path, values), "--cores", "2", "dataset")
    assert done.returncode == 0, done.stdout[-3000:]
    assert not (tmp_path / "resources" / "models").exists()
    rows = [
        row for table in tmp_path.glob("results/dataset/*/data/*.parquet") for row in read_rows(table, schemas.DATASET)
    ]
    assert rows
    assert all(row["prompt"].endswith("<issue>\n\n</issue>\n\n<code>\n") for row in rows)


@pytest.mark.slow
def test_a_threshold_and_a_constant_label_are_one_line_each(tmp_path: Path) -> None:
    values = tiny_config(chat_model(tmp_path / "model"), corpus={"sample": 8, "max_lines": 30})
    values["grades"] |= {"threshold": 1, "threshold_on": "score"}
    values["labels"] = {"mode": "constant", "constant": "Do it."}
    done = run(tmp_path, write_config(tmp_path, values), "--cores", "2", "dataset")
    assert done.returncode == 0, done.stdout[-3000:]
    grades = [row for table in tmp_path.glob("results/grades/*/*.parquet") for row in read_rows(table, schemas.GRADES)]
    good = {row["id"] for row in grades if row["score"] is not None and row["score"] >= 1}
    assert 0 < len(good) < len(grades)
    rows, places = (
        [
            row
            for table in sorted(tmp_path.glob(f"results/dataset/*/{name}/*.parquet"))
            for row in read_rows(table, schema)
        ]
        for name, schema in (("data", schemas.DATASET), ("rows", schemas.ROW_IDS))
    )
    assert {row["id"] for row in places} == good
    assert all(row["prompt"].endswith("<issue>\nDo it.\n</issue>\n\n<code>\n") for row in rows)
