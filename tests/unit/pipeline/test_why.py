"""States of jobs in words."""

from pathlib import Path

import pytest

from d3.pipeline.job import Job
from d3.pipeline.why import JobState, explain

LABELS, DATASET = "results/labels/KEY/a.parquet", "results/dataset/KEY/data/a.parquet"


def states(*reasons: str) -> list[JobState]:
    return [
        JobState("labels", "labels", [LABELS], "stale", list(reasons), [], []),
        JobState("dataset_shard", "dataset", [DATASET], "follows", [], [LABELS], [LABELS]),
    ]


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (f"output {LABELS} is missing", "missing"),
        (f"output {LABELS} is not made yet", "not made yet"),
        ("setting seed was 1, is 2", "stale"),
    ],
)
def test_missing_is_told_from_changed(reason: str, verdict: str) -> None:
    assert explain(states(reason), LABELS) == [f"{LABELS}: {verdict}", f"    {reason}"]
    assert explain(states(reason), DATASET) == [
        f"{DATASET}: is made again if what it reads comes out otherwise:",
        f"    {LABELS}: {verdict}",
        f"        {reason}",
    ]


def test_a_fresh_file_names_what_was_read_and_what_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(name).write_text(name)
    with Job("labels", config=None, settings={}) as job:
        job.input(Path("one"))
        job.input(Path("two"))
        job.file(Path(LABELS)).write_text("labels")
    Path("two").touch()
    lines = explain([JobState("labels", "labels", [LABELS], "fresh", [], [], ["one", "two"])], LABELS)
    assert lines[0] == f"{LABELS}: up to date"
    assert lines[2:] == [
        "    input one has the size, times and inode that it had",
        "    input two was read and has the same content",
    ]
