"""An engine that takes requests while it answers others: full all the time, whatever fails on the way."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from d3.journal import Journal
from d3.llm import ask as asking
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.engine import Answer, EngineError, Request, RollingEngine
from helpers.echo_engine import EchoEngine


def questions(count: int, **options: Any) -> list[Question[int]]:
    return [
        Question(row=at, request=Request(**{"key": f"r{at}", "ids": (at, 1), "max_tokens": 8, **options}))
        for at in range(count)
    ]


class Desk(EchoEngine):
    """Finishes one request at a time; every third one only when nothing else is left."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.open: dict[int, Request] = {}
        self.tickets = 0
        self.filled: list[int] = []

    def submit(self, request: Request) -> int:
        self.open[self.tickets] = request
        self.tickets += 1
        return self.tickets - 1

    def collect(self) -> list[tuple[int, Answer]]:
        self.filled.append(len(self.open))
        ticket = min(self.open, key=lambda ticket: (self.open[ticket].ids[0] % 3 == 0, ticket))
        return [(ticket, self.answer(self.open.pop(ticket)))]


def ask(engine: EchoEngine, asked: Any, journal: Journal | None = None) -> list[Outcome[int]]:
    return list(ask_all(engine, asked, journal, what="test", total=None))


def test_answers_are_those_of_chunks_in_the_order_of_the_questions(tmp_path: Path) -> None:
    engine = Desk(chunk=4)
    assert isinstance(engine, RollingEngine)
    assert not isinstance(EchoEngine(), RollingEngine)
    with Journal(tmp_path) as journal:
        outcomes = ask(engine, questions(30), journal)
    assert outcomes == ask(EchoEngine(), questions(30))
    assert engine.filled == [4] * 27 + [3, 2, 1]  # full until the last
    assert engine.asked != sorted(engine.asked, key=lambda name: int(name[1:]))
    again = Desk(chunk=4)
    assert ask(again, questions(30), Journal(tmp_path)) == outcomes
    assert again.asked == []


def test_few_new_questions_among_many_known_ones_are_asked_together(tmp_path: Path) -> None:
    """In a run in which 1 % of the files changed, a chunk of questions holds hardly one that is to be asked."""
    with Journal(tmp_path) as journal:
        ask(EchoEngine(), [question for question in questions(64) if question.row % 8], journal)
    sizes = []

    class Counting(EchoEngine):
        def ask(self, requests: Any) -> list[Answer]:
            sizes.append(len(requests))
            return super().ask(requests)

    ask(Counting(chunk=4), questions(64), Journal(tmp_path))
    assert sizes == [4, 4]


def test_a_slow_request_does_not_make_the_queue_behind_it_grow() -> None:
    read = 0

    def endless() -> Iterator[Question[int]]:
        nonlocal read
        for question in questions(10_000):
            read += 1
            yield question

    class Stuck(Desk):
        def collect(self) -> list[tuple[int, Answer]]:
            if len(self.open) == 1:
                raise KeyboardInterrupt
            ticket = max(self.open)
            return [(ticket, self.answer(self.open.pop(ticket)))]

    with pytest.raises(KeyboardInterrupt):
        ask(Stuck(chunk=4), endless())
    assert read == asking.HELD_CHUNKS * 4


def test_failures_and_refusals_are_asked_again_and_end() -> None:
    refused: list[str] = []

    class Flaky(Desk):
        def submit(self, request: Request) -> int:
            if request.key == "r5":
                refused.append(request.key)
                raise ValueError("no such token")
            return super().submit(request)

        def answer(self, request: Request) -> Answer:
            answer = super().answer(request)
            tries = self.asked.count(request.key)
            if (request.key == "r1" and tries < 3) or request.key == "r2":
                return replace(answer, text="", finish_reason="error", detail="torn")
            return replace(answer, text="") if request.key == "r3" and tries < 3 else answer

    engine = Flaky(chunk=3)
    outcomes = ask(engine, questions(8, temperature=1.0))
    assert [outcome.status for outcome in outcomes] == [
        "ok",
        "ok",
        "engine_error",
        "ok",
        "ok",
        "engine_error",
        "ok",
        "ok",
    ]
    assert (outcomes[2].detail, outcomes[5].detail) == ("torn", "ValueError: no such token")
    assert len(refused) == 3
    assert [engine.asked.count(f"r{at}") for at in range(8)] == [1, 3, 3, 3, 1, 0, 1, 1]
    assert outcomes[3].answer is not None
    assert outcomes[3].answer.text.split()[1] != "0"  # drawn with another seed


def test_when_all_are_lost_each_is_asked_alone_and_the_poisoned_one_is_found() -> None:
    class Poisoned(Desk):
        def answer(self, request: Request) -> Answer:
            if request.key == "r4":
                self.open.clear()
                raise RuntimeError("illegal\n memory access")
            return super().answer(request)

    outcomes = ask(Poisoned(chunk=4), questions(12))
    assert [outcome.row for outcome in outcomes if outcome.status != "ok"] == [4]
    assert outcomes[4].detail == "RuntimeError: illegal memory access"


def test_a_dead_engine_ends_the_stage_and_keeps_what_was_answered(tmp_path: Path) -> None:
    class Dying(Desk):
        def collect(self) -> list[tuple[int, Answer]]:
            if len(self.asked) == 10:
                raise EngineError("vLLM died")
            return super().collect()

    with pytest.raises(EngineError, match="died"), Journal(tmp_path) as journal:
        ask(Dying(chunk=4), questions(20), journal)
    again = Desk(chunk=4)
    ask(again, questions(20), Journal(tmp_path))
    assert len(again.asked) == 10


def test_answers_reach_the_disk_while_the_engine_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []

    class Watched(Journal):
        def flush(self) -> None:
            flushed.append(len(engine.asked))
            super().flush()

    engine = Desk(chunk=4)
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(asking.time, "monotonic", clock)
    monkeypatch.setattr(asking, "SAVE_SECONDS", 10.0)
    ask(engine, questions(30), Watched(tmp_path))
    assert len(flushed) >= 3
    assert flushed[-1] == 30
