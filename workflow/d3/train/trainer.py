"""The Trainer with our order, our weight decay, our checkpoints and a record of every step."""

import math
import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from d3.core.progress import Progress
from d3.core.tables import remove
from d3.errors import ToolError
from d3.train.checkpoints import mark_complete
from d3.train.data import Stream, Tokens
from d3.train.held_out import document_losses
from d3.train.metrics import Metrics
from d3.train.stops import MEDIAN_STEPS, RUNAWAY_STEPS, fault, requested

LOOKED_BACK = MEDIAN_STEPS + RUNAWAY_STEPS


class StageTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose record of a step holds its loss, learning rate, gradient norm and tokens.

    The loss is the mean over all tokens with a label of a whole step: sums over the micro batches of
    all processes, divided by the number of these tokens (`num_items_in_batch`). A sum, as in the
    authors' fine-tuning, weighs the tokens of a step alike too, but its gradient grows with their
    number, so that the clip threshold and the learning rate lose their meaning.
    """

    def __init__(
        self,
        *,
        stream: Stream,
        decay_embeddings: bool,
        save_steps: int,
        metrics: Path | None,
        held_out: Sequence[Tokens] = (),
        held_out_steps: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(train_dataset=stream, **settings)
        self.stream, self.decay_embeddings = stream, decay_embeddings
        self._loss_tokens = 0
        self.remove_callback(PrinterCallback)
        self.keeper = _Keeper(save_steps)
        self.add_callback(self.keeper)
        measure = _HeldOutLoss(self, held_out, held_out_steps) if held_out and held_out_steps else None
        if measure is not None:
            self.add_callback(measure)
        if self.is_world_process_zero():
            self.add_callback(_Reporter(metrics, measure))

    def training_step(self, *arguments: Any, **more: Any) -> Any:
        """Compute a micro batch. Without sharding, DeepSpeed clips the gradient and forgets its norm."""
        engine = self.deepspeed
        if engine is not None and not engine.zero_optimization():
            engine.clip_fp32_gradients = partial(_clip, engine)
        return super().training_step(*arguments, **more)

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Name the parameters that weight decay is applied to: no norms, no biases, and embeddings
        only where the stage says so.
        """
        names = super().get_decay_parameter_names(model)
        return [name for name in names if self.decay_embeddings or not re.search(r"embed", name)]

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """Compute the loss, and keep the number of tokens that it falls on."""
        self._loss_tokens = int(kwargs["num_items_in_batch"])
        return super().compute_loss(model, inputs, return_outputs, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the tokens of the step to its record."""
        if "loss" in logs:
            logs["tokens"] = self.stream.step_tokens(self.state.global_step - 1)
            logs["loss_tokens"] = self._loss_tokens
        super().log(logs, start_time)
        if "loss" in logs:
            self._stop_if_diverged(logs)

    def _stop_if_diverged(self, logs: dict[str, float]) -> None:
        """Raise ToolError, in every process, when the loss is no use any more; the step is not saved then."""
        step = self.state.global_step
        losses = [line["loss"] for line in self.state.log_history[-LOOKED_BACK:] if "loss" in line]
        norm = logs.get("grad_norm")
        reason = fault(losses, norm)
        if reason is None:
            return
        folder = Path(self.args.output_dir)
        if not math.isfinite(losses[-1] + (norm or 0)) and self.is_world_process_zero():
            remove(folder / f"checkpoint-{step - 1}")  # its weights gave this loss and this gradient
        raise ToolError(
            f"training diverged at step {step}: {reason}",
            where=str(folder),
            remedy="lower optimizer.learning_rate, or look at the data; checkpoints of good steps are kept",
        )

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Make the folder alone: DeepSpeed's part of a checkpoint holds the weights already."""
        Path(str(output_dir)).mkdir(parents=True, exist_ok=True)

    def record(self) -> list[dict[str, float | None]]:
        """Return the steps so far, those before a restart included."""
        names = ("step", "loss", "learning_rate", "grad_norm", "tokens", "loss_tokens")
        return [{name: line.get(name) for name in names} for line in self.state.log_history if "loss" in line]


def _clip(engine: Any) -> None:
    """Clip the gradient of a DeepSpeed engine as it does itself, and keep the norm where it is looked for."""
    norm = torch.nn.utils.clip_grad_norm_(engine.module.parameters(), engine.gradient_clipping())
    engine._global_grad_norm = float(norm)


class _Keeper(TrainerCallback):  # type: ignore[misc]
    """Asks for a checkpoint every so many steps and when a signal came, and marks it when it is whole."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.stopped = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint, but not at the end, where the model itself is written."""
        if state.global_step == state.max_steps:
            control.should_save = False
            return
        asked = torch.tensor([requested(Path(args.output_dir).parent)], dtype=torch.int32, device=args.device)
        torch.distributed.broadcast(asked, src=0)
        self.stopped = control.should_training_stop = bool(asked.item())
        control.should_save = self.stopped or state.global_step % self.every == 0

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait for all processes, then mark the checkpoint."""
        torch.distributed.barrier()
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        torch.distributed.barrier()


class _HeldOutLoss(TrainerCallback):  # type: ignore[misc]
    """Measures the loss of held-out documents before the first step, every so many steps and after the last.

    The processes share the documents. Each computes as many, since under ZeRO-3 all take part in every forward pass.
    """

    def __init__(self, trainer: Trainer, documents: Sequence[Tokens], every: int) -> None:
        self.trainer, self.documents, self.every = trainer, documents, every
        self.latest: tuple[int, float] | None = None
        """Step, and the loss after it."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure what the training begins with."""
        self._measure(args, state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure after some steps."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._measure(args, state)

    def _measure(self, args: Any, state: Any) -> None:
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        own = list(self.documents[rank::world])
        fillers = math.ceil(len(self.documents) / world) - len(own)
        model = self.trainer.model_wrapped
        model.eval()
        losses = document_losses(model, own + [self.documents[0]] * fillers, args.device)[: len(own)]
        model.train()
        sums = torch.tensor(
            [math.fsum(loss.nats for loss in losses), sum(loss.tokens for loss in losses)],
            dtype=torch.float64,
            device=args.device,
        )
        torch.distributed.all_reduce(sums)
        self.latest = (state.global_step, float(sums[0] / sums[1]))


class _Reporter(TrainerCallback):  # type: ignore[misc]
    """Prints progress lines and writes metrics."""

    def __init__(self, metrics: Path | None, held_out: _HeldOutLoss | None) -> None:
        self.path, self.held_out = metrics, held_out
        self.lines: Metrics | None = None
        self.progress: Progress | None = None
        self.tokens = 0
        self.start = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.progress = Progress("training", state.max_steps, "steps", done=state.global_step)
        self.start = time.monotonic()
        if self.path is not None:
            self.lines = Metrics(self.path, done=state.global_step)
            if (loss := self._held_out_loss(state)) is not None and state.global_step == 0:
                self.lines.start(loss)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Count a step."""
        if self.progress is not None and "loss" in logs:
            self.tokens += logs["tokens"]
            speed = self.tokens / (time.monotonic() - self.start)
            self.progress.note = f"loss {logs['loss']:.4f}, {speed:.0f} tokens/s"
            self.progress.advance()
        if self.lines is not None and "loss" in logs:
            loss = self._held_out_loss(state)
            self.lines.write(state.global_step, logs if loss is None else {**logs, "held_out_loss": loss})

    def _held_out_loss(self, state: Any) -> float | None:
        """Return the loss of the held-out rows if it was measured at this step."""
        if self.held_out is None or self.held_out.latest is None or self.held_out.latest[0] != state.global_step:
            return None
        return self.held_out.latest[1]

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Print the last line."""
        if self.progress is not None:
            self.progress.close()
        if self.lines is not None:
            self.lines.close()
