"""Attempts at jobs."""

from pathlib import Path

import pytest

from d3.provenance.attempts import attempt, read_attempts


def test_attempts_at_a_folder_of_files_are_those_of_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("D3_RUN", "1")
    with attempt("duplicates", Path("results/duplicates/0123456789ab")):
        pass
    assert len(read_attempts(Path("results/duplicates/0123456789ab/a.txt"))) == 2
    assert read_attempts(Path("results/duplicates/ba9876543210/a.txt")) == []
