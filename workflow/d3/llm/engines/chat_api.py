"""Requests to `/chat/completions`, for servers that offer nothing else; see `d3.llm.chat_text` for what protects them.

Choices are read off in a second request, which repeats the free text as the model's turn and asks for one of them:
`schema` restricts the response to them by a JSON schema, `logprobs` takes the probabilities of the likeliest tokens,
`text` reads the response. Only `logprobs` has probabilities. Texts at which an answer ends are cut off here, since
not every provider takes `stop`.
"""

import json
import math
import re
from typing import Any

from d3.config.engine import Engine as EngineSettings
from d3.llm.chat_text import CHOICE_TOKENS, escape, messages_of
from d3.llm.engine import EngineError, Request, shares
from d3.llm.engines.completions_api import LIKELIEST, Chosen, Written, chance, usage_of
from d3.llm.engines.server_client import RefusedError

FINISHES = {"stop", "length"}
OTHER_NAMES = {"end_turn": "stop", "stop_sequence": "stop", "eos": "stop", "max_tokens": "length"}
LONGEST_TEXT = 2_000
"""Characters of a response in which a choice is looked for."""


class ChatApi:
    """See the module's text; the interface is `d3.llm.engines.completions_api.Api`."""

    path = "/chat/completions"

    def __init__(self, settings: EngineSettings) -> None:
        """Take how choices are read off, and fields of every request."""
        self.settings = settings

    def check(self, request: Request) -> None:
        """Accept every request."""

    def text_body(self, request: Request) -> dict[str, Any]:
        """Return the body that asks for the free text."""
        return self._body(
            {
                "messages": messages_of(request.ids),
                "max_tokens": request.max_tokens,
                "temperature": request.temperature,
                "top_p": request.top_p,
                "seed": request.seed & 0x7FFFFFFF,
            }
        )

    def read_text(self, request: Request, reply: Any) -> Written | None:
        """Return the free text up to the first text at which it ends, and why it ended."""
        text, finish = _content(reply)
        if not isinstance(finish, str):
            return None
        finish = OTHER_NAMES.get(finish, finish)
        ends = [text.index(stop) for stop in request.stop if stop in text]
        if ends:
            text, finish = text[: min(ends)], "stop" if finish in FINISHES else finish
        return Written(
            text=text,
            finish=finish,
            tokens=usage_of(reply, "completion_tokens") or 0,
            prompt_tokens=usage_of(reply, "prompt_tokens"),
        )

    def choice_body(self, request: Request, written: Written) -> dict[str, Any]:
        """Return the body that asks for one of the choices."""
        choices = choices_of(request)
        lead = "".join(one["content"] for one in messages_of(request.lead)).strip()
        said = [{"role": "assistant", "content": escape(written.text)}] if written.text.strip() else []
        wanted = f"{lead}\nAnswer with one of these and nothing else: {', '.join(choices)}."
        body: dict[str, Any] = {
            "messages": _joined([*messages_of(request.ids), *said, {"role": "user", "content": wanted.strip()}]),
            "max_tokens": CHOICE_TOKENS[self.settings.choices],
            "temperature": 0.0,
        }
        if self.settings.choices == "schema":
            body["response_format"] = schema_of(choices)
        elif self.settings.choices == "logprobs":
            body |= {"logprobs": True, "top_logprobs": LIKELIEST}
        return self._body(body)

    def read_choice(self, request: Request, reply: Any) -> Chosen | None:
        """Return the probabilities of the choices, or the one that the response names."""
        choices = choices_of(request)
        text, _ = _content(reply)
        if self.settings.choices != "logprobs":
            return Chosen(choice=_named(text, choices))
        logprobs = reply["choices"][0].get("logprobs")
        if logprobs is None:
            raise EngineError(
                "the server returns no logprobs", where=str(self.settings.served_model), remedy="set choices: schema"
            )
        for token in logprobs["content"][: CHOICE_TOKENS["logprobs"]]:
            found = _sums(token["top_logprobs"], choices)
            if max(found) > -math.inf:
                return Chosen(chances=shares(found))
        raise RefusedError(f"none of {', '.join(map(repr, choices))} is among the likeliest tokens")

    def _body(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body with the fields of the configuration."""
        body |= self.settings.request_fields
        return {name: value for name, value in body.items() if value is not None}


def choices_of(request: Request) -> list[str]:
    """Return the choices without the white space that tokens have."""
    return [choice.strip() for choice in request.choices or ()]


def schema_of(choices: list[str]) -> dict[str, Any]:
    """Return the `response_format` that allows one of some choices."""
    schema = {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": choices}},
        "required": ["choice"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "choice", "strict": True, "schema": schema}}


def _content(reply: Any) -> tuple[str, Any]:
    """Return the text of a reply and why it ended; a refusal or nothing is an empty text."""
    choice = reply["choices"][0]
    content = choice["message"]["content"]
    if content is None:
        return "", choice["finish_reason"]
    if not isinstance(content, str):
        raise TypeError("content must be text")
    return content, choice["finish_reason"]


def _joined(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return messages in which no two of the same role follow each other, which some servers refuse."""
    joined: list[dict[str, str]] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            text = f"{joined[-1]['content']}\n\n{message['content']}"
            joined[-1] = {"role": message["role"], "content": text}
        else:
            joined.append(message)
    return joined


def _named(text: str, choices: list[str]) -> int:
    """Return the place of the choice that a response names: its JSON does, or its text begins with it or names no
    other.
    """
    text = text[:LONGEST_TEXT]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    word = value.get("choice") if isinstance(value, dict) else value
    if isinstance(word, str | int) and not isinstance(word, bool) and str(word).strip() in choices:
        return choices.index(str(word).strip())
    named = [
        place
        for place, choice in enumerate(choices)
        if re.search(rf"(?<![\w.]){re.escape(choice)}(?!\w|\.\d)", text, re.IGNORECASE)
    ]
    first = [place for place in named if re.match(rf"\W{{0,9}}{re.escape(choices[place])}(?!\w)", text, re.IGNORECASE)]
    named = first if len(first) == 1 else named
    if len(named) != 1:
        raise RefusedError(f"the response names {'none' if not named else 'several'} of {', '.join(choices)}")
    return named[0]


def _sums(likeliest: Any, choices: list[str]) -> list[float]:
    """Return the log-probability of each choice, from the tokens that begin no other; minus infinity for none."""
    weights = [0.0] * len(choices)
    for entry in likeliest:
        token = str(entry["token"]).strip()
        begun = [place for place, choice in enumerate(choices) if token and choice.startswith(token)]
        if len(begun) == 1:
            weights[begun[0]] += math.exp(chance(entry["logprob"]))
    return [math.log(weight) if weight > 0 else -math.inf for weight in weights]
