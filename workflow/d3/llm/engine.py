"""What a language model is asked and what it answers, whatever runs it."""

import math
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

from d3.core.ids import digest_of
from d3.core.journal import Journal
from d3.errors import D3Error

SURROGATE = re.compile("[\ud800-\udfff]")
NOT_IN_JOURNAL = "not in the journal"
"""Why a request has no answer where none is asked."""


class EngineError(D3Error):
    """A model that cannot be loaded, or a request that no engine could answer."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Request:
    """One question: a prompt as token ids, and how the answer is drawn.

    The answer is free text of at most `max_tokens` tokens. If there are `choices`, `lead` is then
    written after it and the probabilities of the choices as the next text are read off.
    """

    key: str
    """Names the request in errors; does not change the answer."""
    ids: tuple[int, ...]
    """The whole prompt, special tokens included."""
    max_tokens: int
    """Most tokens of the free text; 0 to read off choices only."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Nucleus sampling: smallest set of tokens with this probability."""
    seed: int = 0
    """Decides every draw of this request, and of no other."""
    stop: tuple[str, ...] = ()
    """The free text ends before the first of these."""
    lead: tuple[int, ...] = ()
    """Token ids between the free text and the choice."""
    choices: tuple[str, ...] | None = None
    """Texts to choose from, none the beginning of another."""
    shared: int = 0
    """So many first ids are the same for many requests: engines compute them once. Never all."""

    def __post_init__(self) -> None:
        """Raise ValueError for a request that asks for nothing or shares more than it has."""
        if not 0 <= self.shared < len(self.ids):
            raise ValueError(f"{self.key}: {self.shared} shared ids of {len(self.ids)}")
        if self.max_tokens < (0 if self.choices else 1):
            raise ValueError(f"{self.key}: asks for no token")


@dataclass(kw_only=True, slots=True, frozen=True)
class Answer:
    """What came back for one request."""

    text: str
    """The free text, without the stop text and the end-of-text token; other special tokens stay."""
    finish_reason: str
    """`stop` (the model ended, or a stop text came), `length`, or `error`."""
    prompt_tokens: int
    """Tokens of the prompt."""
    answer_tokens: int
    """Tokens that were drawn, the end-of-text token included."""
    detail: str | None = None
    """Why the reason is `error`, when the engine knows."""
    choice_probabilities: tuple[float, ...] | None = None
    """One a choice, in the order of the request; they sum to 1."""
    choice: int | None = None
    """Place of the choice that was named, where the engine has no probabilities."""

    def __post_init__(self) -> None:
        """Replace halves of surrogate pairs, which JSON can carry and no table can, by U+FFFD."""
        for name in ("text", "finish_reason"):
            value = getattr(self, name)
            if not value.isascii():
                object.__setattr__(self, name, SURROGATE.sub("\ufffd", value))

    @property
    def chosen(self) -> int | None:
        """Place of the likeliest choice, the first of equal ones; None when nothing was read off."""
        chances = self.choice_probabilities
        return self.choice if chances is None else max(range(len(chances)), key=lambda place: chances[place])


class Engine(Protocol):
    """Runs one model."""

    tokenizer: Any
    """The model's tokenizer of transformers, with its chat template."""
    max_length: int
    """Most tokens of prompt, answer, lead and choice together."""
    chunk: int
    """How many requests to give at once so that the machine is kept busy."""
    tries: int
    """How often a request that failed is asked in all; 0: none is, answers come out of a journal."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything about the engine that decides answers; goes into journal keys and statements."""

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests, in their order; raises EngineError for one over `max_length`."""


@runtime_checkable
class RollingEngine(Engine, Protocol):
    """An engine that takes requests while it answers others; `chunk` is how many it wants to have then."""

    def submit(self, request: Request) -> int:
        """Take one request and give its ticket; raises EngineError for one over `max_length`."""

    def collect(self) -> list[tuple[int, Answer]]:
        """Wait until answers are there, in any order; give them with their tickets.

        An exception other than a D3Error means that all requests without an answer are lost, and that
        others may be asked.
        """


@runtime_checkable
class BatchingEngine(Engine, Protocol):
    """An engine for which a list is much faster than its requests one by one, and that keeps it until it is saved."""

    asks_together: bool
    """Whether drawn answers that are empty are asked again together."""

    def saved(self) -> None:
        """Learn that all answers so far are on the disk."""


@runtime_checkable
class AcceptingEngine(Engine, Protocol):
    """An engine beside which answers of others are taken."""

    accept: Sequence[Mapping[str, Any]]
    """Numerics of the others, see `engine.accept` of the configuration."""


@runtime_checkable
class PricedEngine(Engine, Protocol):
    """An engine whose answers may cost money."""

    price: tuple[float, float] | None
    """Of a million prompt tokens, and of a million answer tokens; None: it is not counted."""
    max_cost: float | None
    """Most that a job may spend; None: no cap."""
    tokens_per_id: int
    """Most tokens that an id of a prompt is: more than 1 where prompts are counted without the model's tokenizer."""
    choice_tokens: int
    """Most tokens of a choice that is read off."""


@runtime_checkable
class ReplayingEngine(Engine, Protocol):
    """An engine whose answers are those of a journal."""

    def bind(self, journal: Journal | None) -> None:
        """Take the identity of the engine that wrote the journal; raise EngineError if it is not the only one."""


def room_needed(tokenizer: Any, request: Request) -> int:
    """Return the tokens that a request takes at most: prompt, answer, lead and longest choice."""
    longest = max((len(choice_ids(tokenizer, choice)) for choice in request.choices or ()), default=0)
    return len(request.ids) + request.max_tokens + len(request.lead) + longest


@lru_cache(maxsize=1024)
def choice_ids(tokenizer: Any, choice: str) -> tuple[int, ...]:
    """Return the token ids of a choice."""
    return tuple(tokenizer.encode(choice, add_special_tokens=False))


def shares(sums: Sequence[float]) -> tuple[float, ...]:
    """Turn log-probabilities into shares that sum to 1; minus infinity becomes 0."""
    top = max(sums)
    weights = [math.exp(value - top) for value in sums]
    return tuple(weight / sum(weights) for weight in weights)


def answer_key(identity: dict[str, Any], request: Request, empty_again: bool = True) -> str:
    """Return the digest of everything that decides an answer: engine and model, prompt, sampling, seed.

    Options of the engine that are null are left out, since they have no effect. At temperature 0 the
    seed decides nothing and is left out, as is top-p.
    """
    greedy = request.temperature == 0
    return digest_of(
        [
            {name: value for name, value in identity.items() if value is not None},
            sha256(array("q", request.ids).tobytes()).hexdigest(),
            request.max_tokens,
            0 if greedy else request.temperature,
            1 if greedy else request.top_p,
            0 if greedy else request.seed,
            list(request.stop),
            list(request.lead),
            list(request.choices or ()),
            empty_again and not greedy,
        ]
    )
