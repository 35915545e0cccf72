"""Folders of Python files and git checkouts as sources."""

import subprocess
from pathlib import Path

import pytest

from d3.core.tables import Row
from d3.errors import InputError, ToolError
from d3.sources.folder import folder_rows
from d3.sources.shard import count_files, read_shard, shard_name
from helpers.corpus_tables import run_corpus

CODE = "import os\n\n\ndef area(side):\n    return side * side\n"


def git(folder: Path, *words: str) -> str:
    settings = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *settings, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "my source"
    (folder / "b").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name, text in {"b/x.py": CODE, "a.py": CODE + "# a\n", "notes.txt": "no", ".hidden/c.py": CODE + "# c"}.items():
        (folder / name).write_text(text)
    (folder / "link.py").symlink_to("/etc/hostname")
    return folder


def rows_of(folder: Path) -> list[Row]:
    return [row for row in read_shard(folder, {}) if isinstance(row, dict)]


def test_the_files_of_a_folder_are_rows_in_the_order_of_their_paths(source: Path) -> None:
    (source / "b" / "bad.py").write_bytes(b"x = '\xff'\n")
    kept, rejected = run_corpus(source)
    assert [row["metadata"]["max_stars_repo_path"] for row in kept] == ["a.py", "b/x.py"]
    assert [(row["shard"], row["row"], row["reason"]) for row in rejected] == [("my source", 1, "invalid_utf8")]
    assert count_files(source, {}) == 3
    assert kept[1]["metadata"]["hexsha"] == git(source.parent, "hash-object", str(source / "b" / "x.py"))
    assert kept[1]["metadata"]["max_stars_repo_name"] is None


@pytest.mark.parametrize(
    ("address", "repository"),
    [
        ("https://github.com/o/r.git", "o/r"),
        ("git@github.com:o/r.git", "o/r"),
        ("https://user:secret@example.org/group/o/r/", "o/r"),
        (None, None),
    ],
)
def test_a_checkout_is_its_commit_whatever_lies_beside_it(
    source: Path, address: str | None, repository: str | None
) -> None:
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-qm", "one")
    if address:
        git(source, "remote", "add", "origin", address)
    (source / "a.py").write_text("not committed")
    (source / "new.py").write_text("not committed")
    rows = rows_of(source)
    assert [row["max_stars_repo_path"] for row in rows] == [".hidden/c.py", "a.py", "b/x.py"]
    assert rows[1]["content"] == CODE + "# a\n"
    assert {row["max_stars_repo_head_hexsha"] for row in rows} == {git(source, "rev-parse", "HEAD")}
    assert {row["max_stars_repo_name"] for row in rows} == {repository}
    assert {row["hexsha"] for row in rows} <= set(git(source, "ls-tree", "-r", "HEAD").split())


def test_a_checkout_without_a_commit_is_one_line(source: Path) -> None:
    git(source, "init", "-q")
    with pytest.raises(ToolError, match="git rev-parse: ") as caught:
        list(folder_rows(source))
    assert "\n" not in str(caught.value)


def test_a_folder_without_files_or_of_part_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no Python file"):
        run_corpus(tmp_path / "empty")
    (tmp_path / "x.parquet").mkdir()
    with pytest.raises(InputError, match=r"got a folder.*x\.parquet/\*"):
        shard_name(tmp_path / "x.parquet")
