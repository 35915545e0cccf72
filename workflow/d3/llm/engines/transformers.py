"""The engine for any machine: transformers, in this process, on the CPU or one GPU.

Every prompt is computed alone, its shared beginning once for all that share it; then a batch of
requests is drawn token by token with one growing key-value cache. Every request has a random
generator of its own. So an answer depends on its batch mates only through the rounding of batched
matrix products: at temperature 0 it changes where two tokens are equally likely to the last digits.
The same requests on the same machine with the same thread count give the same answers.

Works for decoder-only models that keep keys and values of all tokens (Llama, Qwen, Mistral, Gemma,
SmolLM, StarCoder2 ...), not for recurrent ones.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import transformers
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from d3.config.engine import Engine as EngineSettings
from d3.core.progress import announce
from d3.llm.engine import Answer, EngineError, Request, choice_ids
from d3.llm.engines.base import BaseEngine

PREFIXES_IN_MEMORY = 4


class TransformersEngine(BaseEngine):
    """See the module's text."""

    def __init__(self, settings: EngineSettings, model: str) -> None:
        """Load the tokenizer and the model's configuration; raise EngineError if they cannot be loaded."""
        super().__init__(settings, model)
        self.chunk = 4 * settings.batch
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._prefixes: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def more_identity(self) -> dict[str, Any]:
        """Return the versions of what computes the answers."""
        return {"versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}}

    @cached_property
    def _model(self) -> Any:
        transformers.utils.logging.disable_progress_bar()
        announce(f"loading the model {self.model}")
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                self.model, dtype=getattr(torch, self.settings.dtype), revision=self.revision, **self.only_local
            )
            return model.to(self.device).eval()
        except Exception as error:  # a cut file, a full GPU: whatever it is, no row is to blame for it
            raise EngineError(
                f"cannot be loaded ({type(error).__name__}: {error})", where=self.model, remedy="check the model"
            ) from None

    @cached_property
    def _ends(self) -> frozenset[int]:
        """Return the tokens that end an answer."""
        ends: set[int] = set()
        for holder in (self._model.generation_config, self.tokenizer):
            value = holder.eos_token_id
            ends.update([value] if isinstance(value, int) else value or [])
        return frozenset(ends)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers to checked requests, in their order: prompts of similar length share a batch."""
        answers: list[Answer | None] = [None] * len(requests)
        order = sorted(range(len(requests)), key=lambda at: (len(requests[at].ids), requests[at].ids))
        with torch.inference_mode():
            for begin in range(0, len(order), self.settings.batch):
                places = order[begin : begin + self.settings.batch]
                for place, answer in zip(places, self._batch([requests[at] for at in places]), strict=True):
                    answers[place] = answer
        return [answer for answer in answers if answer is not None]

    # --- one batch ----------------------------------------------------------------------------------

    def _batch(self, requests: list[Request]) -> list[Answer]:
        rows = [_Row(request) for request in requests]
        widest = max(len(request.ids) for request in requests)
        cache = _BatchCache(len(rows), widest + max(request.max_tokens for request in requests))
        logits = []
        for number, row in enumerate(rows):
            single, last = self._prefill(row.request)
            row.begin = widest - len(row.request.ids)
            cache.take(number, row.begin, single)
            logits.append(last)
        for row in rows:
            if row.request.max_tokens == 0:
                row.finish = "stop"
        scores = torch.stack(logits)
        step = 0
        alive = list(range(len(rows)))  # which row each line of the cache and of `scores` belongs to
        while True:
            for line, number in enumerate(alive):
                row = rows[number]
                if row.finish == "":
                    self._draw(row, scores[line])
                if row.finish and not row.closed:
                    self._close(row, cache.single(line, row.begin, widest + row.kept))
            running = [line for line, number in enumerate(alive) if not rows[number].finish]
            if not running:
                break
            if len(running) <= len(alive) // 2:
                cache.select(running)
                alive = [alive[line] for line in running]
            scores = self._step([rows[number] for number in alive], cache, widest, step)
            step += 1
        return [row.answer() for row in rows]

    def _prefill(self, request: Request) -> tuple[DynamicCache, torch.Tensor]:
        """Compute one prompt; give its cache and the logits of the next token."""
        cache = DynamicCache()
        if request.shared:
            prefix = request.ids[: request.shared]
            layers = self._prefixes.pop(prefix, None)
            if layers is None:
                single = DynamicCache()
                self._forward(prefix, single)
                layers = [(layer.keys, layer.values) for layer in single.layers]
            self._prefixes[prefix] = layers
            if len(self._prefixes) > PREFIXES_IN_MEMORY:
                self._prefixes.popitem(last=False)
            for number, (keys, values) in enumerate(layers):
                cache.update(keys, values, number)
        return cache, self._forward(request.ids[request.shared :], cache)[-1]

    def _forward(self, ids: Sequence[int], cache: Cache, keep: int = 1) -> torch.Tensor:
        """Extend a cache of one row; give the logits after the last `keep` tokens, in float32."""
        inputs = torch.tensor([ids], device=self.device)
        return self._model(inputs, past_key_values=cache, logits_to_keep=keep).logits[0].float()

    def _step(self, rows: list["_Row"], cache: "_BatchCache", widest: int, step: int) -> torch.Tensor:
        """Feed the last token of every row; rows that have ended are fed anything."""
        tokens = torch.tensor([[row.tokens[-1] if row.tokens else 0] for row in rows], device=self.device)
        begins = torch.tensor([[row.begin] for row in rows], device=self.device)
        places = torch.arange(widest + step + 1, device=self.device)
        output = self._model(
            tokens,
            past_key_values=cache,
            attention_mask=(places >= begins).long(),
            position_ids=widest + step - begins,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def _draw(self, row: "_Row", logits: torch.Tensor) -> None:
        """Add one token to a row, and see whether that ends it."""
        token = _sample(logits, row.request, row.generator)
        row.tokens.append(token)
        if token in self._ends:
            row.finish = "stop"
            row.kept = len(row.tokens) - 1
            row.text = self.decode(row.tokens[:-1])
            return
        row.kept = len(row.tokens)
        tail = max((len(stop.encode()) for stop in row.request.stop), default=0) + 4
        recent = self.decode(row.tokens[-tail:]) if row.request.stop else ""
        if any(stop in recent for stop in row.request.stop):
            text = self.decode(row.tokens)
            row.finish = "stop"
            row.text = text[: min(text.index(stop) for stop in row.request.stop if stop in text)]
            while len(self.decode(row.tokens[: row.kept])) > len(row.text):
                row.kept -= 1
        elif len(row.tokens) == row.request.max_tokens:
            row.finish = "length"
            row.text = self.decode(row.tokens)

    def _close(self, row: "_Row", cache: DynamicCache) -> None:
        """Read off the choices of a row that has ended, from the row's own part of the cache."""
        row.closed = True
        request = row.request
        if not request.choices:
            return
        fed = cache.get_seq_length()
        so_far = [*request.ids, *row.tokens[: row.kept], *request.lead]
        if fed >= len(so_far):  # nothing is left to feed: step back by one token
            fed = len(so_far) - 1
            cache = _beginning(cache, fed)
        lead = self._forward(so_far[fed:], cache)[-1].log_softmax(-1)
        sums = []
        for choice in request.choices:
            ids = choice_ids(self.tokenizer, choice)
            total = lead[ids[0]].double()
            if len(ids) > 1:
                branch = _beginning(cache, len(so_far))
                after = self._forward(ids[:-1], branch, keep=len(ids) - 1).log_softmax(-1)
                total = total + after.gather(1, torch.tensor(ids[1:], device=self.device)[:, None]).double().sum()
            sums.append(total)
        row.probabilities = tuple(torch.stack(sums).softmax(0).tolist())


