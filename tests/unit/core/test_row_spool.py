"""Rows put aside: what is copied out of them is what the table's own writer makes of the same rows."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from d3.core import tables
from d3.core.row_spool import RowSpool
from d3.core.tables import Row, TableWriter, read_rows

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string()), ("more", pa.struct([("names", pa.list_(pa.string()))]))])


def rows(count: int) -> list[Row]:
    draw = random.Random(3)
    return [
        {
            "id": number,
            "text": draw.choice([None, "", "é" * draw.randrange(3000)]),
            "more": {"names": ["a", None] * draw.randrange(3)},
        }
        for number in range(count)
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize(("count", "share"), [(0, 1.0), (1, 0.0), (3, 1.0), (2500, 1.0), (2500, 0.6), (700, 0.0)])
def test_a_copy_equals_a_table_that_was_written_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, count: int, share: float
) -> None:
    for name in ("d3.core.tables", "d3.core.row_spool"):
        monkeypatch.setattr(f"{name}.ROW_GROUP_BYTES", 300_000)
    source, draw = rows(count), np.random.default_rng(1)
    kept = draw.random(count) < share
    spool = RowSpool(tmp_path / "rows.arrow", SCHEMA)
    for row in source:
        spool.add(row)
    spool.finish()
    copied, written = (TableWriter(tmp_path / f"{name}{suffix}", SCHEMA) for name in ("copied", "written"))
    others: list[tuple[int, Row]] = []
    spool.copy(kept, copied, lambda number, row: others.append((number, row)))
    for row, keep in zip(source, kept, strict=True):
        if keep:
            written.write(row)
    assert copied.finish() == written.finish()
    assert copied.rows == written.rows == kept.sum()
    copied.publish()
    written.discard()
    assert list(read_rows(copied.path, SCHEMA)) == [row for row, keep in zip(source, kept, strict=True) if keep]
    assert others == [(number, source[number]) for number in np.flatnonzero(~kept).tolist()]
    if suffix == ".parquet" and kept.sum() > 1500:
        assert tables.open_parquet(copied.path).metadata.num_row_groups > kept.sum() // 1000 + 1


def test_some_columns_are_read_alone(tmp_path: Path) -> None:
    spool = RowSpool(tmp_path / "rows.arrow", SCHEMA)
    for row in rows(600):
        spool.add(row)
    spool.finish()
    found = [piece.to_pylist() for piece in spool.pieces("id")]
    assert [row for piece in found for row in piece] == [{"id": number} for number in range(600)]
    assert len(found) > 1
