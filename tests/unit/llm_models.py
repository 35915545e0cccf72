"""Tiny models with a chat template, and what tests of the LLM stages share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d3.llm.engine import Answer, Request
from tiny import make_model

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_model(folder: Path, *, length: int = 2048, seed: int = 0, hidden: int = 32) -> Path:
    """Write a tiny random Llama whose tokenizer has a chat template."""
    import torch
    from transformers import AutoTokenizer

    torch.set_num_threads(1)  # a second thread only costs time in matrices of this size
    make_model(folder, length=length, seed=seed, hidden=hidden)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(str(folder))
    return folder


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
