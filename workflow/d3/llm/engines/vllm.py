"""The engine for clusters: vLLM, offline, in this process; the same code on GPUs and, for tests, on CPUs.

Prompts are token ids, so no template and no special token is read a second time. Every request has
its own sampling parameters and seed. The fixed beginning of the prompts is served by the prefix
cache. Requests are taken while others are answered, so that the engine is full until the last ones.
Choices are read off right after the free text, while its keys and values still lie in the cache:
after a long list of answers they would have made way for others.

On one CPU, answers were seen not to depend on the batch. On GPUs vLLM does not promise that, and
which requests meet in a batch depends on the clock there: compare two runs by statistics, not by
bytes. VLLM_BATCH_INVARIANT=1 makes equal bytes likelier where it is supported, and no more: differences were
reported with it for larger batches.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from d3.config.engine import Engine as EngineSettings
from d3.core.progress import announce
from d3.llm.engine import Answer, EngineError, Request, choice_ids, shares
from d3.llm.engines.base import RollingBase
from d3.llm.engines.compile_cache import compile_cache

SETTINGS = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
"""What vLLM is told unless the environment says otherwise. FlashInfer compiles its sampler with nvcc, which neither
the image nor most machines have, while vLLM starts; requests with seeds, as all of ours, are sampled without it."""
CPU_SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""What makes vLLM start on a small shared machine: one process, 1 GiB for keys and values, threads
that are not bound to cores. Each gives way to the environment."""


