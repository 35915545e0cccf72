"""The engine for servers and providers: any that answers `/v1/completions` for a prompt of token ids (`vllm serve`,
SGLang, llama.cpp ...), or `/v1/chat/completions` (`api: chat`).

At most `batch` requests are open at a time, spread over `base_urls`; the next one is sent as soon as an answer is
there. What is sent, and how choices are read off, stands in `completions_api` and `chat_api`; retries, and who is to
blame, in `server_client`: a row that is gets `engine_error`, otherwise the stage stops, with everything finished in
the journal.
"""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

from d3.config.engine import Engine as EngineSettings
from d3.llm.chat_text import ChatTokenizer
from d3.llm.engine import Answer, EngineError, Request
from d3.llm.engines.base import RollingBase, failed
from d3.llm.engines.chat_api import ChatApi
from d3.llm.engines.completions_api import Api, Chosen, CompletionsApi, Written, answer_of
from d3.llm.engines.server_client import Client, RefusedError, StoppedError

Part = TypeVar("Part")


def api_of(settings: EngineSettings, engine: Any) -> Api:
    """Return the API that a configuration names, for an engine with a loaded tokenizer."""
    return ChatApi(settings) if settings.api == "chat" else CompletionsApi(engine.tokenizer, engine.decode)


class OpenaiEngine(RollingBase):
    """See the module's text."""

    tries = 1  # it retries by itself

    def __init__(self, settings: EngineSettings, model: str) -> None:
        """Load the tokenizer; raise EngineError if it cannot be loaded, ConfigError without a server."""
        self.client = Client(settings)
        super().__init__(settings, model)
        self.chunk = settings.batch + max(16, settings.batch // 4)  # some wait, so that no place stays empty
        self.api = api_of(settings, self)
        self._tickets = 0
        self._open: dict[Future[Answer], tuple[int, Request]] = {}
        self._failure: BaseException | None = None
        """What stopped all requests; raised when the answers that came meanwhile have been collected."""
        self._limit_known = False
        self._accepted: set[str] = set()
        """Parts of answers, `text` and `choice`, that the server has given once."""
        self._probing = threading.Lock()

    def more_identity(self) -> dict[str, Any]:
        """Return the model's name at the server. Its address is left out: the same model may move to another
        machine.
        """
        return {"served_model": self.settings.served_model}

    def check(self, request: Request) -> None:
        """Raise EngineError if a request is too long, or has a choice that the API cannot express."""
        super().check(request)
        self.api.check(request)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.settings.batch)

    def submit(self, request: Request) -> int:
        """Take one request and return its ticket; raise EngineError if the server is down or the request too long."""
        self.check(request)
        self._raise_failure()
        if not self._open:
            self.client.stopped.clear()
            self._check_limit()
        self._open[self._pool.submit(self._answer, request)] = self._tickets, request
        self._tickets += 1
        return self._tickets - 1

    def collect(self) -> list[tuple[int, Answer]]:
        """Wait for answers and return them with their tickets; raise EngineError if the server is down.

        Before that, all answers that came until the failure are returned: they were paid for.
        """
        self._raise_failure()
        try:
            finished = self._finished(wait(self._open, return_when=FIRST_COMPLETED).done)
            if self._failure is not None:
                self.client.stopped.set()
                for future in self._open:
                    future.cancel()
                finished += self._finished(wait(self._open).done)
        except BaseException:
            self.client.stopped.set()
            raise
        if not finished:
            self._raise_failure()
        return finished

    def abort(self, error: Exception) -> None:
        """Drop all open requests."""
        self.client.stopped.set()
        for future in self._open:
            future.cancel()
        wait(self._open)
        self._open.clear()

    def _finished(self, futures: set[Future[Answer]]) -> list[tuple[int, Answer]]:
        """Take finished requests off the open ones and return their answers; note what failed."""
        found = []
        for future in futures:
            ticket, request = self._open.pop(future)
            error = None if future.cancelled() else future.exception()
            if isinstance(error, EngineError):
                self._failure = self._failure or error
            elif not future.cancelled() and not isinstance(error, StoppedError):
                answer = future.result() if error is None else failed(request, f"{type(error).__name__}: {error}")
                found.append((ticket, answer))
        return sorted(found, key=lambda pair: pair[0])

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _check_limit(self) -> None:
        """Raise EngineError when the server says that it takes less than `max_length`: rows would be refused."""
        if self._limit_known:
            return
        for url in self.client.servers.urls:
            found = self.client.models(url)
            if found is None:
                continue
            self._limit_known = True
            limits = [one.get("max_model_len") for one in found if one.get("id") == self.settings.served_model]
            if limits and isinstance(limits[0], int) and limits[0] < self.max_length:
                raise EngineError(
                    f"takes {limits[0]} tokens, max_length is {self.max_length}",
                    where=url,
                    remedy=f"set max_length to {limits[0]}",
                )

    # --- one request --------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Answer:
        written, chosen = Written(), Chosen()
        sent = len(request.ids)
        try:
            if request.max_tokens:
                body, tokens = self.api.text_body(request), sent + request.max_tokens
                written = self._post("text", request, body, tokens, self.api.read_text)
            if request.choices and written.finish in ("stop", "length"):
                body, tokens = self.api.choice_body(request, written), sent + written.tokens + len(request.lead)
                chosen = self._post("choice", request, body, tokens, self.api.read_choice)
        except RefusedError as refused:
            return failed(request, str(refused))
        return answer_of(request, written, chosen)

    def _post(
        self,
        part: str,
        request: Request,
        body: dict[str, Any],
        tokens: int,
        read: Callable[[Request, Any], Part | None],
    ) -> Part:
        """Return what is read of the reply; raise EngineError when the server refuses every request of this form."""
        try:
            found = self.client.post(self.api.path, body, partial(read, request), request, tokens)
        except RefusedError as refused:
            if self.settings.api == "chat" and str(refused).startswith("HTTP 4") and part not in self._accepted:
                self._probe(part, request)
            raise
        self._accepted.add(part)
        return found

    def _probe(self, part: str, request: Request) -> None:
        """Raise EngineError when the server refuses the form of a request even for a harmless prompt."""
        harmless = replace(request, key="probe", ids=tuple(ChatTokenizer().encode("Choose one.")), shared=0)
        if part == "text":
            body, what = self.api.text_body(harmless), "every request"
            remedy = "set or remove fields with engine.request_fields"
        else:
            mode = self.settings.choices
            others = {"schema": "logprobs or text", "logprobs": "schema or text", "text": "schema"}[mode]
            body, what = self.api.choice_body(harmless, Written()), f"every request of `choices: {mode}`"
            remedy = f"set engine.choices to {others}"
        with self._probing:
            try:
                self.client.post(self.api.path, body, bool, harmless, len(harmless.ids))
            except RefusedError as refused:
                raise self.client.fault(f"refuses {what} ({refused})", None, remedy) from None
