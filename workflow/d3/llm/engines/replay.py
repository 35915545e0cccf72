"""The engine without a model: answers come out of the journal of an earlier run, or not at all.

A journal names the engines that wrote into it, so a run can be repeated where the engine and the
weights are not: only tokenizer, chat template and the model's configuration are read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d3.config.engine import Engine as EngineSettings
from d3.core.ids import file_digest
from d3.core.journal import Journal
from d3.llm.engine import NOT_IN_JOURNAL, Answer, EngineError, Request
from d3.llm.engine_log import recorded_engines
from d3.llm.engines.base import BaseEngine, failed


class ReplayEngine(BaseEngine):
    """See the module's text."""

    tries = 0

    def __init__(self, settings: EngineSettings, model: str) -> None:
        """Load the tokenizer and the model's configuration; raise EngineError if they cannot be loaded."""
        super().__init__(settings, model)
        self.chunk = 256
        self.identity: dict[str, Any] = {"kind": settings.kind, "answers_of": settings.answers_of}

    def bind(self, journal: Journal | None) -> None:
        """Take the identity of the engine whose answers the journal holds.

        If those of several are there, the one that had this model is meant. Raise EngineError if there is no
        journal, or if neither the model nor the configuration chooses one.
        """
        if journal is None:
            raise EngineError("there is no journal to replay", remedy="give --journal")
        wanted = self.settings.answers_of or ""
        found = {
            digest: identity for digest, identity in recorded_engines(journal).items() if digest.startswith(wanted)
        }
        if len(found) > 1 and Path(self.model).exists():
            mine = file_digest(Path(self.model))
            found = {name: one for name, one in found.items() if one.get("digest") == mine} or found
        if len(found) > 1:
            names = ", ".join(f"{digest[:12]} ({found[digest].get('kind')})" for digest in sorted(found))
            raise EngineError(
                f"holds answers of several engines: {names}", where=str(journal.folder), remedy="set engine.answers_of"
            )
        for identity in found.values():
            self.identity = identity

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Fail every request: what the journal has was answered before."""
        return [failed(request, NOT_IN_JOURNAL) for request in requests]
