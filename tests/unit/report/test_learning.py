"""Shares of answers that apply, and how arms are compared."""

from pathlib import Path
from typing import Any

import pytest

from d3.config.models import Config
from d3.core import schemas
from d3.errors import InputError
from d3.pipeline.job import Job
from d3.report.learning import applies, learning, paired, share
from d3.report.numbers import said
from helpers.corpus_tables import write_rows


def write_samples(path: Path, answers: list[tuple[str, int, str, str | None]]) -> Path:
    names = ("task_id", "sample", "status", "raw")
    return write_rows(path, schemas.SAMPLES, [dict(zip(names, row, strict=True)) for row in answers])


def test_every_sample_counts_and_only_diffs_that_fit_apply(tmp_path: Path) -> None:
    diff = "<|diff|>@@ -0,0 +1 @@\n+x"
    one = [("a", 0, "ok", diff), ("a", 1, "ok", ""), ("b", 0, "repaired", diff), ("b", 1, "engine_error", None)]
    other = [("a", 0, "ok", diff), ("a", 1, "ok", diff), ("b", 0, "ok", diff), ("b", 1, "malformed_diff", diff)]
    samples = {
        ("humaneval", "baseline"): write_samples(tmp_path / "one.parquet", one),
        ("humaneval", "d3"): write_samples(tmp_path / "other.parquet", other),
    }
    (found,) = applies(Job("report", config=Config()), samples)
    assert [(arm["arm"], arm["applied"], arm["samples"]) for arm in found["arms"]] == [
        ("baseline", 1, 4),  # `ok` without a diff leaves the program as it is: it shows nothing
        ("d3", 3, 4),
    ]
    (compared,) = found["differences"]
    assert (compared["better"], compared["worse"], compared["difference"], compared["p_value"]) == (2, 0, 0.5, 0.5)


def test_the_paired_test_looks_at_the_samples_that_differ() -> None:
    before = {number: number < 4 for number in range(16)}
    after = dict.fromkeys(range(16), True)
    assert paired("baseline", "d3", before, after)["p_value"] == pytest.approx(2 / 2**12)
    assert paired("d3", "baseline", after, before)["difference"] == -0.75
    assert paired("one", "same", before, before)["p_value"] == 1.0
    assert paired("none", "none", {}, {})["difference"] is None
    assert share([])["value"] is None


def test_a_file_that_is_no_loss_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "losses.json"
    path.write_text('{"models": []}')
    job = Job("report", config=Config())
    with pytest.raises(InputError, match="no file of held-out losses"):
        learning(job, path, {})
    assert learning(job, None, {}) == {"held_out": None, "applies": []}


def test_key_numbers_name_their_unit() -> None:
    row: dict[str, Any] = {"value": 1.4567, "low": 1.2, "high": 1.7, "documents": 12}
    assert said(row) == ("1.457 nats", "95 % interval 1.200 to 1.700, 12 documents")
    assert said(row | {"low": None, "documents": 1}) == ("1.457 nats", "1 document")
    row = {"value": 0.75, "low": 0.5, "high": 0.9, "samples": 16, "confidence": 0.95}
    assert said(row) == ("75.0 %", "95 % interval 50.0 % to 90.0 %, 16 samples")
