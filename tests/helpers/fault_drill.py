"""Many faults against one engine for servers: is every answer there, once, and right?"""

import random
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d3.config.engine import Engine as EngineSettings
from d3.core.journal import Journal
from d3.llm.ask import Question, ask_all
from d3.llm.chat_text import ChatTokenizer, messages_of
from d3.llm.engine import Request
from d3.llm.open_engine import open_engine
from helpers.openai_server import Fault, Server, text_of

CHAT = ChatTokenizer()
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


def prompt(number: int, chat: bool) -> tuple[int, ...]:
    """Return the ids of a prompt that no other number has."""
    if chat:
        return tuple(CHAT.encode(CHAT.apply_chat_template([{"role": "user", "content": f"question {number}"}])))
    return (20, 21, 30 + number % 100, 30 + number // 100)


def drill(
    model: Path, folder: Path, *, faults: int, requests: int, batch: int = 8, seed: int = 0, chat: bool = False
) -> Drill:
    """Ask `requests` questions while a server commits `faults` faults; then all of them again without faults.

    With `chat` the server has no other API, no model is read, and every answer needs two requests: a choice is read
    off after the free text.
    """
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

    server = Server(plan, chat=chat)
    settings = EngineSettings(
        kind="openai",
        api="chat" if chat else "completions",
        served_model="judge",
        base_urls=[server.url],
        timeout_seconds=1,
        retries=30,
        batch=batch,
    )
    choices = ("0", "1", "2") if chat else None
    asked = [
        Request(key=f"r{n}#0", ids=prompt(n, chat), max_tokens=12, seed=n, temperature=0.5, choices=choices)
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
    right = [(text_of(_body(one, chat)), 2 if chat else None) for one in asked]
    given = [(outcome.answer.text, outcome.answer.choice) if outcome.answer else None for outcome in outcomes]
    assert [outcome.row for outcome in again] == asked
    return Drill(
        injected=injected,
        lost=given.count(None),
        wrong=sum(one is not None and one != other for one, other in zip(given, right, strict=True)),
        journalled=journalled,
        asked_again=len(server.bodies) - posted,
    )


def _body(request: Request, chat: bool) -> dict[str, Any]:
    asked = {"messages": messages_of(request.ids)} if chat else {"prompt": list(request.ids)}
    return {**asked, "temperature": 0.5, "top_p": 1.0, "seed": request.seed}
