"""Names that no row matches: nothing is proved about them, and the most similar ones are named."""

from pathlib import Path

import pytest

from d3.cli import main
from d3.stages.corpus.stage import run
from helpers.corpus_tables import open_config, stack_row, write_shard
from helpers.workflow_run import write_config


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a working folder with a corpus of repositories o/r0 to o/r3 and a hostile one."""
    monkeypatch.chdir(tmp_path)
    names = [*(f"o/r{number}" for number in range(4)), "evil/\x1b[2J\u202e\nnothing is left"]
    rows = [
        stack_row(f"import os\n\n\ndef of_number_{number}(side):\n    return side\n", max_stars_repo_name=name)
        for number, name in enumerate(names)
    ]
    shard = write_shard(tmp_path / "a.parquet", rows)
    run(open_config(), [shard], Path("results/corpus/0123456789ab/a.parquet"), Path("rejected.parquet"))
    Path("opt-out.txt").write_text("")
    write_config(tmp_path, {"source": {"shards": ["a.parquet"], "opt_out": "opt-out.txt"}})
    return tmp_path


def forget(*names: str) -> int:
    return main(["forget", *names, "--config", "config.yaml"])


def test_a_misspelt_name_is_never_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forget("https://github.com/o/r22") == 1
    said = capsys.readouterr()
    assert "repo:o/r22 matches no row of these results, did you mean repo:o/r2?" in said.err
    assert "nothing is left" not in said.out + said.err
    assert (folder / "opt-out.txt").read_text().endswith("repo:o/r22\n")
    assert (folder / "results/corpus/0123456789ab/a.parquet").exists()


def test_an_address_finds_the_rows_and_a_wrong_name_beside_it_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forget("https://github.com/o/r2.git", "@nobody") == 1
    said = capsys.readouterr().out
    assert "rows of the source that match: 1" in said
    assert "user:nobody matches no row" in said
    assert said.splitlines()[-1] == "nothing is left of the others"


def test_a_name_that_rows_match_is_forgotten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forget("o/r2") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is left"


def test_a_hostile_name_forges_no_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forget("evil/x\nnothing is left") == 1
    said = capsys.readouterr()
    assert "nothing is left" not in (said.out + said.err).splitlines()
    assert not set("\x1b\u202e") & set(said.out + said.err)
