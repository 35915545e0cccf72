"""An engine without a model, and a tokenizer without a vocabulary."""

from collections.abc import Sequence
from typing import Any

from d3.llm.engine import Answer, Request


class Letters:
    """A tokenizer of one token a letter."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [ord(letter) for letter in text]


class EchoEngine:
    """An engine without a model: answers with a digest of the request, and counts what it was asked."""

    tries = 3

    def __init__(self, tokenizer: Any = None, *, chunk: int = 4, max_length: int = 100) -> None:
        self.tokenizer, self.chunk, self.max_length = tokenizer or Letters(), chunk, max_length
        self.asked: list[str] = []
        self.identity = {"kind": "echo"}

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Request) -> Answer:
        self.asked.append(request.key)
        chances = None if request.choices is None else tuple(1 / len(request.choices) for _ in request.choices)
        return Answer(
            text=f"{sum(request.ids)} {request.seed}",
            finish_reason="stop",
            prompt_tokens=len(request.ids),
            answer_tokens=2,
            choice_probabilities=chances,
        )
