"""The filters: each answers None (keep) or why not, as a word to count and a detail to read."""

import ast
import warnings
from typing import NamedTuple

from d3.config import Corpus
from d3.identity import LINE_BREAKS, normalise
from d3.tables import Row
from d3.trajectory import holds_marker


class Rejection(NamedTuple):
    """Why a file is not kept."""

    reason: str
    detail: str


def examine(row: Row, settings: Corpus) -> str | Rejection:
    """Give the normalised text of a row that passes all filters, or why it does not."""
    if row["content"] is None:
        return Rejection("null_content", "the content is null")
    if row["lang"] != settings.language:
        return Rejection("other_language", f"lang is {row['lang']!r}")
    text = normalise(row["content"])
    return reject_text(text, settings) or text


def reject_text(text: str, settings: Corpus) -> Rejection | None:
    """Judge a normalised text: what breaks later stages first, then shape, then syntax."""
    if not text:
        return Rejection("empty", "nothing but white space")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return Rejection("lone_surrogate", f"at character {error.start}")
    if "\0" in text:
        return Rejection("nul_byte", f"at character {text.index(chr(0))}")
    for character in LINE_BREAKS:
        if character in text:
            return Rejection("line_separator", f"{character!r} at character {text.index(character)}")
    return reject_shape(text, settings) or reject_structure(text) or reject_syntax(text)


def reject_size(text: str, settings: Corpus) -> Rejection | None:
    """Judge whether a text has the size of a file to mid-train on; held-out files need not."""
    lines = text.count("\n") + 1
    size = len(text.encode("utf-8"))
    if size > settings.max_bytes:
        return Rejection("too_large", f"{size} bytes")
    if lines < settings.min_lines:
        return Rejection("too_few_lines", f"{lines} lines")
    if lines > settings.max_lines:
        return Rejection("too_many_lines", f"{lines} lines")
    return None


def reject_shape(text: str, settings: Corpus) -> Rejection | None:
    """Judge the lengths of the lines and the share of letters and digits."""
    lengths = [len(line) for line in text.split("\n")]
    mean = sum(lengths) / len(lengths)
    alphanumeric = sum(map(str.isalnum, text)) / len(text)
    if max(lengths) > settings.max_line_length:
        return Rejection("long_line", f"{max(lengths)} characters")
    if mean > settings.max_mean_line_length:
        return Rejection("long_lines", f"{mean:.1f} characters a line")
    if alphanumeric < settings.min_alphanumeric:
        return Rejection("few_alphanumerics", f"{alphanumeric:.3f} of the characters")
    return None


def reject_structure(text: str) -> Rejection | None:
    """Judge whether a text can be told from the structure of a training example."""
    return Rejection("format_marker", "holds a marker of the example format") if holds_marker(text) else None


def reject_syntax(text: str) -> Rejection | None:
    """Judge whether this Python can parse a text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return Rejection("syntax_error", f"line {error.lineno}: {error.msg}")
    except (RecursionError, MemoryError):
        return Rejection("too_nested", "deeper than the parser goes")
    except ValueError as error:
        return Rejection("syntax_error", str(error))
    return None
