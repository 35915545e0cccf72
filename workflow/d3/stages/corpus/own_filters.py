"""Filters of the user, named by import string in `corpus.filters`; they judge what the built-in ones keep.

    def has_tabs(text, row):
        return ("has_tabs", f"at character {text.index(chr(9))}") if chr(9) in text else None

A filter is such a function, or a class that is made without arguments and whose instances are called so:
with the normalised text and the row of The Stack, which cannot be changed. It returns None (keep) or
(reason, detail). The answer may depend on nothing but these two, and the code on nothing but its file and
installed packages, since the digest of that file is what is known of it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from d3.core.import_strings import described, load, source_file
from d3.core.tables import Row
from d3.errors import ConfigError, InputError
from d3.stages.corpus.filter import Rejection
from d3.stages.corpus.filters import ROW_FILTERS, SIZE_FILTERS, TEXT_FILTERS

SETTING = "corpus.filters"
REASON = re.compile(r"[a-z][a-z0-9_]{0,39}")
RESERVED = {judge.reason for judge in (*ROW_FILTERS, *TEXT_FILTERS, *SIZE_FILTERS)} | {
    "opted_out",
    "not_sampled",
    "duplicate",
    "benchmark",
}
"""Reasons with a meaning of their own, which a user's filter may not use."""


@dataclass(frozen=True, slots=True)
class OwnFilter:
    """A filter of the user, ready to be called."""

    name: str
    """The import string."""
    path: Path
    """Its source file."""
    function: Callable[[str, Mapping[str, Any]], object]

    def check(self, text: str, row: Row, where: str) -> Rejection | None:
        """Return why a text is rejected, or None; raise InputError if the filter fails at the row `where`."""
        try:
            answer = self.function(text, MappingProxyType(row))
        except Exception as error:  # whatever the user's code raises
            reason = f"filter {self.name} raised {described(error, self.path)}"
            raise InputError(reason, where=where, remedy="correct the filter") from None
        try:
            return None if answer is None else _rejection(answer)
        except ValueError as error:
            reason = f"filter {self.name} returned {repr(answer)[:80]}: {error}"
            remedy = "return None or (reason, detail), such as ('has_tabs', 'at character 3')"
            raise InputError(reason, where=where, remedy=remedy) from None


def _rejection(answer: object) -> Rejection:
    """Return a filter's answer as a rejection; raise ValueError for anything but (reason, detail)."""
    match answer:
        case (str(reason), str(detail)):
            pass
        case _:
            raise ValueError("must be None or a tuple of two texts")
    if not REASON.fullmatch(reason):
        raise ValueError(f"the reason must match {REASON.pattern}")
    if reason in RESERVED:
        raise ValueError(f"the reason {reason} is one of the pipeline's own")
    if re.search("[\ud800-\udfff]", detail):
        raise ValueError("the detail contains a lone surrogate")
    return Rejection(reason, detail)


def own_filters(import_strings: Sequence[str]) -> list[OwnFilter]:
    """Import the user's filters; raise ConfigError for what cannot be imported or called."""
    return [_own_filter(name) for name in import_strings]


def _own_filter(name: str) -> OwnFilter:
    path, found = source_file(name, SETTING), load(name, SETTING)
    try:
        function = found() if isclass(found) else found
    except Exception as error:  # whatever the user's class raises
        reason = f"cannot be made without arguments: {described(error, path)}"
        raise ConfigError(reason, where=name, remedy="correct the class") from None
    if not callable(function):
        reason = f"must be a function, or a class with __call__ (got {type(function).__name__})"
        raise ConfigError(reason, where=name, remedy=f"correct {SETTING}")
    return OwnFilter(name, path, function)
