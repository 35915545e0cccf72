"""Answers of other engines that the configuration accepts, where the journal has none of this engine.

What defines an answer (weights, prompt ids, sampling, seed) stays exact. What only moves its rounding, the
numerics (kind and version of the engine, data type, tensor-parallel size, device, engine options), may differ as
far as an entry of `engine.accept` names it. A key holds both, so the keys of an accepted engine are worked out from
its identity, which the journal records: nothing is stored twice, and journals of former versions serve.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from d3.core.ids import digest_of
from d3.core.journal import Journal
from d3.llm.engine import Request, answer_key
from d3.llm.engine_log import recorded_engines

NUMERICS = ("kind", "dtype", "tensor_parallel", "device")
"""Parts of an identity that only decide rounding, besides `versions` and `options`, which are mappings."""


def numerics_of(identity: Mapping[str, Any]) -> dict[str, str]:
    """Return the numerics of an identity as text: versions by the library's name, options as `options.NAME`."""
    plain = {name: identity[name] for name in NUMERICS if identity.get(name) is not None}
    versions = dict(identity.get("versions") or {})
    options = {f"options.{name}": value for name, value in (identity.get("options") or {}).items()}
    return {name: str(value) for name, value in {**plain, **versions, **options}.items()}


def definition_of(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an identity defines answers: everything but the numerics."""
    apart = (*NUMERICS, "versions", "options")
    return {name: value for name, value in identity.items() if name not in apart and value is not None}


def is_accepted(mine: Mapping[str, Any], other: Mapping[str, Any], accept: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether an entry covers an engine: it has the same definition, all that the entry names, and
    every numeric in which it differs is named.
    """
    if definition_of(mine) != definition_of(other):
        return False
    ours, theirs = numerics_of(mine), numerics_of(other)
    differ = {name for name in ours | theirs if ours.get(name) != theirs.get(name)}
    if ours.get("kind") != theirs.get("kind"):  # another kind needs other libraries
        differ -= dict(mine.get("versions") or {}).keys() - theirs.keys()
    return any(
        differ <= entry.keys()
        and all(theirs.get(name) == (None if value is None else str(value)) for name, value in entry.items())
        for entry in accept
    )


class AcceptedAnswers:
    """Looks up answers of the accepted engines of a journal."""

    def __init__(self, identity: Mapping[str, Any], accept: Sequence[Mapping[str, Any]], journal: Journal) -> None:
        """Read which engines wrote into the journal; without `accept` nothing is read."""
        self._journal = journal
        found = recorded_engines(journal) if accept else {}
        mine = digest_of(identity)
        self.engines = {
            digest: one
            for digest, one in sorted(found.items())
            if digest != mine and is_accepted(identity, one, accept)
        }
        """Identity of every accepted engine by its digest, in the order in which they are asked for answers."""

    def find(self, request: Request, empty_again: bool) -> tuple[str, dict[str, Any]] | None:
        """Return the digest of the engine that answered a request, and the entry; None if none of them did."""
        for digest, identity in self.engines.items():
            entry = self._journal.get(answer_key(identity, request, empty_again))
            if entry is not None:
                return digest, entry
        return None
