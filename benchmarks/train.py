"""A training step of ours and of a bare PyTorch loop: CPU-seconds, memory, and whether the losses are the same.

    .venv/bin/python benchmarks/train.py --model FOLDER [--lengths 64 512] [--batch 2] [--steps 8]

Both get the same sequences of the standard library's source, the same AdamW, clipping and attention; each runs in a
process of its own, one after the other. CPU seconds are user and system time of a step, the mean after the first two;
memory is the largest resident set of the whole process.
"""

import argparse
import csv
import gzip
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

RATE = 1e-4
FORGOTTEN = 2
"""First steps, which also load and warm up."""


def main() -> None:
    """Measure both at every length and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--only", choices=["ours", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measured = {"ours": ours, "bare": bare}[options.only](options)
        print(json.dumps(measured | {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = write_shard(Path(folder) / "shard.npy", options.model, options.batch * options.steps, options.lengths)
        print(f"{'batch':>9}  {'ours':>14}  {'bare':>14}  {'CPU-s':>6}  {'MB':>5}  losses")
        for length in options.lengths:
            one, two = (run(which, options, data, length) for which in ("ours", "bare"))
            same = np.allclose(one["losses"], two["losses"], rtol=1e-3)
            print(
                f"{options.batch:>3} x {length:<4}  {one['cpu']:>6.2f} s {one['mb']:>5}  {two['cpu']:>6.2f} s "
                f"{two['mb']:>5}  {one['cpu'] / two['cpu']:>6.2f}  {one['mb'] / two['mb']:>5.2f}  "
                f"{'equal' if same else 'differ'}",
                flush=True,
            )


def run(which: str, options: argparse.Namespace, data: Path, length: int) -> dict[str, Any]:
    """Measure one of the two in a process of its own."""
    command = [sys.executable, __file__, "--only", which, "--model", str(options.model), "--data", str(data)]
    command += ["--lengths", str(length), "--batch", str(options.batch), "--steps", str(options.steps)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def write_shard(path: Path, model: Path, sequences: int, lengths: list[int]) -> Path:
    """Write enough of the standard library as a token shard."""
    from d3.core.example_tokens import ExampleTokens
    from d3.core.ids import content_id, file_digest
    from d3.core.tokenizer_file import Vocabulary

    vocabulary, encoder = Vocabulary.read(model), ExampleTokens.of_model(model)
    documents: list[tuple[str, list[int]]] = []
    total = 0
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = file.read_text(encoding="utf-8").strip()[:2000]
        documents.append((content_id(text), [*encoder.example(text), vocabulary.eos_id]))
        total += len(documents[-1][1])
        if total > sequences * max(lengths):
            break
    np.array([token for _, document in documents for token in document], vocabulary.dtype).tofile(path)
    with gzip.open(path.with_suffix(".csv.gz"), "wt", newline="") as file_:
        at = 0
        for line, (name, document) in enumerate(documents, start=1):
            csv.writer(file_).writerow((at, at + len(document), name, "x", line))
            at += len(document)
    notes = {"documents": len(documents), "tokens": at, "dtype": vocabulary.dtype, "sha256": file_digest(path)}
    path.with_suffix(".json").write_text(json.dumps(notes | {"tokenizer_sha256": vocabulary.sha256}))
    return path


def section(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the run."""
    return {
        "sequence_length": options.lengths[0],
        "packing": "wrap",
        "batch": options.batch,
        "micro_batch": options.batch,
        "max_steps": options.steps,
        "optimizer": {"learning_rate": RATE, "final_ratio": 1.0},
    }


def cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def per_step(ticks: list[float]) -> float:
    """Return the mean CPU seconds of a step."""
    return float(np.mean(np.diff(ticks)[FORGOTTEN:]))


def ours(options: argparse.Namespace) -> dict[str, Any]:
    """Train with the stage."""
    from d3.config.load import parse_config
    from d3.train import midtrain, trainer

    ticks: list[float] = [cpu()]
    log = trainer.StageTrainer.log

    def log_and_tick(self: Any, logs: dict[str, float], *more: Any) -> None:
        log(self, logs, *more)
        if "loss" in logs:
            ticks.append(cpu())

    trainer.StageTrainer.log = log_and_tick  # type: ignore[method-assign,assignment]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        config = parse_config({"midtrain": section(options)})
        midtrain.run(config, [options.data], out, model=str(options.model), work=Path(folder) / "work")
        record = json.loads((out / "training.json").read_text())["record"]
    return {"cpu": per_step(ticks), "losses": [step["loss"] for step in record]}


def bare(options: argparse.Namespace) -> dict[str, Any]:
    """Train with a loop of a few lines."""
    import torch
    from transformers import AutoModelForCausalLM

    from d3.train.data import collate
    from d3.train.sequences import Sequences
    from d3.train.token_shards import TokenShards

    source = Sequences(TokenShards([options.data]), packing="wrap", limit=options.lengths[0], seed=0)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="sdpa")
    model.config.use_cache = False
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)
    ticks, losses = [cpu()], []
    for step in range(options.steps):
        examples = [source.example(0, step * options.batch + at) for at in range(options.batch)]
        batch = collate(examples, pad=0)
        loss = model(**batch, num_items_in_batch=int((batch["labels"][:, 1:] != -100).sum())).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        ticks.append(cpu())
    return {"cpu": per_step(ticks), "losses": losses}


if __name__ == "__main__":
    main()
