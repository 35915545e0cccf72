"""What the trainer is fed: examples in a seeded order, cut into optimizer steps.

The order is worked out here, not by the trainer, so that the examples of a step are the same for
every number of processes and every micro batch, after a restart too. No example is drawn twice in
an epoch and none is left out; where the last step has too few, examples without a loss fill it up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from d3.config.training import Training

IGNORED = -100
"""Label of a token that the loss leaves out (the value of torch's cross entropy)."""

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One sequence."""

    tokens: Tokens
    """Token ids."""
    labels: Tokens
    """The same ids, IGNORED where the token is not to be predicted. Not shifted: the model does that."""
    positions: Tokens | None = None
    """Position of each token in its own document; None when the sequence is one document."""


class Source(Protocol):
    """Examples by epoch and place; every epoch holds the same number of them."""

    def __len__(self) -> int:
        """Return the number of examples of an epoch."""

    def example(self, epoch: int, at: int) -> Example:
        """Return the example at a place of an epoch's order."""

    def length(self, epoch: int, at: int) -> int:
        """Return its number of tokens."""


class Stream:
    """All examples of a training run in order; a map-style data set of `steps * batch` items."""

    def __init__(self, source: Source, settings: Training) -> None:
        """Plan the steps."""
        self.source = source
        self.batch = settings.batch
        self.accumulation = settings.batch // (settings.micro_batch * settings.processes)
        self.examples = math.ceil(len(source) * settings.epochs)
        steps = math.ceil(self.examples / self.batch)
        self.steps = min(steps, settings.max_steps) if settings.max_steps else steps

    def __len__(self) -> int:
        """Return the number of items, fillers of the last step included."""
        return self.steps * self.batch

    def __getitem__(self, at: int) -> Example:
        """Return an item; beyond the last example, a filler without a loss."""
        if at >= self.examples:
            return Example(tokens=np.zeros(1, np.int64), labels=np.full(1, IGNORED, np.int64))
        return self.source.example(*divmod(at, len(self.source)))

    def step_tokens(self, step: int) -> int:
        """Return the number of tokens that step `step` (from 0) reads, padding left out."""
        items = range(step * self.batch, min((step + 1) * self.batch, self.examples))
        return sum(self.source.length(*divmod(at, len(self.source))) for at in items)


def collate(examples: Sequence[Example], *, pad: int) -> dict[str, Any]:
    """Pad examples on the right to one length and give the model's inputs as tensors.

    There is no attention mask: attention is causal, so real tokens never see the padding after
    them, and in packed sequences the padding is a document of its own.
    """
    import torch

    width = max(len(example.tokens) for example in examples)
    columns: dict[str, list[Tokens]] = {"input_ids": [], "labels": []}
    packed = any(example.positions is not None for example in examples)
    if packed:
        columns["position_ids"] = []
    for example in examples:
        rest = width - len(example.tokens)
        columns["input_ids"].append(np.pad(example.tokens, (0, rest), constant_values=pad))
        columns["labels"].append(np.pad(example.labels, (0, rest), constant_values=IGNORED))
        if packed:
            own = np.arange(len(example.tokens)) if example.positions is None else example.positions
            columns["position_ids"].append(np.concatenate([own, np.arange(rest)]))
    return {name: torch.from_numpy(np.stack(rows)) for name, rows in columns.items()}
