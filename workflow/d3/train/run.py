"""The two training stages: midtrain (packed documents) and sft (prompt and completion).

Both end in a Hugging Face folder: model.safetensors, config, tokenizer and `training.json` with the
record of every step. A killed run, started again, goes on from its last whole checkpoint in `work`
and ends in the same bytes. On CPUs two runs give the same bytes if they have the same number of
threads and processes, on however many nodes, and the same kind of CPU; on GPUs, equality to the
byte is not promised.
"""

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from d3.config.identity import deciding_part
from d3.config.models import Config, Training
from d3.core import schemas
from d3.core.ids import digest_of, file_digest
from d3.core.progress import Progress
from d3.core.tables import TableWriter, count_rows, remove, written_whole
from d3.core.tokenizer_file import Vocabulary
from d3.errors import ConfigError, InputError, ToolError
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job
from d3.provenance.code_digest import code_digest
from d3.train import worker
from d3.train.launch import Nodes, join, start
from d3.train.packed_data import PackedDocuments

CODE = "d3.train.run"
CARRIED = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.jinja")
"""Files of the base model that go with the trained one unchanged."""


def midtrain(config: Config, tokens: Sequence[Path], out: Path, *, model: str, work: Path) -> None:
    """Mid-train a model on the tokens of the dataset.

    `tokens` are the memory maps NAME.npy of the tokens stage, `out` is the folder of the trained model.
    `model` is a folder, or a hub id that lies in the local cache. `work` holds checkpoints until the
    end. Raises a D3Error for data that do not fit the model or the configuration.

    Example: d3 midtrain --tokens tokens.npy --model MODEL --work work/midtrain --out model
    """
    if (nodes := Nodes.here()).rank:
        return join(nodes, work, config.midtrain.processes, "midtrain")
    base = _model_folder(config, model)
    with _locked(work), Job("midtrain", config=config) as job:
        vocabulary = Vocabulary.read(base)
        _check_model(base, config.midtrain, vocabulary)
        digests = []
        for shard in tokens:
            for path in (shard, shard.with_suffix(".csv.gz"), shard.with_suffix(".json")):
                job.input(path)
            digests.append(_check_shard(shard, vocabulary))
            documents = json.loads(shard.with_suffix(".json").read_bytes())["documents"]
            job.read += documents
            job.keep(documents)
        source = PackedDocuments.of(config.midtrain, tokens, config.seed)
        print(f"midtrain: {source.tokens} tokens in {len(source)} sequences an epoch", file=sys.stderr, flush=True)
        plan = {"stage": "midtrain", "data": [str(shard) for shard in tokens], "digests": digests}
        _train(job, plan, config.seed, config.midtrain, base, vocabulary, out, work)


def sft(config: Config, examples: Sequence[Path], out: Path, *, model: str, work: Path) -> None:
    """Fine-tune a model on prompt -> completion examples.

    `examples` are tables of prompts and completions (schemas.SFT), `out` is the folder of the tuned model.
    Rows that cannot be trained on are dropped with a reason (see `d3.train.sft_data.Encoder`), which
    `training.json` lists. `model` and `work` as in `midtrain`.

    Example: d3 sft --examples examples.parquet --model MODEL --work work/sft --out model
    """
    if (nodes := Nodes.here()).rank:
        return join(nodes, work, config.sft.processes, "sft")
    base = _model_folder(config, model)
    with _locked(work), Job("sft", config=config) as job:
        vocabulary = Vocabulary.read(base)
        _check_model(base, config.sft, vocabulary)
        encoded, digest, dropped = _encode(job, examples, vocabulary, config.sft, work)
        plan = {"stage": "sft", "data": [str(encoded)], "digests": [digest]}
        _train(job, plan, config.seed, config.sft, base, vocabulary, out, work, dropped)


def _encode(
    job: Job, tables: Sequence[Path], vocabulary: Vocabulary, settings: Training, work: Path
) -> tuple[Path, str, list[dict[str, Any]]]:
    """Tokenize all rows into a table in `work`; give it, its digest and the dropped rows."""
    from d3.train.sft_data import ENCODED, Encoder

    encoder = Encoder(vocabulary, sequence_length=settings.sequence_length)
    dropped: list[dict[str, Any]] = []
    progress = Progress("sft rows", sum(count_rows(path) for path in tables))
    writer = TableWriter(work / "rows.parquet", ENCODED)
    try:
        for path in tables:
            for row in job.rows(path, schemas.SFT):
                result = encoder.encode(row["prompt"], row["completion"])
                if isinstance(result, str):
                    job.drop(result)
                    dropped.append({"id": row["id"], "sample": row["sample"], "reason": result})
                else:
                    job.keep()
                    names = {"id": row["id"], "sample": row["sample"]}
                    writer.write({**names, "tokens": result.tokens, "loss_from": result.loss_from})
                progress.advance()
        progress.close()
        digest = writer.finish()
        writer.publish()
    finally:
        writer.discard()
    if dropped:
        print(f"sft: {len(dropped)} rows dropped: {dict(sorted(job.dropped.items()))}", file=sys.stderr)
    if not job.kept:
        raise InputError(
            f"no row left to train on, dropped: {dict(job.dropped)}",
            where=", ".join(map(str, tables)),
            remedy="raise sft.sequence_length or give other rows",
        )
    return writer.path, digest, dropped


