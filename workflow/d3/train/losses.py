"""The loss of held-out rows before and after every training: what the models learned of the dataset.

Mid-training and fine-tuning of an arm begin with the base model or the mid-trained one. All are measured on the same
documents, whose source files no training has seen (`tokens.held_out`), so differences are paired by document.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from d3.config.models import Config
from d3.core.progress import Progress
from d3.core.tokenizer_file import Vocabulary
from d3.errors import ConfigError, InputError
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job
from d3.train.held_out import DocumentLoss, document_losses, mean_loss
from d3.train.load_model import add_tokens, load_model
from d3.train.run import model_folder, new_rows
from d3.train.token_shards import TokenShards, held_out_documents

BASE, MIDTRAINED = "base", "midtrain"
"""Names of the models that are no arm's."""


def run(
    config: Config,
    tokens: Sequence[Path],
    out: Path,
    *,
    model: str,
    midtrained: Path | None = None,
    trained: Mapping[str, Path],
) -> None:
    """Measure the loss of held-out dataset rows before and after every training.

    `tokens` are the memory maps NAME.npy of the tokens stage, `model` the base model, `midtrained` the mid-trained
    one, `trained` the model of every arm. Write JSON: `held_out` counts the documents, `models` has the loss in nats a
    token of each model with a 95 % interval, `differences` compares each training with what it began with and the
    arms with each other, `documents` has the sums by document. Raise InputError if nothing is held out or a model
    has another tokenizer.

    Example: d3 losses --tokens tokens.npy --model MODEL --midtrained models/midtrain --trained d3=models/d3
        --out losses.json
    """
    if unknown := sorted(set(trained) - set(config.arms)):
        remedy = f"name arms of the configuration: {', '.join(config.arms)}"
        raise ConfigError("no such arm", where=unknown[0], remedy=remedy)
    settings = config.midtrain
    base = model_folder(config, model)
    folders = {BASE: base, **({MIDTRAINED: midtrained} if midtrained else {}), **trained}
    with Job("losses", config=config) as job:
        for shard in tokens:
            for path in (shard, shard.with_suffix(".csv.gz"), shard.with_suffix(".json")):
                job.input(path)
        for folder in folders.values():
            job.input(folder)
        result = job.file(out)
        shards = TokenShards(tokens)
        held_out = int(shards.held_out.sum())
        documents = held_out_documents(shards, limit=settings.sequence_length)
        if not documents:
            remedy = "raise tokens.held_out, or set it to 0 to measure nothing"
            raise InputError("no document is held out", where=", ".join(map(str, tokens)), remedy=remedy)
        vocabularies = {name: Vocabulary.read(folder, config.tokens.added) for name, folder in folders.items()}
        for name, folder in folders.items():
            _check_tokenizer(tokens, folder, vocabularies[name])
        job.read = len(shards.names)
        job.drop("not_held_out", job.read - held_out)
        if held_out > len(documents):
            job.drop("not_sampled", held_out - len(documents))
        job.keep(len(documents))
        new = {name: new_rows(vocabulary) for name, vocabulary in vocabularies.items()}
        losses = _measure(folders, new, documents, settings.dtype)
        whole = [int(shards.whole[row]) for row in shards.held_out.nonzero()[0]]
        found = {
            "held_out": {
                "share": config.tokens.held_out,
                "documents": held_out,
                "measured": len(documents),
                "longer_than_a_sequence": sum(tokens > settings.sequence_length for tokens in whole),
            },
            "models": [{"model": name, **mean_loss(each)} for name, each in losses.items()],
            "differences": list(differences(config, losses)),
            "documents": [
                {"tokens": each[0].tokens, "nats": dict(zip(losses, (loss.nats for loss in each), strict=True))}
                for each in zip(*losses.values(), strict=True)
            ],
        }
        result.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _check_tokenizer(tokens: Sequence[Path], folder: Path, vocabulary: Vocabulary) -> None:
    """Raise InputError if a model has another tokenizer than the shards."""
    for shard in tokens:
        if json.loads(shard.with_suffix(".json").read_bytes())["tokenizer_sha256"] != vocabulary.sha256:
            remedy = "give the models that were trained on these tokens"
            raise InputError(f"has another tokenizer than {shard}", where=str(folder), remedy=remedy)


def _measure(
    folders: Mapping[str, Path], new: Mapping[str, Mapping[str, list[int]]], documents: Sequence[Any], dtype: str
) -> dict[str, list[DocumentLoss]]:  # fmt: skip
    """Return the losses of the documents by model, one model in memory at a time."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    progress = Progress("held-out loss", len(folders), "models")
    found = {}
    for name, folder in folders.items():
        model = load_model(str(folder), dtype, "sdpa")
        add_tokens(model, {int(token): rows for token, rows in new[name].items()})  # of the base model
        model = model.to(device).eval()
        found[name] = document_losses(model, documents, device)
        del model
        progress.advance()
    progress.close()
    return found


def differences(config: Config, losses: Mapping[str, Sequence[DocumentLoss]]) -> Iterator[dict[str, Any]]:
    """Yield how the loss of each model differs from that of what it began with, then how arms differ."""
    arms = [name for name in losses if name not in (BASE, MIDTRAINED)]
    pairs = [(BASE, MIDTRAINED)] if MIDTRAINED in losses else []
    pairs += [(MIDTRAINED if config.arms[arm].midtrain and MIDTRAINED in losses else BASE, arm) for arm in arms]
    pairs += [(one, other) for at, one in enumerate(arms) for other in arms[at + 1 :]]
    for one, other in pairs:
        both = zip(losses[one], losses[other], strict=True)
        found = mean_loss([DocumentLoss(after.nats - before.nats, after.tokens) for before, after in both])
        yield {"one": one, "other": other, "difference": found["loss"], "low": found["low"], "high": found["high"]}


def check(job: FinishedJob) -> Faults:
    """Add up the losses of the documents again."""
    found = json.loads(job.path().read_bytes())
    for row in found["models"]:
        each = [DocumentLoss(item["nats"][row["model"]], item["tokens"]) for item in found["documents"]]
        if {"model": row["model"], **mean_loss(each)} != row:
            yield job.name(), f"the loss of {row['model']} is not what its documents come to"
    if len(found["documents"]) != job.counts["kept"]:
        yield job.name(), "counts other documents than the statement"
