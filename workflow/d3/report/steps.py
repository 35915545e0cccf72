"""Programs and diff sequences as HTML: lines colored by Pygments, those that a step adds or deletes marked."""

import difflib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from d3.core.unified_diff import DiffError, split_lines
from d3.report.evidence import steps_of

CLASSES = {
    "Keyword": "k",
    "Name.Function": "f",
    "Name.Class": "f",
    "Name.Decorator": "f",
    "Literal.String": "s",
    "Literal.Number": "n",
    "Comment": "c",
    "Name.Builtin": "b",
}
"""Kinds of tokens and the class that colors each; others are plain."""
LONGEST_LINE = 240
MOST_LINES = 400


def code(text: str) -> Any:
    """Return a program as HTML with colored tokens."""
    from markupsafe import Markup

    lines = split_lines(text)
    more = f"\n… {len(lines) - MOST_LINES} more lines" if len(lines) > MOST_LINES else ""
    return Markup("\n").join(colored(text)[:MOST_LINES]) + more


@lru_cache(maxsize=4096)
def colored(text: str) -> tuple[Any, ...]:
    """Return the lines of a program as HTML; the text is only ever escaped, never read as markup."""
    from markupsafe import Markup, escape
    from pygments.lexers.python import PythonLexer

    lexer = PythonLexer(stripnl=False, ensurenl=False)
    lines: list[list[Any]] = [[]]
    for kind, value in lexer.get_tokens(text):
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append([])
            if part:
                style = _style(str(kind))
                shown = part if len(part) <= LONGEST_LINE else f"{part[:LONGEST_LINE]}…"
                lines[-1].append(Markup('<i class="{}">{}</i>').format(style, shown) if style else escape(shown))
    return tuple(Markup("").join(parts) for parts in lines)


def _style(kind: str) -> str:
    name = kind.removeprefix("Token.")
    while name:
        if name in CLASSES:
            return CLASSES[name]
        name = name.rpartition(".")[0]
    return ""


def steps(start: str, diffs: Sequence[str]) -> list[Any]:
    """Return the program after every diff as HTML, deleted lines among them; the start program is the first."""
    try:
        programs = steps_of(start, diffs)
    except DiffError:
        return []
    shown = [_page(start, start)] if start else []
    for before, after in pairwise(programs):
        shown.append(_page(before, after))
    return shown


def _page(before: str, after: str) -> Any:
    """Return one program, with the lines that were not in the one before it marked."""
    from markupsafe import Markup

    old, new = split_lines(before), split_lines(after)
    html_old, html_new = colored(before), colored(after)
    parts: list[Any] = []

    def line(kind: str, html: Any) -> None:
        mark = {"add": "+", "del": "-"}.get(kind, " ")
        parts.append(Markup('<span class="l {}"><b>{}</b>{}</span>').format(kind, mark, html))

    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            for place in range(j1, j2):
                line("", html_new[place])
            continue
        for place in range(i1, i2):
            line("del", html_old[place])
        for place in range(j1, j2):
            line("add", html_new[place])
    cut = parts[:MOST_LINES]
    return Markup("").join(cut) + (f"… {len(parts) - len(cut)} more lines" if len(parts) > len(cut) else "")
