"""What a look at a large run costs: the paper's 101 shards, and 10,000 shards in batches.

Budgets are CPU-seconds and memory of Snakemake with everything that it starts, so that the load of the
machine matters little. Numbers of jobs are written down here: more of them must be somebody's intent.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from helpers.dry_run import dry_run, job_counts, paper_scale, planned
from helpers.fake_run import finish_everything
from helpers.paths import ROOT

SECONDS = 12.0
"""Measured: 5 to 6.6 for 101 shards, 6 to 10.3 for 10,000, the more the busier the machine."""
MEGABYTES = 400.0
"""Measured: 195 to 231."""

PER_BATCH = (
    "contamination",
    "label_contamination",
    "corpus",
    "fingerprints",
    "grades",
    "diffs",
    "labels",
    "dataset_shard",
    "tokens",
    "pairs",
    "pair_diffs",
    "sft_data",
)
ONCE = {
    "hub_model": 2,
    "grade_repeats": 1,
    "judge_health": 1,
    "duplicates": 1,
    "near_duplicates": 1,
    "file_counts": 1,
    "pair_duplicates": 1,
    "pair_contamination": 1,
    "midtrain": 1,
    "sft": 2,
    "report": 1,
    "run_record": 1,
}
LINES = {"gate": 5, "generate": 10, "execute": 10, "scores": 10}  # 5 benchmarks, 2 arms


def expected(batches: int) -> dict[str, int]:
    return {**dict.fromkeys(PER_BATCH, batches), **ONCE, **LINES}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shards", "source", "batches"),
    [(101, {"shards_per_job": 1}, 101), (10_000, {"shards_per_job": 200}, 64)],
    ids=["paper", "10,000"],
)
def test_a_dry_run_is_cheap_from_nothing_and_when_all_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int, source: Mapping[str, int], batches: int
) -> None:
    monkeypatch.chdir(tmp_path)
    config = paper_scale(tmp_path, shards, **source)
    reasons = tmp_path / "reasons.json"
    fresh = dry_run(tmp_path, config, D3_REASONS=str(reasons))
    counts = job_counts(fresh.output)
    total = counts.pop("total")
    assert counts.pop("all") == 1
    assert counts == expected(batches) == planned(config)
    assert total == sum(counts.values()) + 1 < 1300
    assert fresh.cpu_seconds < SECONDS
    assert fresh.peak_mb < MEGABYTES

    assert finish_everything(tmp_path, config, json.loads(reasons.read_text())) == total - 1
    done = dry_run(tmp_path, config)
    assert "Nothing to be done" in done.output
    assert done.cpu_seconds < SECONDS
    assert done.peak_mb < MEGABYTES

    first = next(iter(sorted(tmp_path.glob("shards/*"))))
    first.write_bytes(b"other content")
    changed = job_counts(dry_run(tmp_path, config).output)
    assert changed["corpus"] == 1, "statements were not looked at"


def test_jobs_of_the_demo_are_counted_as_snakemake_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = ROOT / "config" / "demo.yaml"
    counts = job_counts(dry_run(tmp_path, config, "all", "topics").output)
    targets = {"all", "topics", "total"}
    assert {rule: count for rule, count in counts.items() if rule not in targets} == planned(config, topics=True)