class VllmEngine(RollingBase):
    """See the module's text."""

    def __init__(self, settings: EngineSettings, model: str) -> None:
        """Load the tokenizer and the model's configuration; raise EngineError if they cannot be loaded."""
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            import vllm
            import vllm.platforms
        except ImportError as error:
            raise EngineError(
                f"vLLM cannot be imported ({error})", remedy="run this stage in the vllm environment"
            ) from None
        super().__init__(settings, model)
        self.chunk = settings.batch + max(16, settings.batch // 4)  # some wait, so that no place stays empty
        self.prompt_tokens = self.cached_tokens = 0
        """Tokens of all prompts so far, and how many of them the prefix cache served."""
        self.read_off_tokens = self.read_off_cached = 0
        """The same of the prompts that choices were read off from."""
        self._vllm = vllm
        self._tickets = 0
        self._running: dict[str, tuple[_Flight, int]] = {}  # by vLLM's request: whose it is, which of its prompts
        self._finished: list[tuple[int, Answer]] = []

    def more_identity(self) -> dict[str, Any]:
        """Return the version of what computes the answers."""
        return {"versions": {"vllm": self._vllm.__version__}}

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
            # the cache serves whole blocks: of 128 tokens here, if nothing is said, and of 16 on GPUs
            options |= {"block_size": 32}
        announce(f"loading the model {self.model}")
        try:
            with compile_cache(
                {**self.identity, "max_length": self.max_length, "batch": self.settings.batch, "more": options}
            ):
                return self._vllm.LLM(
                    model=self.model,
                    revision=self.revision,
                    dtype=self.settings.dtype,
                    quantization=self.settings.quantization,
                    tensor_parallel_size=self.settings.tensor_parallel,
                    max_model_len=self.max_length,
                    max_num_seqs=self.settings.batch,
                    enable_prefix_caching=True,
                    logprobs_mode="raw_logprobs",
                    seed=0,
                    **{**options, **self.settings.options},
                )
        except Exception as error:  # whatever it is, no row is to blame for it
            raise EngineError(
                f"vLLM does not start ({type(error).__name__}: {' '.join(str(error).split())})",
                where=self.model,
                remedy="check the engine settings, and that the environment is whole",
            ) from None

    def submit(self, request: Request) -> int:
        """Take one request and give its ticket; raises EngineError for one over `max_length`."""
        self.check(request)
        flight = _Flight(ticket=self._tickets, request=request)
        if request.max_tokens:
            self._send(flight, 0, request.ids, self._sampling(request))
        else:
            self._read_off(flight)
        self._tickets += 1
        return flight.ticket

    def collect(self) -> list[tuple[int, Answer]]:
        """Wait until answers are there, in any order; give them with their tickets."""
        while not self._finished:
            try:
                self._step()
            except Exception as error:
                self.abort(error)
                raise
        finished, self._finished = self._finished, []
        return finished

    def _send(self, flight: "_Flight", number: int, ids: Sequence[int], sampling: Any) -> None:
        """Give vLLM one prompt of a request."""
        (name,) = self._llm.enqueue([{"prompt_token_ids": list(ids)}], [sampling], use_tqdm=False)
        self._running[name.partition("-")[0]] = flight, number  # what vLLM adds to a name does not come back
        flight.missing += 1

    def _step(self) -> None:
        """Let vLLM compute one step, and go on with what is finished."""
        for output in self._llm.llm_engine.step():
            if not output.finished:
                continue
            flight, number = self._running.pop(output.request_id)
            flight.missing -= 1
            self.prompt_tokens += len(output.prompt_token_ids)
            self.cached_tokens += output.num_cached_tokens or 0
            if number == 0:
                flight.written = self._written(flight.request, output.outputs[0])
                if flight.request.choices and flight.written.finish in ("stop", "length"):
                    self._read_off(flight)
            else:
                self.read_off_tokens += len(output.prompt_token_ids)
                self.read_off_cached += output.num_cached_tokens or 0
                flight.found[number] = output.outputs[0].logprobs
            if not flight.missing:
                self._finished.append((flight.ticket, self._answer(flight)))

    def abort(self, error: Exception) -> None:
        """Take back what a failed call left in the engine, or its answers would come out of the next one.

        Raises EngineError when the engine is dead.
        """
        self._running, self._finished = {}, []
        engine = self._llm.llm_engine
        try:
            engine.abort_request(list(engine.output_processor.request_states), internal=True)
            alive = not engine.has_unfinished_requests()
        except Exception:
            alive = False
        if not alive:
            raise EngineError(
                f"vLLM died ({' '.join(str(error).split())[:300]})",
                where=self.model,
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
        """Return the free text, cut before a stop text or an end token; vLLM's own text leaves out bytes
        that are no UTF-8, which would be kept in the journal as if nothing had been written.
        """
        tokens = list(output.token_ids)
        finish = str(output.finish_reason)
        kept = len(tokens)
        if finish == "stop" and not isinstance(output.stop_reason, str):
            kept -= 1
        text = self.decode(tokens[:kept])
        if finish == "stop" and isinstance(output.stop_reason, str):
            text = text[: min((text.index(stop) for stop in request.stop if stop in text), default=len(text))]
            while len(self.decode(tokens[:kept])) > len(text):
                kept -= 1
        return _Written(text=text, finish=finish, tokens=tokens, kept=kept)

    def _read_off(self, flight: "_Flight") -> None:
        """Ask for the probabilities of the choices: one prompt, and one more for every further token of a
        choice; all but their ends lie in the prefix cache.
        """
        request, written = flight.request, flight.written
        begin = [*request.ids, *written.tokens[: written.kept], *request.lead]
        ends = [choice_ids(self.tokenizer, choice) for choice in request.choices or ()]
        prompts = [begin]
        wanted = [sorted({ids[0] for ids in ends})]
        for ids in ends:
            terms = [(1, ids[0])]
            for at in range(1, len(ids)):
                prompts.append([*begin, *ids[:at]])
                wanted.append([ids[at]])
                terms.append((len(prompts), ids[at]))
            flight.terms.append(terms)
        for number, (prompt, tokens) in enumerate(zip(prompts, wanted, strict=True), start=1):
            sampling = self._vllm.SamplingParams(
                max_tokens=1, temperature=0.0, detokenize=False, logprob_token_ids=tokens
            )
            self._send(flight, number, prompt, sampling)

    def _answer(self, flight: "_Flight") -> Answer:
        """Put together what came back for a request."""
        finish, chances = flight.written.finish, None
        if flight.terms:
            if all(flight.found[number] for terms in flight.terms for number, _ in terms):
                chances = shares(
                    [sum(flight.found[number][0][token].logprob for number, token in terms) for terms in flight.terms]
                )
            else:
                finish = "error"
        return Answer(
            text=flight.written.text,
            finish_reason=finish,
            prompt_tokens=len(flight.request.ids),
            answer_tokens=len(flight.written.tokens),
            choice_probabilities=chances,
        )


@dataclass(slots=True)
class _Written:
    """The free text of an answer."""

    text: str = ""
    finish: str = "stop"
    tokens: list[int] = field(default_factory=list)
    kept: int = 0
    """How many of the tokens the text consists of."""


@dataclass(kw_only=True, slots=True)
class _Flight:
    """A request that vLLM is working on."""

    ticket: int
    request: Request
    missing: int = 0
    """Prompts without an answer."""
    written: _Written = field(default_factory=_Written)
    terms: list[list[tuple[int, int]]] = field(default_factory=list)
    """For every choice the (prompt, token) whose log-probabilities are summed."""
    found: dict[int, Any] = field(default_factory=dict)
    """Log-probabilities by prompt, from 1; 0 is the free text."""
