"""Inner side of the sandbox that holds the tests: no model-written code ever runs in here.

For each program the fork server calls `main` in a new process, with the tests and an open channel to
the program. In the tests, what the program defines is there by name: the entry point at once, other
names where neither the tests nor Python define them. Values are exact copies and objects are stand-ins
(`channel.py`), so neither an `__eq__` that always agrees nor a patched `assert` comes across.
"""

import builtins
import contextlib
import json
import os
import random
import re
import socket
import sys
import traceback
import types
import warnings
from types import CodeType
from typing import Any, NamedTuple

from d3.evals.sandbox.channel import Channel, Gone, delegate
from d3.evals.sandbox.remote import Unsupported

ORIGINAL = {
    "stdout": sys.stdout, "stderr": sys.stderr, "stdin": sys.stdin, "input": builtins.input, "print": builtins.print,
}  # fmt: skip
"""What tests replace to read a program's output or to give it input."""


class Tests(Channel):
    """The tests' side of the channel."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(stream, strict=True)
        self.defined: frozenset[str] = frozenset()

    def load(self, program: str) -> None:
        """Let the program's side run the program."""
        self.defined = frozenset(map(str, self.exchange("load", program)))

    def get(self, name: str) -> Any:
        """Return what the program defines under a name."""
        return self.exchange("name", name)

    def outgoing(self, message: dict[str, Any]) -> None:
        """Say which streams the tests have redirected."""
        now = {"stdout": sys.stdout, "stderr": sys.stderr, "stdin": sys.stdin}
        now |= {"input": builtins.input, "print": builtins.print}
        changed = {name: value for name, value in now.items() if value is not ORIGINAL[name]}
        if changed:
            message["io"] = {
                name: True if name in ("stdout", "stderr") else self.pack(value) for name, value in changed.items()
            }

    def incoming(self, message: dict[str, Any]) -> None:
        """Write what the program wrote to the streams of the tests."""
        for name, text in message.get("out", {}).items():
            stream = getattr(sys, name) if name in ("stdout", "stderr") else None
            if stream is not None and stream is not ORIGINAL[name]:
                stream.write(str(self.unpack(text)))

    def finish(self) -> None:
        """Raise Gone if the program's side has ended or has written what nobody asked for."""
        with contextlib.suppress(BlockingIOError):
            more = self.stream.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            raise Gone("an answer to no call" if more else "ended by itself")


class Names(dict[str, Any]):
    """The builtin names of the tests, and behind them those of the program."""

    def __init__(self, tests: Tests) -> None:
        super().__init__(vars(builtins))
        self.tests = tests

    def __missing__(self, name: str) -> Any:
        if name not in self.tests.defined:
            raise KeyError(name)
        value = self.tests.get(name)
        if callable(value):
            self[name] = value
        return value


def names_of(code: CodeType) -> set[str]:
    """Return the global names, and some more, that tests use."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return {*code.co_names}.union(*map(names_of, inner))


class Prepared(NamedTuple):
    """The tests of a task, compiled; `code` is None if they are not Python."""

    source: str
    code: CodeType | None
    names: frozenset[str]


def prepare(source: str) -> Prepared:
    """Compile tests, which many programs will be judged by."""
    try:
        with warnings.catch_warnings(action="ignore"):
            code = compile(source, "tests.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Prepared(source, None, frozenset())
    return Prepared(source, code, frozenset(names_of(code)))


def line_of(error: BaseException, source: str) -> str:
    """Return the line of the tests in which an error arose."""
    lines = source.split("\n")
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "tests.py"]
    return lines[numbers[-1] - 1].strip() if numbers and numbers[-1] and numbers[-1] <= len(lines) else ""


def one_line(*words: str) -> str:
    """Join words to one short line of printable characters, without addresses, which differ from run to run."""
    text = " ".join(" ".join(words).split())
    text = re.sub(r"0x[0-9a-f]{6,}", "0x", text[:2000])
    return "".join(letter if " " <= letter <= "~" else ascii(letter)[1:-1] for letter in text)[:200]


def describe(error: BaseException) -> str:
    """Return the class and the words of an exception."""
    name = getattr(error, "from_program", type(error).__name__)
    try:
        return f"{name}: {error}"
    except Exception:  # its __str__ may be the program's
        return f"{name}:"


def strict_numpy() -> None:
    """Let no empty answer be close to an expected value, as broadcasting would have it."""
    numpy: Any = sys.modules["numpy"]
    allclose, isclose = numpy.allclose, numpy.isclose

    def comparable(a: Any, b: Any) -> bool:
        try:
            return bool((numpy.size(a) == 0) == (numpy.size(b) == 0) and (numpy.shape(a) or not numpy.shape(b)))
        except ValueError:
            return False

    numpy.allclose = lambda a, b, *rest, **more: comparable(a, b) and allclose(a, b, *rest, **more)
    numpy.isclose = lambda a, b, *rest, **more: comparable(a, b) and isclose(a, b, *rest, **more)


def verdict(job: dict[str, Any], prepared: Prepared, tests: Tests) -> tuple[str, str]:
    """Load the program, run the tests and return a verdict with a detail."""
    source, entry = prepared.source, str(job["entry_point"])
    try:
        tests.load(str(job["program"]))
        delegate(tests)
        random.seed(0)
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        names = vars(module)
        code = prepared.code or compile(source, "tests.py", "exec", dont_inherit=True)
        names[entry] = tests.get(entry)
        if tests.defined & (prepared.names - {entry}) - vars(builtins).keys():
            names["__builtins__"] = Names(tests)
    except BaseException as error:
        return fault(error, source)
    calls = tests.exchanges
    try:
        exec(code, names)  # noqa: S102 - the benchmark's own tests, not model-written text
    except SystemExit as end:  # as `unittest.main` ends: never the program's, see channel.py
        if end.code:
            return "failed", one_line(f"the tests ended with {end.code!r}")
    except BaseException as error:
        return fault(error, source)
    if tests.exchanges == calls:
        return "error", "the tests never called the program"
    try:
        tests.finish()
    except BaseException as error:
        return fault(error, source)
    return "passed", "objects: true" if tests.objects else ""


def fault(error: BaseException, source: str) -> tuple[str, str]:
    """Return the verdict that an exception means."""
    line = line_of(error, source)
    place = ["in:", line] if line else []
    if isinstance(error, Gone):
        return "crashed", one_line(str(error), *place)
    if isinstance(error, Unsupported):
        return "unsupported", one_line(str(error), *place)
    if isinstance(error, MemoryError):
        return "memory", ""
    if isinstance(error, AssertionError) and not hasattr(error, "from_program"):
        return "failed", one_line(line)
    return "error", one_line(describe(error), *place)


def main(job: dict[str, Any], prepared: Prepared, channel: int, result: int) -> None:
    """Run one program's tests and write the verdict to `result`."""
    if "numpy" in sys.modules:
        strict_numpy()
    try:
        answer = verdict(job, prepared, Tests(socket.socket(fileno=channel)))
    except MemoryError:
        answer = ("memory", "")
    with contextlib.suppress(OSError):
        os.write(result, json.dumps(answer).encode())
