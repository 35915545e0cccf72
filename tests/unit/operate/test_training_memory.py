"""Memory of the GPUs and room for checkpoints, worked out by hand for one model."""

from pathlib import Path
from typing import Any

import pytest

from d3.config.load import parse_config
from d3.config.training import Midtrain
from d3.operate.plan import plan
from d3.operate.plan_table import plan_table
from d3.operate.training_memory import estimate
from d3.pipeline.pipeline import Chain

LLAMA_8B: dict[str, Any] = {"parameters": 8e9, "hidden": 4096, "layers": 32, "vocabulary": 128_256}


def settings(**changes: Any) -> Midtrain:
    values = {"dtype": "bfloat16", "processes": 8, "micro_batch": 1, "batch": 8, "sequence_length": 8192}
    return Midtrain.model_validate(values | changes)


@pytest.mark.parametrize(
    ("zero", "weights", "gradients", "states"), [(1, 16e9, 32e9, 12e9), (2, 16e9, 4e9, 12e9), (3, 2e9, 4e9, 12e9)]
)
def test_each_stage_shares_what_it_is_named_for(zero: int, weights: float, gradients: float, states: float) -> None:
    found = estimate(settings(zero_stage=zero), "midtrain", **LLAMA_8B)
    assert (found.weights, found.gradients, found.states) == (weights, gradients, states)
    assert found.activations == 32 * 34 * 8192 * 4096
    assert found.logits == 8192 * 128_256 * 10
    assert found.checkpoint == 8e9 * 14
    assert found.each_gpu == weights + gradients + states + found.activations + found.logits + 4e8


def test_a_chunked_loss_bounds_the_logits() -> None:
    whole, chunked = (estimate(settings(loss_chunk=chunk), "midtrain", **LLAMA_8B) for chunk in (None, 1024))
    assert (whole.logits, chunked.logits) == (8192 * 128_256 * 10, 1024 * 128_256 * 10)
    assert whole.each_gpu - chunked.each_gpu == whole.logits - chunked.logits
    assert estimate(settings(loss_chunk=10**6), "midtrain", **LLAMA_8B).logits == whole.logits


def test_recomputed_activations_and_one_process_in_float32() -> None:
    found = estimate(settings(gradient_checkpointing=True), "midtrain", **LLAMA_8B)
    assert found.activations == (32 * 2 + 34) * 8192 * 4096
    alone = estimate(settings(processes=1, batch=1, dtype="float32", zero_stage=3), "midtrain", **LLAMA_8B)
    assert (alone.weights, alone.gradients, alone.states, alone.buckets) == (32e9, 32e9, 64e9, 0)
    assert alone.activations == 2 * 32 * 34 * 8192 * 4096


def test_the_plan_names_memory_and_disk_and_says_when_it_is_short(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    large = {"path": "somebody/large-70B", "revision": "a" * 40}
    found = plan(Chain(parse_config({"model": large, "midtrain": {"processes": 8, "batch": 8, "dtype": "bfloat16"}})))
    by_stage = {memory.stage: memory for memory in found.trainings}
    assert list(by_stage) == ["midtrain", "sft"]
    assert by_stage["midtrain"].states == pytest.approx(70e9 * 12 / 8)
    text = plan_table(found)
    assert "midtrain: " in text
    assert "on each GPU (weights 140 GB" in text
    assert found.plain()["trainings"][0]["checkpoints"] == pytest.approx(3 * 14 * 70e9)
    assert ("too little disk" in text) == (by_stage["midtrain"].free_disk < 3 * 14 * 70e9)
    small = plan_table(plan(Chain(parse_config({}))))
    assert "on the GPU (or host) (weights 538 MB" in small
    assert "too little disk" not in small
