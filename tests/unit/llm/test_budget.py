"""What requests cost, and a cap that stops before the next one with everything in the journal."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from d3.config.engine import Engine as EngineSettings
from d3.core.journal import Journal
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.budget import Budget, budget_of
from d3.llm.engine import Answer, EngineError, PricedEngine, Request
from d3.llm.open_engine import open_engine
from helpers.echo_engine import EchoEngine


class Priced(EchoEngine):
    """An engine with prices; its answers have 2 of at most 9 tokens."""

    def __init__(self, price: tuple[float, float] | None, max_cost: float | None) -> None:
        super().__init__(max_length=256)
        self.price, self.max_cost = price, max_cost
        self.tokens_per_id = self.choice_tokens = 1


def ask(engine: Any, folder: Path, count: int = 12) -> list[Outcome[int]]:
    requests = [Request(key=f"r{n}", ids=(n, 1), max_tokens=9) for n in range(count)]
    with Journal(folder) as journal:
        questions = [Question(row=number, request=request) for number, request in enumerate(requests)]
        return list(ask_all(engine, questions, journal, what="grades", total=None))


def test_the_cap_stops_before_the_next_request_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Priced((1e6, 1e6), 30.0)  # an answer costs 2 + 2, and 11 at most
    with pytest.raises(EngineError, match=r"grades: the next request could exceed .*spent 20 of 30.*engine\.max_cost"):
        ask(engine, tmp_path)
    assert len(engine.asked) == 5  # with a sixth, 20 + 11 could have been spent
    resumed = Priced((1e6, 1e6), 60.0)
    assert len(ask(resumed, tmp_path)) == 12
    assert len(resumed.asked) == 7
    assert "; spent 28 of at most 60" in capsys.readouterr().err


@pytest.mark.parametrize("price", [None, (0.0, 0.0), (1.0, 1.0)])
def test_a_cap_of_0_sends_nothing_but_reads_the_journal(tmp_path: Path, price: tuple[float, float] | None) -> None:
    engine = Priced(price, 0.0)
    with pytest.raises(EngineError, match="spent 0 of 0"):
        ask(engine, tmp_path)
    assert engine.asked == []
    ask(Priced(None, None), tmp_path)
    assert len(ask(engine, tmp_path)) == 12
    assert engine.asked == []


def test_a_failed_request_frees_what_was_reserved_and_choices_cost_twice() -> None:
    budget = Budget(price=(1e6, 1e6), cap=100.0)
    request = Request(key="r", ids=(1, 2), max_tokens=9, lead=(5,), choices=("a",))
    assert budget.at_most(request) == (2 + 9) + (2 + 9 + 1 + 1)
    budget.reserve(request)
    budget.settle(request, None)
    assert (budget.spent, budget.reserved) == (0, 0)
    budget.reserve(request)
    budget.settle(request, Answer(text="x", finish_reason="stop", prompt_tokens=2, answer_tokens=3))
    assert (budget.spent, budget.reserved) == ((2 + 3) + (2 + 3 + 1 + 1), 0)


def test_the_outlook_while_a_job_is_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = Budget(price=(1e6, 1e6))
    request = Request(key="r", ids=(1, 2), max_tokens=9)
    assert budget.outlook(7) == "spent 0"
    for _ in range(3):
        budget.reserve(request)
    budget.settle(request, Answer(text="x", finish_reason="stop", prompt_tokens=2, answer_tokens=3))
    assert budget.outlook(7) == "spent 5, expected 50, at most 104"  # 1 + 2 open + 7 answers of 5; 5 + 9 of 11
    assert budget.outlook(None) == "spent 5"
    budget.cap = 60.0
    assert budget.outlook(7) == "spent 5, expected 50, at most 60"
    assert budget.facts() == {
        "cost_millionths": 5_000_000,
        "cost_at_most_millionths": 33_000_000,
        "cost_cap_millionths": 60_000_000,
    }
    assert Budget().facts() == {}
    with Journal(tmp_path) as journal:
        rows = [Question(row=n, request=Request(key=f"r{n}", ids=(n, 1), max_tokens=9)) for n in range(3)]
        list(ask_all(Priced((1e6, 1e6), None), rows, journal, what="grades", total=3))
    assert "grades: 3/3 answers (100 %)" in (printed := capsys.readouterr().err)
    assert ", spent 12, expected 12, at most 12" in printed


def test_prompts_counted_in_bytes_and_choices_of_several_tokens_cost_more_at_most() -> None:
    engine = open_engine(
        EngineSettings(kind="replay", api="chat", served_model="m", price=(1e6, 1e6), choices="text"), ""
    )
    assert isinstance(engine, PricedEngine)
    request = Request(key="r", ids=(1 << 24, 1 << 24), max_tokens=0, choices=("a", "b"))
    assert budget_of(engine).at_most(request) == 2 * 3 + 16


def test_a_cap_needs_a_price() -> None:
    with pytest.raises(ValidationError, match="max_cost needs price"):
        EngineSettings(max_cost=5)
    assert EngineSettings(max_cost=0).max_cost == 0
