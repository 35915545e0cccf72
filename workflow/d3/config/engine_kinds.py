"""The kinds of engines that can run a language model: one row a kind, and everything that lists kinds derives from it.

A new engine is one module on `d3.llm.engines.base.BaseEngine` and one row here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineKind:
    """What the pipeline must know about a kind of engine without importing it."""

    name: str
    """Value of `engine.kind` in the configuration."""
    summary: str
    """What it is for, after its name; the configuration's documentation lists these."""
    module: str
    """Module of the engine. Code digests follow this name, so that an edit there reruns what it answered."""
    class_name: str
    """Class of the engine in that module."""
    environment: str | None = None
    """Environment in which a job computes the model itself, one of `d3.provenance.images.RECIPES`; None: it
    does not compute it and runs in the stage's own environment."""
    needs_gpus: bool = False
    """Whether it is meant for GPUs alone, `tensor_parallel` of them."""
    memory_mb: int = 3000
    """Host memory of a job, without the weights (our default)."""
    required: tuple[str, ...] = ()
    """Settings of `engine` that have no default for this kind."""
    unsupported: tuple[str, ...] = ()
    """Settings of `engine` that must keep their default."""


ENGINE_KINDS = {
    kind.name: kind
    for kind in (
        EngineKind(
            name="transformers",
            summary="in the job's process, on any machine",
            module="d3.llm.engines.transformers",
            class_name="TransformersEngine",
            environment="train",
            unsupported=("quantization", "tensor_parallel", "options", "api"),
        ),
        EngineKind(
            name="vllm",
            summary="in the job's process, for GPU clusters",
            module="d3.llm.engines.vllm",
            class_name="VllmEngine",
            environment="llm",
            needs_gpus=True,
            memory_mb=8000,
            unsupported=("api",),
        ),
        EngineKind(
            name="openai",
            summary="a server or provider: `/v1/completions` for token ids, such as `vllm serve`, or chat (`api`)",
            module="d3.llm.engines.openai",
            class_name="OpenaiEngine",
            required=("served_model",),
        ),
        EngineKind(
            name="openai_batch",
            summary="a provider's Batch API, where files of requests are answered within a day",
            module="d3.llm.engines.openai_batch",
            class_name="OpenaiBatchEngine",
            required=("served_model",),
        ),
        EngineKind(
            name="replay",
            summary="no model runs, responses are replayed from an earlier run's journal",
            module="d3.llm.engines.replay",
            class_name="ReplayEngine",
        ),
    )
}
"""Every kind by its name, in the order in which error messages and the JSON schema list them."""
