"""The loss of rows that no training has seen: in nats a token, over all tokens after the first of a document.

A document is read as mid-training reads it: begin token, prompt, diffs, end token, alone in its sequence. What is
longer than the sequence is cut there, and counted.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from d3.train.data import Tokens

NORMAL_95 = 1.959964
"""Quantile of the normal distribution for a two-sided interval of 95 %."""


class DocumentLoss(NamedTuple):
    """The loss of one document."""

    nats: float
    """Sum over its tokens."""
    tokens: int
    """Tokens that are predicted."""


def document_losses(model: Any, documents: Sequence[Tokens], device: Any) -> list[DocumentLoss]:
    """Return the loss of each document, one after another, in float32 whatever type the model computes in."""
    import torch

    found = []
    with torch.no_grad():
        for tokens in documents:
            ids = torch.from_numpy(tokens).to(device)
            logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
            nats = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum")
            found.append(DocumentLoss(float(nats), len(tokens) - 1))
    return found


def mean_loss(losses: Sequence[DocumentLoss]) -> dict[str, float | int | None]:
    """Return the loss a token with its 95 % interval.

    Tokens of one document are not independent: the interval is that of a ratio of sums over documents (the
    linearized variance of a ratio estimator), None for fewer than two documents.
    """
    tokens = sum(loss.tokens for loss in losses)
    if not tokens:
        return {"loss": None, "low": None, "high": None, "documents": len(losses), "tokens": 0}
    mean = math.fsum(loss.nats for loss in losses) / tokens
    low = high = None
    if len(losses) > 1:
        squares = math.fsum((loss.nats - mean * loss.tokens) ** 2 for loss in losses)
        error = math.sqrt(squares * len(losses) / (len(losses) - 1)) / tokens
        low, high = mean - NORMAL_95 * error, mean + NORMAL_95 * error
    return {"loss": mean, "low": low, "high": high, "documents": len(losses), "tokens": tokens}
