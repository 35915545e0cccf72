"""A filter: a function with its thresholds, its reason and its source; and the parser that filters share."""

import ast
import gc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any, NamedTuple

from d3.config.data import Corpus


class Rejection(NamedTuple):
    """Why a file is not kept."""

    reason: str
    """One word that counts are made of."""
    detail: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A function that judges files, with what is known about it."""

    reason: str
    settings: tuple[str, ...]
    """Settings of `corpus` that are its thresholds."""
    source: str
    function: Callable[..., str | None]

    def check(self, subject: Any, settings: Corpus) -> Rejection | None:
        """Return why a row or a text is rejected, or None."""
        detail = self.function(subject, **{name: getattr(settings, name) for name in self.settings})
        return None if detail is None else Rejection(self.reason, detail)


OURS = "ours"


def from_source(source: str) -> Callable[[Callable[..., str | None]], Filter]:
    """Make a function a filter; `source` is where the rule comes from."""

    def made(function: Callable[..., str | None]) -> Filter:
        parameters = signature(function).parameters.values()
        settings = tuple(parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY)
        return Filter(function.__name__, settings, source, function)

    return made


@lru_cache(maxsize=1)
def lines_of(text: str) -> Sequence[str]:
    """Return the lines of a text, which many filters look at."""
    return text.split("\n")


@lru_cache(maxsize=1)
def stripped_lines(text: str) -> Sequence[str]:
    """Return the lines of a text without the white space around them."""
    return [line.strip() for line in lines_of(text)]


@lru_cache(maxsize=1)
def parse(text: str) -> ast.Module | Exception:
    """Return the syntax tree of a text, or what the parser raises; several filters ask about each text.

    Trees have no cycles: with the garbage collector, which goes through them again and again, it takes twice as long.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return error.with_traceback(None)
    finally:
        if collecting:
            gc.enable()


def parsed(text: str) -> ast.Module:
    """Return the syntax tree of a text that parses; an empty one for another."""
    found = parse(text)
    return found if isinstance(found, ast.Module) else ast.Module(body=[], type_ignores=[])
