"""Supervised fine-tuning: a language model learns to answer prompts."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d3.config.models import Config
from d3.config.training import Sft
from d3.core import schemas
from d3.core.progress import Progress
from d3.core.tables import TableWriter, count_rows
from d3.core.tokenizer_file import Vocabulary
from d3.errors import InputError
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job
from d3.train.checkpoints import Resume, locked
from d3.train.data import Stream
from d3.train.launch import Nodes, join
from d3.train.plan import Plan
from d3.train.run import check_base, check_trained, model_folder, new_rows, train_model
from d3.train.sequences import Sequences
from d3.train.sft_data import ENCODED, AnswerRows, Encoder


def run(
    config: Config,
    examples: Sequence[Path],
    out: Path,
    *,
    model: str,
    work: Path,
    resume_anyway: bool = False,
    metrics: Path | None = None,
    same_tokens: Path | None = None,
) -> None:
    """Fine-tune a model on prompt -> completion examples.

    `examples` are tables of prompts and completions (schemas.SFT), `out` is the folder of the tuned model.
    Rows that cannot be trained on are dropped with a reason (see `d3.train.sft_data.Encoder`), which
    `training.json` lists. `same_tokens` is a mid-trained model: the examples are repeated until as many tokens more
    were trained on as by its mid-training. `model`, `work` and the others as in `midtrain`.

    Example: d3 sft --examples examples.parquet --model MODEL --work work/sft --out model
    """
    settings = config.sft
    if (nodes := Nodes.here()).rank:
        return join(nodes, work, settings.processes, "sft")
    base = model_folder(config, model)
    with locked(work), Job("sft", config=config) as job:
        vocabulary = Vocabulary.read(base, config.tokens.added)
        check_base(base, settings, vocabulary)
        rows = _encode(job, examples, vocabulary, settings, work)
        if same_tokens is not None:
            settings = _lengthened(
                settings, _sequences(rows.path, settings, config.seed), _trained_tokens(job, same_tokens)
            )
        plan = Plan(
            stage="sft",
            settings=settings.model_dump(mode="json"),
            seed=config.seed,
            eos_id=vocabulary.eos_id,
            added=new_rows(vocabulary),
            decay_embeddings=True,
            metrics=str(metrics or ""),
            data=[str(rows.path)],
            digests=[rows.digest],
        )
        counts = {"cut": rows.cut, "left_out": rows.left_out}
        resume = Resume(anyway=resume_anyway)
        train_model(
            job, plan, settings, source(plan, settings), counts, base, vocabulary, out, work, resume, rows.dropped
        )


def source(plan: Plan, settings: Sft) -> Sequences:
    """Return the sequences of a plan."""
    return _sequences(Path(plan.data[0]), settings, plan.seed)


def _sequences(path: Path, settings: Sft, seed: int) -> Sequences:
    rows = AnswerRows(path, cache=path.parent / "cache")
    return Sequences(rows, packing=settings.packing, limit=settings.sequence_length, seed=seed)


def _trained_tokens(job: Job, model: Path) -> int:
    """Return how many tokens a model was trained on."""
    path = job.input(model / "training.json")
    try:
        return int(json.loads(path.read_bytes())["tokens"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"not the record of a training ({error})", where=str(path), remedy="make it again") from None


def _lengthened(settings: Sft, sequences: Sequences, more: int) -> Sft:
    """Return settings with as many epochs as train on so many tokens more, to within a step."""
    stream = Stream(sequences, settings)
    tokens = sum(stream.step_tokens(step) for step in range(stream.steps)) + more
    epochs = tokens / int(sequences.layout(0).tokens().sum())
    return settings.model_copy(update={"epochs": epochs, "max_steps": None})


class _Rows:
    """The table of encoded rows, and what became of the others."""

    def __init__(self, path: Path) -> None:
        self.path, self.digest = path, ""
        self.dropped: list[dict[str, Any]] = []
        self.cut = self.left_out = 0


def _encode(job: Job, tables: Sequence[Path], vocabulary: Vocabulary, settings: Sft, work: Path) -> _Rows:
    """Tokenize all rows into a table in `work`."""
    encoder = Encoder(vocabulary, sequence_length=settings.sequence_length, too_long=settings.too_long)
    rows = _Rows(work / "rows.parquet")
    progress = Progress("sft rows", sum(count_rows(path) for path in tables))
    writer = TableWriter(rows.path, ENCODED)
    try:
        for path in tables:
            for row in job.rows(path, schemas.SFT):
                result = encoder.encode(row["prompt"], row["completion"])
                names = {"id": row["id"], "sample": row["sample"]}
                if isinstance(result, str):
                    job.drop(result)
                    rows.dropped.append({**names, "reason": result})
                else:
                    job.keep()
                    rows.cut += bool(result.left_out)
                    rows.left_out += result.left_out
                    writer.write({**names, "tokens": result.tokens, "loss_from": result.loss_from})
                progress.advance()
        progress.close()
        rows.digest = writer.finish()
        writer.publish()
    finally:
        writer.discard()
    if rows.dropped:
        print(f"sft: {len(rows.dropped)} rows dropped: {dict(sorted(job.dropped.items()))}", file=sys.stderr)
    if not job.kept:
        raise InputError(
            f"no row left to train on, dropped: {dict(job.dropped)}",
            where=", ".join(map(str, tables)),
            remedy="raise sft.sequence_length or give other rows",
        )
    return rows


def check(job: FinishedJob) -> Faults:
    """Check the rows that `training.json` counts, and that the files of weights are whole."""
    return check_trained(job)
