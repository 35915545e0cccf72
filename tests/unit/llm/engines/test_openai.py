"""The openai engine against a server on loopback: faults that pass, faults that do not, limits and secrets."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from d3.config.engine import Engine as EngineSettings
from d3.core.journal import Journal
from d3.errors import ConfigError
from d3.llm.ask import Question, ask_all
from d3.llm.engine import Engine, EngineError, Request
from d3.llm.engines import server_client
from d3.llm.engines.completions_api import chance
from d3.llm.open_engine import open_engine
from helpers.openai_server import Server, text_of
from helpers.short_waits import short_waits
from helpers.tiny_models import chat_model

pytestmark = pytest.mark.model

KEY = "sk-never-written-anywhere"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("openai") / "model", length=256)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    short_waits(monkeypatch)


def engine_for(server: Server, model: Path, **options: Any) -> Engine:
    settings = {"kind": "openai", "served_model": "judge", "base_url": server.url, "timeout_seconds": 5, **options}
    return open_engine(EngineSettings(**settings), str(model))


def requests(count: int, **options: Any) -> list[Request]:
    return [
        Request(**{"key": f"r{n}", "ids": (20, 21, 30 + n), "max_tokens": 12, "seed": n, "temperature": 0.5, **options})
        for n in range(count)
    ]


def expected(request: Request) -> str:
    body = {"prompt": list(request.ids), "temperature": request.temperature, "top_p": 1.0, "seed": request.seed}
    return text_of(body)


def first_time(*fault: Any) -> Callable[[dict[str, Any], int], Any]:
    """Return a plan in which every prompt meets a fault once."""
    return lambda body, before: fault if before == 0 else None


def test_answers_come_in_order_with_all_that_was_asked_for(server: Server, model: Path) -> None:
    asked = requests(20, stop=("\n",), top_p=0.9)
    answers = engine_for(server, model).ask(asked)
    assert [answer.text for answer in answers] == [
        text_of({"prompt": list(one.ids), "temperature": 0.5, "top_p": 0.9, "seed": one.seed}) for one in asked
    ]
    assert {(a.finish_reason, a.prompt_tokens, a.answer_tokens) for a in answers} == {("stop", 3, 4)}
    assert all(body["model"] == "judge" and body["stop"] == ["\n"] for body in server.bodies)


def test_no_more_requests_are_open_than_allowed(server: Server, model: Path) -> None:
    def plan(body: dict[str, Any], before: int) -> None:
        until = time.monotonic() + 10
        while server.most_open < 3 and time.monotonic() < until:  # however busy the machine is
            time.sleep(0.001)
        time.sleep(0.005)

    server.plan = plan
    engine_for(server, model, batch=3).ask(requests(30))
    assert server.most_open == 3


@pytest.mark.parametrize(
    "fault",
    [
        ("status", (500, {})),
        ("status", (503, {})),
        ("status", (429, {})),
        ("sleep", 0.4),
        ("torn", None),
        ("half", None),
        ("drop", None),
    ],
    ids=lambda fault: fault[0] + str(fault[1][0] if fault[0] == "status" else ""),
)
def test_what_passes_is_sent_again(server: Server, model: Path, fault: Any) -> None:
    server.plan = first_time(*fault)
    asked = requests(10)
    answers = engine_for(server, model, timeout_seconds=0.2).ask(asked)
    assert [answer.text for answer in answers] == [expected(request) for request in asked]
    assert len(server.bodies) == 20


def test_a_server_that_dies_and_comes_back(server: Server, model: Path) -> None:
    asked = requests(24)
    fatal = list(asked[9].ids)
    server.plan = lambda body, before: ("die", 0.5) if body["prompt"] == fatal and before == 0 else None
    answers = engine_for(server, model, batch=4, retries=12).ask(asked)
    assert [answer.text for answer in answers] == [expected(request) for request in asked]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured_by_all_requests(server: Server, model: Path, form: str) -> None:
    began = time.time()

    def plan(body: dict[str, Any], before: int) -> Any:
        header = "1" if form == "seconds" else formatdate(began + 3, usegmt=True)
        return ("status", (429, {"Retry_After": header})) if len(server.bodies) == 1 else None

    server.plan = plan
    engine = engine_for(server, model, batch=1)
    assert [answer.text for answer in engine.ask(requests(3))] == [expected(request) for request in requests(3)]
    assert server.times[1] - server.times[0] >= 0.9


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0.5", 0.5), ("-3", 0), ("nan", None), ("soon", None), ("", None), (None, None), ("1e9", 3600)],
)
def test_the_forms_of_retry_after(value: str | None, seconds: float | None) -> None:
    assert server_client.retry_after(value) == seconds


def test_waits_double_and_differ(server: Server, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    engine: Any = engine_for(server, model, retries=4)
    monkeypatch.setattr(engine.client, "wait", waits.append)
    server.plan = lambda body, before: ("status", (500, {})) if before < 4 else None
    engine.ask(requests(1))
    real = [wait for wait in waits if wait > 0]
    assert len(real) == 4
    assert all(0.01 * 2**n <= wait <= 0.02 * 2**n for n, wait in enumerate(real))
    for key, same in (("r0", True), ("other", False)):
        waits.clear()
        server.bodies.clear()
        engine.ask(requests(1, key=key))
        assert ([wait for wait in waits if wait > 0] == real) == same


def test_a_refused_row_is_to_blame_alone(server: Server, model: Path) -> None:
    asked = requests(8)
    poison = list(asked[3].ids)
    server.plan = lambda body, before: ("status", (400, {})) if body["prompt"] == poison else None
    answers = engine_for(server, model).ask(asked)
    assert answers[3].detail == 'HTTP 400: {"error": "no"}'
    assert [answer.finish_reason for answer in answers].count("error") == 1
    assert len(server.bodies) == 8  # a refusal is final


@pytest.mark.parametrize(
    "reply",
    [
        {"usage": {"completion_tokens": "many"}},
        {"usage": {"completion_tokens": 10**30}},
        {"usage": [1]},
        {"choices": [{"text": "\ud800 x", "finish_reason": "\udfff", "token_ids": [10**20]}]},
        {"choices": [{"text": "x", "finish_reason": "stop", "token_ids": "abc"}]},
        {"choices": [{"text": "x", "finish_reason": "stop", "token_ids": [-1, True]}]},
    ],
)
def test_nonsense_of_a_server_is_no_exception(
    server: Server, model: Path, reply: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {"choices": [{"text": "x", "finish_reason": "stop"}], **reply}
    monkeypatch.setattr(server, "reply", lambda body: whole)
    (answer,) = engine_for(server, model).ask(requests(1))
    assert answer.answer_tokens == 0
    (answer.text + answer.finish_reason).encode()


@pytest.mark.parametrize(("value", "found"), [(-1.5, -1.5), ("x", -math.inf), (None, -math.inf), (math.nan, -math.inf)])
def test_a_probability_that_is_no_number_is_impossible(value: Any, found: float) -> None:
    assert chance(value) == found


def test_a_row_that_always_fails_while_the_server_is_well(server: Server, model: Path, tmp_path: Path) -> None:
    asked = requests(4)
    poison = list(asked[1].ids)
    server.plan = lambda body, before: ("status", (500, {})) if body["prompt"] == poison else None
    questions = [Question(row=request.key, request=request) for request in asked]
    with Journal(tmp_path) as journal:
        engine = engine_for(server, model, retries=2)
        outcomes = list(ask_all(engine, questions, journal, what="t", total=None))
        assert [outcome.status for outcome in outcomes] == ["ok", "engine_error", "ok", "ok"]
        assert outcomes[1].detail == 'HTTP 500: {"error": "no"}, 3 times'
        assert len(server.bodies) == 3 + 3
        server.plan = lambda body, before: None
        again = list(ask_all(engine, questions, journal, what="t", total=None))
    assert [outcome.status for outcome in again] == ["ok"] * 4
    assert len(server.bodies) == 7


@pytest.mark.parametrize(
    ("fault", "well", "words"),
    [
        (("status", (401, {})), True, "HTTP 401"),
        (("status", (404, {})), True, "HTTP 404"),
        (("status", (429, {})), True, "HTTP 429: .*, 3 times"),
        (("status", (500, {})), False, "HTTP 500: .*, 3 times"),
        (("drop", None), False, "3 times"),
    ],
)
def test_a_server_that_is_not_well_stops_the_stage(
    server: Server, model: Path, fault: Any, well: bool, words: str
) -> None:
    server.plan = lambda body, before: fault
    server.well = well
    engine = engine_for(server, model, retries=2, batch=4)
    with pytest.raises(EngineError, match=words):
        list(ask_all(engine, [Question(row=r.key, request=r) for r in requests(40)], None, what="t", total=None))
    assert len(server.bodies) <= 4 * 3 + 4


def test_no_server_at_all(model: Path) -> None:
    server = Server()
    server.stop()
    with pytest.raises(EngineError, match=r"ConnectError.*run again when the server is well"):
        engine_for(server, model, retries=1).ask(requests(2))


def test_choices_have_the_probabilities_that_the_server_gives(server: Server, model: Path) -> None:
    engine = engine_for(server, model)
    asked = requests(2, choices=("0", "1", "2"), lead=(50, 51))
    answers = engine.ask(asked)
    weights = [math.exp(-at) for at in range(3)]
    assert answers[0].choice_probabilities == pytest.approx([weight / sum(weights) for weight in weights])
    second = [body for body in server.bodies if "logprobs" in body]
    assert [body["prompt"][:3] for body in sorted(second, key=lambda body: body["prompt"])] == [
        list(request.ids) for request in asked
    ]
    assert all(body["prompt"][-2:] == [50, 51] and body["max_tokens"] == 1 for body in second)


def test_choices_without_free_text_and_named_by_text(
    server: Server, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    likeliest = {"1": -0.5, "x": -1.0}
    choice = {"text": "1", "finish_reason": "length", "logprobs": {"top_logprobs": [likeliest]}}
    monkeypatch.setattr(server, "reply", lambda body: {"choices": [choice]})
    (answer,) = engine_for(server, model).ask(requests(1, max_tokens=0, choices=("0", "1")))
    assert answer.choice_probabilities == (0.0, 1.0)
    assert len(server.bodies) == 1
    likeliest.pop("1")
    (answer,) = engine_for(server, model).ask(requests(1, max_tokens=0, choices=("0", "1")))
    assert (answer.finish_reason, answer.choice_probabilities) == ("error", None)
    assert "none of '0', '1'" in (answer.detail or "")


def test_choices_of_several_tokens_are_refused(server: Server, model: Path) -> None:
    with pytest.raises(EngineError, match="r0: choices of several tokens"):
        engine_for(server, model).ask(requests(1, choices=("def return", "x")))


def test_a_request_over_the_limit_is_refused(server: Server, model: Path) -> None:
    with pytest.raises(EngineError, match="r0: takes 257 tokens of 256"):
        engine_for(server, model).ask([replace(requests(1)[0], max_tokens=254)])
    assert server.bodies == []


def test_the_key_goes_to_the_server_and_nowhere_else(
    server: Server, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    engine = engine_for(server, model, api_key_env="MY_KEY", retries=0)
    with Journal(tmp_path / "journal") as journal:
        list(ask_all(engine, [Question(row=0, request=requests(1)[0])], journal, what="t", total=None))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(engine.identity) + engine.settings.model_dump_json()  # type: ignore[attr-defined]
    import zstandard

    for path in (tmp_path / "journal").iterdir():
        assert KEY.encode() not in zstandard.ZstdDecompressor().decompress(path.read_bytes())
    server.plan = lambda body, before: ("status", (401, {"X": "y"}))
    monkeypatch.setattr(server, "answer", lambda handler, body, before: handler.send(401, f"bad {KEY}".encode()))
    with pytest.raises(EngineError) as caught:
        engine.ask(requests(1))
    assert "bad ***" in str(caught.value)
    printed = capsys.readouterr()
    assert KEY not in str(caught.value) + printed.out + printed.err


def test_the_address_decides_nothing_and_may_come_from_the_environment(
    server: Server, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = engine_for(server, model)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    free = engine_for(server, model, base_url=None, retries=1, timeout_seconds=9)
    assert free.identity == fixed.identity
    assert free.ask(requests(1))[0].text == expected(requests(1)[0])
    assert engine_for(server, model, served_model="other").identity != fixed.identity
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(ConfigError, match=r"engine\.base_url: no server"):
        engine_for(server, model, base_url=None)


def test_a_server_that_takes_less_than_the_configuration_says_is_named_before_any_row(
    server: Server, model: Path
) -> None:
    server.models = [{"id": "other", "max_model_len": 10}, {"id": "judge", "max_model_len": 100}]
    with pytest.raises(EngineError, match=r"takes 100 tokens, max_length is 256.*set max_length to 100"):
        engine_for(server, model).ask(requests(2))
    assert server.bodies == []
    assert len(engine_for(server, model, max_length=100).ask(requests(2))) == 2
