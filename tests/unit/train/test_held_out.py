"""Rows whose files are held out: never trained on, and their loss measured."""

import csv
import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d3.config.load import parse_config
from d3.config.training import Midtrain
from d3.core.ids import content_id, file_digest
from d3.core.splits import is_held_out
from d3.core.tokenizer_file import Vocabulary
from d3.errors import InputError
from d3.train import midtrain
from d3.train.held_out import DocumentLoss, document_losses, mean_loss
from d3.train.plan import Plan
from d3.train.token_shards import TokenShards, held_out_documents
from helpers.paths import ROOT
from helpers.tiny_models import make_model

pytestmark = pytest.mark.model

HELD_OUT = [2, 3, 7]
"""Lines of the documents that are held out."""
TRAIN = """
import json, sys
from pathlib import Path
from d3.config.load import parse_config
from d3.train import midtrain
data, folder, model, config, metrics = sys.argv[1:]
midtrain.run(
    parse_config(json.loads(config)), [Path(data)], Path(folder, "model"), model=model, work=Path(folder, "work"),
    metrics=Path(metrics) if metrics else None,
)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def write_shard(path: Path, model: Path, held_out: list[int]) -> Path:
    """Write twelve documents of 20 to 31 tokens; every token of document n is n."""
    documents = [[number] * (18 + number) + [2] for number in range(11, 23)]
    np.array([token for document in documents for token in document], np.uint16).tofile(path)
    with gzip.open(path.with_suffix(".csv.gz"), "wt", newline="") as file:
        at = 0
        for line, document in enumerate(documents, start=1):
            csv.writer(file).writerow((at, at + len(document), content_id(f"text {line}"), "x", line))
            at += len(document)
    notes = {"documents": len(documents), "tokens": at, "dtype": "uint16", "sha256": file_digest(path)}
    notes |= {"tokenizer_sha256": Vocabulary.read(model).sha256}
    path.with_suffix(".json").write_text(json.dumps(notes | ({"held_out": held_out} if held_out else {})))
    return path


def test_a_file_keeps_its_side_and_a_larger_share_holds_out_more() -> None:
    small, large = ({n for n in range(4000) if is_held_out(n, share)} for share in (0.1, 0.3))
    assert small < large
    assert len(small) == pytest.approx(400, abs=60)
    assert len(large) == pytest.approx(1200, abs=100)
    assert not any(is_held_out(n, 0.0) for n in range(4000))


def test_what_is_held_out_is_in_no_sequence(model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    found: list[Any] = []
    monkeypatch.setattr(midtrain, "train_model", lambda *arguments: found.append(arguments))
    shard = write_shard(tmp_path / "shard.npy", model, HELD_OUT)
    for packing in ("best_fit", "wrap"):
        config = parse_config({"midtrain": {"sequence_length": 64, "packing": packing}})
        midtrain.run(config, [shard], tmp_path / "model", model=str(model), work=tmp_path / "work")
        job, plan, _, sequences, counts, *_ = found.pop()
        assert (job.read, job.kept, dict(job.dropped)) == (12, 9, {"held_out": 3})
        assert counts == {"cut": 0, "left_out": 0}
        tokens = {int(token) for at in range(len(sequences)) for token in sequences.example(0, at).tokens}
        assert tokens == {*range(11, 23), 2} - {10 + line for line in HELD_OUT}
        assert plan.digests != [json.loads(shard.with_suffix(".json").read_bytes())["sha256"]]
    documents = held_out_documents(TokenShards([shard]), limit=1000)
    assert sorted(int(document[0]) for document in documents) == [10 + line for line in HELD_OUT]
    assert [len(document) for document in held_out_documents(TokenShards([shard]), limit=10, most=2)] == [10, 10]
    assert midtrain.held_out(Plan(stage="midtrain", settings={}, seed=0, eos_id=2, decay_embeddings=False,
                                  data=[str(shard)], digests=[]), Midtrain()) == []  # fmt: skip


def test_all_documents_held_out_is_an_error(model: Path, tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "shard.npy", model, list(range(1, 13)))
    with pytest.raises(InputError, match=r"no document is left to train on; lower tokens.held_out"):
        midtrain.run(
            parse_config({"midtrain": {"sequence_length": 64}}),
            [shard],
            tmp_path / "model",
            model=str(model),
            work=tmp_path / "work",
        )


def test_a_loss_is_the_sum_over_the_tokens_of_its_document(model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model).eval()
    documents = [np.array([5, 9, 300, 2]), np.array([7, 8])]
    losses = document_losses(loaded, documents, "cpu")
    assert [loss.tokens for loss in losses] == [3, 1]
    for document, loss in zip(documents, losses, strict=True):
        ids = torch.from_numpy(document)[None]
        with torch.no_grad():
            mean = float(loaded(input_ids=ids, labels=ids).loss)
        assert loss.nats == pytest.approx(mean * loss.tokens, rel=1e-5)


def test_the_interval_is_that_of_documents_not_of_tokens() -> None:
    same = [DocumentLoss(20.0, 10)] * 50
    assert mean_loss(same) == {"loss": 2.0, "low": 2.0, "high": 2.0, "documents": 50, "tokens": 500}
    assert mean_loss([DocumentLoss(20.0, 10)]) == {"loss": 2.0, "low": None, "high": None, "documents": 1, "tokens": 10}
    assert mean_loss([])["loss"] is None
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        lengths = draw.integers(5, 200, 60)
        means = draw.normal(2.0, 0.5, 60)
        found = mean_loss([DocumentLoss(m * n, int(n)) for m, n in zip(means, lengths, strict=True)])
        assert isinstance(found["low"], float)
        assert isinstance(found["high"], float)
        covered += found["low"] <= 2.0 <= found["high"]
    assert 0.91 <= covered / 400 <= 0.98  # with tokens as the unit, a tenth of the width, it is below 0.4


@pytest.mark.slow
def test_measuring_changes_no_weight_and_is_in_the_metrics(model: Path, tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "shard.npy", model, HELD_OUT)
    settings = {"sequence_length": 64, "batch": 2, "max_steps": 5, "optimizer": {"learning_rate": 1e-2}, "epochs": 9}
    metrics = tmp_path / "logs" / "m.metrics.jsonl"
    for name, more, path in (("plain", {}, ""), ("measured", {"held_out_steps": 2}, str(metrics))):
        words = [str(shard), str(tmp_path / name), str(model), json.dumps({"midtrain": settings | more}), path]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", TRAIN, *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert file_digest(tmp_path / "plain" / "model") == file_digest(tmp_path / "measured" / "model")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4, 5]
    measured = {line["step"]: line["held_out_loss"] for line in lines if "held_out_loss" in line}
    assert list(measured) == [0, 2, 4, 5]
    from transformers import AutoModelForCausalLM

    documents = held_out_documents(TokenShards([shard]), limit=64)
    for step, folder in ((0, model), (5, tmp_path / "measured" / "model")):
        losses = document_losses(AutoModelForCausalLM.from_pretrained(folder), documents, "cpu")
        mean = math.fsum(loss.nats for loss in losses) / sum(loss.tokens for loss in losses)
        assert measured[step] == pytest.approx(mean, rel=1e-4)
    assert len(list((metrics.parent / "tensorboard" / "m").glob("events.out.tfevents.*"))) == 1
