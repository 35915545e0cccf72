"""Many faults against one engine for servers: is every answer there, once, and right?"""

import random
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d3.config.engine import Engine as EngineSettings
from d3.core.journal import Journal
from d3.llm.ask import Question, ask_all
from d3.llm.engine import Request
from d3.llm.open_engine import open_engine
from helpers.openai_server import Fault, Server, text_of

HANG = 1.5
"""Seconds; longer than the timeout of the drill."""
FAULTS: tuple[Fault, ...] = (
    ("status", (429, {})),
    ("status", (429, {"Retry_After": "0.05"})),
    ("status", (500, {})),
    ("status", (503, {})),
    ("torn", None),
    ("half", None),
    ("drop", None),
    ("sleep", HANG),
    ("die", 0.2),
)
RARE = ("sleep", "die")


@dataclass(kw_only=True, slots=True)
class Drill:
    """What a drill found."""

    injected: dict[str, int]
    lost: int
    wrong: int
    journalled: int
    asked_again: int


def drill(model: Path, folder: Path, *, faults: int, requests: int, batch: int = 8, seed: int = 0) -> Drill:
    """Ask `requests` questions while a server commits `faults` faults; then all of them again without faults."""
    random_ = random.Random(seed)
    common = [fault for fault in FAULTS if fault[0] not in RARE]
    planned = [random_.choice(FAULTS if number % 20 == 0 else common) for number in range(faults)]
    injected: dict[str, int] = {}
    lock = threading.Lock()

    def plan(body: dict[str, Any], before: int) -> Fault | None:
        with lock:
            if before >= 4 or not planned:
                return None
            fault = planned.pop()
            name = fault[0] + (str(fault[1][0]) + "+" * bool(fault[1][1]) if fault[0] == "status" else "")
            injected[name] = injected.get(name, 0) + 1
            return fault

    server = Server(plan)
    settings = EngineSettings(
        kind="openai", served_model="judge", base_urls=[server.url], timeout_seconds=1, retries=30, batch=batch
    )
    asked = [
        Request(key=f"r{n}#0", ids=(20, 21, 30 + n % 100, 30 + n // 100), max_tokens=12, seed=n, temperature=0.5)
        for n in range(requests)
    ]
    questions = [Question(row=request, request=request) for request in asked]
    try:
        with Journal(folder) as journal:
            outcomes = list(ask_all(open_engine(settings, str(model)), questions, journal, what="drill", total=None))
            server.plan, posted = (lambda body, before: None), len(server.bodies)
            again = list(ask_all(open_engine(settings, str(model)), questions, journal, what="again", total=None))
            journalled = len(journal) - 1  # beside the entry of the engine
    finally:
        server.stop()
    texts = [text_of({"prompt": list(one.ids), "temperature": 0.5, "top_p": 1.0, "seed": one.seed}) for one in asked]
    given = [outcome.answer.text if outcome.answer else None for outcome in outcomes]
    assert [outcome.row for outcome in again] == asked
    return Drill(
        injected=injected,
        lost=given.count(None),
        wrong=sum(one is not None and one != text for one, text in zip(given, texts, strict=True)),
        journalled=journalled,
        asked_again=len(server.bodies) - posted,
    )
