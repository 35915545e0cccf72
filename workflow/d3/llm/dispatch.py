"""Requests on their way to an engine and back: the machine is kept busy, and what failed is asked again.

Two ways. An engine that only answers lists gets a chunk at a time (`InChunks`). One that takes requests
while it answers others gets the next one as soon as an answer is there (`Rolling`): in chunks, most of
its places would be empty at the end of each, while the longest answers are finished.
"""

from dataclasses import replace

from d3.core.ids import derive_seed
from d3.errors import D3Error
from d3.llm.engine import Answer, BatchingEngine, Engine, Request, RollingEngine

ATTEMPTS = 3
"""How often an answer is drawn, with another seed each time, until one is not empty."""

Reply = Answer | str
"""An answer, or why there is none."""


class InChunks:
    """Keeps requests until they are taken together; `take` answers all of them."""

    def __init__(self, engine: Engine, empty_again: bool) -> None:
        self._engine, self._empty_again = engine, empty_again
        self._waiting: dict[str, Request] = {}

    def __len__(self) -> int:
        """Count the requests without an answer."""
        return len(self._waiting)

    def put(self, key: str, request: Request) -> None:
        """Add a request."""
        self._waiting[key] = request

    def take(self) -> list[tuple[str, Reply]]:
        """Ask the chunk, then what failed one by one."""
        chunk, self._waiting = self._waiting, {}
        if isinstance(self._engine, BatchingEngine):
            return list(_together(self._engine, chunk, self._empty_again).items())
        replies = zip(chunk.items(), _ask(self._engine, list(chunk.values())), strict=True)
        return [(key, _patiently(self._engine, request, reply, self._empty_again)) for (key, request), reply in replies]


class Rolling:
    """Hands requests on at once; `take` waits for the next answers."""

    def __init__(self, engine: RollingEngine, empty_again: bool) -> None:
        self._engine, self._empty_again = engine, empty_again
        self._open: dict[int, tuple[str, Request, int]] = {}  # by ticket: key, request, which attempt this is
        self._done: list[tuple[str, Reply]] = []

    def __len__(self) -> int:
        """Count the requests without an answer."""
        return len(self._open)

    def put(self, key: str, request: Request) -> None:
        """Hand a request on."""
        self._send(key, request, request, 1)

    def take(self) -> list[tuple[str, Reply]]:
        """Wait for answers; what failed is on its way again. May be empty."""
        if not self._done:
            try:
                finished = self._engine.collect()
            except D3Error:
                raise
            except Exception as error:  # one of them is to blame, nobody knows which: one by one, it is alone
                lost, self._open = list(self._open.values()), {}
                reason = _reason(error)
                return [(key, _patiently(self._engine, one, reason, self._empty_again)) for key, one, _ in lost]
            for ticket, answer in finished:
                key, request, attempt = self._open.pop(ticket)
                reply = _reply(answer)
                again = _again(self._engine, request, reply, attempt, self._empty_again)
                if again is None:
                    self._done.append((key, reply))
                else:
                    self._send(key, request, again, attempt + 1)
        done, self._done = self._done, []
        return done

    def _send(self, key: str, request: Request, version: Request, attempt: int) -> None:
        """Hand on a version of a request, which may have another seed; one that is refused has fewer attempts."""
        while True:
            try:
                self._open[self._engine.submit(version)] = (key, request, attempt)
                return
            except D3Error:
                raise
            except Exception as error:
                if attempt >= self._engine.tries:
                    self._done.append((key, _reason(error)))
                    return
                attempt += 1


def _together(engine: Engine, chunk: dict[str, Request], empty_again: bool) -> dict[str, Reply]:
    """Ask until there are answers, or no attempt is left; what is asked again is asked in one list."""
    replies: dict[str, Reply] = {}
    asked, attempt = chunk, 1
    while asked:
        replies |= zip(asked, _ask(engine, list(asked.values())), strict=True)
        versions = {key: _again(engine, chunk[key], replies[key], attempt, empty_again) for key in asked}
        asked = {key: version for key, version in versions.items() if version is not None}
        attempt += 1
    return replies


def _patiently(engine: Engine, request: Request, reply: Reply, empty_again: bool) -> Reply:
    """Ask alone until there is an answer, or no attempt is left."""
    attempt = 1
    while (again := _again(engine, request, reply, attempt, empty_again)) is not None:
        reply = _ask(engine, [again])[0]
        attempt += 1
    return reply


def _again(engine: Engine, request: Request, reply: Reply, attempt: int, empty_again: bool) -> Request | None:
    """Return what to ask after so many attempts, or None when the reply stands."""
    if isinstance(reply, str):
        return request if attempt < engine.tries else None
    if empty_again and _is_empty(reply, request) and attempt < ATTEMPTS:
        return replace(request, seed=derive_seed(request.seed, "again", attempt))
    return None


def _ask(engine: Engine, requests: list[Request]) -> list[Reply]:
    """Ask once; an exception becomes the reason why none of the requests has an answer."""
    try:
        return [_reply(answer) for answer in engine.ask(requests)]
    except D3Error:
        raise  # the model cannot be loaded, or our own mistake: no row is to blame
    except Exception as error:
        return [_reason(error)] * len(requests)


def _reply(answer: Answer) -> Reply:
    if answer.finish_reason in ("stop", "length"):
        return answer
    return answer.detail or f"finished with {answer.finish_reason!r}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _is_empty(answer: Answer, request: Request) -> bool:
    """Return whether an answer is empty although another draw could be better."""
    return request.max_tokens > 0 and request.temperature > 0 and not answer.text.strip()
