"""Text for a reader: tables, trees and lines as wide as the terminal, with rich's styles where it is installed.

Without a terminal (a pipe, a log), without rich, with `NO_COLOR` or `TERM=dumb`, text is plain. A pipe has no width
unless `COLUMNS` says so. Cells and labels are cleaned here (`d3.core.printable`): no text of a run is a style.
"""

import io
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from d3.core.printable import printable

GUIDES = " │├└─"
GAP = 2
"""Spaces between the columns of a table."""
NARROWEST = 20
BAR_WIDTH = 20


@dataclass(kw_only=True, slots=True)
class Branch:
    """A part of a tree: a line, notes below it, and its children."""

    text: str
    notes: Sequence[str] = ()
    children: list["Branch"] = field(default_factory=list)


def columns(stream: TextIO | None = None) -> int | None:
    """Return how many columns text on a stream (standard output) may take; None for as many as it has."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and 0 < len(given) < 5:
        return max(NARROWEST, int(given))
    if not (stream or sys.stdout).isatty():
        return None
    return max(NARROWEST, shutil.get_terminal_size().columns)


def is_styled(stream: TextIO | None = None) -> bool:
    """Return whether text on a stream (standard output) may have colors."""
    return (stream or sys.stdout).isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_text(text: str) -> None:
    """Print text, with lines that are too long for the terminal broken between words."""
    width = columns()
    print("\n".join(part for line in text.split("\n") for part in wrapped_line(line, width)), flush=True)


def wrapped_line(line: str, width: int | None) -> list[str]:
    """Return a line as lines of at most `width` columns; paths are not broken, and styled lines fit already."""
    if width is None or len(line) <= width or "\x1b" in line:
        return [line]
    body = line.lstrip(GUIDES)
    lead = line[: len(line) - len(body)]
    rest = "".join("│" if letter in "│├" else " " for letter in lead) + "  "
    return textwrap.wrap(
        body, width, initial_indent=lead, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def table_text(rows: Sequence[Sequence[str]], *, right: Collection[int] = (), head: bool = True) -> str:
    """Return a table whose first row is its head, if it has one; the columns `right` (from 0) are numbers.

    In a table that is too wide for the terminal the last column is broken between words; where that leaves it no room,
    every row becomes a paragraph.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    width = columns()
    room = widths[-1] if width is None else min(widths[-1], width - sum(widths[:-1]) - GAP * (len(widths) - 1))
    if width is not None and room < min(widths[-1], NARROWEST):
        return "\n".join(_paragraphs(cells if head else [[""] * len(widths), *cells], width))
    if is_styled() and (console := _console(width)) is not None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_header=head)
        for place, name in enumerate(cells[0]):
            table.add_column(
                Text(name if head else ""),
                justify="right" if place in right else "left",
                no_wrap=place < len(widths) - 1,
            )
        for row in cells[head:]:
            table.add_row(*map(Text, row))
        return _rendered(console, table)
    return "\n".join(line for row in cells for line in _row_lines(row, widths, right, room))


def _row_lines(row: Sequence[str], widths: Sequence[int], right: Collection[int], room: int) -> Iterator[str]:
    """Yield the lines of a row; those after the first continue its last cell."""
    parts = textwrap.wrap(row[-1], room, break_on_hyphens=False) if len(row[-1]) > room else [row[-1]]
    for number, part in enumerate(parts):
        cells = [*(row[:-1] if not number else [""] * (len(row) - 1)), part]
        sizes = [*widths[:-1], room]
        lined = (cell.rjust(sizes[at]) if at in right else cell.ljust(sizes[at]) for at, cell in enumerate(cells))
        yield (" " * GAP).join(lined).rstrip()


def _paragraphs(cells: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield a paragraph for each row: its first cell, and below it the others with their heads."""
    head = cells[0]
    for row in cells[1:]:
        parts = [
            f"{name} {cell}".strip() for name, cell in zip(head[1:], row[1:], strict=True) if cell not in ("", "-")
        ]
        yield row[0]
        yield from wrapped_line(f"  {', '.join(parts)}", width) if parts else ()


def tree_text(root: Branch) -> str:
    """Return a tree of lines; notes stand below the line that they belong to."""
    if is_styled() and (console := _console(columns())) is not None:
        return _rendered(console, _rich_tree(root))
    return "\n".join(_tree_lines(root, "", ""))


def _tree_lines(branch: Branch, head: str, rest: str) -> Iterator[str]:
    yield head + printable(branch.text)
    below = rest + ("│  " if branch.children else "   ")
    yield from (f"{below}{printable(note)}" for note in branch.notes)
    for place, child in enumerate(branch.children, start=1):
        joint, gap = ("└─ ", "   ") if place == len(branch.children) else ("├─ ", "│  ")
        yield from _tree_lines(child, rest + joint, rest + gap)


def _rich_tree(branch: Branch) -> Any:
    from rich.text import Text
    from rich.tree import Tree

    label = Text(printable(branch.text))
    for note in branch.notes:
        label.append(f"\n{printable(note)}", style="dim")
    tree = Tree(label, guide_style="dim")
    for child in branch.children:
        tree.children.append(_rich_tree(child))
    return tree


def bar_text(done: int, total: int, stream: TextIO) -> str:
    """Return a progress bar and a space; nothing on a stream without styles, or without rich."""
    if not is_styled(stream) or (console := _console(BAR_WIDTH)) is None:
        return ""
    from rich.progress_bar import ProgressBar

    return _rendered(console, ProgressBar(total=max(total, 1), completed=done, width=BAR_WIDTH)) + " "


def error_line(text: str) -> str:
    """Return an error's line for standard error; its first two words are red on a terminal."""
    line = printable(text)
    if not is_styled(sys.stderr) or _console(None) is None:
        return line
    name, mark, rest = line.partition(" error:")
    return f"\x1b[1;31m{name}{mark}\x1b[0m{rest}" if mark else line


def _console(width: int | None) -> Any:
    """Return a console of rich that writes into memory; None where rich is not installed."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False, markup=False, emoji=False)


def _rendered(console: Any, thing: Any) -> str:
    console.print(thing)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
