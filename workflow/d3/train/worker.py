"""One process of a training run: `python -m d3.train.worker PLAN`, started by torchrun or by `run`.

The plan is a JSON file that `d3.train.run` writes. Process 0 leaves the model in the plan's output
folder, with the record of every step.
"""

import json
import os
import shutil
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

from d3.config.training import Midtrain, Sft, Training
from d3.core.ids import derive_seed
from d3.core.processes import die_with_parent
from d3.core.progress import announce
from d3.errors import D3Error, ToolError, explain
from d3.train.checkpoints import last_complete
from d3.train.data import Stream, collate
from d3.train.load_model import add_tokens, load_model
from d3.train.loss_chunks import chunk_loss, chunks_of
from d3.train.plan import Plan
from d3.train.stops import StopRequestedError, signals_stop

SECTIONS: dict[str, type[Training]] = {"midtrain": Midtrain, "sft": Sft}
RECORD = "steps.json"


@contextmanager
def environment(processes: int) -> Iterator[None]:
    """Set what torch, DeepSpeed and transformers read from the environment, and put it back.

    A process that no launcher started is made the only one of its group.
    """
    import torch

    values = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "ACCELERATE_USE_DEEPSPEED": "true"}
    values |= {"ACCELERATE_LOG_LEVEL": "ERROR", "DEEPSPEED_LOG_LEVEL": "ERROR"}
    if not torch.cuda.is_available():
        values["DS_ACCELERATOR"] = "cpu"
    if processes == 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        values |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
        values |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between the libraries, nothing for a user
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def train(plan: Plan) -> None:
    """Train as a plan says."""
    settings = SECTIONS[plan.stage].model_validate(plan.settings)
    with environment(settings.processes), signals_stop(Path(plan.work)):
        import torch

        try:
            _train(plan, settings)
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()


def _train(plan: Plan, settings: Training) -> None:
    import torch
    from transformers import TrainingArguments
    from transformers.utils import logging

    from d3.train.settings import sharding, trainer_settings
    from d3.train.trainer import StageTrainer

    seed, work = derive_seed(plan.seed, plan.stage, bits=31), Path(plan.work)
    stage = import_module(f"d3.train.{plan.stage}")  # by name: an edit of one stage concerns the other one not
    source = stage.source(plan, settings)
    stream = Stream(source, settings)
    _start_group()
    logging.disable_progress_bar()
    # The settings come before the model: under ZeRO-3 it is then loaded in shares.
    arguments = TrainingArguments(
        **trainer_settings(
            settings,
            accumulation=stream.accumulation,
            steps=stream.steps,
            seed=seed,
            folder=str(work / "checkpoints"),
            gpu=torch.cuda.is_available(),
        )
    )
    if os.environ.get("RANK", "0") == "0":
        announce(f"loading the model {plan.model}")
    model = load_model(plan.model, settings.dtype, settings.attention)
    add_tokens(model, {int(token): rows for token, rows in plan.added.items()})
    if settings.loss_chunk is not None:
        chunk_loss(model, chunks_of(settings.micro_batch * settings.sequence_length, settings.loss_chunk))
    # With a key-value cache there would be no mask between packed documents.
    model.config.use_cache = False
    trainer = StageTrainer(
        stream=stream,
        decay_embeddings=plan.decay_embeddings,
        save_steps=settings.save_steps,
        metrics=Path(plan.metrics) if plan.metrics else None,
        held_out=stage.held_out(plan, settings) if hasattr(stage, "held_out") else [],
        held_out_steps=getattr(settings, "held_out_steps", None),
        model=model,
        args=arguments,
        data_collator=partial(collate, pad=plan.eos_id),
    )
    checkpoint = last_complete(work / "checkpoints") if trainer.is_world_process_zero() else None
    found = [str(checkpoint) if checkpoint else None]
    torch.distributed.broadcast_object_list(found, src=0)
    if found[0] and trainer.is_world_process_zero():
        print(f"{plan.stage}: goes on from {Path(found[0]).name}", file=sys.stderr, flush=True)
    trainer.train(resume_from_checkpoint=found[0])
    if trainer.keeper.stopped:
        raise StopRequestedError(plan.stage, work)
    weights = None
    if sharding(settings) == 3:  # every process has a share of each tensor
        weights = trainer.accelerator.get_state_dict(trainer.deepspeed)
        if weights is not None:  # process 0
            for name in model.all_tied_weights_keys:
                weights.pop(name, None)
    if trainer.is_world_process_zero():
        kept = weights if weights is not None else model.state_dict()
        if broken := [name for name, tensor in kept.items() if not bool(torch.isfinite(tensor).all())]:
            raise ToolError(
                f"{plan.stage}: weights are not finite after the last step: {broken[0]}",
                remedy=f"lower {plan.stage}.optimizer.learning_rate",
            )
        output = Path(plan.output)
        output.mkdir(parents=True, exist_ok=True)
        model.config.use_cache = True
        model.save_pretrained(output, state_dict=weights)
        for path in output.glob("*.safetensors"):  # written for the owner's eyes alone
            shutil.copymode(output / "config.json", path)
        (output / RECORD).write_text(json.dumps(trainer.record(), allow_nan=False), encoding="utf-8")
    torch.distributed.barrier()


def _start_group() -> None:
    """Join the process group. Nothing is compiled: DeepSpeed's operation for shared memory, which it
    would build here (97 CPU seconds, with a compiler), serves its inference alone.
    """
    import deepspeed
    import torch
    from accelerate import PartialState
    from accelerate.state import AcceleratorState

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(backend="nccl" if torch.cuda.is_available() else "gloo")


def main() -> int:
    """Run one process of a launched group; gives the exit code."""
    die_with_parent()
    try:
        train(Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        if os.environ.get("RANK", "0") == "0" or not isinstance(error, D3Error):
            print(f"error: {line}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
