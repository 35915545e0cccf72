"""Requests to `/completions`: prompts go out as token ids, so the server reads no template and no control token.

Choices are read off in a second request for one token, whose prompt ends with the lead. Its body asks for the
probabilities of exactly these tokens (`logprob_token_ids`, vLLM) and, for servers that ignore this, for the likeliest
twenty; a choice that is not among them counts as impossible.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from d3.llm.engine import Answer, EngineError, Request, choice_ids, shares
from d3.llm.engines.server_client import RefusedError

MOST_TOKENS = 2**31
LIKELIEST = 20
"""The most that vLLM gives by default."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Written:
    """The free text of a reply."""

    text: str = ""
    finish: str = "stop"
    tokens: int = 0
    """Tokens that were drawn."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, where the server counts them and we cannot."""
    kept: tuple[int, ...] = ()
    """Ids that the text consists of."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Chosen:
    """What was read off: probabilities, or one choice without them."""

    chances: tuple[float, ...] | None = None
    choice: int | None = None


class Api(Protocol):
    """How requests become bodies and replies become answers; readers return None for a torn reply."""

    path: str
    """Below the base URL."""

    def check(self, request: Request) -> None:
        """Raise EngineError for a request that this API cannot express."""

    def text_body(self, request: Request) -> dict[str, Any]:
        """Return the body that asks for the free text."""

    def read_text(self, request: Request, reply: Any) -> Written | None:
        """Return the free text of a reply."""

    def choice_body(self, request: Request, written: Written) -> dict[str, Any]:
        """Return the body that asks for a choice after the free text."""

    def read_choice(self, request: Request, reply: Any) -> Chosen | None:
        """Return what was chosen; raise RefusedError when none of the choices was, EngineError when none can be."""


def answer_of(request: Request, written: Written, chosen: Chosen) -> Answer:
    """Return the answer that two replies make."""
    return Answer(
        text=written.text,
        finish_reason=written.finish,
        prompt_tokens=len(request.ids) if written.prompt_tokens is None else written.prompt_tokens,
        answer_tokens=written.tokens,
        choice_probabilities=chosen.chances,
        choice=chosen.choice,
    )


def usage_of(reply: Any, name: str) -> int | None:
    """Return tokens that a server says it counted; None for anything but a number of sensible size."""
    usage = reply.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and 0 <= count < MOST_TOKENS else None


def chance(value: Any) -> float:
    """Return a log-probability; anything else counts as impossible."""
    return float(value) if type(value) in (int, float) and -MOST_TOKENS < value < 1 else -math.inf


class CompletionsApi:
    """See the module's text; the interface is `Api`."""

    path = "/completions"

    def __init__(self, tokenizer: Any, decode: Callable[[list[int]], str]) -> None:
        """Take the model's tokenizer, and what turns drawn ids into text."""
        self.tokenizer, self.decode = tokenizer, decode

    def check(self, request: Request) -> None:
        """Raise EngineError if a request has a choice that one token cannot express."""
        if any(len(choice_ids(self.tokenizer, choice)) != 1 for choice in request.choices or ()):
            raise EngineError("choices of several tokens cannot be read off a server", where=request.key)

    def text_body(self, request: Request) -> dict[str, Any]:
        """Return the body that asks for the free text."""
        body = {
            "prompt": list(request.ids),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed & 0x7FFFFFFF,
            "skip_special_tokens": False,
            "return_token_ids": True,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        return body

    def read_text(self, request: Request, reply: Any) -> Written | None:
        """Return the free text, why it ended, and the ids that it consists of."""
        choice = reply["choices"][0]
        text, finish, drawn = choice["text"], choice["finish_reason"], choice.get("token_ids")
        if not isinstance(text, str) or not isinstance(finish, str):
            return None
        if not _are_token_ids(drawn, len(self.tokenizer)):
            drawn = None
        if drawn is None:
            kept = self.tokenizer.encode(text, add_special_tokens=False) if request.choices else []
        else:
            kept = list(drawn)
            while kept and finish == "stop" and len(self.decode(kept)) > len(text):
                kept.pop()
        count = len(drawn) if drawn is not None else usage_of(reply, "completion_tokens") or 0
        return Written(text=text, finish=finish, tokens=count, kept=tuple(kept))

    def choice_body(self, request: Request, written: Written) -> dict[str, Any]:
        """Return the body that asks for the probabilities of the next token."""
        return {
            "prompt": [*request.ids, *written.kept, *request.lead],
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": LIKELIEST,
            "logprob_token_ids": self._ids(request),
            "return_tokens_as_token_ids": True,
        }

    def read_choice(self, request: Request, reply: Any) -> Chosen | None:
        """Return the probabilities of the choices."""
        likeliest = reply["choices"][0]["logprobs"]["top_logprobs"][0]
        if not isinstance(likeliest, dict):
            return None
        choices = request.choices or ()
        names = [(f"token_id:{token}", choice) for token, choice in zip(self._ids(request), choices, strict=True)]
        found = [next((chance(likeliest[name]) for name in both if name in likeliest), -math.inf) for both in names]
        if max(found) == -math.inf:
            raise RefusedError(
                f"none of {', '.join(map(repr, choices))} is among the {len(likeliest)} likeliest tokens"
            )
        return Chosen(chances=shares(found))

    def _ids(self, request: Request) -> list[int]:
        return [choice_ids(self.tokenizer, choice)[0] for choice in request.choices or ()]


def _are_token_ids(value: Any, size: int) -> bool:
    return isinstance(value, list) and all(type(token) is int and 0 <= token < size for token in value)
