"""Data sets of code in their own columns: each becomes rows of The Stack, in Parquet and in JSON lines alike."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.core.schemas import STACK
from d3.core.tables import Row
from d3.errors import ConfigError, InputError
from d3.pipeline.checks import FinishedJob
from d3.sources.layout import LAYOUTS, layout_of
from d3.sources.shard import check_columns, count_files, read_shard
from d3.stages.corpus.stage import check
from helpers.corpus_tables import open_config, run_corpus, stack_row

CODE = "import os\n\n\ndef area(side):\n    return side * side\n"
WHERE = {"max_stars_repo_name": "o/r", "max_stars_repo_path": "src/a.py"}
LICENSED = {**WHERE, "max_stars_repo_licenses": ["MIT"]}
FILE = {"content_id": "ab" * 20, "content": CODE, "size_bytes": 52, "file_path": "src/a.py", "language": "Python"}
V3: Row = {
    "repo_path": "o/r",
    "commit_id": "cd" * 20,
    "github_metadata": {"branch": "main", "stars": 7, "forks": 2, "issues": 1},
    "files": [{**FILE, "detected_licenses": ["MIT"]}, {**FILE, "file_path": "b.py"}],
}
V2 = {"blob_id": "ab" * 20, "path": "src/a.py", "repo_name": "o/r", "detected_licenses": ["MIT"], "language": "Python"}
CASES: dict[str, tuple[Row, Row]] = {
    "the-stack": (stack_row(CODE), {name: value for name, value in stack_row(CODE).items() if name != "content"}),
    "the-stack-smol": (
        {
            "content": CODE,
            "repository_name": "o/r",
            "path": "src/a.py",
            "licenses": ["MIT"],
            "lang": "Python",
        },
        {**LICENSED, "lang": "Python"},
    ),
    "starcoderdata": ({**WHERE, "max_stars_count": 3, "id": "1", "content": CODE}, {**WHERE, "max_stars_count": 3}),
    "the-stack-v2": (
        {**V2, "content": CODE, "star_events_count": 4, "revision_id": "x"},
        {**LICENSED, "hexsha": "ab" * 20, "max_stars_count": 4, "max_stars_repo_head_hexsha": "x", "lang": "Python"},
    ),
    "the-stack-v3": (
        V3,
        {
            **LICENSED,
            "hexsha": "ab" * 20,
            "size": 52,
            "lang": "Python",
            "max_stars_repo_head_hexsha": "cd" * 20,
            **{"max_stars_count": 7, "max_issues_count": 1, "max_forks_count": 2},
        },
    ),
    "dolma": (
        {"id": "1", "text": CODE, "source": "x", "metadata": {"max_stars_repo_name": "o/r", "path": "src/a.py"}},
        WHERE,
    ),
    "plain": (
        {"repo_name": "o/r", "path": "src/a.py", "content": CODE, "license": "MIT", "size": "52"},
        {**LICENSED, "size": 52},
    ),
}


def write(folder: Path, rows: list[Row], *, lines: bool) -> Path:
    """Write rows as they are, in another order of columns, with one more column."""
    turned: list[dict[str, Any]] = [{"extra": {"x": [None]}, **dict(reversed(row.items()))} for row in rows]
    path = folder / ("a.json" if lines else "a.parquet")
    if lines:
        path.write_text("".join(json.dumps(row) + "\n" for row in turned))
    else:
        pq.write_table(pa.Table.from_pylist(turned), path)
    return path


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_data_set_is_read_by_its_own_names(tmp_path: Path, name: str, lines: bool) -> None:
    raw, expected = CASES[name]
    layout = layout_of(raw, {})
    assert layout is not None
    assert layout.name == name
    path = write(tmp_path, [raw], lines=lines)
    check_columns(path, {})
    rows = list(read_shard(path, {}))
    assert len(rows) == count_files(path, {}) == len(raw.get("files", [raw]))
    assert rows[0] == {**dict.fromkeys(STACK.names), **expected, "content": CODE}
    kept, rejected = run_corpus(path)
    assert [row["text"] for row in kept] == [CODE.strip()]
    assert {row["reason"] for row in rejected} <= {"duplicate"}


def test_every_layout_has_a_case() -> None:
    assert {layout.name for layout in LAYOUTS} == set(CASES)


@pytest.mark.parametrize("lines", [False, True])
def test_a_map_of_columns_reaches_into_them(tmp_path: Path, lines: bool) -> None:
    path = write(tmp_path, [{"body": CODE, "meta": {"project": "o/r"}}, {"body": CODE, "meta": None}], lines=lines)
    with pytest.raises(InputError, match=r"no column `content` or `text` \(got extra, meta, body\)"):
        check_columns(path, {})
    columns = {"content": "body", "max_stars_repo_name": "meta.project"}
    check_columns(path, columns)
    first, second = read_shard(path, columns)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["max_stars_repo_name"], second["max_stars_repo_name"]) == ("o/r", None)
    settings = parse_config({"corpus": open_config().corpus.model_dump(), "source": {"columns": columns}})
    assert len(run_corpus(path, settings)[0]) == 1


def test_a_map_over_a_known_data_set_changes_only_what_it_names(tmp_path: Path) -> None:
    path = write(tmp_path, [{"text": CODE, "project": "o/r", "metadata": {"path": "a.py"}}], lines=True)
    (row,) = read_shard(path, {"max_stars_repo_name": "project"})
    assert isinstance(row, dict)
    assert (row["max_stars_repo_name"], row["max_stars_repo_path"], row["content"]) == ("o/r", "a.py", CODE)


def test_a_column_that_the_stack_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(ConfigError, match=r"source.columns: given 'repo', allowed is hexsha, size, "):
        parse_config({"source": {"columns": {"repo": "x"}}})


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("raw", [V2, {"repo_name": "o/r", "files": [{"blob_id": "ab", "path": "a.py"}]}])
def test_ids_without_texts_name_software_heritage(tmp_path: Path, raw: Row, lines: bool) -> None:
    path = write(tmp_path, [raw], lines=lines)
    with pytest.raises(InputError, match=r"ids of Software Heritage and no texts.*download the texts"):
        check_columns(path, {})


@pytest.mark.parametrize("lines", [False, True])
def test_repositories_may_have_null_and_no_files(tmp_path: Path, lines: bool) -> None:
    files = [[FILE, None, {**FILE, "content": None}], [], None, [{**FILE, "content": CODE + "# b"}]]
    path = write(tmp_path, [{"repo_path": "o/r", "files": some} for some in files], lines=lines)
    assert count_files(path, {}) == 6
    kept, rejected = run_corpus(path)
    assert [row["row"] for row in kept] == [0, 5]
    assert [(row["row"], row["reason"]) for row in rejected] == [
        *((1, "null_content"), (2, "null_content"), (3, "no_files"), (4, "no_files"))
    ]


def test_an_empty_table_needs_no_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({}), tmp_path / "a.parquet")
    check_columns(tmp_path / "a.parquet", {})
    assert run_corpus(tmp_path / "a.parquet") == ([], [])


@pytest.mark.parametrize("lines", [False, True])
def test_finished_jobs_are_compared_with_sources_of_any_layout(tmp_path: Path, lines: bool) -> None:
    path = write(tmp_path, [V3], lines=lines)
    run_corpus(path)
    job = FinishedJob(
        root=tmp_path,
        outputs={"out/kept.parquet": "", "out/rejected.parquet": ""},
        inputs={path.name: "", "results/contamination/KEY/a.jsonl": ""},
        counts={},
        config={"source": {}},
        code="",
        sample=10,
        draw=random.Random(0),
    )
    assert list(check(job)) == []
    write(
        tmp_path, [{**V3, "files": [{**file, "detected_licenses": ["GPL-3.0"]} for file in V3["files"]]}], lines=lines
    )
    assert next(check(job))[1].endswith("differs from row 1 of a")
    write(tmp_path, [{**V3, "files": [*V3["files"], FILE]}], lines=lines)
    assert "account for 2 of the 3 rows of a" in next(check(job))[1]
