"""Repeats: the same files in any batches, asked twice with other seeds, and only once for one journal."""

import re
from pathlib import Path
from typing import Any

import pytest

from d3.config.data import Grades, JudgeHealth
from d3.config.engine import Engine, Sampling
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id
from d3.core.tables import read_notes, read_rows
from d3.stages import grade_repeats
from helpers.corpus_tables import corpus_row, write_rows

TEXTS = [f"def times_{n}(value):\n    return value * {n}\n" for n in range(12)]


def config(repeats: int = 4, seed: int = 0) -> Config:
    sampling = Sampling(max_tokens=4)
    grades = Grades(engine=Engine(batch=4, max_length=1200), sampling=sampling)
    return Config(seed=seed, grades=grades, judge_health=JudgeHealth(repeats=repeats))


def tables(folder: Path, batches: list[list[str]]) -> tuple[list[Path], list[Path]]:
    corpus, grades = [], []
    for number, texts in enumerate(batches):
        rows = [corpus_row(text, place) for place, text in enumerate(texts)]
        graded = [{"id": row["id"], "score": None if row["text"] == TEXTS[0] else 2, "status": "ok"} for row in rows]
        corpus.append(write_rows(folder / f"c{number}.parquet", schemas.CORPUS, rows))
        grades.append(write_rows(folder / f"g{number}.parquet", schemas.GRADES, graded))
    return corpus, grades


def repeated(folder: Path, batches: list[list[str]], settings: Config, model: Path) -> list[dict[str, Any]]:
    corpus, grades = tables(folder, batches)
    out = folder / "r.parquet"
    grade_repeats.run(settings, corpus, grades, out, model=str(model), journal=folder / "journal")
    return list(read_rows(out, schemas.REPEATS))


def test_a_sample_is_asked_twice_with_other_seeds_whatever_the_batches(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = repeated(tmp_path, [TEXTS[:5], TEXTS[5:]], config(), tiny_model)
    assert [row["repeat"] for row in rows] == [0] * 4 + [1] * 4
    first, second = rows[:4], rows[4:]
    assert [row["id"] for row in first] == [row["id"] for row in second] == sorted(row["id"] for row in first)
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["entropy"] > 0 and 0 <= row["margin"] <= 1 for row in rows)
    assert any(one["raw"] != other["raw"] for one, other in zip(first, second, strict=True))
    assert content_id(TEXTS[0]) not in {row["id"] for row in rows}
    notes = read_notes(tmp_path / "r.parquet")
    assert (notes["read"], notes["kept"], notes["dropped"]) == (12, 4, {"not_sampled": 8})
    capsys.readouterr()
    assert repeated(tmp_path, [TEXTS[::-1]], config(), tiny_model) == rows
    assert re.findall(r"(\d+) asked, (\d+) from", capsys.readouterr().err) == [("0", "4"), ("0", "4")]
    other = repeated(tmp_path, [TEXTS], config(seed=1), tiny_model)
    assert {row["id"] for row in other} != {row["id"] for row in rows}


def test_fewer_files_than_the_sample(tmp_path: Path, tiny_model: Path) -> None:
    assert len(repeated(tmp_path, [TEXTS[:3]], config(100), tiny_model)) == 4  # one of the three has no score
