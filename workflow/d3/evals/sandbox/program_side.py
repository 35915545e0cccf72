"""Inner side of the sandbox that holds a model-written program, and nothing else.

The fork server calls `main` in a process for this program alone. It receives the program, runs it and
serves what the tests ask of it. It never sees a test. Whatever the program does in here, all that
leaves the process is the bytes of its answers, which the tests' side checks.
"""

import asyncio
import builtins
import contextlib
import io
import linecache
import os
import socket
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

from d3.evals.sandbox.channel import Channel, Gone, delegate

STACK = 2**20
"""Stack of a thread, in bytes, unless the program asks for another."""
FILE = "solution.py"
REFUSED = {
    "multiprocessing": "new processes (execute.processes)",
    "concurrent.futures.process": "new processes (execute.processes)",
    "subprocess": "new processes (execute.processes)",
    "zoneinfo": "time-zone data (execute.time_zones)",
}
"""Modules whose failures are the sandbox's, where it refuses what they need."""


class Program(Channel):
    """The program's side of the channel."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(stream, strict=False)
        self.module = types.ModuleType("solution")
        self._loop: Any = None
        self._written: dict[str, io.StringIO] = {}
        self._redirected: dict[str, Any] = {}
        self._last: dict[str, str] = {}

    def perform(self, kind: str, target: Any, *parts: Any) -> Any:
        """Do what the tests' side asks; it may ask for more than this side may of it."""
        if kind == "load":
            return self.load(target)
        if kind == "name":
            if target not in vars(self.module):
                raise NameError(f"the program defines no {target!r}")
            return vars(self.module)[target]
        if kind in ("await", "step"):
            return self.wait_for(target)
        with self.redirected():
            return super().perform(kind, target, *parts)

    def load(self, text: str) -> tuple[str, ...]:
        """Run the program's text and return the names that it defines."""
        import random

        random.seed(0)  # unseeded programs should have one verdict, not a lottery
        names = vars(self.module)
        names |= {"__builtins__": builtins, "__file__": FILE}
        linecache.cache[FILE] = (len(text), None, text.splitlines(keepends=True), FILE)
        delegate(self)
        hidden = set(names)
        # The one place where model-written text runs: behind walls of its own, see `server.py`.
        exec(compile(text, FILE, "exec", dont_inherit=True), names)  # noqa: S102
        return tuple(name for name in names if name not in hidden and isinstance(name, str))

    def wait_for(self, awaitable: Any) -> Any:
        """Run a coroutine of the program to its end."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()

        async def result() -> Any:
            return await awaitable

        return self._loop.run_until_complete(result())

    def describe_error(self, error: BaseException) -> tuple[str, Any]:
        """Return what a request raised, or that the sandbox refused what the program needs."""
        found: BaseException | None = error
        while found is not None:
            trace = found.__traceback__
            while trace is not None:
                module = str(trace.tb_frame.f_globals.get("__name__"))
                for name, what in REFUSED.items():
                    if isinstance(found, OSError | KeyError) and (module == name or module.startswith(f"{name}.")):
                        return "unsupported", f"the program needs {what}"
                trace = trace.tb_next
            found = found.__cause__ or found.__context__
        return "raise", error

    # --- output and input -----------------------------------------------------------------------------

    def incoming(self, message: dict[str, Any]) -> None:
        """Note which of its streams the tests have redirected."""
        self._redirected = message.get("io") or self._redirected

    @contextlib.contextmanager
    def redirected(self) -> Iterator[None]:
        """Use the tests' streams during a call: what is written is kept and sent with the next message."""
        wanted, self._redirected = self._redirected, {}
        if not wanted:
            yield
            return
        streams: dict[str, io.StringIO] = {name: io.StringIO() for name in ("stdout", "stderr") if name in wanted}
        used: dict[Any, Any] = {(sys, name): stream for name, stream in streams.items()}
        for place, name in ((sys, "stdin"), (builtins, "input"), (builtins, "print")):
            if name in wanted:
                used[place, name] = self.unpack(wanted[name])
        before = {(place, name): getattr(place, name) for place, name in used}
        written, self._written = self._written, streams
        for (place, name), stream in used.items():
            setattr(place, name, stream)
        try:
            yield
        finally:
            for (place, name), stream in before.items():
                if getattr(place, name) is used[place, name]:
                    setattr(place, name, stream)
            self._last = {name: stream.getvalue() for name, stream in streams.items()}
            self._written = written

    def outgoing(self, message: dict[str, Any]) -> None:
        """Send what was written since the last message."""
        out = self._last
        self._last = {}
        for name, stream in self._written.items():
            out = {**out, name: out.get(name, "") + stream.getvalue()}
            stream.seek(0)
            stream.truncate()
        if any(out.values()):
            message["out"] = {name: self.pack(text) for name, text in out.items()}


def main(channel: int) -> None:
    """Serve the tests' side until it is gone."""
    import _sitebuiltins

    threading.stack_size(STACK)
    for name in ("exit", "quit"):  # as `site` defines them
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    program = Program(socket.socket(fileno=channel))
    os.register_at_fork(after_in_child=program.stream.close)
    sys.modules["solution"] = program.module
    depth = 0
    frame: Any = sys._getframe()
    while frame:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(sys.getrecursionlimit() + depth + 4)
    try:
        while True:
            program.serve(program.receive())
    except Gone:
        os._exit(0)
