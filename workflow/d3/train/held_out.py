"""The loss of rows that no training has seen: in nats a token, over all tokens after the first of a document.

A document is read as mid-training reads it: begin token, prompt, diffs, end token, alone in its sequence. What is
longer than the sequence is cut there, and counted.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from d3.core.ids import derive_seed
from d3.train.data import Tokens
from d3.train.token_shards import TokenShards

MOST_DOCUMENTS = 2000
"""Documents that a loss is measured on: by a few thousand, its interval is below 1 % of it."""
WHILE_TRAINING = 64
"""Documents that it is measured on between steps."""
NORMAL_95 = 1.959964
"""Quantile of the normal distribution for a two-sided interval of 95 %."""


class DocumentLoss(NamedTuple):
    """The loss of one document."""

    nats: float
    """Sum over its tokens."""
    tokens: int
    """Tokens that are predicted."""


def held_out_documents(shards: TokenShards, *, limit: int, most: int = MOST_DOCUMENTS) -> list[Tokens]:
    """Return the held-out documents' tokens, at most `limit` of each: `most` documents, chosen by their ids."""
    rows = [int(row) for row in shards.held_out.nonzero()[0]]
    rows.sort(key=lambda row: derive_seed(0, "held-out-document", *shards.names[row]))
    return [
        np.asarray(shards.tokens(row, 0, min(int(shards.whole[row]), limit)), np.int64)
        for row in rows[:most]
        if shards.whole[row] > 1
    ]


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
