"""`d3 clean`: what no configuration makes is listed and removed, and nothing else."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from d3.cli import main
from d3.config.load import load_config
from d3.core.journal import Journal
from d3.operate.run_lock import run_lock
from d3.pipeline.job_list import jobs, outputs
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.provenance.attempts import attempts_path
from d3.provenance.statement import statement_path

ELSEWHERE = ".a.parquet.another-node-7.part"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        Path(f"{name}.parquet").touch()
    return tmp_path


def config(name: str, *shards: str, **more: Any) -> Path:
    path = Path(f"{name}.yaml")
    values = {"run": name, "source": {"shards": [f"{shard}.parquet" for shard in shards]}, **more}
    path.write_text(yaml.safe_dump(values))
    return path


def make(path: Path) -> set[Path]:
    """Write all files that the jobs of a configuration leave; return them."""
    chain, made = Chain(load_config(path)), set()
    for work in jobs(chain, topics=True):
        stage, folder = STAGES[work.stage], Path(chain.folder(work.stage))
        found = [folder / name for name in outputs(chain, stage, work.name)]
        if stage.outputs[0].is_folder:
            found = [found[0] / "model.safetensors"]
        found += [statement_path(work.output), attempts_path(work.output)]
        if stage.journal:
            found.append(Path("work/journal", work.stage, "x.journal.zst"))
        if stage.trains:
            found.append(Path("work", folder.relative_to("results"), work.name, "checkpoint-1", "weights"))
        for file in found:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("x" * 10)
            made.add(file)
    return made


def files() -> set[Path]:
    return {path for name in ("results", "work", "resources") for path in Path(name).rglob("*") if path.is_file()}


def clean(*words: str | Path, rc: int = 0) -> None:
    assert main(["clean", "--config", *map(str, words)]) == rc


def test_what_a_configuration_makes_is_never_named(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = config("one", "a", "b"), config("other", "a", diffs={"samples": 2})
    made = make(one) | make(other)
    clean(one, other, "--delete")
    assert files() == made
    assert capsys.readouterr().out == "      0.0 kB  in 0 files and folders removed\n"


def test_other_configurations_and_removed_shards_go(capsys: pytest.CaptureFixture[str]) -> None:
    make(config("old", "a", "b", diffs={"samples": 2}, midtrain={"max_steps": 7}))
    make(config("mine", "a", "b", "c"))
    before = files()
    mine = config("mine", "a", "c")
    clean(mine, "--dry-run")
    assert files() == before
    listed = capsys.readouterr().out
    assert "results/runs/old  (of another configuration)" in listed
    chain = Chain(load_config(mine))
    assert f"0.0 kB  {chain.folder('dataset')}/data/b.parquet  (no shard" in listed
    clean(mine, "--delete")
    assert files() == make(mine)
    clean(mine)
    assert "in 0 files and folders\n" in capsys.readouterr().out


def test_what_a_configuration_reads_and_files_of_others_stay() -> None:
    old = Chain(load_config(config("old", "a")))
    make(Path("old.yaml"))
    arm = Path(old.folder("sft"), next(iter(old.arms)))
    notes = Path("results/notes.txt"), Path("results/dataset/mine/data/a.parquet"), Path("work/own/file")
    for path in notes:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    new = config("new", "a", model={"path": str(arm)}, tokens={"tokenizer": str(arm)})
    clean(new, "--delete")
    assert (arm / "model.safetensors").exists()
    assert not Path(old.folder("midtrain")).exists()
    assert all(path.exists() for path in notes)


def test_leftovers_of_killed_jobs_go_on_whatever_machine(capsys: pytest.CaptureFixture[str]) -> None:
    mine = config("mine", "a")
    made = make(mine)
    chain = Chain(load_config(mine))
    left = [
        Path(chain.folder("grades"), ELSEWHERE),
        Path("work/journal/grades", f".{'0' * 64}.journal.zst.another-node-7.part"),
        Path("work/journal/grades", f".{'0' * 64}.journal.zst.{socket.gethostname()}-999999999.part"),
        Path(chain.folder("sft"), ".d3.another-node-7.part", "half.safetensors"),
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    clean(mine)
    assert capsys.readouterr().out.count("(left by a killed job)") == len(left)
    clean(mine, "--delete")
    assert files() == made


def test_nothing_is_removed_while_somebody_works(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = config("mine", "a")
    part = Path(Chain(load_config(mine)).folder("grades"), ELSEWHERE)
    part.parent.mkdir(parents=True)
    part.touch()
    with run_lock(folder):
        clean(mine, "--delete", rc=1)
        assert "works in this folder" in capsys.readouterr().err
        clean(mine)
        assert ELSEWHERE not in capsys.readouterr().out
    assert part.exists()


def test_a_journal_is_compacted_without_leftovers_of_another_node(capsys: pytest.CaptureFixture[str]) -> None:
    place = Path("work/journal/grades/a")
    with Journal(place) as journal:
        journal.put("key", {"x": 1})
    torn = place / f".{'0' * 64}.journal.zst.another-node-7.part"
    torn.write_bytes(b"half")
    assert main(["journal", str(place), "--compact"]) == 0
    assert not torn.exists()
    assert json.dumps(Journal(place).get("key")) == '{"x": 1}'
