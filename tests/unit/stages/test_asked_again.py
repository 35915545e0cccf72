"""What a changed run asks again: other batches, a withdrawn shard, another version of the engine, counted by stage."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from d3.config.data import Diffs, Grades
from d3.config.engine import Sampling
from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import Row, read_rows
from d3.lintseq.pool import Pool
from d3.pipeline.batches import batches_of
from d3.stages import diffs, grades
from helpers.corpus_tables import corpus_row, write_rows
from helpers.echo_engine import EchoEngine

EACH = 5
"""Files of a shard."""
SHARDS = {
    f"shard-{shard:02d}": [
        f"def value_{shard}_{number}(x):\n    y = x + {number}\n    z = y * {shard}\n    return z"
        for number in range(EACH)
    ]
    for shard in range(20)
}
REQUESTS = EACH * len(SHARDS)
OLD = {"kind": "vllm", "digest": "d1", "dtype": "bfloat16", "tensor_parallel": 1, "versions": {"vllm": "0.10.2"}}
NEW = OLD | {"versions": {"vllm": "0.11.0"}}
WITHDRAWN = {name: texts for name, texts in SHARDS.items() if name != "shard-07"}
MOST = 0.011
"""Share of the requests that may be asked again."""


def batches(folder: Path, shards: Mapping[str, list[str]], size: int) -> list[Path]:
    """Write the corpus of every batch."""
    folder.mkdir(parents=True)
    return [
        write_rows(
            folder / f"{name}.parquet",
            schemas.CORPUS,
            [corpus_row(text, row) for row, text in enumerate(text for shard in members for text in shards[shard])],
        )
        for name, members in batches_of(list(shards), size).items()
    ]


@pytest.fixture
def graded(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Return a function that grades all batches with an engine, and returns (asked, from the journal, rows)."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)  # type: ignore[no-untyped-call]
    config = Config(grades=Grades(sampling=Sampling(temperature=1.0, max_tokens=4)))
    runs: list[Path] = []

    def grade(
        shards: Mapping[str, list[str]], size: int, identity: dict[str, Any] = OLD, accept: tuple[Any, ...] = ()
    ) -> tuple[int, int, list[Row]]:
        engine: Any = EchoEngine(tokenizer, max_length=4000, chunk=16)
        engine.identity, engine.accept = identity, accept
        monkeypatch.setattr(grades, "open_engine", lambda *_: engine)
        runs.append(tmp_path / f"run-{len(runs)}")
        capsys.readouterr()
        rows: list[Row] = []
        for corpus in batches(runs[-1], shards, size):
            out = corpus.with_suffix(".grades.parquet")
            grades.run(config, corpus, out, model="any", journal=tmp_path / "journal")
            rows += read_rows(out, schemas.GRADES)
        told = re.findall(r"^grades: (\d+) asked, (\d+) from the journal", capsys.readouterr().err, re.MULTILINE)
        asked, kept = (sum(int(pair[place]) for pair in told) for place in (0, 1))
        assert asked == len(engine.asked)
        assert {row["status"] for row in rows} == {"ok"}
        return asked, kept, rows

    return grade


@pytest.mark.parametrize(
    ("shards", "size", "identity", "accept"),
    [
        (SHARDS, 4, OLD, ()),
        (WITHDRAWN, 2, OLD, ()),
        (SHARDS, 2, NEW, ({"vllm": "0.10.2"},)),
        (WITHDRAWN, 4, NEW, ({"vllm": "0.10.2"},)),
    ],
    ids=["shards_per_job 2 to 4", "one of 20 shards withdrawn", "another version, accepted", "all of it"],
)
def test_grades_ask_nothing_again(graded: Any, shards: Any, size: int, identity: Any, accept: Any) -> None:
    asked, kept, first = graded(SHARDS, 2)
    assert (asked, kept) == (REQUESTS, 0)
    asked, kept, rows = graded(shards, size, identity, accept)
    assert asked / len(rows) <= MOST
    assert asked + kept == len(rows) == EACH * len(shards)
    assert {bool(row["answered_by"]) for row in rows} == {bool(accept)}
    before = {row["id"]: row["raw"] for row in first}
    assert all(before[row["id"]] == row["raw"] for row in rows)


def test_another_version_that_is_not_accepted_is_asked_everything(graded: Any) -> None:
    graded(SHARDS, 2)
    assert graded(SHARDS, 2, NEW)[0] == REQUESTS
    assert graded(SHARDS, 2, NEW | {"digest": "d2"}, ({"vllm": "0.10.2"},))[0] == REQUESTS


def test_one_new_file_is_all_that_is_asked(graded: Any) -> None:
    graded(SHARDS, 2)
    more = SHARDS | {"shard-03": [*SHARDS["shard-03"], "def another(x):\n    return x"]}
    asked, _, rows = graded(more, 4, NEW, ({"vllm": "0.10.2"},))
    assert asked == 1
    assert asked / len(rows) <= MOST
    assert [row["answered_by"] is None for row in rows].count(True) == 1


@pytest.mark.parametrize(
    ("shards", "size", "seed", "expected"),
    [(SHARDS, 4, 0, 0), (WITHDRAWN, 2, 0, 0), (dict(reversed(SHARDS.items())), 1, 0, 0), (SHARDS, 2, 1, REQUESTS)],
    ids=["shards_per_job 2 to 4", "one of 20 shards withdrawn", "another order, alone", "another seed"],
)
def test_lintseq_samples_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: Any, size: int, seed: int, expected: int
) -> None:
    sampled: list[str] = []
    original = Pool.run

    def counted(self: Pool, tasks: Any) -> Any:
        listed = list(tasks)
        sampled.extend(task.id for task in listed)
        return original(self, listed)

    monkeypatch.setattr(Pool, "run", counted)

    def sequences(name: str, shards: Any, size: int, seed: int) -> list[Row]:
        config, rows = Config(seed=seed, diffs=Diffs(lint=False)), []
        for corpus in batches(tmp_path / name, shards, size):
            out = corpus.with_suffix(".diffs.parquet")
            diffs.run(config, [corpus], out, journal=tmp_path / "journal")
            rows += read_rows(out, schemas.DIFFS)
        return sorted(rows, key=lambda row: row["id"])

    first = sequences("one", SHARDS, 2, 0)
    assert len(sampled) == len(first) == REQUESTS
    sampled.clear()
    rows = sequences("two", shards, size, seed)
    assert len(sampled) == expected
    if not seed:
        assert [row for row in first if row["id"] in {other["id"] for other in rows}] == rows
