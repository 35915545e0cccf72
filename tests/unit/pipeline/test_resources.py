"""What jobs ask of a cluster follows the configuration."""

from pathlib import Path

import pytest

from d3.config.load import load_config, parse_config
from d3.pipeline.pipeline import Chain
from d3.pipeline.resources import needs, weights_mb
from helpers.paths import ROOT


def paper() -> Chain:
    return Chain(load_config(ROOT / "config" / "d3.yaml"))


@pytest.mark.parametrize("count", [1, 2, 8])
def test_gpus_follow_what_decides_the_result(count: int) -> None:
    engine = {"kind": "vllm", "tensor_parallel": count}
    chain = Chain(parse_config({"grades": {"engine": engine}, "midtrain": {"processes": count, "batch": 8}}))
    assert needs(chain, "grades").gpus == needs(chain, "midtrain").gpus == count
    assert needs(chain, "corpus").gpus == needs(chain, "diffs").gpus == 0


def test_memory_follows_the_size_of_the_model() -> None:
    chain = paper()
    assert needs(chain, "grades").memory_mb > 140_000 > needs(chain, "generate").memory_mb


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", 140_000),
        ("meta-llama/Llama-3.2-1B", 2_000),
        ("HuggingFaceTB/SmolLM2-135M", 270),
        ("Qwen/Qwen2.5-0.5B", 1_000),
        ("someone/without-a-size", 4_000),
    ],
)
def test_a_name_tells_the_size(name: str, expected: int) -> None:
    assert weights_mb(paper(), name, "a" * 40) == expected


def test_a_folder_is_measured(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(7_000_000))
    assert weights_mb(paper(), str(tmp_path), None) == 7


def test_modes_without_a_model_need_no_gpu() -> None:
    chain = Chain(parse_config({"grades": {"mode": "none"}, "labels": {"mode": "constant"}}))
    assert needs(chain, "grades").gpus == needs(chain, "labels").gpus == 0
    served = {"kind": "openai", "served_model": "x", "model": "a/b-7B", "revision": "a" * 40}
    assert needs(Chain(parse_config({"labels": {"engine": served}})), "labels").gpus == 0


def test_a_second_attempt_gets_more() -> None:
    found = needs(paper(), "diffs").of_rule()
    assert found["mem_mb"](None, threads=8, attempt=2) == 2 * found["mem_mb"](None, threads=8, attempt=1) == 20_000
    assert found["runtime"](None, attempt=3) == 2 * found["runtime"](None, attempt=1)
    assert "gres" not in found
