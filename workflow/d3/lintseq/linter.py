"""The one room that knows pylint: programs in, the messages that pylintseq acts on out.

`Linter` gives the messages of pylintseq's `file_linter` without a new pylint, a file and a text
report for every call. Two linters stand behind it:

- the `_Lean` one for ordinary text. Its checkers are those that can give a kept message, walked
  once over a tree built from memory; text that does not parse is answered by the parser alone.
- pylint itself, unabridged, for text where a rare device could matter: pragmas in comments,
  declared encodings, control characters, line breaks other than the newline.

Kept are the messages that pylintseq keeps: all but the warnings other than W0311 and W0231, so the
errors, the fatal ones and I1101. Conventions and refactorings are disabled, but a pragma can bring
them back: another reason for the unabridged linter.
"""

import ast
import contextlib
import gc
import io
import re
import resource
import tokenize
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import astroid
from astroid import nodes
from astroid.builder import AstroidBuilder, _parse_string
from astroid.rebuilder import TreeRebuilder
from pylint.checkers.classes.class_checker import ScopeAccessMap
from pylint.checkers.format import FormatChecker
from pylint.checkers.typecheck import TypeChecker
from pylint.checkers.unicode import BAD_CHARS, BIDI_UNICODE
from pylint.lint import PyLinter
from pylint.lint.run import Run
from pylint.reporters.base_reporter import BaseReporter
from pylint.utils import FileState

from d3.errors import ToolError
from d3.lintseq.checkers import events, walk
from d3.lintseq.import_sandbox import sealed
from d3.lintseq.module_cache import the_library
from d3.lintseq.sampler import Trace

ARGUMENTS = [
    "--disable=C,R",
    "--reports=n",
    "--score=n",
    "--unsafe-load-any-extension=y",
    "--generated-members=cv2.*",
    "--persistent=n",
]
"""pylintseq's options, and no file of statistics for every call."""

KEPT_WARNINGS = ("W0311", "W0231")
UNRESOLVED = ("E0401", "E0402")
"""The messages on imports that do not resolve: import-error and relative-beyond-top-level."""

MODULE = "tmp_d3_text"
"""Name of the module that a program is linted as; pylintseq draws a new `tmpXXXXXXXX` every time."""

FATAL = "Fatal error while checking"
"""What is kept of the message of a crashed pylint: the rest is a path with a time in it."""

COLLECT_CHARACTERS = 60_000
"""After this much text the trees of earlier programs are freed: some 60 MB."""

