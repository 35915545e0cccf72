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
import io
import re
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import astroid
from astroid import nodes
from astroid.builder import AstroidBuilder, _parse_string
from astroid.rebuilder import TreeRebuilder
from pylint.checkers import BaseRawFileChecker, BaseTokenChecker
from pylint.lint import PyLinter
from pylint.lint.run import Run
from pylint.reporters.base_reporter import BaseReporter
from pylint.utils import ASTWalker, FileState

from d3.lintseq.environment import sealed
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

RARE = re.compile(
    r"pylint:|[\x00-\x08\x0b-\x1f\x7f\x85\ufeff\u200b\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
    r"|\A[^\n]*\n?[^\n]*coding[:=]"
)
"""Text that the unabridged linter answers."""


class _Silent(BaseReporter):  # type: ignore[misc]
    """Keeps messages in memory."""

    name = "silent"

    def handle_message(self, msg: Any) -> None:
        self.messages.append(msg)

    def _display(self, layout: Any) -> None:
        """Show nothing."""


def _new_linter(kind: type[PyLinter]) -> PyLinter:
    """Give a linter with pylintseq's options, ready for its first check."""
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


class Linter:
    """Lints one program after the other in this process; imports resolve in `search_path` only.

    `folder` is private and empty; the rare programs are written into it.
    """

    def __init__(self, folder: Path, search_path: Sequence[str], *, ignore_unresolved: bool = False) -> None:
        self.path = folder / f"{MODULE}.py"
        self.search_path = [str(folder), *search_path]
        self.ignored = UNRESOLVED if ignore_unresolved else ()
        self._full: PyLinter | None = None
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
        self._token_checkers = [c for c in checkers if isinstance(c, BaseTokenChecker)]
        self._raw_checkers = [c for c in checkers if isinstance(c, BaseRawFileChecker)]
        lean.set_current_module(MODULE, str(self.path))
        for checker in checkers:
            checker.open()
        self._walker = ASTWalker(lean)
        for checker in checkers:
            self._walker.add_checker(checker)

    def __call__(self, text: str) -> list[Trace]:
        """Give the kept messages of a program, in the order in which pylint gives them."""
        rare = RARE.search(text) is not None
        if rare and self._full is None:
            self._full = _new_linter(PyLinter)
        with sealed(self.search_path):
            traces = self._lint_fully(self._full, text) if rare and self._full else self._lint(text)
        return [trace for trace in traces if trace.msg_id not in self.ignored]

    def _lint(self, text: str) -> list[Trace]:
        lean = self._lean
        traces: list[Trace] = []
        lean.traces = traces
        manager = astroid.MANAGER
        lean.set_current_module(MODULE, str(self.path))
        for checker in self._checkers:
            checker.open()
        try:
            tree = _parse_string(text, modname=MODULE)
        except (TypeError, ValueError, SyntaxError, MemoryError) as error:
            lean.add_message(
                "E0001",
                line=getattr(error, "lineno", None) or 0,
                col_offset=getattr(error, "offset", None),
                args=f"Parsing failed: '{error}'",
            )
            return traces
        except Exception:
            lean.add_message("F0002", args=(str(self.path), FATAL))
            return traces
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            try:
                module = self._build(tree, text)
            except Exception:
                lean.add_message("F0002", args=(str(self.path), FATAL))
            else:
                lean.file_state = FileState(MODULE, lean.msgs_store, module)
                lean.current_file = module.file
                try:
                    self._check(module, text)
                except Exception:
                    lean.add_message("F0002", args=(str(self.path), FATAL))
            finally:
                manager.astroid_cache.pop(MODULE, None)
            for checker in reversed(self._checkers):
                checker.close()
        return traces

    def _build(self, tree: ast.Module, text: str) -> nodes.Module:
        manager = astroid.MANAGER
        manager.astroid_cache.pop(MODULE, None)
        rebuilder = TreeRebuilder(manager, text)
        module = rebuilder.visit_module(tree, MODULE, str(self.path), False)
        module.file_bytes = text.encode()
        return AstroidBuilder(manager)._post_build(module, rebuilder, "utf-8")

    def _check(self, module: nodes.Module, text: str) -> None:
        try:
            tokens = list(tokenize.tokenize(io.BytesIO(text.encode()).readline))
        except tokenize.TokenError as error:
            self._lean.add_message("E0001", line=error.args[1][0], col_offset=error.args[1][1], args=error.args[0])
            return
        for raw in self._raw_checkers:
            raw.process_module(module)
        for token in self._token_checkers:
            token.process_tokens(tokens)
        self._walker.walk(module)

    def _lint_fully(self, full: PyLinter, text: str) -> list[Trace]:
        """Write the text to a file as pylintseq does, and run pylint on that with all its checkers."""
        self.path.write_text(text, encoding="utf-8", newline="")
        full.reporter.messages.clear()
        try:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                full.check([str(self.path)])
        except Exception:
            pass
        finally:
            self.path.unlink()
            astroid.MANAGER.astroid_cache.pop(MODULE, None)
        traces: list[Trace] = []
        for message in full.reporter.messages:
            traces += _traces(message.msg_id, message.line, message.column, message.msg)
        return traces
