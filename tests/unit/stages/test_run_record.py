"""The record of a run and the links beside it: exactly the files of that run, under readable names."""

import json
import random
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3.cli import main
from d3.config.load import parse_config
from d3.errors import InputError
from d3.pipeline.checks import FinishedJob
from d3.pipeline.job_list import links
from d3.pipeline.pipeline import Chain
from d3.stages.run_record import check, record_text, run, run_record

RUN = Path("results/runs/mine")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        Path(f"{name}.parquet").touch()


def chain_of(*shards: str, **more: Any) -> Chain:
    return Chain(parse_config({"run": "mine", "source": {"shards": [f"{name}.parquet" for name in shards]}, **more}))


def write(chain: Chain) -> None:
    Path("plan.json").write_text(record_text(run_record(chain)))
    run(record=Path("plan.json"), out=RUN / "run.json")


def make(chain: Chain, stage: str = "dataset") -> None:
    """Write a table of one row that holds its own name as every first output of a stage."""
    for name in chain.batches:
        path = Path(chain.folder(stage), "data", f"{name}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"name": [name]}), path)


def faults() -> list[tuple[str, str]]:
    job = FinishedJob(
        root=Path(), outputs={f"{RUN}/run.json": ""}, inputs={}, counts={}, config={}, code="", sample=0,
        draw=random.Random(0),
    )  # fmt: skip
    return list(check(job))


def test_the_dataset_of_a_run_is_loaded_without_the_rows_of_others() -> None:
    both, one = chain_of("a", "b"), chain_of("b")
    assert both.folder("dataset") == one.folder("dataset")  # where `results/dataset/*/data` holds the rows of both
    make(both)
    write(one)
    pattern = f"{RUN}/dataset/data/*.parquet"
    loaded = datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir="cache")
    assert loaded["name"] == ["b"]


def test_links_have_the_names_of_the_configuration() -> None:
    names = set(links(chain_of("a")))
    assert {"dataset/data/a.parquet", "tokens/a.npy", "models/midtrain/model"} <= names
    assert {"models/sft/d3", "models/sft/baseline", "scores/humaneval/d3.json"} <= names


def test_another_configuration_of_the_name_takes_the_links_over() -> None:
    write(chain_of("a", "b"))
    other = chain_of("a", arms={"only": {"midtrain": False}})
    write(other)
    found = {path.relative_to(RUN).as_posix() for path in RUN.rglob("*") if path.is_symlink()}
    assert found == set(links(other))
    assert not [name for name in found if "baseline" in name or "/b." in name]
    assert not faults()


def test_the_record_holds_the_configuration_with_all_defaults() -> None:
    write(chain_of("a"))
    record = json.loads((RUN / "run.json").read_text())
    assert record["run"] == "mine"
    assert record["config"]["diffs"]["samples"] == 1
    assert record["stages"]["dataset"] == chain_of("a").folder("dataset")


def test_a_file_in_the_place_of_a_link_is_not_overwritten() -> None:
    own = RUN / "dataset/data/a.parquet"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(InputError, match=r"dataset/data/a.parquet: is in the place of a link"):
        write(chain_of("a"))
    assert own.read_text() == "mine"


def test_links_that_were_changed_are_found() -> None:
    write(chain_of("a", "b"))
    assert not faults()
    link = RUN / "dataset/data/a.parquet"
    link.unlink()
    assert [name for name, _ in faults()] == [str(link)]
    link.symlink_to("b.parquet")
    assert [name for name, _ in faults()] == [str(link)]
    write(chain_of("a", "b"))
    (RUN / "dataset/data/c.parquet").symlink_to("b.parquet")
    assert faults() == [(f"{RUN}/dataset/data/c.parquet", "is a link that run.json does not name")]


def test_where_prints_the_files_of_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    chain = chain_of("a", "b")
    options = ["--set", "source.shards=[a.parquet, b.parquet]"]
    make(chain)
    assert main(["where", "dataset", *options]) == 0
    assert capsys.readouterr().out == "".join(f"{chain.folder('dataset')}/data/{name}.parquet\n" for name in "ab")
    assert main(["where", "models", *options]) == 1
    assert "3 of 3 are not made yet" in capsys.readouterr().err
    assert main(["where", *options]) == 0
    assert f"{chain.folder('dataset')}" in capsys.readouterr().out
    assert main(["where", "datset", *options]) == 1
    assert "datset: is not the name of a stage" in capsys.readouterr().err
