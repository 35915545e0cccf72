"""Which engines wrote into a journal: an entry each, so that answers can be replayed without the engine."""

from typing import Any

from d3.core.ids import digest_of
from d3.core.journal import Journal

WORD = "engine"
"""First word of the keys of these entries."""


def record_engine(identity: dict[str, Any], journal: Journal) -> None:
    """Record in a journal that an engine wrote into it; the entry reaches the disk with the next flush."""
    journal.put(f"{WORD} {digest_of(identity)}", identity)


def recorded_engines(journal: Journal) -> dict[str, dict[str, Any]]:
    """Return the identity of every engine that wrote into a journal, by its digest."""
    return {key.removeprefix(f"{WORD} "): identity for key, identity in journal.about(WORD)}
