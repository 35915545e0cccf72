"""Inner side of the sandbox that holds a model-written program, and nothing else.

`sandbox.py` starts this text with `python -c` inside bubblewrap, one process for one program. It
limits itself, says that it is ready, receives the program and then answers calls of the program's
functions. It never sees a test. Whatever the program does in here, all that leaves the process is
the bytes of its answers, which the tests' process reads as plain values and nothing more.

Arguments of the command: the channel's file number, then the limits: CPU seconds, bytes of
address space, bytes of one file, open files, threads.
"""

from __future__ import annotations

import marshal
import os
import resource
import sys
from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would cost more than everything else in here
    from types import ModuleType
    from typing import Any

MOST_ITEMS = 100_000
"""Most items of an iterator that is sent back; a longer one counts as endless."""
DEEPEST = 200
"""Deepest nesting of a value that is sent back."""


def set_limits(cpu_seconds: int, memory: int, file_bytes: int, files: int, threads: int) -> None:
    """Set this process's resource limits, hard and soft."""
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_NPROC, threads),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))


def receive(channel: int) -> bytes | None:
    """Read one message: eight bytes of length, then the message; None at the end of the channel."""
    wanted, data = 8, b""
    header = True
    while True:
        while len(data) < wanted:
            piece = os.read(channel, wanted - len(data))
            if not piece:
                return None
            data += piece
        if not header:
            return data
        wanted, data, header = int.from_bytes(data, "big"), b"", False


def send(channel: int, text: str) -> None:
    """Write one message of ASCII text."""
    data = text.encode("ascii")
    view = memoryview(len(data).to_bytes(8, "big") + data)
    while view:
        view = view[os.write(channel, view) :]


def tagged(kind: str, parts: Any, depth: int) -> str:
    """Give the text of a value that is no JSON value, from its parts: text, or several values."""
    value = parts if isinstance(parts, str) else list(parts)
    return f'{{"k":"{kind}","v":{encode(value, depth)}}}'


def encode(value: Any, depth: int = 0) -> str:
    """Give a value as JSON text; what is no plain value becomes an opaque one with its type's name.

    Raises ValueError for what is nested too deep or has no end.
    """
    depth += 1
    if depth > DEEPEST:
        raise ValueError("the returned value is nested too deep")
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        number = int(value)
        return repr(number) if abs(number) < 2**63 else tagged("int", hex(number), depth)
    if isinstance(value, float):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(text := float.__repr__(value), text)
    if isinstance(value, str):
        return encode_basestring_ascii(str.__str__(value))
    if isinstance(value, list):
        return "[" + ",".join([encode(item, depth) for item in value]) + "]"
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return tagged(kind.__name__, value, depth)
    if isinstance(value, dict):
        name = type(value).__name__
        return tagged(name if name in ("Counter", "OrderedDict") else "dict", map(list, value.items()), depth)
    if isinstance(value, (bytes, bytearray)):
        return tagged("bytes" if isinstance(value, bytes) else "bytearray", value.hex(), depth)
    if isinstance(value, complex):
        return tagged("complex", [value.real, value.imag], depth)
    if isinstance(value, range):
        return tagged("range", [value.start, value.stop, value.step], depth)
    for name, view in (("keys", type({}.keys())), ("values", type({}.values()))):
        if isinstance(value, view):
            return tagged(name, value, depth)
    if isinstance(value, type({}.items())):
        return tagged("items", map(list, value), depth)
    name = type(value).__name__
    if type(value).__module__ in ("collections", "decimal", "fractions"):
        if name == "deque":
            return tagged("deque", value, depth)
        if name in ("Decimal", "Fraction"):
            return tagged(name, [str(value)], depth)
    if hasattr(value, "__next__"):
        items = [item for item, _ in zip(value, range(MOST_ITEMS + 1), strict=False)]
        if len(items) > MOST_ITEMS:
            raise ValueError("the returned iterator has no end")
        return tagged("iterator", items, depth)
    return tagged("opaque", [name, bool(value)], depth)


def describe(error: BaseException) -> str:
    """Give an exception as a message: the names of its classes, and what it says."""
    try:
        words = str(error)[:500]
    except BaseException:  # the program may have written this exception's __str__
        words = ""
    return tagged("raise", [[kind.__name__ for kind in type(error).__mro__], words], 0)


def call(module: ModuleType, request: bytes) -> str:
    """Call a function of the program; the request is marshalled by the tests' process, which is trusted."""
    name, args, kwargs = marshal.loads(request)
    if name not in module.__dict__:
        raise NameError(f"the program defines no {name!r}")
    return encode(module.__dict__[name](*args, **kwargs))


def main() -> None:
    """Receive the program, run it and serve calls until the channel closes."""
    channel = int(sys.argv[1])
    set_limits(*map(int, sys.argv[2:7]))
    silence = os.open("/dev/null", os.O_RDWR)
    os.dup2(silence, 2)
    send(channel, "ready")
    module = type(sys)("solution")
    sys.modules["solution"] = module
    loaded = False
    while (request := receive(channel)) is not None:
        try:
            if loaded:
                answer = call(module, request)
            else:
                loaded = True
                text = request.decode("utf-8")
                if "random" in text:  # unseeded programs should have one verdict, not a lottery
                    import random

                    random.seed(0)
                # The one place where model-written text runs: inside bubblewrap, see sandbox.py.
                exec(compile(text, "solution.py", "exec"), module.__dict__)  # noqa: S102
                answer = "null"
        except BaseException as error:
            answer = describe(error)
        send(channel, answer)
    os._exit(0)


if __name__ == "__main__":
    main()
