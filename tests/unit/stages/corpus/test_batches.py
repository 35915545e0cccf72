"""Batches of shards: how they are cut and named, and that no row depends on them."""

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id
from d3.core.tables import Row, read_rows
from d3.pipeline.batches import batches_of
from d3.pipeline.pipeline import Chain
from d3.stages.corpus.stage import run
from d3.stages.pairs import run as write_pairs
from helpers.corpus_tables import OPEN, open_config, run_corpus, stack_row, write_shard


def program(name: object) -> str:
    return f'import os\n\n\ndef area_{name}(side):\n    """Give the area of one square."""\n    return side * side'


def chain(folder: Path, count: int, **source: Any) -> Chain:
    for number in range(count):
        (folder / f"s{number}.parquet").touch()
    return Chain(parse_config({"source": {"shards": [str(folder / "*.parquet")], **source}}))


def test_a_batch_of_one_bears_the_name_of_its_shard(tmp_path: Path) -> None:
    chosen = chain(tmp_path, 3)
    assert chosen.batches == {name: [path] for name, path in chosen.shards.items()}


@pytest.mark.parametrize("size", [2, 3, 7])
def test_batches_hold_every_shard_once_in_order_and_at_most_so_many(size: int) -> None:
    shards = [f"data-{number:05d}-of-00101" for number in range(101)]
    found = batches_of(shards, size)
    assert sorted(shard for members in found.values() for shard in members) == shards
    assert all(0 < len(members) <= size and members == sorted(members) for members in found.values())
    assert [members[0] for members in found.values()] == sorted(members[0] for members in found.values())
    assert len(found) < 2 * 101 / size


@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_shard_more_or_less_moves_only_its_own_batch(size: int) -> None:
    shards = [f"data-{number:05d}" for number in range(40)]
    whole = batches_of(shards, size)
    for shard in shards:
        less = batches_of([other for other in shards if other != shard], size)
        (own,) = (members for members in whole.values() if shard in members)
        moved = {name: members for name, members in whole.items() if less.get(name) != members}
        # its batch, and the one that it shared a larger group with until now
        assert own in moved.values()
        assert len(moved) <= 2
        assert sum(map(len, moved.values())) <= size + 1
    assert batches_of(shards[::-1], size) == {name: members[::-1] for name, members in whole.items()}


def test_a_batch_keeps_its_name_and_folder_when_shards_are_added(tmp_path: Path) -> None:
    before = chain(tmp_path, 5, shards_per_job=3)
    names = before.batches
    after = chain(tmp_path, 6, shards_per_job=3)
    assert len([name for name, paths in names.items() if after.batches.get(name) != paths]) <= 1
    assert after.key("corpus") == before.key("corpus") != chain(tmp_path, 6).key("corpus")


def test_the_embedded_shards_are_batched_too() -> None:
    chosen = Chain(parse_config({"source": {"embedded_shards": 3, "shards_per_job": 2}}))
    assert {len(paths) for paths in chosen.batches.values()} == {1, 2}
    assert sorted(path for paths in chosen.batches.values() for path in paths) == list(chosen.shards.values())
    assert list(Chain(parse_config({"source": {"embedded_shards": 2, "shards_per_job": 2}})).batches) == [
        "batch-all-x2"
    ]


def shards(folder: Path, count: int, files: int) -> list[Path]:
    """Shards without equal files, and with rows that are rejected."""
    folder.mkdir()
    paths = []
    for number in range(count):
        rows = [stack_row(program(f"{number}_{file}")) for file in range(files)] + [
            stack_row("print 1"),
            stack_row(program("x" * 900)),
        ]
        paths.append(write_shard(folder / f"s{number}.parquet", rows))
    return paths


