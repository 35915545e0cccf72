"""What all engines share: the tokenizer, the limit on lengths, the identity, and the check of every request.

A new engine subclasses `BaseEngine`, or `RollingBase` if it takes requests while it answers others,
writes the one or two methods that raise NotImplementedError here, and gets a row in `d3.config.engine_kinds`.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from d3.config.engine import Engine as EngineSettings
from d3.core.hub import hub_fault
from d3.core.ids import file_digest
from d3.llm.chat_text import BYTES, CHOICE_TOKENS, PROTECTION, ChatTokenizer
from d3.llm.engine import Answer, EngineError, Request, room_needed


class BaseEngine:
    """An engine that answers one list of requests after the other; the interface is `d3.llm.engine.Engine`."""

    tries = 3
    kind: str | None = None
    """The kind in the identity; None: that of the settings. Two kinds with one identity share their answers."""
    tokens_per_id = 1
    """Most tokens that an id of a prompt can be for the model."""
    choice_tokens = 1
    """Most tokens of a choice that is read off."""

    def __init__(self, settings: EngineSettings, model: str) -> None:
        """Load the tokenizer and the model's configuration; raise EngineError if they cannot be loaded.

        `model` is a folder or a hub id, and not read with `api: chat`. Weights belong into a method that the
        first request calls.
        """
        self.settings, self.model = settings, model
        self.accept = settings.accept
        self.price, self.max_cost = settings.price, settings.max_cost
        self.chunk = settings.batch
        if not settings.reads_model:
            self.tokenizer: Any = ChatTokenizer()
            self.max_length, self.tokens_per_id = settings.max_length, BYTES
            self.choice_tokens = CHOICE_TOKENS[settings.choices]
            return
        import transformers

        self.revision = None if Path(model).exists() else settings.revision
        fault = None if Path(model).exists() else hub_fault()
        self.only_local = {"local_files_only": fault is not None}
        options = {"revision": self.revision, **self.only_local}
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(model, **options)
            model_config = transformers.AutoConfig.from_pretrained(model, **options)
        except (OSError, ValueError) as error:
            if fault is None:
                raise EngineError(f"cannot be loaded ({error})", where=model, remedy="check folder or hub id") from None
            raise EngineError(
                f"no such folder, no such model in the local cache, and the hub cannot be reached ({fault})",
                where=model,
                remedy="check the folder, or download the model where there is a network",
            ) from None
        longest = int(getattr(model_config.get_text_config(), "max_position_embeddings", 2**31))
        self.max_length = min(settings.max_length, longest)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides answers; the files of a model in a folder count, not its path."""
        if not self.settings.reads_model:
            return {
                "kind": "openai",
                "api": self.settings.api,
                "choices": self.settings.choices,
                "protection": PROTECTION,
                **({"request_fields": self.settings.request_fields} if self.settings.request_fields else {}),
                **self.more_identity(),
            }
        folder = Path(self.model)
        model = {"digest": file_digest(folder)} if folder.exists() else {"model": self.model, "revision": self.revision}
        return {
            "kind": self.kind or self.settings.kind,
            **model,
            "dtype": self.settings.dtype,
            "quantization": self.settings.quantization,
            "tensor_parallel": self.settings.tensor_parallel,
            **({"options": self.settings.options} if self.settings.options else {}),
            **self.more_identity(),
        }

    def more_identity(self) -> dict[str, Any]:
        """Return what else decides answers, such as the versions of the libraries that compute them."""
        return {}

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers to requests, in their order; raise EngineError for a request that `check` rejects."""
        for request in requests:
            self.check(request)
        return self.answer(requests)

    def check(self, request: Request) -> None:
        """Raise EngineError if a request takes more tokens than `max_length`."""
        needed = room_needed(self.tokenizer, request)
        if needed > self.max_length:
            raise EngineError(f"takes {needed} tokens of {self.max_length}", where=request.key)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers to checked requests, in their order."""
        raise NotImplementedError

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of drawn tokens, special tokens included."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text


class RollingBase(BaseEngine):
    """An engine that takes requests while it answers others; the interface is `d3.llm.engine.RollingEngine`."""

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers to checked requests, in their order; no other request may be open."""
        try:
            tickets = [self.submit(request) for request in requests]
        except Exception as error:
            self.abort(error)
            raise
        answers: dict[int, Answer] = {}
        while len(answers) < len(tickets):
            answers.update(self.collect())
        return [answers[ticket] for ticket in tickets]

    def submit(self, request: Request) -> int:
        """Take one request and return its ticket; raise EngineError for a request that `check` rejects."""
        raise NotImplementedError

    def collect(self) -> list[tuple[int, Answer]]:
        """Wait for answers and return them with their tickets, in any order."""
        raise NotImplementedError

    def abort(self, error: Exception) -> None:
        """Drop all open requests after a failure; raise EngineError if the engine can answer no others."""
        raise NotImplementedError


def failed(request: Request, reason: str) -> Answer:
    """Return the answer to a request that failed for good."""
    return Answer(text="", finish_reason="error", prompt_tokens=len(request.ids), answer_tokens=0, detail=reason)
