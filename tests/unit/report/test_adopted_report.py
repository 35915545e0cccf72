"""The report of a run whose dataset was made outside of the pipeline: no grades, sequences and labels."""

import json
from pathlib import Path
from typing import Any

from d3.config.load import parse_config
from helpers.report_run import Made


def test_an_adopted_dataset_has_a_report_without_the_stages_that_it_replaces(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for name in ("grades", "diffs", "labels"):
        del made.paths[name]
    values: dict[str, Any] = made.config.model_dump(mode="json")
    given = {"path": "rows.parquet", "name": "rows", "version": "1", "license": "MIT"}
    values |= {"adopt": {"dataset": given}, "grades": {"mode": "none"}, "labels": {"mode": "none"}}
    made.config = parse_config(values)
    written = made.write_report()
    numbers = json.loads(written["numbers"].read_text())
    assert [step["step"] for step in numbers["funnel"]] == ["read", "kept", "in the dataset"]
    assert numbers["dataset"]["rows"] > 0
    assert numbers["labels"]["rows"] == numbers["grades"]["rows"] == 0
    assert written["report"].stat().st_size > 10_000
