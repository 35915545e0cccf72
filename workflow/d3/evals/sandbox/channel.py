"""The channel between a program and its tests: messages, requests and what a request may do.

Both sides speak one protocol: a message is eight bytes of length and JSON. Whoever asks waits for
the answer and serves requests meanwhile (a function of the tests that the program calls). An answer
carries the nonce of its request, so none can be given before it was asked for, nor twice.

What is in a message is the business of the table of objects (`table.py`). The tests' side is `strict`:
it checks all that it reads, and lets the program do with an object of the tests only what `permit` allows.
"""

import contextlib
import copy
import functools
import json
import os
import socket
import sys
import threading
import types
from typing import Any

from d3.evals.sandbox.remote import ARITHMETIC, ORDERING, SPECIAL, Unsupported, is_remote, signature_parts
from d3.evals.sandbox.table import INTERNAL, Table

LONGEST = 64 * 2**20
"""Largest message that the tests' side reads, in bytes."""
HEAVY = 20_000
"""Shared items from which on steps of iterators and calls back carry no changes of containers."""
ANSWERS = ("ok", "raise", "unsupported")
STEPS = ("__next__", "send", "throw", "__anext__", "asend", "athrow")
"""Methods that may end with StopIteration or StopAsyncIteration."""
ENDS = (StopIteration, StopAsyncIteration, GeneratorExit, SystemExit, KeyboardInterrupt)
"""Exceptions that would end the tests' own loops; they arrive as RuntimeError."""
READABLE = SPECIAL | {
    f"__{name}__"
    for name in ("name", "qualname", "doc", "module", "class", "init", "post_init", "mro", "bases", "members", "slots",
                 "annotations", "defaults", "kwdefaults", "wrapped", "match_args", "notes", "cause", "context")
}  # fmt: skip
"""Special names that the program may read of an object of the tests."""
WRITABLE = READABLE - ORDERING - ARITHMETIC - {
    f"__{name}__" for name in ("eq", "hash", "bool", "len", "contains", "class", "mro", "bases", "call")
}  # fmt: skip
"""Those that it may set: none that would let it decide what the tests compare."""
DELEGATED = {
    "dataclasses": ("asdict", "astuple", "fields", "replace", "is_dataclass"),
    "inspect": ("getsource", "getsourcelines"),
}
"""Functions of the standard library that only work where an object is."""
FRAMES = 8
"""Frames of this file between a call by one side and its function on the other."""


class Gone(BaseException):
    """The other side has ended or talks nonsense."""


