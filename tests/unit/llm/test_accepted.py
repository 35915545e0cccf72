"""Answers of engines that the configuration accepts: exactly those, named in the row, and asked for once."""

from pathlib import Path
from typing import Any

import pytest

from d3.core.journal import Journal
from d3.llm.accepted import definition_of, is_accepted, numerics_of
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.engine import Request
from helpers.echo_engine import EchoEngine

OLD = {
    "kind": "vllm",
    "digest": "d1",
    "dtype": "bfloat16",
    "quantization": None,
    "tensor_parallel": 1,
    "versions": {"vllm": "0.10.2"},
}
NEW = {**OLD, "versions": {"vllm": "0.11.0"}}


class Accepting(EchoEngine):
    """An engine with an identity and what it accepts."""

    def __init__(self, identity: dict[str, Any], *accept: dict[str, Any]) -> None:
        super().__init__(max_length=256)
        self.identity, self.accept = identity, accept


def ask(engine: Any, count: int, folder: Path) -> list[Outcome[int]]:
    requests = [Request(key=f"r{n}#0", ids=(n, 1), max_tokens=9, temperature=1.0) for n in range(count)]
    questions = [Question(row=number, request=request) for number, request in enumerate(requests)]
    with Journal(folder) as journal:
        return list(ask_all(engine, questions, journal, what="test", total=None))


def test_another_version_is_taken_when_it_is_named_and_the_rest_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ask(Accepting(OLD), 90, tmp_path)
    engine = Accepting(NEW, {"vllm": "0.10.2"})
    second = ask(engine, 91, tmp_path)
    assert engine.asked == ["r90#0"]
    assert len(engine.asked) / len(second) <= 0.011
    assert [outcome.answer for outcome in second[:90]] == [outcome.answer for outcome in first]
    told = {outcome.answered_by for outcome in second[:90]}
    assert len(told) == 1
    assert None not in told
    assert second[90].answered_by is None
    assert second[0].columns()["answered_by"] == str(told.pop())[:12]
    assert "90 of them by the accepted engine" in capsys.readouterr().err


@pytest.mark.parametrize("accept", [(), ({"vllm": "0.10.1"},), ({"dtype": "bfloat16"},)])
def test_what_is_not_named_is_asked_again(tmp_path: Path, accept: tuple[dict[str, Any], ...]) -> None:
    ask(Accepting(OLD), 5, tmp_path)
    engine = Accepting(NEW, *accept)
    assert {outcome.answered_by for outcome in ask(engine, 5, tmp_path)} == {None}
    assert len(engine.asked) == 5


def test_own_answers_come_before_accepted_ones(tmp_path: Path) -> None:
    ask(Accepting(NEW), 3, tmp_path)
    ask(Accepting(OLD), 5, tmp_path)
    outcomes = ask(Accepting(NEW, {"vllm": "0.10.2"}), 5, tmp_path)
    assert [outcome.answered_by is None for outcome in outcomes] == [True] * 3 + [False] * 2


@pytest.mark.parametrize(
    ("other", "entry", "accepted"),
    [
        ({"tensor_parallel": 4}, {"tensor_parallel": 4}, True),
        ({"tensor_parallel": 4}, {"tensor_parallel": 2}, False),
        ({"tensor_parallel": 4, "dtype": "float16"}, {"tensor_parallel": 4}, False),
        ({"tensor_parallel": 4, "dtype": "float16"}, {"tensor_parallel": 4, "dtype": "float16"}, True),
        ({"options": {"kv_cache_dtype": "fp8"}}, {"vllm": "0.10.2"}, False),
        ({"options": {"kv_cache_dtype": "fp8"}}, {"options.kv_cache_dtype": "fp8"}, True),
        ({"kind": "transformers", "versions": {"torch": "2.9"}}, {"kind": "transformers"}, False),
        ({"kind": "transformers", "versions": {"torch": "2.9"}}, {"kind": "transformers", "torch": "2.9"}, True),
        ({"digest": "d2"}, {"digest": "d2"}, False),  # weights define the answer
        ({"quantization": "fp8"}, {"quantization": "fp8"}, False),
    ],
)
def test_only_named_numerics_may_differ(other: dict[str, Any], entry: dict[str, Any], accepted: bool) -> None:
    assert is_accepted(OLD, {**OLD, **other}, [entry]) == accepted


def test_an_option_of_ours_alone_is_accepted_only_by_name() -> None:
    mine = {**OLD, "options": {"kv_cache_dtype": "fp8"}}
    assert not is_accepted(mine, OLD, [{"vllm": "0.10.2"}])
    assert is_accepted(mine, OLD, [{"options.kv_cache_dtype": None}])


def test_definition_and_numerics_make_up_the_identity() -> None:
    assert definition_of({**OLD, "served_model": "m"}) == {"digest": "d1", "served_model": "m"}
    assert numerics_of(OLD) == {"kind": "vllm", "dtype": "bfloat16", "tensor_parallel": "1", "vllm": "0.10.2"}
