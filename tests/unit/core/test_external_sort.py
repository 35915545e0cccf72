"""Rows come back in order, all of them, and lie in no memory."""

import tracemalloc
from pathlib import Path
from random import Random

import pytest

from d3.core.external_sort import Spill


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 95, 1000])
def test_all_rows_come_back_in_order(tmp_path: Path, count: int) -> None:
    rows = [{"id": f"{number:04}", "text": None, "part": number % 3} for number in range(count)]
    mixed = rows[:]
    Random(1).shuffle(mixed)
    with Spill(tmp_path / "new", lambda row: row["id"], run_rows=10) as spill:
        for row in mixed:
            spill.add(row)
        assert list(spill.rows()) == rows
        assert list(spill.rows()) == []
    assert list((tmp_path / "new").iterdir()) == []


def test_equal_keys_stay_as_they_came(tmp_path: Path) -> None:
    rows = [{"key": number % 2, "number": number} for number in range(50)]
    with Spill(tmp_path, lambda row: row["key"], run_rows=7) as spill:
        for row in rows:
            spill.add(row)
        assert list(spill.rows()) == sorted(rows, key=lambda row: row["key"])


@pytest.mark.slow
def test_memory_holds_one_run(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with Spill(tmp_path, lambda row: row["id"], run_rows=1000) as spill:
            for number in range(30_000):
                spill.add({"id": number * 7919 % 30_000, "text": f"{number:01000}"})
            assert [row["id"] for row in spill.rows()] == list(range(30_000))
        assert tracemalloc.get_traced_memory()[1] < 15 * 2**20  # all rows: more than 30 MB
    finally:
        tracemalloc.stop()