class Channel(Table):
    """One side of a channel; `strict` is the tests' side."""

    def __init__(self, stream: socket.socket, *, strict: bool) -> None:
        super().__init__(strict=strict)
        self.stream = stream
        self.lock = threading.RLock()
        self.exchanges = 0
        """Requests of this side."""

    # --- bytes ----------------------------------------------------------------------------------------

    def _write(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode("ascii")
        try:
            self.stream.sendall(len(data).to_bytes(8, "big") + data)
        except OSError:
            raise Gone("ended by itself") from None

    def _read(self) -> dict[str, Any]:
        length = int.from_bytes(self._read_bytes(8), "big")
        if self.strict and length > LONGEST:
            raise Gone("an answer of more than 64 MiB")
        data = self._read_bytes(length)
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise Gone("an answer that is no message")
        return message

    def _read_bytes(self, length: int) -> bytearray:
        pieces = bytearray()
        while len(pieces) < length:
            try:
                piece = self.stream.recv(min(length - len(pieces), 2**20))
            except OSError:
                piece = b""
            if not piece:
                raise Gone("ended by itself")
            pieces += piece
        return pieces

    # --- requests -------------------------------------------------------------------------------------

    def exchange(self, kind: str, *parts: Any) -> Any:
        """Send a request and return the value of its answer; raise what the other side raised."""
        with self.lock:
            self.exchanges += 1
            nonce = os.urandom(8).hex()
            light = kind == "call" and len(parts) > 1 and parts[1] in STEPS
            step = light or kind == "step"
            self.send(kind, parts, nonce, light=light)
            while True:
                message = self.receive()
                if message.get("t") in ANSWERS:
                    break
                self.serve(message)
            if message.get("n") != nonce:
                raise Gone("an answer to no call")
            value = message["v"]
        if message["t"] == "unsupported":
            raise Unsupported(str(value))
        if message["t"] == "ok":
            return value
        raise self._raised(value, step=step)

    def _raised(self, error: Any, *, step: bool) -> Any:
        """Return the exception that leaves a stand-in for one that the other side raised."""
        if not isinstance(error, BaseException):
            return Gone("an exception that is none")
        if not self.strict:
            return error
        end = isinstance(error, (*ENDS, skip_test()))
        if end and not (step and isinstance(error, StopIteration | StopAsyncIteration)):
            words = f"the program raised {type(error).__name__}"
            raised = RuntimeError(f"{words}: {error}" if error.args else words)
            raised.__cause__ = error
            error = raised
        if (not end or error.__cause__ is not None) and not self.is_own(error):
            mark_as_programs(error)
        return error

    def serve(self, message: dict[str, Any]) -> None:
        """Do what a request asks for and answer it."""
        nonce = message.get("n")
        light = False
        try:
            kind, parts = message["t"], message["v"]
            light = self.strict or (kind == "call" and parts[1] in STEPS)
            answer, value = "ok", self.perform_deeper(kind, *parts)
        except BaseException as error:
            if self.strict and isinstance(error, Gone | Unsupported | MemoryError):
                raise
            unsupported = isinstance(error, Unsupported)
            answer, value = ("unsupported", str(error)) if unsupported else self.describe_error(error)
        try:
            self.send(answer, value, nonce, light=light)
        except RecursionError:
            if self.strict:
                raise Unsupported("a value that is nested too deep") from None
            self.send("unsupported", "a value that is nested too deep", nonce, light=light)
        except Unsupported as fault:
            if self.strict:
                raise
            self.send("unsupported", str(fault), nonce, light=light)

    def perform_deeper(self, kind: str, *parts: Any) -> Any:
        """Do what a request asks for; this file's frames do not count against the limit of recursion."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + FRAMES)
        try:
            return self.perform(kind, *parts)
        finally:
            if sys.getrecursionlimit() == limit + FRAMES:
                sys.setrecursionlimit(limit)

    def describe_error(self, error: BaseException) -> tuple[str, Any]:
        """Return the kind of answer, and its value, for what a request raised."""
        return "raise", error

    def perform(self, kind: str, target: Any, *parts: Any) -> Any:
        """Do one thing with an object of this side."""
        if kind == "call":
            name, args, kwargs = parts
            if name is None:
                return target(*args, **dict(kwargs))
            self.permit(target, name)
            if name in SPECIAL:
                return getattr(type(target), name)(target, *args, **dict(kwargs))
            return getattr(target, name)(*args, **dict(kwargs))
        if kind == "sign":
            return signature_parts(target)
        if kind == "copy":
            return copy.deepcopy(target) if parts[0] else copy.copy(target)
        if kind == "item":
            return target[parts[0]]
        if kind == "delegate":
            module, name, args, kwargs = parts
            if name not in DELEGATED.get(module, ()):
                raise TypeError(f"no such request: {module}.{name}")
            return getattr(sys.modules[module], name)(target, *args, **dict(kwargs))
        self.permit(target, parts[0], change=kind != "get")
        if kind == "get":
            return getattr(target, parts[0])
        if kind == "set":
            return setattr(target, *parts)
        if kind == "del":
            return delattr(target, parts[0])
        raise TypeError(f"no such request: {kind!r}")

    def permit(self, target: Any, name: str, *, change: bool = False) -> None:
        """Raise AttributeError for what the program may not touch on an object of the tests.

        Raise Unsupported if it would change how the tests' objects compare.
        """
        if not self.strict:
            return
        kind = target if isinstance(target, type) else type(target)
        own = kind.__module__ == "__main__"
        special = name[:2] == name[-2:] == "__"
        inner = name[:3] in ("gi_", "cr_", "ag_", "tb_") or isinstance(target, INTERNAL)
        if special:
            known = name in READABLE or (name[2:11] == "dataclass" and own)
            known = known or (name == "__dict__" and (own or kind in (types.FunctionType, types.SimpleNamespace)))
        else:
            known = name[:1] != "_" or own
        if inner or not known or (change and isinstance(target, type) and not own):
            raise AttributeError(f"{kind.__name__!r} object of the tests has no attribute {name!r}")
        if change and special and name not in WRITABLE:
            raise Unsupported(f"the program changes {name} of {kind.__name__}, which is of the tests")

    # --- messages -------------------------------------------------------------------------------------

    def send(self, kind: str, value: Any, nonce: Any, *, light: bool = False) -> None:
        """Write a message with a value, the objects in it and what changed since the last one."""
        message = {"t": kind, "n": nonce, **self.write(value, light=light and self.shared_items() > HEAVY)}
        self.outgoing(message)
        self._write(message)

    def receive(self) -> dict[str, Any]:
        """Read a message, do what it says about objects and return it with its value built."""
        message = self._read()
        try:
            self.incoming(message)
            message["v"] = self.read(message)
        except (Gone, Unsupported, MemoryError):
            raise
        except Exception as fault:
            raise Gone(f"an answer that is no value ({type(fault).__name__})") from None
        return message

    def outgoing(self, message: dict[str, Any]) -> None:
        """Add to a message; for subclasses."""

    def incoming(self, message: dict[str, Any]) -> None:
        """Read what `outgoing` of the other side added; for subclasses."""


def mark_as_programs(error: BaseException) -> None:
    """Note on an exception that the program raised it, so that it is no failed assertion of the tests."""
    with contextlib.suppress(AttributeError, TypeError):
        object.__setattr__(error, "from_program", type(error).__name__)


def skip_test() -> Any:
    """Return the exception by which a test leaves itself out, or nothing where `unittest` is not used."""
    case = sys.modules.get("unittest.case")
    return case.SkipTest if case else ()


def delegate(channel: Channel) -> None:
    """Let the other side do with its objects what can only be done where they are."""

    def delegating(module: str, name: str, function: Any) -> Any:
        @functools.wraps(function)
        def asked(value: Any, /, *args: Any, **kwargs: Any) -> Any:
            if is_remote(value):
                return channel.exchange("delegate", value, module, name, args, tuple(kwargs.items()))
            return function(value, *args, **kwargs)

        return asked

    for module, names in DELEGATED.items():
        for name in names:
            setattr(sys.modules[module], name, delegating(module, name, getattr(sys.modules[module], name)))
