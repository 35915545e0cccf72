"""Several servers with the same model, and how fast they may be asked: which one the next request goes to, and when."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Servers:
    """Spreads requests over addresses: the one with the fewest open requests, of equal ones the next in turn.

    A rate limit holds for the address that answered with it. The paces hold for all addresses together: requests
    and tokens a minute of this process, evenly spaced, without a burst at the start.
    """

    def __init__(
        self, urls: Sequence[str], *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
    ) -> None:
        """Take at least one address."""
        self.urls = [url.rstrip("/") for url in urls]
        self._lock = threading.Lock()
        self._open = [0] * len(urls)
        self._not_before = [0.0] * len(urls)  # monotonic clock
        self._turn = 0
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._next = 0.0

    @contextmanager
    def one(self, avoid: str | None = None) -> Iterator[str]:
        """Return the address for a request, which counts as open there; another than `avoid` if there is one."""
        now = time.monotonic()
        with self._lock:
            count = len(self.urls)
            places = [place for place in range(count) if self.urls[place] != avoid] or list(range(count))
            chosen = min(
                places,
                key=lambda at: (max(0.0, self._not_before[at] - now), self._open[at], (at - self._turn) % count),
            )
            self._open[chosen] += 1
            self._turn = chosen + 1
        try:
            yield self.urls[chosen]
        finally:
            with self._lock:
                self._open[chosen] -= 1

    def seconds_to_wait(self, tokens: int) -> float:
        """Return how long a request with so many tokens must wait for its place; it is then taken."""
        gap = max(
            60 / self._requests if self._requests else 0.0,
            60 * tokens / self._tokens if self._tokens else 0.0,
        )
        with self._lock:
            now = time.monotonic()
            begins = max(now, self._next)
            self._next = begins + gap
            return begins - now

    def limited_for(self, url: str) -> float:
        """Return for how many seconds an address has asked not to be asked."""
        return self._not_before[self.urls.index(url)] - time.monotonic()

    def limit(self, url: str, seconds: float) -> None:
        """Ask an address no more for some seconds."""
        place = self.urls.index(url)
        with self._lock:
            self._not_before[place] = max(self._not_before[place], time.monotonic() + seconds)
