"""Which checkpoints are resumed from: whole ones of the same run, made by the same code."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from d3.config.load import parse_config
from d3.errors import ConfigError, ToolError
from d3.pipeline.pipeline import Chain
from d3.provenance.code_digest import modules_of
from d3.train.checkpoints import ANYWAY, Resume, last_complete, mark_complete, settle

NOW: dict[str, dict[str, Any]] = {
    "run": {"midtrain.batch": 4, "data shard.npy": "a" * 64, "seed": 0, "model": "b" * 64},
    "code": {"d3.train.trainer": "c" * 64, "torch": "2.13.0"},
    "shape": {"processes": 2, "zero_stage": 2},
}


def changed(part: str, name: str, value: Any) -> dict[str, dict[str, Any]]:
    facts = deepcopy(NOW)
    facts[part][name] = value
    return facts


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return a work folder with a whole checkpoint."""
    settle(tmp_path, NOW, Resume(anyway=False), "midtrain")
    checkpoint = tmp_path / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    mark_complete(checkpoint)
    return tmp_path


def left(work: Path) -> list[str]:
    return sorted(path.name for path in work.glob("checkpoints/*"))


def test_checkpoints_of_the_same_run_stay(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume = Resume(anyway=False)
    settle(work, NOW, resume, "midtrain")
    assert left(work) == ["checkpoint-2"]
    assert resume.differences == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("midtrain.batch", 8, "midtrain.batch was 4, is 8"),
        ("midtrain.optimizer.clip", 0.5, "midtrain.optimizer.clip was null, is 0.5"),
        ("data shard.npy", "d" * 64, "data shard.npy changed"),
        ("model", "d" * 64, "model changed"),
    ],
)
def test_checkpoints_of_another_run_go_with_a_line(
    work: Path, capsys: pytest.CaptureFixture[str], name: str, value: Any, line: str
) -> None:
    settle(work, changed("run", name, value), Resume(anyway=False), "midtrain")
    assert left(work) == []
    said = capsys.readouterr().err
    assert said == f"midtrain: {work}/checkpoints/checkpoint-2 is of another run and is removed: {line}\n"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("torch", "2.14.0", 'torch was "2.13.0", is "2.14.0"'),
        ("d3.train.trainer", "d" * 64, "d3.train.trainer changed"),
    ],
)
def test_checkpoints_of_other_code_are_kept_and_refused(
    work: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any, line: str
) -> None:
    other = changed("code", name, value)
    with pytest.raises(ToolError, match="checkpoint-2: was written by other code or libraries") as error:
        settle(work, other, Resume(anyway=False), "midtrain")
    assert line in str(error.value)
    assert "--resume-anyway" in str(error.value)
    assert left(work) == ["checkpoint-2"]
    resume = Resume(anyway=True)
    settle(work, other, resume, "midtrain")
    assert (left(work), resume.differences) == (["checkpoint-2"], [line])
    # A later restart of the same code is asked nothing, and its record still tells.
    monkeypatch.delenv(ANYWAY, raising=False)
    again = Resume(anyway=False)
    settle(work, other, again, "midtrain")
    assert again.differences == [line]


def test_the_environment_allows_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Resume(anyway=False).anyway
    monkeypatch.setenv(ANYWAY, "1")
    assert Resume(anyway=False).anyway


@pytest.mark.parametrize("name", ["processes", "zero_stage"])
def test_checkpoints_of_another_shape_are_kept_and_refused(work: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot be resumed from: {name} was 2, is 1; set midtrain back"):
        settle(work, changed("shape", name, 1), Resume(anyway=True), "midtrain")
    assert left(work) == ["checkpoint-2"]


def test_a_damaged_record_of_a_run_is_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "made_with.json").write_text("[]")
    settle(work, NOW, Resume(anyway=True), "midtrain")
    assert left(work) == []
    assert "made_with.json cannot be read" in capsys.readouterr().err


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    assert last_complete(tmp_path / "none") is None
    for step in (2, 10, 9, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (2, 10, 9):
        mark_complete(tmp_path / f"checkpoint-{step}")
    assert last_complete(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-12").exists()


@pytest.mark.parametrize(
    ("stage", "values"),
    [
        (
            "midtrain",
            {"save_steps": 7, "micro_batch": 2, "zero_stage": 3, "gradient_checkpointing": True, "loss_chunk": 9},
        ),
        ("sft", {"batch": 4, "processes": 2}),
    ],
)
def test_the_machine_decides_neither_key_nor_statement(stage: str, values: dict[str, Any]) -> None:
    base = {"batch": values["batch"]} if "batch" in values else {}
    before, after = (Chain(parse_config({stage: section})) for section in (base, values))
    for name in (stage, "generate"):
        assert before.key(name) == after.key(name)
    assert before.deciding(stage) == after.deciding(stage)
    assert before.settings(stage) != after.settings(stage)  # jobs are given them all the same
    assert Chain(parse_config({stage: {**base, "sequence_length": 64}})).key(stage) != before.key(stage)
    named = {**base, "packing": "best_fit", "too_long": "cut_at_diff"}
    assert Chain(parse_config({stage: named})).key(stage) == before.key(stage)


def test_mid_training_and_fine_tuning_share_no_module_of_the_other() -> None:
    midtrain, sft = (modules_of(f"d3.train.{stage}") for stage in ("midtrain", "sft"))
    assert {"d3.train.midtrain", "d3.train.token_shards"} <= midtrain.keys() - sft.keys()
    assert {"d3.train.sft", "d3.train.sft_data"} <= sft.keys() - midtrain.keys()
    assert {"d3.train.worker", "d3.train.packing", "d3.train.trainer"} <= midtrain.keys() & sft.keys()
