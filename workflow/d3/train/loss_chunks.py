"""The loss of a model without all of its logits in memory.

The logits of a micro batch have a float for every token and every word of the vocabulary, twice and their gradient:
with 128,000 words more than all activations. Here the last layer and the cross entropy are computed for some tokens
at a time, and again in the backward pass. Loss and gradients are the same but for the rounding of sums.
"""

import math
from functools import wraps
from typing import Any

from d3.errors import ConfigError
from d3.train.data import IGNORED

COMPARED = 8
"""Tokens whose logits are compared with those of the whole model, once."""


def chunks_of(tokens: int, chunk: int) -> int:
    """Return into how many parts the tokens of the largest micro batch are cut for at most `chunk` in each."""
    return math.ceil(tokens / chunk)


def chunk_loss(model: Any, parts: int) -> None:
    """Let a causal language model of transformers compute its loss in `parts` parts.

    The number of parts is that of every micro batch, also of a shorter one: under ZeRO-3 all processes gather the last
    layer as often. A call with labels then returns no logits. The first one raises ConfigError if the model's logits
    are not those of its last layer alone, such as scaled or capped ones.
    """
    from transformers.modeling_outputs import CausalLMOutput

    whole, decoder, head = model.forward, model.get_decoder(), model.get_output_embeddings()
    checked = False

    @wraps(whole)
    def forward(*positional: Any, labels: Any = None, num_items_in_batch: Any = None, **inputs: Any) -> Any:
        nonlocal checked
        if labels is None:
            return whole(*positional, **inputs)
        if not checked:
            _check(whole, decoder, head, inputs["input_ids"][:1, :COMPARED])
            checked = True
        states = decoder(*positional, **inputs).last_hidden_state
        loss, count = _loss(head, states, labels, parts)
        return CausalLMOutput(loss=loss / (count if num_items_in_batch is None else num_items_in_batch))

    model.forward = forward


def _check(whole: Any, decoder: Any, head: Any, ids: Any) -> None:
    import torch

    with torch.no_grad():
        expected, found = whole(input_ids=ids).logits, head(decoder(input_ids=ids).last_hidden_state)
    if not torch.allclose(expected.float(), found.float(), rtol=1e-3, atol=1e-3):
        raise ConfigError(
            "the logits of this model are not those of its last layer alone, so that its loss cannot be chunked",
            where="loss_chunk",
            remedy="set loss_chunk to null",
        )


def _loss(head: Any, states: Any, labels: Any, parts: int) -> tuple[Any, Any]:
    """Return the sum of the losses of states (batch, tokens, hidden) and the number of labels it falls on."""
    import torch
    from torch.utils.checkpoint import checkpoint

    following = torch.nn.functional.pad(labels, (0, 1), value=IGNORED)[:, 1:].reshape(-1)

    def part(states: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(head(states).float(), labels, ignore_index=IGNORED, reduction="sum")

    pairs = zip(states.flatten(0, 1).tensor_split(parts), following.tensor_split(parts), strict=True)
    losses = [checkpoint(part, *pair, use_reentrant=False) for pair in pairs]
    return torch.stack(losses).sum(), (following != IGNORED).sum()