class _Row:
    """One request while it is answered."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.begin = 0  # first place of its prompt in the batch's cache
        self.tokens: list[int] = []
        self.kept = 0  # how many of the tokens the answer consists of
        self.text = ""
        self.finish = ""
        self.closed = False
        self.probabilities: tuple[float, ...] | None = None
        self.generator = torch.Generator().manual_seed(request.seed)

    def answer(self) -> Answer:
        return Answer(
            text=self.text,
            finish_reason=self.finish,
            prompt_tokens=len(self.request.ids),
            answer_tokens=len(self.tokens),
            choice_probabilities=self.probabilities,
        )


def _sample(logits: torch.Tensor, request: Request, generator: torch.Generator) -> int:
    """Draw a token: one uniform number, put into the sorted cumulative probabilities."""
    if request.temperature == 0:
        return int(logits.argmax())
    chances, tokens = (logits.double() / request.temperature).softmax(-1).sort(descending=True, stable=True)
    sums = chances.cumsum(-1)
    kept = max(1, int((sums - chances < request.top_p).sum()))
    point = torch.rand((), generator=generator, dtype=torch.float64).item() * sums[kept - 1].item()
    return int(tokens[min(int((sums[:kept] <= point).sum()), kept - 1)])


def _beginning(cache: DynamicCache, length: int) -> DynamicCache:
    """Return a cache of the first `length` tokens; the other cache stays as it is."""
    result = DynamicCache()
    for number, layer in enumerate(cache.layers):
        result.update(layer.keys[:, :, :length], layer.values[:, :, :length], number)
    return result


class _Layer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a batch in one buffer that is written in place, not copied at every token."""

    def __init__(self, rows: int, length: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys = keys.new_zeros((rows, keys.shape[1], length, keys.shape[3]))
        self.values = values.new_zeros((rows, values.shape[1], length, values.shape[3]))
        self.filled = 0

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        end = self.filled + keys.shape[2]
        self.keys[:, :, self.filled : end] = keys
        self.values[:, :, self.filled : end] = values
        self.filled = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.filled


class _BatchCache(Cache):  # type: ignore[misc]
    """The cache of a batch: every row's prompt ends at the same place."""

    def __init__(self, rows: int, length: int) -> None:
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self.rows, self.length = rows, length

    def take(self, row: int, begin: int, single: DynamicCache) -> None:
        """Copy the cache of one prompt into a row."""
        for number, layer in enumerate(single.layers):
            if number == len(self.layers):
                self.layers.append(_Layer(self.rows, self.length, layer.keys, layer.values))
            mine = self.layers[number]
            end = begin + layer.keys.shape[2]
            mine.keys[row, :, begin:end] = layer.keys[0]
            mine.values[row, :, begin:end] = layer.values[0]
            mine.filled = end

    def single(self, row: int, begin: int, end: int) -> DynamicCache:
        """Return the cache of one row's tokens from `begin` to at most `end`."""
        result = DynamicCache()
        for number, layer in enumerate(self.layers):
            stop = min(end, layer.filled)
            result.update(layer.keys[row : row + 1, :, begin:stop], layer.values[row : row + 1, :, begin:stop], number)
        return result

    def select(self, rows: list[int]) -> None:
        """Go on with some rows only."""
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
