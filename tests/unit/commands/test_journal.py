"""`d3 journal`: is it sound, and smaller please."""

from pathlib import Path

import pytest

from d3 import cli
from d3.core.journal import Journal


def test_a_journal_is_checked_and_compacted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "journal"
    for begin in (0, 3, 6):
        with Journal(folder) as journal:
            for number in range(begin, begin + 3):
                journal.put(f"key {number}", {"number": number})
    assert cli.main(["journal", "--journal", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("journal: 9 entries in 2 sound segments\n")

    torn = min(folder.iterdir(), key=lambda path: path.stat().st_size)
    torn.write_bytes(torn.read_bytes()[20:])
    assert cli.main(["journal", "--journal", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert f"damaged, its entries are computed again: {torn}" in printed
    assert "6 entries in 1 sound segments" in printed

    assert cli.main(["journal", str(folder), "--compact"]) == 0
    assert capsys.readouterr().out.endswith("journal: 6 entries in 1 sound segments\n")
    assert len(list(folder.iterdir())) == 1


def test_a_journal_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["journal", "--journal", str(tmp_path / "none")]) != 0
    assert "journal not found" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
