"""Equal sentences about different files: one file keeps them, whatever the batches, and the others' are listed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from d3.config.models import Config
from d3.core import schemas
from d3.errors import InputError
from d3.pipeline.job import Job
from d3.stages import label_duplicates
from helpers.corpus_tables import write_rows

A, B, C = (letter * 64 for letter in "abc")
LABELS = [
    (A, 0, 0, "Add a loop."),
    (A, 0, 1, "add a loop"),  # of the same file
    (A, 0, 2, None),
    (B, 0, 0, "Add a loop!"),
    (B, 0, 1, "Write a class."),
    (C, 0, 0, "Add a loop."),
    (C, 1, 0, "Write a class."),
    (C, 1, 1, "Return the sum."),
]
REPEATED = {(B, 0, 0), (C, 0, 0), (C, 1, 0)}


def listed(folder: Path, batches: Sequence[Sequence[tuple[str, int, int, str | None]]]) -> set[tuple[str, int, int]]:
    folder.mkdir()
    tables = [
        write_rows(
            folder / f"t{number}.parquet",
            schemas.LABELS,
            [dict(zip(("id", "sample", "part", "label"), row, strict=True)) | {"truncated": False} for row in rows],
        )
        for number, rows in enumerate(batches)
    ]
    label_duplicates.run(Config(), tables, folder / "lists")
    job = Job("label_duplicates", config=Config())
    found = [label_duplicates.read_repeated(job, folder / "lists" / f"{table.stem}.txt") for table in tables]
    for keys, rows in zip(found, batches, strict=True):
        assert keys <= {row[:3] for row in rows}
    return set().union(*found)


def test_the_smallest_id_keeps_a_sentence_whatever_the_batches(tmp_path: Path) -> None:
    assert listed(tmp_path / "one", [LABELS]) == REPEATED
    assert listed(tmp_path / "two", [LABELS[5:], LABELS[:5]]) == REPEATED
    assert listed(tmp_path / "three", [[row] for row in LABELS]) == REPEATED
    assert listed(tmp_path / "alone", [LABELS[3:4]]) == set()
    assert listed(tmp_path / "empty", [[], LABELS]) == REPEATED


def test_a_torn_list_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    job = Job("label_duplicates", config=Config())
    for text, words in ((f"{A} 0\n", "line 1 names no label"), (f"{A} 0 1\n{B} 0", "middle of a line")):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            label_duplicates.read_repeated(job, path)
    assert label_duplicates.read_repeated(job, None) == set()
