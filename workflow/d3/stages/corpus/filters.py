"""The filters in the order in which they judge: the first one that objects is the reason of a rejection.

A filter is a function with its thresholds as keyword arguments, named as the settings of `corpus` that
they come from. It returns None (keep) or the detail of why not; its own name is the reason. The lists
at the end are what the corpus stage applies; the user's filters follow (`d3.stages.corpus.own_filters`).
"""

import ast
import string
from collections.abc import Sequence
from time import thread_time
from typing import Any

from d3.config.data import Corpus
from d3.core.ids import LINE_BREAKS, normalise
from d3.core.tables import Row
from d3.provenance.resource_usage import count_rule
from d3.stages.corpus.filter import OURS, Filter, Rejection, from_source, lines_of, parse
from d3.stages.corpus.junk import ROW_JUNK, TEXT_JUNK, TREE_JUNK

STARCODER = "StarCoder (arXiv:2305.06161); the values are its own"
ALPHANUMERIC = (string.ascii_letters + string.digits).encode()


# --- rows of the source ---------------------------------------------------------------------------


@from_source(OURS)
def null_content(row: Row) -> str | None:
    """Reject rows without a text."""
    return "the content is null" if row["content"] is None else None


@from_source(OURS)
def other_language(row: Row, *, language: str) -> str | None:
    """Reject rows whose `lang` is another one, and Python's where it is null but for the end of the path."""
    path = row["max_stars_repo_path"] or ""
    if row["lang"] is None and language == "Python" and "." in path.rpartition("/")[2]:
        return None if path.endswith((".py", ".pyi", ".pyw")) else f"the path is {path[-60:]!r}"
    return f"lang is {row['lang']!r}" if row["lang"] not in (None, language) else None


# --- normalised texts: what later stages cannot represent -----------------------------------------


@from_source(OURS)
def empty(text: str) -> str | None:
    """Reject texts of white space alone."""
    return None if text else "nothing but white space"


@from_source(OURS)
def lone_surrogate(text: str) -> str | None:
    """Reject texts that cannot be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"at character {error.start}"
    return None


@from_source(OURS)
def nul_byte(text: str) -> str | None:
    """Reject texts with a NUL, at which compilers and tokenizers stop."""
    return f"at character {text.index(chr(0))}" if "\0" in text else None


@from_source(OURS)
def line_separator(text: str) -> str | None:
    """Reject texts with a character that difflib takes for the end of a line, so that diffs would not fit."""
    for character in LINE_BREAKS:
        if character in text:
            return f"{character!r} at character {text.index(character)}"
    return None


# --- shape ----------------------------------------------------------------------------------------


@from_source(STARCODER)
def long_line(text: str, *, max_line_length: int) -> str | None:
    """Reject texts with a line that is too long."""
    longest = max(map(len, lines_of(text)))
    return f"{longest} characters" if longest > max_line_length else None


@from_source(STARCODER)
def long_lines(text: str, *, max_mean_line_length: float) -> str | None:
    """Reject texts whose lines are too long on average."""
    lines = text.count("\n") + 1
    mean = (len(text) - lines + 1) / lines
    return f"{mean:.1f} characters a line" if mean > max_mean_line_length else None


@from_source(STARCODER)
def few_alphanumerics(text: str, *, min_alphanumeric: float) -> str | None:
    """Reject texts with too few letters and digits."""
    if text.isascii():
        count = len(text) - len(text.encode().translate(None, ALPHANUMERIC))  # 20 times as fast
    else:
        count = sum(map(str.isalnum, text))
    share = count / len(text)
    return f"{share:.3f} of the characters" if share < min_alphanumeric else None


# --- structure and syntax -------------------------------------------------------------------------


@from_source(OURS)
def too_nested(text: str) -> str | None:
    """Reject texts that are deeper than the parser of this Python goes."""
    return "deeper than the parser goes" if isinstance(parse(text), RecursionError | MemoryError) else None


@from_source(OURS)
def syntax_error(text: str) -> str | None:
    """Reject texts that this Python cannot parse."""
    found = parse(text)
    if isinstance(found, SyntaxError):
        return f"line {found.lineno}: {found.msg}"
    return None if isinstance(found, ast.Module) else str(found)


# --- size -----------------------------------------------------------------------------------------


@from_source(OURS)
def too_large(text: str, *, max_bytes: int) -> str | None:
    """Reject texts of too many bytes in UTF-8."""
    size = len(text.encode("utf-8"))
    return f"{size} bytes" if size > max_bytes else None


@from_source(OURS)
def too_few_lines(text: str, *, min_lines: int) -> str | None:
    """Reject texts of too few lines."""
    lines = text.count("\n") + 1
    return f"{lines} lines" if lines < min_lines else None


@from_source(OURS)
def too_many_lines(text: str, *, max_lines: int) -> str | None:
    """Reject texts of too many lines."""
    lines = text.count("\n") + 1
    return f"{lines} lines" if lines > max_lines else None


# --- the order ------------------------------------------------------------------------------------

ROW_FILTERS = (null_content, other_language, *ROW_JUNK)
TEXT_FILTERS = (
    empty, lone_surrogate, nul_byte, line_separator,
    long_line, long_lines, few_alphanumerics, *TEXT_JUNK,
    too_nested, syntax_error, *TREE_JUNK,
)  # fmt: skip
SIZE_FILTERS = (too_large, too_few_lines, too_many_lines)
"""For files to mid-train on; held-out files may have any size."""


def examine(row: Row, settings: Corpus) -> str | Rejection:
    """Return the normalised text of a row that passes the filters of rows and texts, or why it does not."""
    rejection = _first(ROW_FILTERS, row, settings)
    if rejection is not None:
        return rejection
    text = normalise(row["content"])
    return _first(TEXT_FILTERS, text, settings) or text


def reject_size(text: str, settings: Corpus) -> Rejection | None:
    """Return why a text does not have the size of a file to mid-train on, or None."""
    return _first(SIZE_FILTERS, text, settings)


def _first(filters: Sequence[Filter], subject: Any, settings: Corpus) -> Rejection | None:
    began = thread_time()
    for judge in filters:
        rejection = judge.check(subject, settings)
        ended = thread_time()
        count_rule(judge.reason, ended - began, rejected=rejection is not None)
        if rejection is not None:
            return rejection
        began = ended
    return None
