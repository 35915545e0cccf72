"""The openai engine keeps its places busy, spreads requests over servers, keeps to rates and loses nothing."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d3.config.engine import Engine as EngineSettings
from d3.core.journal import Journal
from d3.llm.ask import Question, ask_all
from d3.llm.engine import Engine, EngineError, Request
from d3.llm.engines.servers import Servers
from d3.llm.open_engine import open_engine
from helpers.fault_drill import drill
from helpers.openai_server import Server
from helpers.short_waits import short_waits
from helpers.tiny_models import chat_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("openai") / "model", length=256)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    servers = [Server(), Server()]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    short_waits(monkeypatch)


def engine_for(model: Path, servers: list[Server], **options: Any) -> Engine:
    urls = [server.url for server in servers]
    settings = {"kind": "openai", "served_model": "judge", "base_urls": urls, "timeout_seconds": 20, **options}
    return open_engine(EngineSettings(**settings), str(model))


def questions(count: int) -> list[Question[int]]:
    return [
        Question(row=n, request=Request(key=f"r{n}#0", ids=(20, 21, 30 + n), max_tokens=12, seed=n))
        for n in range(count)
    ]


def test_a_slow_answer_keeps_no_other_waiting(servers: list[Server], model: Path) -> None:
    server = servers[0]

    def plan(body: dict[str, Any], before: int) -> None:
        until = time.monotonic() + 15
        while body["prompt"][2] == 30 and len(server.bodies) < 90 and time.monotonic() < until:
            time.sleep(0.005)

    server.plan = plan
    began = time.monotonic()
    outcomes = list(ask_all(engine_for(model, [server], batch=4), questions(90), None, what="t", total=None))
    assert time.monotonic() - began < 14
    assert [outcome.status for outcome in outcomes] == ["ok"] * 90


def test_requests_are_spread_and_a_dead_server_takes_none_down(servers: list[Server], model: Path) -> None:
    for server in servers:
        server.plan = lambda body, before: time.sleep(0.01)
    assert len(engine_for(model, servers, batch=4).ask([q.request for q in questions(40) if q.request])) == 40
    assert all(len(server.bodies) >= 10 for server in servers)
    servers[1].plan = lambda body, before: ("drop", None)
    answers = engine_for(model, servers, batch=4, retries=3).ask([q.request for q in questions(40) if q.request])
    assert {answer.finish_reason for answer in answers} == {"stop"}


def test_rates_space_requests() -> None:
    paced = Servers(["http://a", "http://b"], requests_per_minute=60, tokens_per_minute=600)
    waits = [paced.seconds_to_wait(tokens) for tokens in (5, 20, 5)]
    assert waits == pytest.approx([0, 1, 3], abs=0.1)  # a second a request, two for twenty tokens
    assert [Servers(["http://a"]).seconds_to_wait(10**6) for _ in range(3)] == [0, 0, 0]


def test_a_limited_address_makes_way_for_another() -> None:
    both = Servers(["http://a/", "http://b"])
    both.limit("http://a", 60)
    for _ in range(3):
        with both.one() as url:
            assert url == "http://b"
    assert both.limited_for("http://a") > 50 > 0 > both.limited_for("http://b")
    with both.one(avoid="http://b") as url:
        assert url == "http://a"


def test_a_key_that_expires_loses_no_answer_that_came(servers: list[Server], model: Path, tmp_path: Path) -> None:
    server = servers[0]
    server.plan = lambda body, before: ("status", (401, {})) if len(server.bodies) > 20 else None
    with Journal(tmp_path) as journal:
        with pytest.raises(EngineError, match=r"HTTP 401.*check the key in OPENAI_API_KEY"):
            list(ask_all(engine_for(model, [server], batch=4), questions(60), journal, what="t", total=None))
        server.plan = lambda body, before: None
        server.bodies.clear()
        list(ask_all(engine_for(model, [server], batch=4), questions(60), journal, what="t", total=None))
    assert len(server.bodies) == 40  # the 20 that were answered are kept


@pytest.mark.parametrize("chat", [False, True], ids=["token ids", "chat"])
def test_no_answer_is_lost_or_doubled_under_faults(model: Path, tmp_path: Path, chat: bool) -> None:
    found = drill(model, tmp_path, faults=60, requests=80, chat=chat)
    assert sum(found.injected.values()) == 60
    assert (found.lost, found.wrong, found.journalled, found.asked_again) == (0, 0, 80, 0)
