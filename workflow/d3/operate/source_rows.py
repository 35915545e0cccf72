"""How many rows the source shards hold: from the footers of Parquet files, or as the configuration expects."""

from pathlib import Path
from typing import NamedTuple

from d3.pipeline.pipeline import Chain

MOST = 200
"""Footers that are read at most: on a shared file system each costs a few milliseconds."""


class SourceRows(NamedTuple):
    """Rows of the batches of shards."""

    by_batch: dict[str, int]
    bytes: int
    """Of all shards that are there."""
    estimated: bool
    """Whether some shards were taken for the mean of the others."""


def source_rows(chain: Chain) -> SourceRows:
    """Return rows by batch, from the shards' footers; `MOST` of them, spread over the list, are opened.

    Shards that cannot be opened, and JSON lines, which tell their number only when they are read whole,
    count as the mean of the others by their size; if there are no others, nothing is known.
    """
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    if chain.expects_source:
        each = (chain.config.source.expected_rows or 0) / len(chain.shards)
        return SourceRows({name: round(each * len(batch)) for name, batch in chain.batches.items()}, 0, True)
    paths = [path for batch in chain.batches.values() for path in batch]
    sizes = {path: _size(path) for path in paths}
    step = max(1, -(-len(paths) // MOST))
    rows: dict[str, int] = {}
    for path in paths[::step]:
        if path.endswith(".parquet"):
            try:
                rows[path] = int(pq.read_metadata(path).num_rows)
            except (OSError, ArrowException):
                continue
    total = sum(sizes[path] for path in rows)
    if not rows or not total:
        return SourceRows({}, sum(sizes.values()), True)
    density = sum(rows.values()) / total
    by_batch = {
        name: round(sum(rows.get(path, sizes[path] * density) for path in batch))
        for name, batch in chain.batches.items()
    }
    return SourceRows(by_batch, sum(sizes.values()), len(rows) < len(paths))


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
