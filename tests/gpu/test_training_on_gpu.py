"""Training on one CUDA device: bfloat16, ZeRO 2 and 3, attention, memory against the estimate, speed.

Skipped without a GPU; nothing stands in for one. `make gpu-check` runs these tests and prints their figures.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d3.config.training import Sft
from d3.core import schemas
from d3.core.example_format import example_completion, example_prompt
from d3.operate.training_memory import estimate
from d3.train.load_model import attention_of
from helpers.corpus_tables import write_rows
from helpers.paths import ROOT
from helpers.tiny_models import make_tokenizer

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.model,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

HIDDEN, LAYERS, LENGTH, VOCABULARY = 1024, 12, 1024, 32_000
TRAIN = """
import json, sys
from pathlib import Path
from d3.config.load import parse_config
from d3.train import sft
data, folder, model, config = sys.argv[1:]
sft.run(
    parse_config(json.loads(config)), [Path(data)], Path(folder, "model"), model=model, work=Path(folder, "work"),
    metrics=Path(folder, "m.metrics.jsonl"),
)
"""
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12}
"""Dense bfloat16 operations a second by the data sheets; without its card a run prints no MFU."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random Llama with some 200 million parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = make_tokenizer(tmp_path_factory.mktemp("model"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=16,
        num_key_value_heads=16,
        max_position_embeddings=LENGTH,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = []
    for number in range(400):
        prompt = example_prompt("a.py", "", f"Do {number}.")
        diffs = [f"@@ -{line},0 +{line + 1} @@\n+x_{number} = {number * line}" for line in range(number % 12 + 1)]
        completion = example_completion(prompt, diffs)
        rows.append({"id": f"r{number}", "sample": 0, "prompt": prompt, "completion": completion})
    return write_rows(tmp_path_factory.mktemp("data") / "rows.parquet", schemas.SFT, rows)


def settings(**changes: Any) -> dict[str, Any]:
    values = {"sequence_length": LENGTH, "batch": 8, "micro_batch": 4, "max_steps": 8, "epochs": 9, "dtype": "bfloat16"}
    return values | {"optimizer": {"learning_rate": 3e-4, "warmup_steps": 1}} | changes


def train(data: Path, model: Path, folder: Path, **changes: Any) -> tuple[list[dict[str, Any]], float]:
    """Return the metrics of every step of a training in a process of its own, and its seconds."""
    words = [str(data), str(folder), str(model), json.dumps({"sft": settings(**changes)})]
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-c", TRAIN, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (folder / "m.metrics.jsonl").read_text().splitlines()]
    return lines, time.monotonic() - begin


@pytest.fixture(scope="module")
def reference(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the metrics of a training with ZeRO 2."""
    return train(data, model, tmp_path_factory.mktemp("zero2"), zero_stage=2)[0]


def test_bfloat16_learns_and_every_step_has_its_figures(reference: list[dict[str, Any]]) -> None:
    losses = [line["loss"] for line in reference]
    assert losses[-1] < losses[0] - 1
    for line in reference:
        assert line["grad_norm"] > 0
        assert line["gpu_memory_mb"] > 100
        assert line["tokens_per_second"] > 0


def test_zero_3_takes_the_same_steps(reference: list[dict[str, Any]], data: Path, model: Path, tmp_path: Path) -> None:
    lines, _ = train(data, model, tmp_path, zero_stage=3)
    assert [line["loss"] for line in lines] == pytest.approx([line["loss"] for line in reference], rel=0.02)
    assert [line["loss_tokens"] for line in lines] == [line["loss_tokens"] for line in reference]


def test_recomputed_activations_take_less_memory(
    reference: list[dict[str, Any]], data: Path, model: Path, tmp_path: Path
) -> None:
    lines, _ = train(data, model, tmp_path, gradient_checkpointing=True)
    assert lines[-1]["gpu_memory_mb"] < reference[-1]["gpu_memory_mb"]
    assert lines[-1]["loss"] == pytest.approx(reference[-1]["loss"], rel=0.02)


def test_packed_rows_do_not_see_each_other_with_the_attention_of_this_device(model: Path) -> None:
    """Logits of two rows in one sequence are those of each alone; with one text for both they are not."""
    from d3.train.load_model import load_model

    loaded = load_model(str(model), "bfloat16").cuda().eval()
    wanted = attention_of("auto", "bfloat16", torch.cuda.get_device_capability())
    assert loaded.config._attn_implementation == wanted
    print(f"attention: {wanted}")
    draw = np.random.default_rng(0)
    rows = [torch.from_numpy(draw.integers(3, 500, size)).cuda() for size in (40, 50)]
    packed = torch.cat(rows)[None]
    places = torch.cat([torch.arange(len(row)) for row in rows])[None].cuda()
    with torch.no_grad():
        together = loaded(input_ids=packed, position_ids=places, use_cache=False).logits[0, 40:].float()
        alone = loaded(input_ids=rows[1][None], use_cache=False).logits[0].float()
        joined = loaded(input_ids=packed, use_cache=False).logits[0, 40:].float()
    near, far = float((together - alone).abs().max()), float((joined - alone).abs().max())
    assert near < far / 4


def test_peak_memory_is_near_the_estimate(reference: list[dict[str, Any]], model: Path) -> None:
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", "pt") as file:
        parameters = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
    found = estimate(
        Sft.model_validate(settings()),
        "sft",
        parameters=parameters,
        hidden=HIDDEN,
        layers=LAYERS,
        vocabulary=VOCABULARY,
    )
    peak = reference[-1]["gpu_memory_mb"] * 2**20
    print(f"{torch.cuda.get_device_name()}: peak {peak / 1e9:.2f} GB, estimate {found.each_gpu / 1e9:.2f} GB")
    assert 0.5 * peak < found.each_gpu < 2 * peak


def test_speed_is_printed(reference: list[dict[str, Any]], model: Path) -> None:
    """Tokens a second and, for a known card, the share of its peak; a model this small reaches little."""
    name = torch.cuda.get_device_name()
    speed = float(np.median([line["tokens_per_second"] for line in reference[2:]]))
    parameters = (model / "model.safetensors").stat().st_size / 4
    peak = next((flops for card, flops in PEAK_FLOPS.items() if card in name), None)
    used = f", MFU {6 * parameters * speed / peak:.1%}" if peak else ""
    print(f"{name}: {speed:,.0f} tokens/s{used}")
    assert speed > 0
