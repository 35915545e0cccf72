"""Loading a model's weights, with the attention that the device has.

Packed sequences hold several documents, and positions start at 0 in each: transformers makes of them a
block-diagonal mask for `sdpa`, and the lengths of the documents for flash attention's kernels of variable length,
which compute nothing between documents.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from d3.errors import ConfigError, InputError, raise_system_error

Attention = Literal["auto", "flash", "sdpa"]
FLASH_CAPABILITY = (8, 0)
"""Compute capability that flash attention 2 needs: Ampere (its README)."""


def attention_of(
    wanted: Attention, dtype: str, capability: tuple[int, int] | None, *, installed: bool | None = None
) -> str:
    """Return transformers' name of an attention; `capability` is that of the GPU, None on a CPU.

    `auto` takes flash attention where the package `flash_attn` is installed, the GPU has Ampere's instructions and
    the weights are bfloat16, and `sdpa` elsewhere. Raise ConfigError where `flash` is asked for and cannot be had.
    """
    if installed is None:
        installed = find_spec("flash_attn") is not None
    reasons = {
        "the package flash_attn is not installed": not installed,
        "there is no GPU": capability is None,
        "the GPU is older than Ampere": capability is not None and capability < FLASH_CAPABILITY,
        f"dtype is {dtype}, not bfloat16": dtype != "bfloat16",
    }
    lacking = [reason for reason, holds in reasons.items() if holds]
    if wanted == "flash" and lacking:
        raise ConfigError(
            f"flash attention cannot be used: {lacking[0]}", where="attention", remedy="set attention to auto or sdpa"
        )
    return "flash_attention_2" if wanted != "sdpa" and not lacking else "sdpa"


def load_model(folder: str, dtype: str, attention: Attention = "auto") -> Any:
    """Load the weights in the type of the computation; raise InputError when they cannot be read."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    chosen = attention_of(attention, dtype, capability)
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation=chosen, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise_system_error(error, Path(folder))
        raise InputError(f"the weights cannot be read ({error})", where=folder, remedy="fetch them again") from None


def add_tokens(model: Any, added: Mapping[int, Sequence[int]]) -> None:
    """Make room for new tokens in the embeddings, and begin each as the mean of the tokens that wrote it before.

    Under ZeRO-3 the rows are gathered for it; every process computes the same.
    """
    if not added:
        return
    import torch

    shape = model.get_input_embeddings().weight
    rows = getattr(shape, "ds_shape", shape.shape)[0]
    if max(added) >= rows:
        model.resize_token_embeddings(max(added) + 1, mean_resizing=False)
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = {id(layer.weight): layer.weight for layer in layers if layer is not None}  # one, if they are tied
    for weight in weights.values():
        with _gathered(weight), torch.no_grad():
            for token, before in added.items():
                weight[token] = weight[list(before)].float().mean(0).to(weight.dtype)


def _gathered(weight: Any) -> AbstractContextManager[Any]:
    """Return a context in which a weight is whole, and is shared out again after it if it was."""
    if not hasattr(weight, "ds_id"):
        return nullcontext()
    import deepspeed

    gathered: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters([weight], modifier_rank=0)
    return gathered