RARE = re.compile(
    r"pylint:|[\x00-\x08\x0b-\x1f\x7f\x85\ufeff\u200b\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""Text that the unabridged linter answers, as it does where an encoding is declared."""
CODING = re.compile(r"coding[:=]")


def _is_rare(text: str) -> bool:
    """Return whether the unabridged linter must answer."""
    if "pylint:" in text or any(map(CODING.search, text.split("\n", 2)[:2])):
        return True
    plain = text.replace("\n", "").replace("\t", "").isprintable()  # no rare character is printable
    return not plain and RARE.search(text) is not None


class _Silent(BaseReporter):  # type: ignore[misc]
    """Keeps messages in memory."""

    name = "silent"

    def handle_message(self, msg: Any) -> None:
        self.messages.append(msg)

    def _display(self, layout: Any) -> None:
        """Show nothing."""


def _new_linter(kind: type[PyLinter]) -> PyLinter:
    """Return a linter with pylintseq's options, ready for its first check."""
    made: list[PyLinter] = []

    class Build(Run):  # type: ignore[misc]
        LinterClass = kind

    def keep(linter: PyLinter, *_: Any, **__: Any) -> None:
        made.append(linter)

    original = kind.check
    kind.check = keep
    try:
        Build([*ARGUMENTS, f"{MODULE}.py"], reporter=_Silent(), exit=False)
    finally:
        kind.check = original
    return made[0]


class _Lean(PyLinter):  # type: ignore[misc]
    """A linter whose messages are known to be kept or not before they are made."""

    kept: dict[str, Any]
    traces: list[Trace]

    def is_message_enabled(self, msg_descr: str, line: Any = None, confidence: Any = None) -> bool:
        return msg_descr in self.kept

    def add_ignored_message(self, *_: Any, **__: Any) -> None:
        """Forget it: it only serves the hints on useless pragmas."""

    def add_message(
        self,
        msgid: str,
        line: int | None = None,
        node: Any = None,
        args: Any = None,
        confidence: Any = None,
        col_offset: int | None = None,
        end_lineno: int | None = None,
        end_col_offset: int | None = None,
    ) -> None:
        definition = self.kept.get(msgid)
        if definition is None:
            return
        if node is not None:
            place = node.position
            if place:
                line = place.lineno if line is None else line
                col_offset = place.col_offset if col_offset is None else col_offset
            else:
                line = node.fromlineno if line is None else line
                col_offset = node.col_offset if col_offset is None else col_offset
        text = definition.msg if args is None else definition.msg % args
        self.traces += _traces(definition.msgid, line or 1, col_offset or 0, text)


def _traces(msg_id: str, line: int, column: int, text: str) -> list[Trace]:
    """Read a message as pylintseq reads pylint's report: line by line, five fields between bars.

    So a message that holds a bar is lost, and one that holds a newline is cut.
    """
    if msg_id[0] == "W" and msg_id not in KEPT_WARNINGS:
        return []
    if msg_id[0] == "F" and FATAL in text:
        text = FATAL
    for part in f"{msg_id[0]}|{msg_id}|{line}|{column}|{text}".split("\n")[:1]:
        fields = part.split("|")
        if len(fields) == 5:
            where = fields[2]
            if msg_id == "E0001" and "on line" in fields[4]:
                where = fields[4][: fields[4].rfind("(")].rstrip().split(" ")[-1]
            return [Trace(msg_id, where, fields[3], fields[4])]
    return []


def _unresolved(trace: Trace) -> bool:
    """Return whether a message is about an import that does not resolve, `from . import name` included."""
    return trace.msg_id in UNRESOLVED or (trace.msg_id == "E0611" and trace.msg.endswith("in module ''"))


def _parses_with_more_memory(text: str) -> bool:
    """Return whether the limit on memory is why a text did not parse; nesting can be a reason, too."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limits[1], limits[1]))
    try:
        _parse_string(text, modname=MODULE)
    except MemoryError:
        return False
    except Exception:
        return True
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    return True


ODD_INDENT = re.compile(r"^ *\t|^[ \t]*\\$", re.MULTILINE)
"""Lines that begin with a tab, or that hold nothing but a continuation mark."""


def _indented_by_fours(tree: ast.Module, text: str) -> bool:
    """Return whether W0311 is ruled out: every statement begins a multiple of four spaces deep, the
    right one. Then the tokens of the text, which are slow to get, are not needed. No other token
    checker gives a kept message, and a text that parses has sound tokens unless it ends in a
    continuation mark.
    """
    if ODD_INDENT.search(text) or text.rstrip().endswith("\\"):
        return False
    lines = text.split("\n")
    waiting: list[tuple[list[Any], int]] = [(tree.body, 0)]
    while waiting:
        body, column = waiting.pop()
        for node in body:
            inner = column + 4
            if not isinstance(node, ast.match_case):
                line = lines[node.lineno - 1]
                begins_line = not line[: node.col_offset].strip()
                if begins_line and node.col_offset != column:
                    if not (node.col_offset == column - 4 and line.startswith("elif", node.col_offset)):
                        return False
                    inner = column
            for name in ("body", "handlers", "orelse", "finalbody", "cases"):
                part = getattr(node, name, None)
                if isinstance(part, list) and part:
                    waiting.append((part, column if name == "handlers" else inner))
    return True


class Linter:
    """Lints one program after the other in this process; imports resolve in `search_path` only.

    `folder` is private and empty; the rare programs are written into it.
    """

    def __init__(self, folder: Path, search_path: Sequence[str], *, ignore_unresolved: bool = False) -> None:
        if not all(RARE.search(mark) for mark in (*BIDI_UNICODE, *(bad.unescaped for bad in BAD_CHARS))):
            raise ToolError("it knows bad characters that are new", where="pylint", remedy="install the pinned pylint")
        self._imported_from = list(search_path)
        self.work_in(folder)
        self.ignore_unresolved = ignore_unresolved
        self._full: PyLinter | None = None
        self._read = 0
        self._broken = False
        self._make_lean()
        self._library = the_library()

    def work_in(self, folder: Path) -> None:
        """Use another private, empty folder: two processes must not write into one."""
        self.path = folder / f"{MODULE}.py"
        self.search_path = [str(folder), *self._imported_from]

    def _make_lean(self) -> None:
        """Load pylint. A linter that crashed is not used again: its checkers may be in any state."""
        self._broken = False
        lean = _new_linter(_Lean)
        lean.initialize()
        lean.kept = {}
        for message in lean.msgs_store.messages:
            wanted = message.msgid[0] != "W" or message.msgid in KEPT_WARNINGS
            if wanted and PyLinter.is_message_enabled(lean, message.msgid):
                lean.kept[message.msgid] = lean.kept[message.symbol] = message
        self._lean = lean
        checkers = [lean, *(c for c in lean.get_checkers()[1:] if any(m in lean.kept for m in c.msgs))]
        self._checkers = checkers
        self._format = next(c for c in checkers if isinstance(c, FormatChecker))
        self._types = next(c for c in checkers if isinstance(c, TypeChecker))
        self._generated = self._types._compiled_generated_members
        lean.set_current_module(MODULE, str(self.path))
        for checker in checkers:
            checker.open()
        self._events = events(lean, checkers)
        self._notes = [
            (vars(checker), name, value)
            for checker in checkers[1:]
            for name, value in vars(checker).items()
            if isinstance(value, ScopeAccessMap) or (isinstance(value, (list, dict, set)) and not value)
        ]

    def __call__(self, text: str) -> list[Trace]:
        """Return the kept messages of a program, in the order in which pylint gives them."""
        self._read += len(text)
        if self._read > COLLECT_CHARACTERS:
            self._read = 0
            self._library.drop_dead(MODULE)
            gc.collect()
        if self._broken:
            self._full = None
            self._make_lean()
        rare = _is_rare(text)
        if rare and self._full is None:
            self._full = _new_linter(PyLinter)
        with sealed(self.search_path):
            traces = self._lint_fully(self._full, text) if rare and self._full else self._lint(text)
        return [trace for trace in traces if not _unresolved(trace)] if self.ignore_unresolved else traces

    def forget(self) -> None:
        """Make the next program be linted as in a fresh process."""
        self._library.end_session()

    def modules(self) -> list[str]:
        """Return the names of the modules whose trees are there."""
        return self._library.names()

    def warm(self, modules: Iterable[str]) -> None:
        """Build the trees of modules that will be imported; what cannot be built is passed over."""
        with sealed(self.search_path):
            for name in modules:
                self._library.get(astroid.MANAGER, name)

    def _lint(self, text: str) -> list[Trace]:
        lean = self._lean
        traces: list[Trace] = []
        lean.traces = traces
        try:
            tree = _parse_string(text, modname=MODULE)
        except (TypeError, ValueError, SyntaxError, MemoryError) as error:
            if isinstance(error, MemoryError) and _parses_with_more_memory(text):
                raise
            lean.add_message(
                "E0001",
                line=getattr(error, "lineno", None) or 0,
                col_offset=getattr(error, "offset", None),
                args=f"Parsing failed: '{error}'",
            )
            return traces
        except Exception:
            self._crash()
            return traces
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            try:
                module = self._build(tree, text)
                lean.file_state = FileState(MODULE, lean.msgs_store, module)
                lean.current_file = module.file
                self._check(module, tree, text)
            except MemoryError:
                raise
            except Exception:
                self._crash()
            finally:
                astroid.MANAGER.astroid_cache.pop(MODULE, None)
        return traces

    def _crash(self) -> None:
        """Say what pylint says when it crashes."""
        self._broken = True
        self._lean.add_message("F0002", args=(str(self.path), FATAL))

    def _build(self, tree: ast.Module, text: str) -> nodes.Module:
        manager = astroid.MANAGER
        manager.astroid_cache.pop(MODULE, None)
        rebuilder = TreeRebuilder(manager, text)
        module = rebuilder.visit_module(tree, MODULE, str(self.path), False)
        module.file_bytes = text.encode()
        return AstroidBuilder(manager)._post_build(module, rebuilder, "utf-8")

    def _check(self, module: nodes.Module, tree: ast.Module, text: str) -> None:
        if not _indented_by_fours(tree, text):
            try:
                tokens = list(tokenize.tokenize(io.BytesIO(text.encode()).readline))
            except tokenize.TokenError as error:
                where, column = error.args[1]
                self._lean.add_message("E0001", line=where, col_offset=column, args=error.args[0])
                return
            self._format.process_tokens(tokens)
        for state, name, empty in self._notes:  # pylintseq has new checkers for every program
            state[name] = ScopeAccessMap() if isinstance(empty, ScopeAccessMap) else copy(empty)
        self._types._compiled_generated_members = () if "cv2" not in text and text.isascii() else self._generated
        walk(module, self._events)

    def _lint_fully(self, full: PyLinter, text: str) -> list[Trace]:
        """Write the text to a file as pylintseq does, and run pylint on that with all its checkers."""
        self.path.write_text(text, encoding="utf-8", newline="")
        full.reporter.messages.clear()
        try:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                full.check([str(self.path)])
        except MemoryError:
            raise
        except Exception:  # pylintseq goes on with what was printed before
            self._broken = True
        finally:
            self.path.unlink()
            astroid.MANAGER.astroid_cache.pop(MODULE, None)
        traces: list[Trace] = []
        self._broken = self._broken or any(message.msg_id == "F0002" for message in full.reporter.messages)
        for message in full.reporter.messages:
            traces += _traces(message.msg_id, message.line, message.column, message.msg)
        return traces