def _train(
    job: Job,
    data: dict[str, Any],
    seed: int,
    settings: Training,
    base: Path,
    vocabulary: Vocabulary,
    output: Path,
    work: Path,
    dropped: Sequence[dict[str, Any]] = (),
) -> None:
    """Run the processes of a stage and complete their folder."""
    job.input(base)
    plan = {
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "eos_id": vocabulary.eos_id,
        "vocabulary": vocabulary.size,
        **data,
    }
    _forget_other_runs(work, digest_of([plan["stage"], plan["digests"], deciding_part(settings), seed, _ground(base)]))
    part = job.file(output)
    plan |= {"model": str(base), "output": str(part), "work": str(work)}
    _launch(plan, settings.processes, work)
    steps = json.loads((part / "steps.json").read_bytes())
    (part / "steps.json").unlink()
    for pattern in CARRIED:
        for path in base.glob(pattern):
            shutil.copyfile(path, part / path.name)
    record = {
        "stage": plan["stage"],
        "steps": len(steps),
        "tokens": sum(step["tokens"] for step in steps),
        "loss_tokens": sum(step["loss_tokens"] for step in steps),
        "rows": {"read": job.read, "kept": job.kept, "dropped": dict(sorted(job.dropped.items()))},
        "dropped": list(dropped),
        "record": steps,
    }
    (part / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _ground(base: Path) -> list[str]:
    """Give what else decides the weights: the model, this code and the libraries."""
    libraries = [f"{name} {version(name)}" for name in ("torch", "transformers", "deepspeed", "accelerate")]
    return [file_digest(base), code_digest(CODE), *libraries]


def _launch(plan: dict[str, Any], processes: int, work: Path) -> None:
    """Train in this process, or in several that torchrun starts on every node."""
    nodes = Nodes.here()
    if processes == 1 and nodes.count == 1:
        worker.train(plan)
        return
    path = work / "plan.json"
    with written_whole(path) as part:
        part.write_text(json.dumps(plan | {"launch": nodes.launch}), encoding="utf-8")
    start(nodes, path, processes, plan["stage"])


def _model_folder(config: Config, model: str) -> Path:
    """Give the folder of a model, which may be a hub id in the local cache."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=config.model.revision, local_files_only=True))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        raise InputError(
            "neither a folder nor a model in the local cache", where=model, remedy="download it first"
        ) from None


def _check_model(base: Path, settings: Training, vocabulary: Vocabulary) -> None:
    """Raise ConfigError or InputError when a model's folder does not go with settings or tokenizer."""
    path = base / "config.json"
    try:
        shape = json.loads(path.read_bytes())
        longest, size = shape.get("max_position_embeddings"), shape["vocab_size"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"not the config of a language model ({error})", where=str(path), remedy="fetch it") from None
    if longest and settings.sequence_length > longest:
        raise ConfigError(
            f"sequence_length is {settings.sequence_length}, but the model takes {longest} tokens",
            where=str(base),
            remedy="lower sequence_length",
        )
    if size < vocabulary.size:
        raise InputError(
            f"the model knows {size} tokens, but its tokenizer has {vocabulary.size}",
            where=str(base),
            remedy="give the tokenizer that the model was made with",
        )


def _check_shard(shard: Path, vocabulary: Vocabulary) -> str:
    """Give a token shard's digest; raises InputError if another tokenizer made it."""
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
    return digest


# --- the work folder ------------------------------------------------------------------------------


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Hold the work folder alone; at the end of a block without an error it is removed.

    Raises ToolError if another process still holds it after half a minute.
    """
    for _ in range(60):
        work.mkdir(parents=True, exist_ok=True)
        lock = os.open(work / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(work / "lock")):  # not one that its holder removed
                break
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(lock)
        time.sleep(0.5)
    else:
        raise ToolError("another process trains here", where=str(work), remedy="wait for it or end it")
    try:
        yield
        remove(work)
    finally:
        os.close(lock)


def _forget_other_runs(work: Path, key: str) -> None:
    """Remove checkpoints of other data, settings, models or code."""
    path = work / "key"
    if not path.exists() or path.read_text(encoding="utf-8") != key:
        remove(work / "checkpoints")
    with written_whole(path) as part:
        part.write_text(key, encoding="utf-8")


def check(job: FinishedJob) -> Faults:
    """Check the rows that `training.json` counts, and that the files of weights are whole."""
    record = json.loads((job.path() / "training.json").read_bytes())
    counts = {name: job.counts[name] for name in ("read", "kept", "dropped")}
    if record["rows"] != counts:
        yield job.name(), f"training.json counts {record['rows']}, the statement {counts}"
    for name in ("tokens", "loss_tokens"):
        if record[name] != sum(step[name] for step in record["record"]):
            yield job.name(), f"training.json counts {record[name]:,} {name}, its steps add up to others"
    maps = job.inputs_of("tokens")
    shards = {path.with_suffix("").with_suffix("") if path.suffix == ".gz" else path.with_suffix("") for path in maps}
    documents = sum(json.loads(path.read_bytes())["documents"] for path in maps if path.suffix == ".json")
    if maps and (len(maps) != 3 * len(shards) or documents != counts["read"]):
        yield job.name(), f"was trained on {counts['read']:,} documents, its inputs have {documents:,}"
    for weights in sorted(job.path().glob("*.safetensors")):
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        last = max(item["data_offsets"][1] for name, item in header.items() if name != "__metadata__")
        if weights.stat().st_size != 8 + length + last:
            yield job.name(), f"{weights.name} does not contain the tensors of its header"
