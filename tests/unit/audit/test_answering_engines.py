"""Accepted engines are named with their rows, and rows that a statement does not count are found."""

import json
from pathlib import Path
from typing import Any

import pytest

from d3.audit.answering_engines import check_answers, rows_by_engine, sentences
from d3.audit.job_graph import load
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import digest_of
from d3.core.journal import Journal
from d3.llm.engine_log import record_engine
from d3.pipeline.job import Job
from d3.provenance import resource_usage

OLD = {"kind": "vllm", "digest": "d1", "dtype": "bfloat16", "versions": {"vllm": "0.10.2"}}
DIGEST = digest_of(OLD)[:12]
TABLE = "results/grades/0123456789ab/a.parquet"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with Journal(tmp_path / "work" / "journal" / "grades") as journal:
        record_engine(OLD, journal)
    return tmp_path


def grades(place: Path, monkeypatch: pytest.MonkeyPatch, answered_by: list[str | None], **counts: int) -> Path:
    """Write the table of a finished job whose rows are answered by some engines."""
    (place / TABLE).parent.mkdir(parents=True)
    monkeypatch.setattr(resource_usage, "_COUNTS", resource_usage.Counter(counts))
    with Job("grades", config=Config()) as job:
        table = job.table(Path(TABLE), schemas.GRADES)
        for number, name in enumerate(answered_by):
            row: dict[str, Any] = dict.fromkeys(schemas.GRADES.names)
            table.write(row | {"id": f"{number:064x}", "truncated": False, "status": "ok", "answered_by": name})
    return place / TABLE


def test_rows_are_named_by_ranges(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = [DIGEST] * 3 + [None] + [DIGEST] + ["0" * 12] * 2
    path = grades(place, monkeypatch, answered, **{f"accepted_{DIGEST}": 4, f"accepted_{'0' * 12}": 2})
    assert {digest: str(rows) for digest, rows in rows_by_engine(path).items()} == {DIGEST: "0-2, 4", "0" * 12: "5-6"}
    first, second = sorted(sentences(place, TABLE), reverse=True)
    assert first == (
        f"4 rows were answered by the accepted engine {DIGEST} (dtype bfloat16, kind vllm, vllm 0.10.2): 0-2, 4"
    )
    assert second == f"2 rows were answered by the accepted engine {'0' * 12} (not in the journal any more): 5-6"
    found = list(check_answers(load(place)))
    assert [finding.note for finding in found] == [True, True]
    assert {finding.what for finding in found} == {first, second}


@pytest.mark.parametrize(
    ("answered", "counts", "words"),
    [
        ([DIGEST, None], {}, f"has 1 rows of the accepted engine {DIGEST}, its statement counts 0"),
        (
            [None, None],
            {f"accepted_{DIGEST}": 2},
            f"has 0 rows of the accepted engine {DIGEST}, its statement counts 2",
        ),
    ],
)
def test_rows_that_the_statement_does_not_count_are_wrong(
    place: Path, monkeypatch: pytest.MonkeyPatch, answered: list[str | None], counts: dict[str, int], words: str
) -> None:
    grades(place, monkeypatch, answered, **counts)
    (wrong,) = [finding for finding in check_answers(load(place)) if not finding.note]
    assert wrong.what == words
    assert wrong.jobs == (f"{TABLE}.prov.json",)


def test_own_answers_are_no_finding_and_ranges_are_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = grades(place, monkeypatch, [None, DIGEST] * 50, **{f"accepted_{DIGEST}": 50})
    (text,) = sentences(place, TABLE)
    assert text.endswith(": 1, 3, 5, 7, 9, 11, 13, 15 and 42 more ranges")
    assert rows_by_engine(path)[DIGEST].rows == 50
    assert json.loads((place / f"{TABLE}.prov.json").read_text())["predicate"]


def test_other_files_have_no_sentence(place: Path) -> None:
    for name in ("results/corpus/k/a.parquet", TABLE, "a.parquet", "results/grades/k/a.txt"):
        assert list(sentences(place, name)) == []
