"""The engine for servers: any that answers `/v1/completions` for a prompt of token ids (`vllm serve`,
SGLang, llama.cpp ...).

Prompts go out as token ids, so that the server reads no template and no control token out of source
code. Servers that only offer chat render messages themselves: there a file could pass for a turn of
the conversation, so they are not supported.

Choices are read off in a second request for one token, whose prompt ends with the lead. Its body
asks for the probabilities of exactly these tokens (`logprob_token_ids`, vLLM) and, for servers that
ignore this, for the likeliest twenty; a choice that is not among them counts as impossible.

At most `batch` requests are open at a time, spread over `base_urls`; the next one is sent as soon as an answer
is there. What may pass (429, 5xx, a timeout, a lost connection, a
torn answer) is sent again, after Retry-After or doubling waits with jitter; a 429 makes all wait.
When the tries are used up and the server answers other requests, the row is to blame and gets
`engine_error`; when it does not, the stage stops, with everything finished in the journal.
"""

import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from d3.config.engine import Engine as EngineSettings
from d3.core.ids import derive_seed
from d3.errors import ConfigError
from d3.llm.engine import Answer, EngineError, Request, choice_ids, shares
from d3.llm.engines.base import RollingBase, failed
from d3.llm.engines.servers import Servers

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses after which the same request may succeed."""
OURS = frozenset({401, 403, 404, 405})
"""HTTP statuses that no row is to blame for: key, model or address are wrong."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds."""
MOST_TOKENS = 2**31
LIKELIEST = 20
"""The most that vLLM gives by default."""


class _RefusedError(Exception):
    """The server will not answer this request, or has not in all tries."""


class _StoppedError(Exception):
    """Another request has stopped them all before this one was answered."""


