"""The engine for clusters: vLLM, offline, in this process; the same code on GPUs and, for tests, on CPUs.

Prompts are token ids, so no template and no special token is read a second time. Every request has
its own sampling parameters and seed. The fixed beginning of the prompts is served by the prefix
cache. Choices are read off in a second call, whose prompts lie in that cache.

On one CPU, answers were seen not to depend on the batch. On GPUs vLLM does not promise that: compare
two runs by statistics, not by bytes, unless VLLM_BATCH_INVARIANT=1 is set and supported.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from d3 import config
from d3.llm.engine import Answer, EngineError, Request, choice_ids, room_needed, shares
from d3.provenance import file_digest

SETTINGS = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "OMP_WAIT_POLICY": "passive",
}
CPU_SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""What makes vLLM start on a small shared machine: one process, 1 GiB for keys and values, threads
that do not spin. Each gives way to the environment."""


class VllmEngine:
    """See the module's text; the interface is `d3.llm.engine.Engine`."""

    tries = 3

    def __init__(self, settings: config.Engine, model: str) -> None:
        """Read the tokenizer and the model's config; raises EngineError when they cannot be had."""
        self.settings, self.name = settings, model
        self.chunk = max(1024, 8 * settings.batch)
        self.prompt_tokens = self.cached_tokens = 0
        """Tokens of all prompts so far, and how many of them the prefix cache served."""
        self._revision = None if Path(model).exists() else settings.revision
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            import transformers
            import vllm
            import vllm.platforms

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
        options: dict[str, Any] = {}
        if self._vllm.platforms.current_platform.is_cpu():
            for name, value in CPU_SETTINGS.items():
                os.environ.setdefault(name, value)
            # here "GPU memory" is the machine's, of which others take their share
            options = {"gpu_memory_utilization": 0.2, "enforce_eager": True, "distributed_executor_backend": "uni"}
            # a prompt in pieces moves the offset of its seeded generator, which generators on CPUs do not have
            options |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, self.max_length)}
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
                logprobs_mode="raw_logprobs",
                seed=0,
                **options,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise EngineError(
                f"vLLM does not start ({' '.join(str(error).split())})",
                where=self.name,
                remedy="check the engine settings",
            ) from None

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests, in their order; raises EngineError for one over `max_length`."""
        for request in requests:
            needed = room_needed(self.tokenizer, request)
            if needed > self.max_length:  # one too long would make vLLM refuse the whole call
                raise EngineError(f"takes {needed} tokens of {self.max_length}", where=request.key)
        written: list[_Written] = [_Written() for _ in requests]
        free = [place for place, request in enumerate(requests) if request.max_tokens]
        outputs = self._generate(
            [list(requests[place].ids) for place in free], [self._sampling(requests[place]) for place in free]
        )
        for place, output in zip(free, outputs, strict=True):
            written[place] = self._written(requests[place], output.outputs[0])
        self._read_off(requests, written)
        return [
            Answer(
                text=text.text,
                finish_reason=text.finish,
                prompt_tokens=len(request.ids),
                answer_tokens=len(text.tokens),
                choice_probabilities=text.probabilities,
            )
            for request, text in zip(requests, written, strict=True)
        ]

    def _generate(self, prompts: list[list[int]], sampling: list[Any]) -> list[Any]:
        if not prompts:
            return []
        llm = self._llm
        try:
            outputs: list[Any] = llm.generate([{"prompt_token_ids": ids} for ids in prompts], sampling, use_tqdm=False)
        except Exception as error:
            self._clear(llm, error)
            raise
        self.prompt_tokens += sum(map(len, prompts))
        self.cached_tokens += sum(output.num_cached_tokens or 0 for output in outputs)
        return outputs

    def _clear(self, llm: Any, error: Exception) -> None:
        """Take back what a failed call left in the engine, or its answers would come out of the next one.

        Raises EngineError when the engine is dead.
        """
        engine = llm.llm_engine
        try:
            engine.abort_request(list(engine.output_processor.request_states), internal=True)
            alive = not engine.has_unfinished_requests()
        except Exception:
            alive = False
        if not alive:
            raise EngineError(
                f"vLLM died ({' '.join(str(error).split())[:300]})",
                where=self.name,
                remedy="run again; finished answers are in the journal",
            ) from error

    def _sampling(self, request: Request) -> Any:
        return self._vllm.SamplingParams(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed & 0x7FFFFFFF,
            stop=list(request.stop) or None,
            skip_special_tokens=False,
        )

    def _written(self, request: Request, output: Any) -> "_Written":
        """Give the free text, cut before a stop text or an end token; vLLM's own text leaves out bytes
        that are no UTF-8, which would be kept in the journal as if nothing had been written.
        """
        tokens = list(output.token_ids)
        finish = str(output.finish_reason)
        kept = len(tokens)
        if finish == "stop" and not isinstance(output.stop_reason, str):
            kept -= 1
        text = self._text(tokens[:kept])
        if finish == "stop" and isinstance(output.stop_reason, str):
            text = text[: min((text.index(stop) for stop in request.stop if stop in text), default=len(text))]
            while len(self._text(tokens[:kept])) > len(text):
                kept -= 1
        return _Written(text=text, finish=finish, tokens=tokens, kept=kept)

    def _text(self, tokens: list[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _read_off(self, requests: Sequence[Request], written: list["_Written"]) -> None:
        """Add the probabilities of the choices: one prompt a request, one more for every further token
        of a choice; all but their ends lie in the prefix cache.
        """
        prompts: list[list[int]] = []
        wanted: list[list[int]] = []
        plans: list[tuple[_Written, list[list[tuple[int, int]]]]] = []  # per choice: (prompt, token) to sum
        for request, text in zip(requests, written, strict=True):
            if not request.choices or text.finish not in ("stop", "length"):
                continue
            begin = [*request.ids, *text.tokens[: text.kept], *request.lead]
            ends = [choice_ids(self.tokenizer, choice) for choice in request.choices]
            first = len(prompts)
            prompts.append(begin)
            wanted.append(sorted({ids[0] for ids in ends}))
            steps = []
            for ids in ends:
                terms = [(first, ids[0])]
                for at in range(1, len(ids)):
                    terms.append((len(prompts), ids[at]))
                    prompts.append([*begin, *ids[:at]])
                    wanted.append([ids[at]])
                steps.append(terms)
            plans.append((text, steps))
        sampling = [
            self._vllm.SamplingParams(max_tokens=1, temperature=0.0, detokenize=False, logprob_token_ids=ids)
            for ids in wanted
        ]
        found = [output.outputs[0].logprobs for output in self._generate(prompts, sampling)]
        for text, steps in plans:
            if all(found[number] for terms in steps for number, _ in terms):
                sums = [sum(found[number][0][token].logprob for number, token in terms) for terms in steps]
                text.probabilities = shares(sums)
            else:
                text.finish = "error"


@dataclass(slots=True)
class _Written:
    """What became of one request."""

    text: str = ""
    finish: str = "stop"
    tokens: list[int] = field(default_factory=list)
    kept: int = 0
    """How many of the tokens the text consists of."""
    probabilities: tuple[float, ...] | None = None
