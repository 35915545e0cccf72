"""The choice among files that pass: equal to its definition on made rows, in any order, and small in memory."""

import random
import tracemalloc
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from d3.config.models import Config
from d3.core.ids import content_id, unit_interval
from d3.stages.corpus.sampling import MIDTRAIN, SFT, Choice, Key, Mask, order_key

Row = dict[str, Any]


def made_rows(seed: int, shards: int, count: int, different: int) -> list[Row]:
    draw = random.Random(seed)
    names = ("max_stars_repo_name", "max_stars_repo_path", "max_stars_repo_head_hexsha", "hexsha")
    found = []
    for number in range(count):
        text = str(draw.randrange(different))
        found.append(
            {
                "id": content_id(text),
                "split": SFT if int(text) % 7 == 0 else MIDTRAIN,
                "shard": f"s{draw.randrange(shards)}",
                "row": number,
                "metadata": {name: draw.choice([None, "a", "b"]) for name in names},
            }
        )
    return found


def chosen(rows: list[Row], size: int | None) -> list[str]:
    """Return the reason for each row, empty if it is kept."""
    choice = Choice(Config.model_validate({"seed": 5, "corpus": {"sample": size}}))
    for row in rows:
        choice.add(row)

    def keys(some: Mask) -> Iterable[Key]:
        return [order_key(rows[number]) for number in np.flatnonzero(some)]

    choice.close(keys)
    kept = choice.kept() if rows else []
    return ["" if keep else choice.rejection(n, rows[n]["id"]).reason for n, keep in enumerate(kept)]


def defined(rows: list[Row], size: int | None) -> list[str]:
    """Return the same by the definition: the sample of each shard, then the smallest key of each id in a sample."""
    drawn: set[tuple[str, str]] = set()
    for shard in {row["shard"] for row in rows}:
        own = {row["id"] for row in rows if row["shard"] == shard and row["split"] == MIDTRAIN}
        held = {row["id"] for row in rows if row["shard"] == shard and row["split"] == SFT}
        sample = sorted(own, key=lambda name: unit_interval(5, "sample", name))[:size]
        drawn |= {(shard, name) for name in (*sample, *held)}
    if size is None:
        drawn = {(row["shard"], row["id"]) for row in rows}
    first: dict[tuple[str, str], Key] = {}
    winners: dict[str, Key] = {}
    for row in rows:
        place, key = (row["shard"], row["id"]), order_key(row)
        first[place] = min(key, first.get(place, key))
        if place in drawn:
            winners[row["id"]] = min(key, winners.get(row["id"], key))
    reasons = []
    for row in rows:
        place, key = (row["shard"], row["id"]), order_key(row)
        if place in drawn:
            reasons.append("" if key == winners[row["id"]] else "duplicate")
        else:
            reasons.append("not_sampled" if key == first[place] else "duplicate")
    return reasons


@pytest.mark.parametrize("size", [None, 1, 7, 1000])
@pytest.mark.parametrize(
    ("shards", "count", "different"), [(1, 0, 1), (1, 1, 1), (1, 60, 5), (3, 400, 90), (9, 300, 900)]
)
def test_the_choice_is_the_one_that_is_defined(shards: int, count: int, different: int, size: int | None) -> None:
    rows = made_rows(count + different, shards, count, different)
    found = chosen(rows, size)
    assert found == defined(rows, size)
    order = random.Random(1).sample(range(len(rows)), len(rows))
    again = chosen([rows[number] for number in order], size)
    assert [found[number] for number in order] == again


def test_memory_grows_by_less_than_100_bytes_a_row() -> None:
    choice = Choice(Config.model_validate({"corpus": {"sample": 3000}}))
    row = made_rows(1, 1, 1, 1)[0]
    tracemalloc.start()
    try:
        for number in range(20_000):
            choice.add({**row, "id": f"{number:064x}"})
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used / 20_000 < 100