class OpenaiEngine(RollingBase):
    """See the module's text."""

    tries = 1  # it retries by itself

    def __init__(self, settings: EngineSettings, model: str) -> None:
        """Load the tokenizer; raise EngineError if it cannot be loaded, ConfigError without a server."""
        import httpx2

        base_url = settings.base_url or os.environ.get("OPENAI_BASE_URL")
        urls = settings.base_urls or ([base_url] if base_url else [])
        if not urls:
            raise ConfigError("no server", where="engine.base_url", remedy="set it, or the variable OPENAI_BASE_URL")
        super().__init__(settings, model)
        self.chunk = settings.batch + max(16, settings.batch // 4)  # some wait, so that no place stays empty
        self._servers = Servers(
            urls,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
        )
        self._key = os.environ.get(settings.api_key_env, "")
        self._http = httpx2
        self._stopped = threading.Event()
        self._tickets = 0
        self._open: dict[Future[Answer], tuple[int, Request]] = {}
        self._failure: BaseException | None = None
        """What stopped all requests; raised when the answers that came meanwhile have been collected."""
        self._limit_known = False

    def more_identity(self) -> dict[str, Any]:
        """Return the model's name at the server. Its address is left out: the same model may move to another
        machine.
        """
        return {"served_model": self.settings.served_model}

    @cached_property
    def _client(self) -> Any:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = self._http.Limits(max_connections=self.settings.batch, max_keepalive_connections=self.settings.batch)
        timeout = self._http.Timeout(self.settings.timeout_seconds, connect=min(10.0, self.settings.timeout_seconds))
        return self._http.Client(headers=headers, timeout=timeout, limits=limits)

    def check(self, request: Request) -> None:
        """Raise EngineError if a request is too long, or has a choice that one token cannot express."""
        super().check(request)
        if any(len(choice_ids(self.tokenizer, choice)) != 1 for choice in request.choices or ()):
            raise EngineError("choices of several tokens cannot be read off a server", where=request.key)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.settings.batch)

    def submit(self, request: Request) -> int:
        """Take one request and return its ticket; raise EngineError if the server is down or the request too long."""
        self.check(request)
        self._raise_failure()
        if not self._open:
            self._stopped.clear()
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
                self._stopped.set()
                for future in self._open:
                    future.cancel()
                finished += self._finished(wait(self._open).done)
        except BaseException:
            self._stopped.set()
            raise
        if not finished:
            self._raise_failure()
        return finished

    def abort(self, error: Exception) -> None:
        """Drop all open requests."""
        self._stopped.set()
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
            elif not future.cancelled() and not isinstance(error, _StoppedError):
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
        for url in self._servers.urls:
            try:
                found = self._client.get(f"{url}/models").json()["data"]
                limits = [one["max_model_len"] for one in found if one["id"] == self.settings.served_model]
            except (self._http.TransportError, ValueError, LookupError, TypeError):
                continue  # not all servers say it, and one that is down is waited for
            self._limit_known = True
            if limits and isinstance(limits[0], int) and limits[0] < self.max_length:
                raise EngineError(
                    f"takes {limits[0]} tokens, max_length is {self.max_length}",
                    where=url,
                    remedy=f"set max_length to {limits[0]}",
                )

    # --- one request --------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Answer:
        text, finish, tokens = "", "stop", 0
        kept: tuple[int, ...] = ()
        chances = None
        try:
            if request.max_tokens:
                text, finish, tokens, kept = self._write(request)
            if request.choices:
                chances = self._read_off(request, kept)
        except _RefusedError as refused:
            return failed(request, str(refused))
        return Answer(
            text=text,
            finish_reason=finish,
            prompt_tokens=len(request.ids),
            answer_tokens=tokens,
            choice_probabilities=chances,
        )

    def _write(self, request: Request) -> tuple[str, str, int, tuple[int, ...]]:
        """Give the free text, why it ended, how many tokens were drawn, and those that it consists of."""
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
        reply = self._post(request, body)
        choice = reply["choices"][0]
        text, drawn = choice["text"], choice.get("token_ids")
        if not _are_token_ids(drawn, len(self.tokenizer)):
            drawn = None
        if drawn is None:
            kept = self.tokenizer.encode(text, add_special_tokens=False) if request.choices else []
        else:
            kept = list(drawn)
            while kept and choice["finish_reason"] == "stop" and len(self.decode(kept)) > len(text):
                kept.pop()
        count = len(drawn) if drawn is not None else _count_of(reply)
        return text, choice["finish_reason"], count, tuple(kept)

    def _read_off(self, request: Request, kept: Sequence[int]) -> tuple[float, ...]:
        choices = request.choices or ()
        ids = [choice_ids(self.tokenizer, choice)[0] for choice in choices]
        body = {
            "prompt": [*request.ids, *kept, *request.lead],
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": LIKELIEST,
            "logprob_token_ids": ids,
            "return_tokens_as_token_ids": True,
        }
        reply = self._post(request, body, needs="logprobs")
        likeliest = reply["choices"][0]["logprobs"]["top_logprobs"][0]
        names = [(f"token_id:{token}", choice) for token, choice in zip(ids, choices, strict=True)]
        found = [next((_chance(likeliest[name]) for name in both if name in likeliest), -math.inf) for both in names]
        if max(found) == -math.inf:
            raise _RefusedError(
                f"none of {', '.join(map(repr, choices))} is among the {len(likeliest)} likeliest tokens"
            )
        return shares(found)

    # --- the wire -----------------------------------------------------------------------------------

    def _post(self, request: Request, body: dict[str, Any], needs: str = "text") -> dict[str, Any]:
        """Send until there is a whole answer; raises _RefusedError, or EngineError when no row is to blame."""
        body = {"model": self.settings.served_model, **body}
        reason, url = "not sent", None
        for attempt in range(self.settings.retries + 1):
            self._wait(self._servers.seconds_to_wait(len(body["prompt"]) + body["max_tokens"]))
            pause = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
            jitter = derive_seed(request.seed, "wait", request.key, attempt) % 1000 / 1000
            pause *= 0.5 + 0.5 * jitter
            with self._servers.one(avoid=url) as url:
                self._wait(self._servers.limited_for(url))
                try:
                    response = self._client.post(f"{url}/completions", json=body)
                except self._http.TransportError as error:
                    response, reason = None, f"{type(error).__name__}: {error}"
            if response is not None and response.status_code == 200:
                reply = _whole(response, needs)
                if reply is not None:
                    return reply
                reason = "torn answer"
            elif response is not None:
                reason = f"HTTP {response.status_code}: {' '.join(response.text.split())[:200]}"
                if response.status_code in OURS:
                    raise self._fault(reason, url, "check served_model, base_url and the key")
                if response.status_code not in PASSING:
                    raise _RefusedError(self._clean(reason))
                asked = _retry_after(response.headers.get("retry-after"))
                if asked is not None:
                    pause = asked + jitter * FIRST_WAIT
                if response.status_code == 429:
                    self._servers.limit(url, pause)
                    if len(self._servers.urls) > 1:
                        pause = 0.0  # another address may be free
            if attempt < self.settings.retries:
                self._wait(pause)
        if reason.startswith("HTTP 429") or not self._well():
            raise self._fault(f"{reason}, {self.settings.retries + 1} times", url, "run again when the server is well")
        raise _RefusedError(self._clean(f"{reason}, {self.settings.retries + 1} times"))

    def _wait(self, seconds: float) -> None:
        """Wait; raises _StoppedError when another request has stopped them all meanwhile."""
        if self._stopped.wait(max(0.0, seconds)):
            raise _StoppedError

    def _well(self) -> bool:
        """Ask for the models: can any server answer at all?"""
        for url in self._servers.urls:
            try:
                if self._client.get(f"{url}/models").status_code == 200:
                    return True
            except self._http.TransportError:
                continue
        return False

    def _fault(self, reason: str, url: str | None, remedy: str) -> EngineError:
        self._stopped.set()
        return EngineError(self._clean(reason), where=url or self._servers.urls[0], remedy=remedy)

    def _clean(self, text: str) -> str:
        """Take the key out of what a server says."""
        return text.replace(self._key, "***") if self._key else text


def _whole(response: Any, needs: str) -> dict[str, Any] | None:
    """Give the body of an answer, or None when something is missing from it."""
    try:
        reply: dict[str, Any] = response.json()
        choice = reply["choices"][0]
        if needs == "logprobs":
            return reply if isinstance(choice["logprobs"]["top_logprobs"][0], dict) else None
        return reply if isinstance(choice["text"], str) and isinstance(choice["finish_reason"], str) else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _are_token_ids(value: Any, size: int) -> bool:
    return isinstance(value, list) and all(type(token) is int and 0 <= token < size for token in value)


def _count_of(reply: dict[str, Any]) -> int:
    """Return the tokens that a server says it drew, 0 for anything but a number of sensible size."""
    usage = reply.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if type(count) is int and 0 <= count < MOST_TOKENS else 0


def _chance(value: Any) -> float:
    """Return a log-probability; anything else counts as impossible."""
    return float(value) if type(value) in (int, float) and -MOST_TOKENS < value < 1 else -math.inf


def _retry_after(value: str | None) -> float | None:
    """Give the seconds that a Retry-After header asks for, as a number or a date; at most an hour."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), 3600.0) if math.isfinite(seconds) else None
