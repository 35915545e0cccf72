"""The engine for the Batch API of a provider: files of requests that are answered within a day, at a lower price.

What is asked, and how replies are read, is that of `kind: openai` (`completions_api`, `chat_api`), and so is the
identity: both find each other's answers in the journal. Where a choice is read off, there are two rounds of batches.
With `submit: false` the files are written for the user, who has them answered and puts the results beside them.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from d3.config.engine import Engine as EngineSettings
from d3.core.journal import Journal
from d3.core.progress import announce
from d3.llm.engine import Answer, EngineError, Request
from d3.llm.engines.base import BaseEngine, failed
from d3.llm.engines.batch_files import Batch, BatchFolder, custom_id, torn_line, write_results
from d3.llm.engines.completions_api import Chosen, Written, answer_of
from d3.llm.engines.openai import Part, api_of
from d3.llm.engines.server_client import Client, RefusedError

POLL_SECONDS = 20.0
ROUNDS = 3
"""How often requests are asked that a batch left without a result, as one does that expires."""
ENDED = ("completed", "expired", "cancelled")
"""States of a batch in which there may be results; `failed` has none."""


class OpenaiBatchEngine(BaseEngine):
    """See the module's text."""

    tries = 1
    asks_together = True
    kind = "openai"

    def __init__(self, settings: EngineSettings, model: str) -> None:
        """Load the tokenizer; raise EngineError if it cannot be loaded, ConfigError without a server."""
        self.client = Client(settings) if settings.submit else None
        super().__init__(settings, model)
        self.chunk = settings.requests_per_file
        self.api = api_of(settings, self)
        self._folder: BatchFolder | None = None
        self._used: set[Batch] = set()
        """Batches whose results are in answers that may not be in the journal yet."""

    def more_identity(self) -> dict[str, Any]:
        """Return the model's name at the provider, as `kind: openai` does."""
        return {"served_model": self.settings.served_model}

    def bind(self, journal: Journal | None) -> None:
        """Keep the files beside a journal; raise EngineError if there is none."""
        if journal is None:
            raise EngineError("kind: openai_batch needs a journal", remedy="name one with --journal")
        self._folder = BatchFolder(journal.folder / "batches")

    def saved(self) -> None:
        """Delete the files of answers that are in the journal."""
        while self._used:
            self._used.pop().delete()

    def check(self, request: Request) -> None:
        """Raise EngineError if a request is too long, or has a choice that the API cannot express."""
        super().check(request)
        self.api.check(request)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers to checked requests, in their order, when the provider has given all of them."""
        numbers = range(len(requests))
        bodies = {n: self.api.text_body(requests[n]) for n in numbers if requests[n].max_tokens}
        written = self._round(requests, bodies, self.api.read_text)
        texts = {n: written.get(n, Written()) for n in numbers}
        bodies = {
            n: self.api.choice_body(requests[n], text)
            for n, text in texts.items()
            if requests[n].choices and isinstance(text, Written) and text.finish in ("stop", "length")
        }
        chosen = self._round(requests, bodies, self.api.read_choice)
        return [_answer(requests[n], texts[n], chosen.get(n, Chosen())) for n in numbers]

    def _round(
        self,
        requests: Sequence[Request],
        bodies: Mapping[int, dict[str, Any]],
        read: Callable[[Request, Any], Part | None],
    ) -> dict[int, Part | str]:
        """Return what is read of the result of each body, or why there is none."""
        whole = {n: {"model": self.settings.served_model, **body} for n, body in bodies.items()}
        names = {n: custom_id(body) for n, body in whole.items()}
        lines = self._results({names[n]: body for n, body in whole.items()})
        return {n: _read(lines.get(name), partial(read, requests[n])) for n, name in names.items()}

    # --- batches ------------------------------------------------------------------------------------

    def _results(self, bodies: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the line of each request that a batch has answered."""
        if self._folder is None:
            raise EngineError("kind: openai_batch needs a journal", remedy="name one with --journal")
        found: dict[str, dict[str, Any]] = {}
        asked = 0
        while True:
            waited_for: dict[Batch, set[str]] = {}
            for batch in self._folder.batches():
                ids = batch.ids() & (bodies.keys() - found.keys() - set().union(*waited_for.values()))
                if ids and batch.results.exists():
                    lines = batch.found()
                    found |= {name: lines[name] for name in ids & lines.keys()}
                    self._used.add(batch)
                elif ids:
                    waited_for[batch] = ids
            missing = bodies.keys() - found.keys() - set().union(*waited_for.values())
            if missing and asked < ROUNDS:
                asked += 1
                new = {name: body for name, body in bodies.items() if name in missing}
                waited_for[self._folder.write(new, f"/v1{self.api.path}")] = missing
            if not waited_for:
                return found
            for batch in waited_for:
                self._wait_for(batch)

    def _wait_for(self, batch: Batch) -> None:
        """Submit a batch if nobody has, and wait for its results."""
        if self.client is None:
            raise EngineError(
                f"{len(batch.ids())} requests wait for the provider's Batch API",
                where=str(batch.requests),
                remedy=f"have them answered, put the results (output and errors) into {batch.results} and run again",
            )
        state = batch.state()
        if "batch" not in state:
            state = self._submit(self.client, batch, state)
        seen = ""
        while True:
            told = _object(self.client.call("GET", f"/batches/{state['batch']}"))
            status, counts = str(told.get("status")), told.get("request_counts") or {}
            if status in ENDED:
                break
            if status == "failed":
                batch.forget_ids()
                raise self.client.fault(
                    f"batch {state['batch']} failed ({_why(told)})", None, "correct it and run again: nothing is lost"
                )
            line = f"batch {batch.name}: {status}, {counts.get('completed', 0)} of {counts.get('total', '?')} answered"
            if line != seen:
                announce(line)
            seen = line
            time.sleep(POLL_SECONDS)
        write_results(batch, self._download(self.client, told))
        if status == "cancelled":
            raise self.client.fault(
                f"batch {state['batch']} was cancelled", None, "run again to ask what has no result; the rest is kept"
            )

    def _submit(self, client: Client, batch: Batch, state: dict[str, str]) -> dict[str, str]:
        """Upload the requests and make a batch of them; one that was made before a kill is taken up."""
        if "file" not in state:
            files = {"file": (batch.requests.name, batch.requests.read_bytes(), "application/jsonl")}
            uploaded = _object(client.call("POST", "/files", data={"purpose": "batch"}, files=files))
            state = {"file": str(uploaded["id"])}
            batch.remember(**state)
        else:
            for one in _object(client.call("GET", "/batches", params={"limit": "100"})).get("data") or []:
                if isinstance(one, dict) and one.get("input_file_id") == state["file"]:
                    state = {**state, "batch": str(one["id"])}
        if "batch" not in state:
            asked = {
                "input_file_id": state["file"],
                "endpoint": f"/v1{self.api.path}",
                "completion_window": "24h",
            }
            state = {**state, "batch": str(_object(client.call("POST", "/batches", json=asked))["id"])}
            announce(f"batch {batch.name}: {len(batch.ids())} requests submitted as {state['batch']}")
        batch.remember(**state)
        return state

    def _download(self, client: Client, told: dict[str, Any]) -> list[str]:
        """Return the files of results and of errors, whole; raise EngineError when they stay torn."""
        files = [str(told[name]) for name in ("output_file_id", "error_file_id") if told.get(name)]
        counts = told.get("request_counts") or {}
        expected = sum(value for name in ("completed", "failed") if type(value := counts.get(name)) is int)
        for _ in range(self.settings.retries + 1):
            texts = [client.call("GET", f"/files/{one}/content").text for one in files]
            lines = sum(bool(line.strip()) for text in texts for line in text.split("\n"))
            if lines >= expected and all(torn_line(text) is None for text in texts):
                return texts
        raise client.fault(
            f"the results of batch {told.get('id')} came torn ({lines} of {expected} lines)",
            None,
            "run again: the provider has the whole file, and nothing is asked again",
        )


