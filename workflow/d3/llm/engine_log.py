"""Which engines wrote into a journal: an entry each, so that answers can be replayed without the engine."""

from typing import Any

from d3.core.ids import digest_of
from d3.core.journal import Journal

PREFIX = "engine "
"""What the keys of these entries begin with."""


def record_engine(identity: dict[str, Any], journal: Journal) -> None:
    """Record in a journal that an engine wrote into it; the entry reaches the disk with the next flush."""
    journal.put(PREFIX + digest_of(identity), identity)


def recorded_engines(journal: Journal) -> dict[str, dict[str, Any]]:
    """Return the identity of every engine that wrote into a journal, by its digest."""
    found = {}
    for key in journal.keys():  # noqa: SIM118 - a journal is no mapping
        if key.startswith(PREFIX) and (identity := journal.get(key)) is not None:
            found[key.removeprefix(PREFIX)] = identity
    return found