def corpora(settings: Config, paths: list[Path], size: int, folder: Path) -> tuple[list[Row], list[Row]]:
    """Run the stage batch by batch; gives all kept and all rejected rows."""
    kept: list[Row] = []
    rejected: list[Row] = []
    for start in range(0, len(paths), size):
        here = folder / f"{start}"
        run(settings, paths[start : start + size], here / "kept.parquet", here / "rejected.parquet")
        kept += read_rows(here / "kept.parquet", schemas.CORPUS)
        rejected += read_rows(here / "rejected.parquet", schemas.REJECTED)
    return kept, rejected


@pytest.mark.parametrize("size", [2, 3, 5])
def test_no_row_depends_on_the_batches(tmp_path: Path, size: int) -> None:
    paths = shards(tmp_path / "shards", 5, 9)
    settings = open_config(sample=4, held_out=0.3, max_line_length=100)
    alone, batched = (corpora(settings, paths, n, tmp_path / str(n)) for n in (1, size))
    assert batched[0] == alone[0]
    for rows in (alone[1], batched[1]):
        rows.sort(key=lambda line: (line["shard"], line["row"]))
    assert batched[1] == alone[1]
    assert len(alone[0]) + len(alone[1]) == 5 * 11
    sampled = defaultdict(int)
    for line in alone[0]:
        sampled[line["shard"]] += line["split"] == "midtrain"
    assert dict(sampled) == {f"s{number}": 4 for number in range(5)}


def test_of_equal_files_in_a_batch_the_smallest_name_stays(tmp_path: Path) -> None:
    text = program("same")
    twins = [
        stack_row(text, max_stars_repo_name=name, max_stars_repo_path=path)
        for name, path in (("b/b", "a"), ("a/z", "b"))
    ]
    late = stack_row("\n" + text, max_stars_repo_name="a/z", max_stars_repo_path="a", hexsha="0" * 40)
    first = write_shard(tmp_path / "a.parquet", twins)
    second = write_shard(tmp_path / "b.parquet", [stack_row(program("other")), late])
    kept, rejected = run_corpus(first, open_config(), [second])
    assert [(line["shard"], line["row"]) for line in kept] == [("b", 0), ("b", 1)]
    assert [(line["shard"], line["row"], line["reason"], line["detail"]) for line in rejected] == [
        ("a", number, "duplicate", f"of {content_id(text)}") for number in (0, 1)
    ]


def test_equal_files_do_not_change_a_sample(tmp_path: Path) -> None:
    """Of equal files one counts for the sample; the reasons of the others do not depend on their order."""
    rows = [stack_row(program(number)) for number in range(12)]
    rows += [{**line, "max_stars_repo_name": name} for line in rows for name in ("a/a", "z/z")]
    seen = []
    for turn in range(4):
        random.Random(turn).shuffle(rows)
        kept, rejected = run_corpus(write_shard(tmp_path / "a.parquet", rows), open_config(sample=5))
        chosen = {line["id"]: line["metadata"]["max_stars_repo_name"] for line in kept}
        reasons = {
            (line["reason"], content_id(rows[line["row"]]["content"]), rows[line["row"]]["max_stars_repo_name"])
            for line in rejected
        }
        seen.append((chosen, reasons))
        assert set(chosen.values()) == {"a/a"}
        assert len(kept) == 5
        assert len(kept) + len(rejected) == 36
    assert seen[0] == seen[1] == seen[2] == seen[3]


def test_pairs_are_sampled_from_every_shard(tmp_path: Path) -> None:
    paths = shards(tmp_path / "shards", 4, 9)
    found: dict[int, list[Row]] = {}
    settings = parse_config({"corpus": {**OPEN["corpus"], "held_out": 1.0}, "pairs": {"sample": 3}})
    for size in (1, 4):
        found[size] = []
        for start in range(0, 4, size):
            here = tmp_path / f"{size}-{start}"
            run(settings, paths[start : start + size], here / "kept.parquet", here / "rejected.parquet")
            write_pairs(settings, here / "kept.parquet", here / "pairs.parquet")
            found[size] += read_rows(here / "pairs.parquet", schemas.PAIRS)
    assert len(found[1]) == 12
    assert sorted(found[1], key=lambda pair: str(pair["id"])) == found[4]
