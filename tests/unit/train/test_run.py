"""Training runs from end to end with a tiny model, each in a process of its own."""

import csv
import gzip
import json
import shutil
import signal
import stat
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d3.config.load import parse_config
from d3.core.example_format import example_completion, example_prompt
from d3.core.ids import content_id, file_digest
from d3.core.tokenizer_file import Vocabulary
from d3.errors import ConfigError, D3Error, InputError, ToolError
from d3.train import checkpoints, midtrain, sft
from d3.train.sequences import Sequences
from d3.train.sft_data import Encoded, Encoder
from d3.train.token_shards import TokenShards
from helpers.demo import DEMO
from helpers.tiny_models import library_texts, make_model
from helpers.training_process import command_of, train, write_examples

pytestmark = pytest.mark.model

KILL_IN_CHECKPOINT = """
import os, signal
from d3.train import trainer
mark = trainer.mark_complete
def mark_or_die(path):
    if path.name == "checkpoint-4":
        os.kill(os.getpid(), signal.SIGKILL)
    mark(path)
trainer.mark_complete = mark_or_die
"""
SIGNAL_AFTER_STEP_3 = """
import os, signal
from d3.train import trainer
log = trainer.StageTrainer.log
def log_and_signal(self, logs, *more):
    log(self, logs, *more)
    if "loss" in logs and self.state.global_step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
trainer.StageTrainer.log = log_and_signal
"""
MIDTRAIN = {
    "sequence_length": 64,
    "packing": "wrap",
    "batch": 4,
    "micro_batch": 2,
    "max_steps": 6,
    "save_steps": 2,
    "optimizer": {"learning_rate": 1e-2, "warmup_steps": 2, "weight_decay": 0.1},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Return a token shard as the tokens stage writes it."""
    from tokenizers import Tokenizer

    path = tmp_path_factory.mktemp("tokens") / "shard.npy"
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    texts = [piece for text in library_texts(12) for piece in text.split("\n\n") if len(piece) > 40]
    documents = [[*tokenizer.encode(text).ids, 2] for text in texts]
    np.array([token for document in documents for token in document], np.uint16).tofile(path)
    with gzip.open(path.with_suffix(".csv.gz"), "wt", newline="") as file:
        at = 0
        for line, (document, text) in enumerate(zip(documents, texts, strict=True), start=1):
            csv.writer(file).writerow((at, at + len(document), content_id(text), "x", line))
            at += len(document)
    notes = {"documents": len(documents), "tokens": at, "dtype": "uint16", "sha256": file_digest(path)}
    notes |= {"tokenizer_sha256": Vocabulary.read(model).sha256}
    path.with_suffix(".json").write_text(json.dumps(notes))
    return path


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, model: Path, shard: Path) -> Path:
    """Return the folder of a mid-training run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    done = train("midtrain", shard, folder / "model", model, folder / "work", {"midtrain": MIDTRAIN})
    assert done.returncode == 0, done.stderr
    assert "training: 6/6 steps (100 %)" in done.stderr
    assert "it/s]" not in done.stderr  # no progress bars in logs
    assert sorted(path.name for path in folder.iterdir()) == ["model", "model.prov.json"]
    return folder / "model"


def test_midtraining_leaves_a_model_and_its_record(straight: Path, model: Path, shard: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(straight)
    assert loaded.num_parameters() == AutoModelForCausalLM.from_pretrained(model).num_parameters()
    assert loaded.config.use_cache
    assert AutoTokenizer.from_pretrained(straight)("def f").input_ids
    assert (straight / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
    # Tied weights are written once, and files can be read by others.
    assert (straight / "model.safetensors").stat().st_size == (model / "model.safetensors").stat().st_size
    assert stat.S_IMODE((straight / "model.safetensors").stat().st_mode) == stat.S_IMODE(
        (straight / "config.json").stat().st_mode
    )
    record = json.loads((straight / "training.json").read_text())
    steps = record["record"]
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert record["tokens"] == 6 * 4 * 64
    assert record["loss_tokens"] == sum(step["loss_tokens"] for step in steps) < record["tokens"]
    assert [step["learning_rate"] for step in steps[:3]] == pytest.approx([0, 5e-3, 1e-2])
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.1
    assert record["rows"]["kept"] == json.loads(shard.with_suffix(".json").read_bytes())["documents"]
    assert str(straight.parent) not in "".join(path.read_text() for path in straight.glob("*.json"))


def test_the_loss_is_the_mean_over_the_tokens_of_a_step(straight: Path, model: Path, shard: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    source = Sequences(TokenShards([shard]), packing="wrap", limit=64, seed=0)
    base = AutoModelForCausalLM.from_pretrained(model).eval()
    total, count = 0.0, 0
    for at in range(4):
        example = source.example(0, at)
        assert example.positions is not None
        starts = [*np.flatnonzero(example.positions == 0), len(example.tokens)]
        for start, end in pairwise(starts):
            piece = torch.from_numpy(example.tokens[start:end])[None]
            with torch.no_grad():
                logits = base(input_ids=piece).logits[0]
            total += float(torch.nn.functional.cross_entropy(logits[:-1], piece[0, 1:], reduction="sum"))
            count += int(end - start - 1)
    first = json.loads((straight / "training.json").read_text())["record"][0]
    assert first["loss_tokens"] == count
    assert first["loss"] == pytest.approx(total / count, rel=1e-5)


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    straight: Path, model: Path, shard: Path, tmp_path: Path
) -> None:
    work, output = tmp_path / "work", tmp_path / "model"
    config = {"midtrain": MIDTRAIN}
    killed = train("midtrain", shard, output, model, work, config, before=KILL_IN_CHECKPOINT)
    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    assert (work / "checkpoints" / "checkpoint-2" / "complete").exists()
    torn = work / "checkpoints" / "checkpoint-4"
    assert torn.exists()
    assert not (torn / "complete").exists()
    done = train("midtrain", shard, output, model, work, config)
    assert done.returncode == 0, done.stderr
    assert "goes on from checkpoint-2" in done.stderr
    assert file_digest(output) == file_digest(straight)
    assert not work.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.prov.json"]


def test_a_signal_leaves_a_whole_checkpoint_of_its_step(
    straight: Path, model: Path, shard: Path, tmp_path: Path
) -> None:
    work, output = tmp_path / "work", tmp_path / "model"
    # settings of the machine may change between the two: they are no part of the run
    config = {"midtrain": {**MIDTRAIN, "save_steps": 100}}
    stopped = train("midtrain", shard, output, model, work, config, before=SIGNAL_AFTER_STEP_3)
    assert stopped.returncode == 1
    assert stopped.stderr.splitlines()[-1].startswith(f"error: {work}: midtrain: stopped by a signal")
    assert not output.exists()
    assert [path.name for path in work.glob("checkpoints/*/complete")] == ["complete"]
    assert (work / "checkpoints" / "checkpoint-4" / "complete").exists()  # the signal came after step 3 was looked at
    done = train("midtrain", shard, output, model, work, {"midtrain": MIDTRAIN})
    assert done.returncode == 0, done.stderr
    assert "goes on from checkpoint-4" in done.stderr
    assert file_digest(output) == file_digest(straight)


def test_a_diverging_run_publishes_nothing_and_keeps_its_last_good_checkpoint(
    model: Path, shard: Path, tmp_path: Path
) -> None:
    rate = {"learning_rate": 1e30, "warmup_steps": 2, "clip": 1e9}
    config = {"midtrain": {**MIDTRAIN, "save_steps": 1, "optimizer": rate}}
    done = train("midtrain", shard, tmp_path / "model", model, tmp_path / "work", config)
    assert done.returncode == 1
    assert "training diverged at step 3: the norm of the gradient is nan" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "model").exists()
    # The second step wrote the weights that gave the loss of the third; the first one's are still good.
    left = sorted(path.name for path in (tmp_path / "work" / "checkpoints").iterdir())
    assert left == ["checkpoint-1"]


@pytest.mark.slow
def test_a_signal_stops_all_processes(model: Path, shard: Path, tmp_path: Path) -> None:
    settings = {**MIDTRAIN, "micro_batch": 1, "processes": 2, "max_steps": 5000, "epochs": 9999}
    command, environment = command_of(
        "midtrain", shard, tmp_path / "model", model, tmp_path / "work", {"midtrain": settings}
    )
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("training:"):
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert process.returncode == 1, rest
    assert "stopped by a signal after a whole checkpoint" in rest.splitlines()[-1]
    newest = max((tmp_path / "work" / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    assert (newest / "complete").exists()


def test_fine_tuning_counts_what_follows_the_prompt(straight: Path, tmp_path: Path) -> None:
    prompts = [example_prompt("a.py", "", f"Do {number}.") for number in range(9)]
    diffs = [[f"@@ -{line},0 +{line + 1} @@\n+x = {number}" for line in range(number)] for number in range(9)]
    rows = [(prompt, example_completion(prompt, steps)) for prompt, steps in zip(prompts, diffs, strict=True)]
    faulty = [("a", "b"), ("same", "same"), (prompts[0], prompts[0] + "word " * 200)]
    data = write_examples(tmp_path / "rows.parquet", [*rows, *faulty])
    settings = {"sequence_length": 200, "batch": 2, "max_steps": None, "epochs": 2}
    done = train("sft", data, tmp_path / "model", straight, tmp_path / "work", {"sft": settings})
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    encoder = Encoder(Vocabulary.read(straight), sequence_length=200)
    encoded = [row for row in (encoder.encode(*pair) for pair in rows) if isinstance(row, Encoded)]
    cut = [row for row in encoded if row.left_out]
    assert 0 < len(cut) < len(encoded) == 9
    assert record["rows"]["dropped"] == {"no_answer": 1, "prompt_mismatch": 1, "too_long": 1}
    assert [(row["id"], row["reason"]) for row in record["dropped"]] == [
        ("row9", "prompt_mismatch"),
        ("row10", "no_answer"),
        ("row11", "too_long"),
    ]
    packing = record["packing"]
    tokens = sum(len(row.tokens) for row in encoded)
    assert (packing["packing"], packing["tokens"], packing["torn"], packing["behind_tear"]) == (
        "best_fit",
        tokens,
        0,
        0,
    )
    assert (packing["cut"], packing["left_out"]) == (len(cut), sum(row.left_out for row in cut))
    assert packing["sequences"] < len(encoded)
    assert record["tokens"] == 2 * tokens
    assert record["loss_tokens"] == 2 * sum(len(row.tokens) - row.loss_from for row in encoded)
    assert record["steps"] == packing["sequences"]  # two epochs in twos
    assert record["machine"]["save_steps"] == 500
    assert (tmp_path / "model" / "tokenizer.json").exists()


@pytest.mark.slow
def test_processes_share_the_same_steps(straight: Path, model: Path, shard: Path, tmp_path: Path) -> None:
    config = {"midtrain": {**MIDTRAIN, "micro_batch": 1, "processes": 2, "zero_stage": 3}}
    done = train("midtrain", shard, tmp_path / "model", model, tmp_path / "work", config)
    assert done.returncode == 0, done.stderr
    alone, shared = (
        json.loads((folder / "training.json").read_text())["record"] for folder in (straight, tmp_path / "model")
    )
    assert [step["loss"] for step in shared] == pytest.approx([step["loss"] for step in alone], rel=1e-4)
    assert [step["grad_norm"] for step in shared] == pytest.approx([step["grad_norm"] for step in alone], rel=1e-3)
    assert [step["loss_tokens"] for step in shared] == [step["loss_tokens"] for step in alone]
    assert (tmp_path / "model" / "model.safetensors").stat().st_size == (straight / "model.safetensors").stat().st_size
    assert not list((tmp_path / "extensions").rglob("*"))


@pytest.mark.slow
def test_bfloat16_learns_and_is_written_as_such(straight: Path, model: Path, shard: Path, tmp_path: Path) -> None:
    config = {"midtrain": {**MIDTRAIN, "dtype": "bfloat16", "gradient_checkpointing": True}}
    done = train("midtrain", shard, tmp_path / "model", model, tmp_path / "work", config)
    assert done.returncode == 0, done.stderr
    exact, rough = (
        json.loads((folder / "training.json").read_text())["record"] for folder in (straight, tmp_path / "model")
    )
    assert [step["loss"] for step in rough] == pytest.approx([step["loss"] for step in exact], rel=0.01)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.slow
def test_a_failing_process_ends_the_stage_with_one_line(model: Path, shard: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    settings = {**MIDTRAIN, "micro_batch": 1, "processes": 2}
    done = train("midtrain", shard, tmp_path / "model", broken, tmp_path / "work", {"midtrain": settings})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: midtrain: a training process ended with")
    assert not (tmp_path / "model").exists()


# --- before any process starts ------------------------------------------------------------------


def test_tokens_of_another_tokenizer_are_refused(model: Path, shard: Path, tmp_path: Path) -> None:
    other = tmp_path / "shard.npy"
    for suffix in (".npy", ".csv.gz"):
        other.with_suffix(suffix).write_bytes(shard.with_suffix(suffix).read_bytes())
    notes = json.loads(shard.with_suffix(".json").read_bytes())
    other.with_suffix(".json").write_text(json.dumps(notes | {"tokenizer_sha256": "0" * 64}))
    with pytest.raises(InputError, match="another tokenizer"):
        midtrain.run(DEMO, [other], tmp_path / "model", model=str(model), work=tmp_path / "work")


def test_sequences_longer_than_the_model_takes_are_refused(model: Path, shard: Path, tmp_path: Path) -> None:
    config = parse_config({"midtrain": {"sequence_length": 513}})
    with pytest.raises(ConfigError, match="the model takes 512 tokens"):
        midtrain.run(config, [shard], tmp_path / "model", model=str(model), work=tmp_path / "work")


def test_weights_that_cannot_be_read_are_named(model: Path, shard: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    done = train("midtrain", shard, tmp_path / "model", broken, tmp_path / "work", {"midtrain": MIDTRAIN})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {broken}: the weights cannot be read")
    assert "Traceback" not in done.stderr


def test_no_row_left_is_an_error_that_says_why(model: Path, tmp_path: Path) -> None:
    data = write_examples(tmp_path / "rows.parquet", [("a", "b"), ("same", "same")])
    with pytest.raises(InputError, match=r"no row left .*prompt_mismatch"):
        sft.run(DEMO, [data], tmp_path / "model", model=str(model), work=tmp_path / "work")


def test_a_missing_model_or_shard_is_one_line(model: Path, shard: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="download it first"):
        midtrain.run(DEMO, [shard], tmp_path / "model", model="nobody/nothing", work=tmp_path / "work")
    with pytest.raises(D3Error, match="no such file"):
        midtrain.run(DEMO, [tmp_path / "no.npy"], tmp_path / "model", model=str(model), work=tmp_path / "work")


def test_a_work_folder_has_one_master(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(checkpoints.time, "sleep", lambda _: None)
    with checkpoints.locked(tmp_path / "work"):
        with pytest.raises(ToolError, match="another process trains here"), checkpoints.locked(tmp_path / "work"):
            pass
        assert (tmp_path / "work").exists()
    assert not (tmp_path / "work").exists()
