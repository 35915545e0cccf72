"""Mid-training: a language model learns from packed documents of the dataset."""

import json
from collections.abc import Sequence
from pathlib import Path

from d3.config.models import Config
from d3.config.training import Midtrain
from d3.core.example_tokens import ExampleTokens
from d3.core.ids import digest_of
from d3.core.tokenizer_file import Vocabulary
from d3.errors import InputError
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job
from d3.train.checkpoints import Resume, locked
from d3.train.data import Tokens
from d3.train.launch import Nodes, join
from d3.train.plan import Plan
from d3.train.run import check_base, check_trained, model_folder, new_rows, train_model
from d3.train.sequences import Sequences
from d3.train.token_shards import WHILE_TRAINING, TokenShards, held_out_documents


def run(
    config: Config,
    tokens: Sequence[Path],
    out: Path,
    *,
    model: str,
    work: Path,
    resume_anyway: bool = False,
    metrics: Path | None = None,
) -> None:
    """Mid-train a model on the tokens of the dataset.

    `tokens` are the memory maps NAME.npy of the tokens stage, `out` is the folder of the trained model.
    `model` is a folder, or a hub id that lies in the local cache. `work` holds checkpoints until the end;
    `resume_anyway` resumes from one that other code or libraries wrote. `metrics` is written while it runs. Raise a
    D3Error for data that do not fit the model or the configuration.

    Example: d3 midtrain --tokens tokens.npy --model MODEL --work work/midtrain --out model
    """
    settings = config.midtrain
    if (nodes := Nodes.here()).rank:
        return join(nodes, work, settings.processes, "midtrain")
    base = model_folder(config, model)
    with locked(work), Job("midtrain", config=config) as job:
        vocabulary = Vocabulary.read(base, config.tokens.added)
        check_base(base, settings, vocabulary)
        digests = []
        for shard in tokens:
            for path in (shard, shard.with_suffix(".csv.gz"), shard.with_suffix(".json")):
                job.input(path)
            digests.append(_check_shard(shard, vocabulary))
        shards = TokenShards(tokens)
        kept = {} if settings.packing == "wrap" else _fitted(shards, settings, vocabulary)
        held_out = [int(row) for row in shards.held_out.nonzero()[0]]
        job.read = len(shards.names)
        if dropped := sum(not length for length in kept.values()):
            job.drop("too_long", dropped)
        if held_out:
            job.drop("held_out", len(held_out))
        job.keep(job.read - dropped - len(held_out))
        if not job.kept:
            remedy = "lower tokens.held_out, or raise midtrain.sequence_length"
            raise InputError("no document is left to train on", where=", ".join(map(str, tokens)), remedy=remedy)
        plan = Plan(
            stage="midtrain",
            settings=settings.model_dump(mode="json"),
            seed=config.seed,
            eos_id=vocabulary.eos_id,
            added=new_rows(vocabulary),
            decay_embeddings=False,
            metrics=str(metrics or ""),
            data=[str(shard) for shard in tokens],
            digests=digests,
            kept={str(row): length for row, length in kept.items()} | {str(row): 0 for row in held_out},
        )
        counts = {
            "cut": len(kept) - dropped,
            "left_out": int(sum(shards.whole[row] - length for row, length in kept.items())),
        }
        resume = Resume(anyway=resume_anyway)
        train_model(job, plan, settings, source(plan, settings), counts, base, vocabulary, out, work, resume)


def source(plan: Plan, settings: Midtrain) -> Sequences:
    """Return the sequences of a plan."""
    kept = {int(row): length for row, length in plan.kept.items()}
    rows = TokenShards([Path(path) for path in plan.data], kept)
    return Sequences(
        rows,
        packing=settings.packing,
        limit=settings.sequence_length,
        seed=plan.seed,
        mask=settings.mask_documents,
    )


def held_out(plan: Plan, settings: Midtrain) -> list[Tokens]:
    """Return the documents whose loss is measured while a plan trains; none if it is not wanted."""
    if settings.held_out_steps is None:
        return []
    shards = TokenShards([Path(path) for path in plan.data])
    return held_out_documents(shards, limit=settings.sequence_length, most=WHILE_TRAINING)


def _fitted(shards: TokenShards, settings: Midtrain, vocabulary: Vocabulary) -> dict[int, int]:
    """Return how many tokens are kept of each document that is longer than a sequence: 0 drops it."""
    limit = settings.sequence_length
    rows = [int(row) for row in ((shards.whole > limit) & ~shards.held_out).nonzero()[0]]
    if not rows or settings.too_long == "drop":
        return dict.fromkeys(rows, 0)
    encoder = ExampleTokens(vocabulary.settings, vocabulary.added)
    return {row: encoder.whole_diffs(shards.tokens(row, 0, int(shards.whole[row]) - 1).tolist(), limit) for row in rows}


def _check_shard(shard: Path, vocabulary: Vocabulary) -> str:
    """Return a digest of what a token shard trains; raise InputError if another tokenizer made it."""
    path = shard.with_suffix(".json")
    try:
        notes = json.loads(path.read_bytes())
        made_with, digest = notes["tokenizer_sha256"], str(notes["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"not the manifest of a token shard ({error})", where=str(path), remedy="make it again"
        ) from None
    if made_with != vocabulary.sha256:
        raise InputError(
            "was made with another tokenizer than the model's",
            where=str(shard),
            remedy="set tokens.tokenizer to model.path",
        )
    held_out = notes.get("held_out")
    return digest_of([digest, held_out]) if held_out else digest


def check(job: FinishedJob) -> Faults:
    """Check the rows that `training.json` counts, and that the files of weights are whole."""
    return check_trained(job)
