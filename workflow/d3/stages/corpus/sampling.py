"""Which of the files that passed the filters are kept: the sample of every shard, and one of equal files.

Nothing here depends on the order of rows or on which shards share a batch. Equal files are rows with
the same id, that is the same normalised text; the row with the smallest key stays.
"""

import heapq

from d3.config.models import Config
from d3.core.ids import unit_interval
from d3.core.tables import Row
from d3.stages.corpus.filter import Rejection

MIDTRAIN, SFT = "midtrain", "sft"

Key = tuple[str, str, str, str, str, int]
Place = tuple[str, str]  # shard, id


def order_key(row: Row) -> Key:
    """Give what decides between corpus rows with the same id: the one with the smallest key stays.

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
    """`add` every row of a batch, `close`, then ask `rejection` of each; memory grows with ids, not with texts.

    A sample is drawn from every shard by itself, so that it stays when shards are batched another way.
    """

    def __init__(self, config: Config) -> None:
        self.seed, self.size = config.seed, config.corpus.sample
        self._first: dict[Place, Key] = {}  # the smallest key of a shard's rows with an id
        self._heaps: dict[str, list[tuple[float, str]]] = {}  # per shard; the id to give up next is first
        self._drawn: set[Place] = set()  # with a sample: the ids in it, and all that are held out
        self._winners: dict[str, Key] = {}

    def add(self, row: Row) -> None:
        """Take note of a row."""
        place, key = (row["shard"], row["id"]), order_key(row)
        known = self._first.get(place)
        self._first[place] = key if known is None else min(known, key)
        if self.size is None or known is not None:
            return
        if row["split"] == SFT:
            self._drawn.add(place)
            return
        heap = self._heaps.setdefault(row["shard"], [])
        heapq.heappush(heap, (-unit_interval(self.seed, "sample", row["id"]), row["id"]))
        if len(heap) > self.size:
            heapq.heappop(heap)

    def close(self) -> None:
        """Decide: all rows have been added."""
        self._drawn |= {(shard, identifier) for shard, heap in self._heaps.items() for _, identifier in heap}
        for place, key in self._first.items():
            if self.size is None or place in self._drawn:
                identifier = place[1]
                self._winners[identifier] = min(key, self._winners.get(identifier, key))

    def rejection(self, row: Row) -> Rejection | None:
        """Say why a row is not kept, or None."""
        place, key = (row["shard"], row["id"]), order_key(row)
        drawn = self.size is None or place in self._drawn
        if not drawn and key == self._first[place]:
            return Rejection("not_sampled", f"the sample is {self.size} files")
        if not drawn or key != self._winners[row["id"]]:
            return Rejection("duplicate", f"of {row['id']}")
        return None
