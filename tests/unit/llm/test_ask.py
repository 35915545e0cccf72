"""Every question is answered once and in order, whatever the engine does."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from d3.core.journal import Journal
from d3.errors import D3Error
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.engine import Answer, EngineError, Request, answer_key
from helpers.echo_engine import EchoEngine


def request(number: int, **options: Any) -> Request:
    return Request(**{"key": f"r{number}", "ids": (number, 1, 2), "max_tokens": 8, **options})


def questions(count: int, **options: Any) -> list[Question[int]]:
    return [Question(row=number, request=request(number, **options)) for number in range(count)]


def ask(engine: EchoEngine, asked: Any, journal: Journal | None = None, **options: Any) -> list[Outcome[int]]:
    return list(ask_all(engine, asked, journal, what="test", total=None, **options))


def test_answers_come_in_order_and_rows_without_request_keep_their_status() -> None:
    mixed = questions(10)
    mixed.insert(3, Question(row=99, status="repeated", detail="why"))
    outcomes = ask(EchoEngine(), mixed)
    assert [outcome.row for outcome in outcomes] == [0, 1, 2, 99, *range(3, 10)]
    assert [outcome.status for outcome in outcomes] == ["ok"] * 3 + ["repeated"] + ["ok"] * 7
    assert outcomes[3].columns() == {
        "status": "repeated",
        "detail": "why",
        "raw": None,
        "finish_reason": None,
        "prompt_tokens": None,
        "answer_tokens": None,
        "answered_by": None,
    }
    assert outcomes[4].columns()["raw"] == f"{3 + 3} 0"


def test_a_second_run_asks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = EchoEngine()
    with Journal(tmp_path) as journal:
        first = ask(engine, questions(10, choices=("a", "b"), temperature=1.0), journal)
    assert "test: 10 asked, 0 from the journal" in capsys.readouterr().err
    again = EchoEngine()
    assert ask(again, questions(10, choices=("a", "b"), temperature=1.0), Journal(tmp_path)) == first
    assert again.asked == []
    assert "test: 0 asked, 10 from the journal" in capsys.readouterr().err


def test_a_run_that_dies_loses_only_the_chunk_in_flight(tmp_path: Path) -> None:
    class Dying(EchoEngine):
        def ask(self, requests: Sequence[Request]) -> list[Answer]:
            if len(self.asked) == 8:
                raise KeyboardInterrupt
            return super().ask(requests)

    engine = Dying()
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path) as journal:
        ask(engine, questions(20), journal)
    again = EchoEngine()
    outcomes = ask(again, questions(20), Journal(tmp_path))
    assert again.asked == [f"r{number}" for number in range(8, 20)]
    assert outcomes == ask(EchoEngine(), questions(20))


def test_questions_are_read_chunk_by_chunk() -> None:
    read = 0

    def endless() -> Iterator[Question[int]]:
        nonlocal read
        while True:
            yield Question(row=read, request=request(read))
            read += 1

    next(ask_all(EchoEngine(chunk=4), endless(), None, what="test", total=None))
    assert read <= 4


def test_one_poisoned_request_does_not_spoil_its_chunk(tmp_path: Path) -> None:
    class Poisoned(EchoEngine):
        def answer(self, request: Request) -> Answer:
            answer = super().answer(request)
            if request.key == "r2":
                raise RuntimeError("out of\n memory")
            return answer

    engine = Poisoned()
    with Journal(tmp_path) as journal:
        outcomes = ask(engine, questions(4), journal)
    assert [outcome.status for outcome in outcomes] == ["ok", "ok", "engine_error", "ok"]
    assert outcomes[2].detail == "RuntimeError: out of memory"
    assert engine.asked.count("r2") == 3
    again = EchoEngine()  # a failure is not kept: the next run tries again
    assert {outcome.status for outcome in ask(again, questions(4), Journal(tmp_path))} == {"ok"}
    assert again.asked == ["r2"]


class Dead(EchoEngine):
    def answer(self, request: Request) -> Answer:
        raise RuntimeError("no such kernel")


def test_an_engine_that_answers_nothing_ends_the_stage() -> None:
    with pytest.raises(EngineError, match="none of 3 requests was answered; the last reason: RuntimeError: no such"):
        ask(Dead(), questions(3))


def test_what_never_gets_an_answer_does_not_stop_those_who_have_theirs(tmp_path: Path) -> None:
    assert {outcome.status for outcome in ask(Dead(), questions(2))} == {"engine_error"}
    with Journal(tmp_path) as journal:
        ask(EchoEngine(), questions(2), journal)
        outcomes = ask(Dead(), questions(6), journal)
    assert [outcome.status for outcome in outcomes] == ["ok"] * 2 + ["engine_error"] * 4


def test_an_answer_that_finished_with_an_error_is_asked_again() -> None:
    class Flaky(EchoEngine):
        def answer(self, request: Request) -> Answer:
            answer = super().answer(request)
            return answer if self.asked.count(request.key) > 1 else replace(answer, text="", finish_reason="error")

    engine = Flaky()
    assert ask(engine, questions(3)) == ask(EchoEngine(), questions(3))
    assert len(engine.asked) == 6


class Silent(EchoEngine):
    def answer(self, request: Request) -> Answer:
        return replace(super().answer(request), text=" " if request.seed < 100 else "at last")


@pytest.mark.parametrize(
    ("temperature", "empty_again", "text", "times"),
    [(1.0, True, "at last", 2), (0.0, True, " ", 1), (1.0, False, " ", 1)],
)
def test_an_empty_answer_is_drawn_again_when_that_can_help(
    temperature: float, empty_again: bool, text: str, times: int
) -> None:
    engine = Silent()
    (outcome,) = ask(engine, questions(1, temperature=temperature), empty_again=empty_again)
    assert outcome.answer is not None
    assert outcome.answer.text == text
    assert len(engine.asked) == times


def test_mistakes_of_ours_are_not_blamed_on_rows() -> None:
    class Broken(EchoEngine):
        def ask(self, requests: Sequence[Request]) -> list[Answer]:
            raise D3Error("cannot be loaded")

    with pytest.raises(D3Error, match="cannot be loaded"):
        ask(Broken(), questions(1))


def test_a_prompt_with_no_room_for_the_answer_is_too_long() -> None:
    engine = EchoEngine(max_length=20)
    asked = [request(0), request(1, ids=tuple(range(12))), request(2, ids=tuple(range(13)))]
    outcomes = ask(engine, [Question(row=number, request=one) for number, one in enumerate(asked)])
    assert [outcome.status for outcome in outcomes] == ["ok", "ok", "too_long"]
    assert outcomes[2].detail == "takes 21 tokens of 20"
    assert engine.asked == ["r0", "r1"]


def test_equal_requests_are_asked_once() -> None:
    engine = EchoEngine()
    outcomes = ask(engine, [Question(row=number, request=request(7)) for number in range(4)])
    assert engine.asked == ["r7"]
    assert len({outcome.answer for outcome in outcomes}) == 1


DECIDING: dict[str, Any] = {
    "ids": (1, 2, 4),
    "max_tokens": 9,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 2,
    "stop": ("x",),
    "lead": (1,),
    "choices": ("a",),
}


@pytest.mark.parametrize("name", DECIDING)
def test_the_key_holds_what_decides_the_answer(name: str) -> None:
    base = request(1, temperature=0.7, seed=1)
    assert answer_key({"model": "a"}, base) != answer_key({"model": "a"}, replace(base, **{name: DECIDING[name]}))


def test_the_key_holds_the_engine_and_not_what_decides_nothing() -> None:
    base = request(1)
    assert answer_key({"model": "a"}, base) != answer_key({"model": "b"}, base)
    same = replace(base, key="other", seed=5, top_p=0.5, shared=1)  # seed and top-p: it is greedy
    assert answer_key({"model": "a"}, base) == answer_key({"model": "a"}, same)


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"shared": 3}, {"ids": ()}])
def test_a_request_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="r1"):
        request(1, **wrong)
