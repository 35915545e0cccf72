"""Training on two processes that share gradients (ZeRO 2) and weights (ZeRO 3)."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from d3.core.example_format import example_completion, example_prompt
from d3.core.ids import file_digest
from helpers.tiny_models import make_model
from helpers.training_process import command_of, write_examples

pytestmark = [pytest.mark.model, pytest.mark.slow]

PATCH_WORKER = """
import os
if os.environ.get("RANK") == "0":
    import signal
    from d3.train import trainer
    mark = trainer.mark_complete
    def mark_or_die(path):
        if path.name == "checkpoint-4":
            os.kill(os.getpid(), signal.SIGKILL)
        mark(path)
    trainer.mark_complete = mark_or_die
"""
"""Python runs `sitecustomize` before anything else, in the processes of torchrun too."""
SFT = {
    "sequence_length": 200,
    "batch": 2,
    "epochs": 2,
    "save_steps": 2,
    "processes": 2,
    "optimizer": {"learning_rate": 1e-2},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = []
    for number in range(16):
        prompt = example_prompt("a.py", "", f"Do {number}.")
        rows.append((prompt, example_completion(prompt, [f"@@ -0,0 +1 @@\n+x = {number} ** {number}"])))
    return write_examples(tmp_path_factory.mktemp("rows") / "rows.parquet", rows)


def tune(
    examples: Path, model: Path, folder: Path, *, before: str = "", **changes: Any
) -> "subprocess.CompletedProcess[str]":
    """Fine-tune; `before` runs first in every process of Python."""
    command, environment = command_of("sft", examples, folder / "model", model, folder / "work", {"sft": SFT | changes})
    (folder / "site").mkdir(parents=True, exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(before)
    search = os.pathsep.join([environment["PYTHONPATH"], str(folder / "site")])
    return subprocess.run(
        command, env=environment | {"PYTHONPATH": search}, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("zero", [2, 3])
def test_a_kill_while_a_checkpoint_is_written_changes_no_byte(
    model: Path, examples: Path, tmp_path: Path, zero: int
) -> None:
    straight = tune(examples, model, tmp_path / "straight", zero_stage=zero)
    assert straight.returncode == 0, straight.stderr
    folder = tmp_path / "killed"
    killed = tune(examples, model, folder, zero_stage=zero, before=PATCH_WORKER)
    assert killed.returncode == 1
    assert "a training process ended with" in killed.stderr.splitlines()[-1]
    assert not (folder / "model").exists()
    torn = folder / "work" / "checkpoints" / "checkpoint-4"
    assert torn.exists()
    assert not (torn / "complete").exists()
    done = tune(examples, model, folder, zero_stage=zero)
    assert done.returncode == 0, done.stderr
    assert "goes on from checkpoint-2" in done.stderr
    assert file_digest(folder / "model") == file_digest(tmp_path / "straight" / "model")


def test_chunks_of_the_loss_change_no_loss(model: Path, examples: Path, tmp_path: Path) -> None:
    """Under ZeRO 3 the processes gather the last layer for every chunk, in batches of different widths too."""
    records = []
    for chunk in (None, 30):
        folder = tmp_path / str(chunk)
        done = tune(examples, model, folder, zero_stage=3, packing="none", loss_chunk=chunk)
        assert done.returncode == 0, done.stderr
        records.append(json.loads((folder / "model" / "training.json").read_text())["record"])
    whole, chunked = records
    for name in ("loss", "grad_norm"):
        assert [step[name] for step in chunked] == pytest.approx([step[name] for step in whole], rel=1e-4)
