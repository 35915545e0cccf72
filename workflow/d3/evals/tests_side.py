"""Inner side of the sandbox that holds the tests: no model-written code ever runs in here.

`sandbox.py` starts this text with `python -c` inside a bubblewrap of its own, one process for many
programs. For each program it receives the tests and an open channel to the program's process, and
forks a child that runs the tests. In the tests, the functions of the program are stand-ins: a call
sends its arguments over the channel, and the answer is rebuilt as plain values (None, numbers,
text, bytes, lists, tuples, sets, dicts, the usual collections, iterators), so neither an `__eq__`
that always agrees nor a patched `assert` can come across.

Arguments of the command: the control socket's file number, bytes of address space of a child,
folders for `sys.path`.
"""

import builtins
import collections
import contextlib
import decimal
import fractions
import json
import marshal
import os
import random
import re
import resource
import socket
import sys
import traceback
from typing import Any, NoReturn

LONGEST_ANSWER = 64 * 2**20
"""Largest answer of a program, in bytes."""


class ProgramGone(BaseException):
    """The program's process has ended or talks nonsense; tests cannot catch this by accident."""


class Opaque:
    """Stands for a returned object that is no plain value: equal only to itself."""

    def __init__(self, kind: str, truth: bool) -> None:
        self.kind, self.truth = str(kind), truth is True

    def __bool__(self) -> bool:
        return self.truth

    def __repr__(self) -> str:
        return f"<{self.kind}>"


class RaisedError(Exception):
    """Carries what the program raised from the decoder to the stand-in."""

    def __init__(self, names: list[Any], words: str) -> None:
        self.names, self.words = [str(name) for name in names] or ["Exception"], str(words)


def rebuild(value: dict[str, Any]) -> Any:
    """Give the plain value of a tagged one; raises for everything that is none."""
    kind, parts = value["k"], value["v"]
    if kind == "raise":
        raise RaisedError(*parts)
    return BUILDERS[kind](parts)


BUILDERS: dict[str, Any] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
    "Counter": lambda pairs: collections.Counter(dict(pairs)),
    "OrderedDict": collections.OrderedDict,
    "deque": collections.deque,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "int": lambda digits: int(digits, 16),
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "keys": lambda items: dict.fromkeys(items).keys(),
    "values": lambda items: dict(enumerate(items)).values(),
    "items": lambda pairs: dict(pairs).items(),
    "iterator": iter,
    "Decimal": lambda parts: decimal.Decimal(parts[0]),
    "Fraction": lambda parts: fractions.Fraction(parts[0]),
    "opaque": lambda parts: Opaque(*parts),
}


SIMPLE = (type(None), bool, int, float, complex, str, bytes)


def check_plain(value: Any) -> None:
    """Raise TypeError for an argument that would not arrive as what it is (marshal turns buffers into bytes)."""
    if type(value) in (list, tuple, set, frozenset):
        for item in value:
            check_plain(item)
    elif type(value) is dict:
        for key, item in value.items():
            check_plain(key)
            check_plain(item)
    elif type(value) not in SIMPLE:
        raise TypeError(f"the tests give the program a {type(value).__name__}, which cannot be sent")


def exception(names: list[str], words: str) -> Exception:
    """Give a builtin exception like the program's, marked as the program's own."""
    error: Exception = RuntimeError(f"{names[0]}: {words}")
    for name in names:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                error = kind(words)
            except TypeError:  # some builtin exceptions want other arguments
                continue
            break
    error.from_program = names[0]  # type: ignore[attr-defined]
    return error


