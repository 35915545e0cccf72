"""The engine that asks nobody: answers come out of the journal of an earlier run, or not at all.

A journal names the engines that wrote into it, so a run can be repeated where the engine and the
weights are not: only tokenizer, chat template and the model's config are read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d3 import config
from d3.identity import digest_of
from d3.journal import Journal
from d3.llm.engine import Answer, EngineError, Request

NOT_KEPT = "not in the journal"
RECORD = "engine "
"""What the keys of a journal's entries about engines begin with."""


def record(identity: dict[str, Any], journal: Journal) -> None:
    """Note in a journal that an engine wrote into it; the entry reaches the disk with the next flush."""
    journal.put(RECORD + digest_of(identity), identity)


def recorded(journal: Journal) -> dict[str, dict[str, Any]]:
    """Give the identity of every engine that wrote into a journal, by its digest."""
    found = {}
    keys = journal.keys()
    for key in keys:
        if key.startswith(RECORD) and (identity := journal.get(key)) is not None:
            found[key.removeprefix(RECORD)] = identity
    return found


class ReplayEngine:
    """See the module's text; the interface is `d3.llm.engine.Engine`."""

    tries = 0
    chunk = 256

    def __init__(self, settings: config.Engine, model: str) -> None:
        """Read the tokenizer and the model's config; raises EngineError when they cannot be had."""
        import transformers

        self.settings = settings
        self.identity: dict[str, Any] = {"kind": "replay", "answers_of": settings.answers_of}
        options = {} if Path(model).exists() else {"revision": settings.revision}
        try:
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(model, **options)
            text_config = transformers.AutoConfig.from_pretrained(model, **options).get_text_config()
        except (OSError, ValueError) as error:
            raise EngineError(f"cannot be loaded ({error})", where=model, remedy="check folder or hub id") from None
        self.max_length = min(settings.max_length, int(getattr(text_config, "max_position_embeddings", 2**31)))

    def bind(self, journal: Journal | None) -> None:
        """Take the identity of the engine whose answers the journal holds.

        Raises EngineError when there is no journal, or when it holds those of several engines and
        the configuration does not choose one.
        """
        if journal is None:
            raise EngineError("there is no journal to replay", remedy="give --journal")
        wanted = self.settings.answers_of or ""
        found = {digest: identity for digest, identity in recorded(journal).items() if digest.startswith(wanted)}
        if len(found) > 1:
            names = ", ".join(f"{digest[:12]} ({found[digest].get('kind')})" for digest in sorted(found))
            raise EngineError(
                f"holds answers of several engines: {names}", where=str(journal.folder), remedy="set engine.answers_of"
            )
        for identity in found.values():
            self.identity = identity

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer nothing."""
        return [
            Answer(text="", finish_reason="error", prompt_tokens=len(request.ids), answer_tokens=0, detail=NOT_KEPT)
            for request in requests
        ]
