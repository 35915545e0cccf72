"""Which of the files that passed the filters are kept: the sample of every shard, and one of equal files.

Nothing here depends on the order of rows or on which shards share a batch. Equal files are rows with
the same id, that is the same normalised text; the row with the smallest key stays.
"""

from array import array
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from d3.config.models import Config
from d3.core.ids import unit_interval
from d3.core.tables import Row
from d3.stages.corpus.filter import Rejection

MIDTRAIN, SFT = "midtrain", "sft"

Key = tuple[str, str, str, str, str, int]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
KEPT, NOT_SAMPLED, DUPLICATE = 0, 1, 2


def order_key(row: Row) -> Key:
    """Return what decides between corpus rows with the same id: the one with the smallest key stays.

    Repository, path, revision and file hash come first (a missing one is empty, the smallest), so the
    winner is the same however files are spread over shards; shard and row number only decide between
    entries that agree in all of these.
    """
    metadata = row["metadata"]
    return (
        metadata["max_stars_repo_name"] or "",
        metadata["max_stars_repo_path"] or "",
        metadata["max_stars_repo_head_hexsha"] or "",
        metadata["hexsha"] or "",
        row["shard"],
        row["row"],
    )


class Choice:
    """`add` every row of a batch in order, `close`, then ask `rejection` of each by its number.

    A sample is drawn from every shard by itself, so that it stays when shards are batched another way. In
    memory are 45 bytes a row, and the keys of rows whose id comes more than once.
    """

    def __init__(self, config: Config) -> None:
        self.seed, self.size = config.seed, config.corpus.sample
        self._ids = bytearray()
        self._shards = array("i")
        self._held_out = array("b")
        self._draws = array("d")  # with a sample only: the smallest of a shard are in it
        self._numbers: dict[str, int] = {}  # of shards
        self._verdicts: npt.NDArray[np.int8] = np.empty(0, dtype=np.int8)

    def add(self, row: Row) -> None:
        """Take note of a row."""
        self._ids += bytes.fromhex(row["id"])
        self._shards.append(self._numbers.setdefault(row["shard"], len(self._numbers)))
        self._held_out.append(row["split"] == SFT)
        if self.size is not None:
            self._draws.append(unit_interval(self.seed, "sample", row["id"]))

    def close(self, keys: Callable[[Mask], Iterable[Key]]) -> None:
        """Decide: all rows have been added. `keys` yields those of some rows (see `order_key`), in order."""
        if not self._shards:
            return
        ids, sizes = _numbered(np.frombuffer(self._ids, dtype=">u8").reshape(-1, 4))
        shards = np.frombuffer(self._shards, dtype=np.intc)
        drawn = self._drawn(ids, shards)
        self._verdicts = np.where(drawn, KEPT, NOT_SAMPLED).astype(np.int8)
        repeated = sizes[ids] > 1
        first: dict[tuple[int, int], tuple[Key, int]] = {}  # of the rows of a shard with an id
        for number, key in zip(np.flatnonzero(repeated).tolist(), keys(repeated), strict=True):
            place = (int(ids[number]), int(shards[number]))
            self._verdicts[number] = DUPLICATE
            first[place] = min((key, number), first.get(place, (key, number)))
        winners: dict[int, tuple[Key, int]] = {}
        for (identifier, _), found in first.items():
            if drawn[found[1]]:
                winners[identifier] = min(found, winners.get(identifier, found))
            else:
                self._verdicts[found[1]] = NOT_SAMPLED
        for _, number in winners.values():
            self._verdicts[number] = KEPT

    def _drawn(self, ids: Numbers, shards: npt.NDArray[np.intc]) -> Mask:
        """Return the rows that are in the samples of their shards, or held out."""
        drawn = np.frombuffer(self._held_out, dtype=np.int8).astype(np.bool_)
        if self.size is None:
            return np.ones_like(drawn)
        draws = np.frombuffer(self._draws, dtype=np.float64)
        open_rows = ~drawn
        for shard in range(len(self._numbers)):
            rows = np.flatnonzero((shards == shard) & open_rows)
            found, places = np.unique(ids[rows], return_index=True)
            best = np.lexsort((-found, draws[rows][places]))[: self.size]
            drawn[rows] = np.isin(ids[rows], found[best])
        return drawn

    def kept(self) -> Mask:
        """Return which rows are kept."""
        found: Mask = self._verdicts == KEPT
        return found

    def rejection(self, number: int, identifier: str) -> Rejection:
        """Return why a row is not kept."""
        if self._verdicts[number] == NOT_SAMPLED:
            return Rejection("not_sampled", f"the sample is {self.size} files")
        return Rejection("duplicate", f"of {identifier}")


def _numbered(digests: npt.NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
    """Return a number for each digest of four words, in the order of digests, and how often each number comes."""
    order = np.lexsort(digests.T[::-1])
    ordered = digests[order]
    new = np.concatenate([[False], (ordered[1:] != ordered[:-1]).any(axis=1)])
    numbers = np.empty(len(digests), dtype=np.int64)
    numbers[order] = np.cumsum(new)
    return numbers, np.bincount(numbers)