class Program:
    """The open channel to one program; `stand_in` gives functions for the tests to call."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.calls = 0

    def exchange(self, request: bytes) -> Any:
        """Send a request and give the answer's value; raises what the program raised."""
        try:
            self.channel.sendall(len(request).to_bytes(8, "big") + request)
            length = int.from_bytes(self._read(8), "big")
            if length > LONGEST_ANSWER:
                raise ProgramGone("an answer of more than 64 MiB")
            answer = self._read(length)
        except OSError:
            raise ProgramGone("ended by itself") from None
        try:
            return json.loads(answer, object_hook=rebuild)
        except RaisedError as raised:
            names, words = raised.names, raised.words
        except MemoryError:
            raise
        except Exception as fault:
            raise ProgramGone(f"an answer that is no value ({type(fault).__name__})") from None
        raise exception(names, words)

    def _read(self, length: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < length:
            piece = self.channel.recv(min(length - len(pieces), 2**20))
            if not piece:
                raise ProgramGone("ended by itself")
            pieces += piece
        return bytes(pieces)

    def stand_in(self, name: str) -> Any:
        """Give a function that calls the program's function of that name."""

        def function(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            check_plain((args, kwargs))
            return self.exchange(marshal.dumps((name, args, kwargs)))

        function.__name__ = function.__qualname__ = name
        return function


def line_of(error: BaseException, source: str) -> str:
    """Give the line of the tests in which an error arose."""
    lines = source.split("\n")
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "tests.py"]
    return lines[numbers[-1] - 1].strip() if numbers and numbers[-1] and numbers[-1] <= len(lines) else ""


def one_line(*words: str) -> str:
    """Join words to one short line without memory addresses, which differ from run to run."""
    text = " ".join(" ".join(words).split())
    return re.sub(r"0x[0-9a-f]{6,}", "0x", text)[:200].encode("ascii", "backslashreplace").decode()


def verdict(job: dict[str, Any], program: Program) -> tuple[str, str]:
    """Load the program, run the tests and give a verdict with a detail."""
    tests = str(job["tests"])
    try:
        program.exchange(str(job["program"]).encode("utf-8"))
    except ProgramGone as gone:
        return "crashed", one_line(str(gone))
    except Exception as error:
        return "memory" if isinstance(error, MemoryError) else "error", one_line(name_of(error), str(error))
    random.seed(0)
    entry = str(job["entry_point"])
    try:
        # The benchmark's own tests, not model-written text.
        exec(compile(tests, "tests.py", "exec"), {"__name__": "tests", entry: program.stand_in(entry)})  # noqa: S102
    except ProgramGone as gone:
        return "crashed", one_line(str(gone), "in:", line_of(gone, tests))
    except MemoryError:
        return "memory", ""
    except AssertionError as error:
        if not hasattr(error, "from_program"):
            return "failed", one_line(line_of(error, tests))
        return "error", one_line(name_of(error), str(error), "in:", line_of(error, tests))
    except BaseException as error:
        return "error", one_line(name_of(error), str(error), "in:", line_of(error, tests))
    if not program.calls:
        return "error", "the tests never called the program"
    return "passed", ""


def name_of(error: BaseException) -> str:
    """Give the name of an exception's class, as the program called it."""
    return f"{getattr(error, 'from_program', type(error).__name__)}:"


def child(job: dict[str, Any], channel: int, result: int, memory: int) -> NoReturn:
    """Run one program's tests in a process of their own and write the verdict to `result`."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        answer = verdict(job, Program(socket.socket(fileno=channel)))
    except MemoryError:
        answer = ("memory", "")
    os.write(result, json.dumps(answer).encode())
    os._exit(0)


def read_exactly(control: socket.socket, length: int) -> bytes:
    """Read some bytes from the supervisor; ends the process when the supervisor is gone."""
    data = b""
    while len(data) < length:
        piece = control.recv(length - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def main() -> None:
    """Serve one job after the other until the control socket closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    memory = int(sys.argv[2])
    sys.path += sys.argv[3:]
    silence = os.open("/dev/null", os.O_RDWR)
    os.dup2(silence, 2)
    control.sendall((5).to_bytes(8, "big") + b"ready")
    while True:
        header, channels, _, _ = socket.recv_fds(control, 8, 1)
        if not header:
            return
        header += read_exactly(control, 8 - len(header))
        job = json.loads(read_exactly(control, int.from_bytes(header, "big")))
        if "numpy" in job["tests"]:  # imported here once, so that the children need not
            with contextlib.suppress(ImportError):
                __import__("numpy")
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            control.close()
            child(job, channels[0], writer, memory)
        os.close(channels[0])
        os.close(writer)
        with open(reader, "rb") as result:
            answer = result.read()
        os.waitpid(process, 0)
        answer = answer or b'["crashed", "the process of the tests died"]'
        control.sendall(len(answer).to_bytes(8, "big") + answer)


if __name__ == "__main__":
    main()
