"""`d3 forget` and what killed jobs left: torn chunks and temporary files, also of another machine."""

from pathlib import Path

import pytest

from d3.cli import main
from d3.core.journal import SUFFIX, Journal
from d3.stages.corpus.stage import run
from helpers.corpus_tables import open_config, stack_row, write_shard

TORN = "0" * 64 + SUFFIX


def test_a_torn_chunk_does_not_fail_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    row = stack_row("def area(side):\n    return side * side\n", max_stars_repo_name="bob/one")
    shard = write_shard(tmp_path / "a.parquet", [row])
    run(open_config(), [shard], Path("results/corpus/0123456789ab/a.parquet"), Path("rejected.parquet"))
    (tmp_path / "opt-out.txt").touch()
    (tmp_path / "c.yaml").write_text("source: {shards: [a.parquet], opt_out: opt-out.txt}\n")
    folder = tmp_path / "work" / "journal" / "grades"
    with Journal(folder) as journal:
        journal.put("a", {"text": "kept"})
    torn = [folder / TORN, folder / f".{TORN}.another-node-7.part"]
    for path in torn:
        path.write_bytes(b"torn")
    main(["forget", "bob/one", "--config", "c.yaml"])
    assert "LEFT" not in capsys.readouterr().out
    assert not any(path.exists() for path in torn)
    assert Journal(folder).get("a") == {"text": "kept"}