def _read(line: dict[str, Any] | None, read: Callable[[Any], Part | None]) -> Part | str:
    """Return what is read of a line of results, or why nothing is."""
    if line is None:
        return f"without a result after {ROUNDS} batches"
    response = line.get("response") or {}
    status = response.get("status_code") if isinstance(response, dict) else None
    if status != 200:
        reason = json.dumps(line.get("error") or (isinstance(response, dict) and response.get("body")))
        return f"HTTP {status}: {' '.join(reason.split())[:200]}"
    try:
        found = read(response.get("body"))
    except RefusedError as refused:
        return str(refused)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        found = None
    return "torn answer" if found is None else found


def _answer(request: Request, written: Written | str, chosen: Chosen | str) -> Answer:
    for part in (written, chosen):
        if isinstance(part, str):
            return failed(request, part)
    assert isinstance(written, Written)
    assert isinstance(chosen, Chosen)
    return answer_of(request, written, chosen)


def _object(response: Any) -> dict[str, Any]:
    """Return the JSON object of a reply of the provider; raise EngineError for anything else."""
    try:
        found = response.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise EngineError("the provider's reply is no JSON object", where=str(response.url), remedy="run again")
    return found


def _why(told: dict[str, Any]) -> str:
    """Return the provider's first reason for a failed batch."""
    errors = told.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    return (
        " ".join(str(data[0].get("message") if isinstance(data[0], dict) else data[0]).split())[:300] if data else "?"
    )
