"""What both training stages do: start the processes of a plan and complete the folder that they leave.

It becomes a Hugging Face folder: model.safetensors, config, tokenizer and `training.json` with the
record of every step. A killed run, started again, resumes from its last whole checkpoint in `work`
and ends in the same bytes. On CPUs two runs give the same bytes if they have the same number of
threads and processes, on however many nodes, and the same kind of CPU; on GPUs, equality to the
byte is not promised.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from d3.config.identity import deciding_part
from d3.config.models import Config
from d3.config.training import Midtrain, Sft
from d3.core.example_tokens import PlainText
from d3.core.ids import file_digest
from d3.core.tables import written_whole
from d3.core.tokenizer_file import Vocabulary
from d3.errors import ConfigError, InputError
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job
from d3.provenance.code_digest import modules_of
from d3.train import worker
from d3.train.checkpoints import CODE, RUN, SHAPE, Resume, settle
from d3.train.data import Stream
from d3.train.disk_room import check_room
from d3.train.launch import Nodes, start
from d3.train.model_card import CARD, card
from d3.train.plan import Plan
from d3.train.sequences import Sequences
from d3.train.settings import sharding
from d3.train.stops import forget_request

CARRIED = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt")
"""Files of the base model that go with the trained one. Its chat template does not: nothing is trained with it."""
LIBRARIES = ("torch", "transformers", "deepspeed", "accelerate")
MACHINE = ("processes", "micro_batch", "zero_stage", "gradient_checkpointing", "save_steps")
"""Settings that decide no result but for the rounding of sums; the record of a run names them all the same."""


def train_model(
    job: Job,
    plan: Plan,
    settings: Midtrain | Sft,
    sequences: Sequences,
    counts: Mapping[str, int],
    base: Path,
    vocabulary: Vocabulary,
    output: Path,
    work: Path,
    resume: Resume,
    dropped: Sequence[dict[str, Any]] = (),
) -> None:
    """Run the processes of a stage and complete their folder.

    `counts` has the rows that were cut (`cut`) and the tokens that are not trained on (`left_out`).
    """
    job.input(base)
    packed = sequences.layout(0).counts(settings.sequence_length)
    packing: dict[str, Any] = {"packing": settings.packing, **counts, **packed}
    print(
        "{stage}: {tokens} tokens in {sequences} sequences an epoch, padding {padding:.2%}; rows torn {torn}, "
        "cut {cut}; tokens behind a tear {behind_tear}, left out {left_out}".format(stage=plan.stage, **packing),
        file=sys.stderr,
        flush=True,
    )
    made_with = _made_with(plan, settings, base)
    settle(work, made_with, resume, plan.stage)
    check_room(plan.stage, settings, Stream(sequences, settings).steps, base, work)
    part = job.file(output)
    plan.model, plan.output, plan.work = str(base), str(part), str(work)
    _launch(plan, settings.processes, work)
    steps = json.loads((part / worker.RECORD).read_bytes())
    (part / worker.RECORD).unlink()
    for pattern in CARRIED:
        for path in base.glob(pattern):
            shutil.copyfile(path, part / path.name)
    vocabulary.write(part)
    _drop_chat_template(part / "tokenizer_config.json")
    record = {
        "stage": plan.stage,
        "steps": len(steps),
        "tokens": sum(step["tokens"] for step in steps),
        "loss_tokens": sum(step["loss_tokens"] for step in steps),
        "rows": {"read": job.read, "kept": job.kept, "dropped": dict(sorted(job.dropped.items()))},
        "packing": packing,
        "machine": {name: getattr(settings, name) for name in MACHINE},
        "resumed_over": resume.differences,
        "dropped": list(dropped),
        "record": steps,
    }
    text = json.dumps(record, indent=1, allow_nan=False)
    (part / "training.json").write_text(text + "\n", encoding="utf-8")
    (part / CARD).write_text(card(plan.stage, base, made_with[RUN]["model"], made_with, record), encoding="utf-8")


def _drop_chat_template(path: Path) -> None:
    """Take the chat template out of a tokenizer's configuration, which is left alone if it has none."""
    try:
        values = json.loads(path.read_bytes())
        template = values.pop("chat_template", None)
    except (OSError, ValueError, AttributeError):
        return
    if template is not None:
        path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _made_with(plan: Plan, settings: Midtrain | Sft, base: Path) -> dict[str, dict[str, Any]]:
    """Return everything that decides the weights, flat; see `d3.train.checkpoints`."""
    data = {f"data {Path(path).name}": digest for path, digest in zip(plan.data, plan.digests, strict=True)}
    return {
        RUN: {
            **_flat(deciding_part(settings), plan.stage),
            **data,
            "seed": plan.seed,
            "model": file_digest(base),
            **({"added tokens": plan.added} if plan.added else {}),
        },
        CODE: modules_of(f"d3.train.{plan.stage}") | {name: version(name) for name in LIBRARIES},
        SHAPE: {"processes": settings.processes, "zero_stage": sharding(settings)},
    }


