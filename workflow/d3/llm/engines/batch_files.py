"""The files of the Batch API: requests as JSONL that a provider answers within a day, each found again by `custom_id`.

    NAME.requests.jsonl   what is asked; written whole before anything is sent
    NAME.batch.json       the provider's ids of the file and of the batch
    NAME.results.jsonl    the results, downloaded or put there by the user

They lie beside the journal. A request is looked for in all of them before it is asked, so that a job that was killed,
or that has other batches now, waits for what is on its way and asks nothing twice. They are deleted when the answers
are in the journal.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d3.core.ids import canonical_json, digest_of
from d3.core.tables import written_whole
from d3.llm.engine import EngineError

REQUESTS, STATE, RESULTS = ".requests.jsonl", ".batch.json", ".results.jsonl"
DIGITS = 40
"""Digits of a `custom_id`; providers take 64 characters."""


def custom_id(body: Mapping[str, Any]) -> str:
    """Return the name of a request: equal bodies have the same."""
    return f"d3-{digest_of(body)[:DIGITS]}"


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, by its files."""

    folder: Path
    name: str

    @property
    def requests(self) -> Path:
        """What is asked."""
        return self.folder / f"{self.name}{REQUESTS}"

    @property
    def results(self) -> Path:
        """What was answered; the batch is open while there is no such file."""
        return self.folder / f"{self.name}{RESULTS}"

    def state(self) -> dict[str, str]:
        """Return the provider's ids of `file` and `batch`, as far as they are known."""
        path = self.folder / f"{self.name}{STATE}"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise EngineError(
                "torn batch file", where=str(path), remedy="delete it and run again: the requests are submitted anew"
            )
        return found

    def remember(self, **ids: str) -> None:
        """Write the provider's ids."""
        with written_whole(self.folder / f"{self.name}{STATE}") as part:
            part.write_text(canonical_json(ids) + "\n", encoding="utf-8")

    def forget_ids(self) -> None:
        """Drop the provider's ids, so that the requests are submitted anew."""
        (self.folder / f"{self.name}{STATE}").unlink(missing_ok=True)

    def ids(self) -> set[str]:
        """Return the names of the requests; none when the files are gone; raise EngineError for a torn file."""
        remedy = f"delete {self.name}.* there and run again: the requests are written and submitted anew"
        return {str(line["custom_id"]) for line in _lines(self.requests, remedy)}

    def found(self) -> dict[str, dict[str, Any]]:
        """Return the lines of the results by name; raise EngineError for a torn file."""
        remedy = "fetch the provider's file again, put it there and run again: the requests are kept, nothing is lost"
        return {str(line["custom_id"]): line for line in _lines(self.results, remedy)}

    def delete(self) -> None:
        """Delete all files."""
        for suffix in (RESULTS, STATE, REQUESTS):  # a batch without results would be waited for
            (self.folder / f"{self.name}{suffix}").unlink(missing_ok=True)


class BatchFolder:
    """All batches beside a journal; several jobs may use it."""

    def __init__(self, folder: Path) -> None:
        """Make the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def batches(self) -> list[Batch]:
        """Return all batches, in the order of their names."""
        found = sorted(self.folder.glob(f"*{REQUESTS}"))
        return [Batch(self.folder, path.name.removesuffix(REQUESTS)) for path in found]

    def write(self, bodies: Mapping[str, Mapping[str, Any]], url: str) -> Batch:
        """Write a batch of requests by their names, for the URL below the server's address."""
        number, digest = 0, digest_of(sorted(bodies))[:16]
        while (batch := Batch(self.folder, f"{digest}-{number}")).requests.exists():
            number += 1
        with written_whole(batch.requests) as part, part.open("w", encoding="utf-8") as file:
            for name, body in bodies.items():
                line = {"custom_id": name, "method": "POST", "url": url, "body": body}
                file.write(json.dumps(line, ensure_ascii=True) + "\n")
        return batch


def write_results(batch: Batch, texts: Iterable[str]) -> None:
    """Write the downloaded results, of which each text is some lines."""
    with written_whole(batch.results) as part, part.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(text if text.endswith("\n") or not text else f"{text}\n")


def torn_line(text: str) -> int | None:
    """Return the number of the first line that is no result, from 1; None for a whole text."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and _parsed(line) is None:
            return number
    return None


def _lines(path: Path, remedy: str) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    number = torn_line(text)
    if number is not None:
        raise EngineError("torn batch file", where=f"{path}, line {number}", remedy=remedy)
    return [parsed for line in text.split("\n") if line.strip() and (parsed := _parsed(line)) is not None]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("custom_id"), str) else None
