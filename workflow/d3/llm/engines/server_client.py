"""Requests to servers until there is a whole reply: retries, waits, rate limits, and who is to blame for a failure.

What may pass (429, 5xx, a timeout, a lost connection, a torn reply) is sent again, after Retry-After or doubling
waits with jitter; a 429 makes all wait. When the tries are used up and the server answers other requests, the row is
to blame (`RefusedError`); when it does not, or when key, model or address are wrong, all stop with EngineError.
"""

import math
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, TypeVar

from d3.config.engine import Engine as EngineSettings
from d3.core.ids import derive_seed
from d3.errors import ConfigError
from d3.llm.engine import EngineError, Request
from d3.llm.engines.servers import Servers

T = TypeVar("T")

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses after which the same request may succeed."""
OURS = frozenset({401, 402, 403, 404, 405})
"""HTTP statuses that no row is to blame for: key, credit, model or address are wrong."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds."""
SHOWN_MODELS = 8
KEY_REMEDY = "check the key in {} and the credit, then run again: responses so far are in the journal"


class RefusedError(Exception):
    """The server will not answer this request, or has not in all tries."""


class StoppedError(Exception):
    """Another request has stopped them all before this one was answered."""


class Client:
    """Sends the requests of one engine to its servers; used by several threads."""

    def __init__(self, settings: EngineSettings) -> None:
        """Read addresses and key; raise ConfigError without a server."""
        import httpx2

        base_url = settings.base_url or os.environ.get("OPENAI_BASE_URL")
        urls = settings.base_urls or ([base_url] if base_url else [])
        if not urls:
            raise ConfigError("no server", where="engine.base_url", remedy="set it, or the variable OPENAI_BASE_URL")
        self.settings, self.http = settings, httpx2
        self.servers = Servers(
            urls,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
        )
        self.key = os.environ.get(settings.api_key_env, "")
        self.stopped = threading.Event()

    @cached_property
    def connection(self) -> Any:
        """The HTTP client, opened once."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        limits = self.http.Limits(max_connections=self.settings.batch, max_keepalive_connections=self.settings.batch)
        timeout = self.http.Timeout(self.settings.timeout_seconds, connect=min(10.0, self.settings.timeout_seconds))
        return self.http.Client(headers=headers, timeout=timeout, limits=limits)

    def post(
        self, path: str, body: dict[str, Any], read: Callable[[Any], T | None], request: Request, tokens: int
    ) -> T:
        """Return what `read` makes of the reply; None from it means a torn one, which is asked for again.

        `tokens` count for the rate. Raise RefusedError, or EngineError when no row is to blame.
        """
        body = {"model": self.settings.served_model, **body}
        reason, url = "not sent", None
        for attempt in range(self.settings.retries + 1):
            self.wait(self.servers.seconds_to_wait(tokens))
            pause = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
            jitter = derive_seed(request.seed, "wait", request.key, attempt) % 1000 / 1000
            pause *= 0.5 + 0.5 * jitter
            with self.servers.one(avoid=url) as url:
                self.wait(self.servers.limited_for(url))
                try:
                    response = self.connection.post(f"{url}{path}", json=body)
                except self.http.TransportError as error:
                    response, reason = None, f"{type(error).__name__}: {error}"
            if response is not None and response.status_code == 200:
                found = _read(response, read)
                if found is not None:
                    return found
                reason = "torn answer"
            elif response is not None:
                reason = self.reason(response)
                self.judge(response.status_code, reason, url)
                asked = retry_after(response.headers.get("retry-after"))
                if asked is not None:
                    pause = asked + jitter * FIRST_WAIT
                if response.status_code == 429:
                    self.servers.limit(url, pause)
                    if len(self.servers.urls) > 1:
                        pause = 0.0  # another address may be free
            if attempt < self.settings.retries:
                self.wait(pause)
        reason = f"{reason}, {self.settings.retries + 1} times"
        if reason.startswith("HTTP 429") or not self.is_well():
            raise self.fault(reason, url, "run again when the server is well")
        raise RefusedError(self.clean(reason))

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Return the whole reply to a request that is no question; raise EngineError when there is none."""
        reason, url = "not sent", self.servers.urls[0]
        for attempt in range(self.settings.retries + 1):
            try:
                response = self.connection.request(method, f"{url}{path}", **options)
            except self.http.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == 200:
                    return response
                reason = self.reason(response)
                try:
                    self.judge(response.status_code, reason, url)
                except RefusedError as refused:
                    raise self.fault(f"{method} {path}: {refused}", url, "correct it and run again") from None
            if attempt < self.settings.retries:
                self.wait(min(LONGEST_WAIT, FIRST_WAIT * 2**attempt))
        raise self.fault(f"{method} {path}: {reason}", url, "run again when the server is well: nothing is lost")

    def judge(self, status: int, reason: str, url: str | None) -> None:
        """Raise EngineError for a status that no row is to blame for, RefusedError for one that is final."""
        if status in (401, 403) or "insufficient_quota" in reason or status == 402:
            raise self.fault(reason, url, KEY_REMEDY.format(self.settings.api_key_env))
        if status in OURS or (status in (400, 422) and self._names_model(reason)):
            raise self.fault(reason, url, f"check served_model, base_url and the key{self._models_offered()}")
        if status not in PASSING:
            raise RefusedError(self.clean(reason))

    def wait(self, seconds: float) -> None:
        """Wait; raise StoppedError when another request has stopped them all meanwhile."""
        if self.stopped.wait(max(0.0, seconds)):
            raise StoppedError

    def models(self, url: str) -> list[dict[str, Any]] | None:
        """Return what a server says of its models; None when it says nothing."""
        try:
            found = self.connection.get(f"{url}/models").json()["data"]
            return [one for one in found if isinstance(one, dict)]
        except (self.http.TransportError, ValueError, LookupError, TypeError, RecursionError):
            return None  # not all servers say it, and one that is down is waited for

    def is_well(self) -> bool:
        """Return whether any server answers at all, asked for its models."""
        for url in self.servers.urls:
            try:
                if self.connection.get(f"{url}/models").status_code == 200:
                    return True
            except self.http.TransportError:
                continue
        return False

    def fault(self, reason: str, url: str | None, remedy: str) -> EngineError:
        """Stop all requests and return the error to raise."""
        self.stopped.set()
        return EngineError(self.clean(reason), where=url or self.servers.urls[0], remedy=remedy)

    def reason(self, response: Any) -> str:
        """Return status and beginning of a reply that is none."""
        return f"HTTP {response.status_code}: {' '.join(response.text.split())[:200]}"

    def clean(self, text: str) -> str:
        """Take the key out of what a server says."""
        return text.replace(self.key, "***") if self.key else text

    def _names_model(self, reason: str) -> bool:
        """Return whether a refusal is about the name of the model."""
        low = reason.lower()
        unknown = ("not found", "not exist", "unknown", "invalid model", "not supported", "unavailable")
        about = "model" in low and (self.settings.served_model or "").lower() in low
        return "model_not_found" in low or (about and any(word in low for word in unknown))

    def _models_offered(self) -> str:
        """Return the names of models that the first server offers, as the end of a sentence."""
        found = self.models(self.servers.urls[0]) or []
        names = [str(one.get("id"))[:60] for one in found][:SHOWN_MODELS]
        return f" (it offers {', '.join(names)}{', ...' if len(found) > len(names) else ''})" if names else ""


def _read(response: Any, read: Callable[[Any], T | None]) -> T | None:
    """Return what `read` makes of a body; None when something is missing from it."""
    try:
        return read(response.json())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date; at most an hour."""
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