def _flat(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return nested settings by their paths."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = f"{path}.{name}"
        found |= _flat(value, inner) if isinstance(value, dict) else {inner: value}
    return found


def _launch(plan: Plan, processes: int, work: Path) -> None:
    """Train in this process, or in several that torchrun starts on every node."""
    nodes = Nodes.here()
    forget_request(work)
    if processes == 1 and nodes.count == 1:
        worker.train(plan)
        return
    path = work / "plan.json"
    plan.launch = nodes.launch
    with written_whole(path) as part:
        part.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    start(nodes, path, processes, plan.stage)


def model_folder(config: Config, model: str) -> Path:
    """Return the folder of a model, which may be a hub id in the local cache; raise InputError if there is none."""
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


def new_rows(vocabulary: Vocabulary) -> dict[str, list[int]]:
    """Return the ids of tokens that the model does not know yet, each with those that write it as text."""
    text = PlainText(vocabulary.settings)
    return {str(number): text.ids(token) for token, number in vocabulary.new.items()}


def check_base(base: Path, settings: Midtrain | Sft, vocabulary: Vocabulary) -> None:
    """Raise ConfigError or InputError if a model's folder does not go with settings or tokenizer."""
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
    if size < vocabulary.size - len(vocabulary.new):
        raise InputError(
            f"the model knows {size} tokens, but its tokenizer has {vocabulary.size - len(vocabulary.new)}",
            where=str(base),
            remedy="give the tokenizer that the model was made with",
        )


def check_trained(job: FinishedJob) -> Faults:
    """Check the rows that `training.json` counts, and that the files of weights are whole."""
    record = json.loads((job.path() / "training.json").read_bytes())
    counts = {name: job.counts[name] for name in ("read", "kept", "dropped")}
    if record["rows"] != counts:
        yield job.name(), f"training.json counts {record['rows']}, the statement {counts}"
    for name in ("tokens", "loss_tokens"):
        if record[name] != sum(step[name] for step in record["record"]):
            yield job.name(), f"training.json counts {record[name]:,} {name}, its steps add up to others"
    read = job.inputs_of("tokens")
    manifests = [path for path in read if path.suffix == ".json"]
    if set(read) != {path.with_suffix(suffix) for path in manifests for suffix in (".npy", ".csv.gz", ".json")}:
        yield job.name(), "read only a part of the files of a token shard"
    documents = sum(json.loads(path.read_bytes())["documents"] for path in manifests)
    if read and documents != counts["read"]:
        yield job.name(), f"was trained on {counts['read']:,} documents, its inputs have {documents:,}"
    for weights in sorted(job.path().glob("*.safetensors")):
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        last = max(item["data_offsets"][1] for name, item in header.items() if name != "__metadata__")
        if weights.stat().st_size != 8 + length + last:
            yield job.name(), f"{weights.name} does not contain the tensors of its header"
