"""`kind: openai_batch` against a Batch API on loopback: every request once, whatever is torn, killed or expires."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d3.audit.forget.search import Probes, holds
from d3.config.engine import Engine as EngineSettings
from d3.core.journal import Journal
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.chat_text import ChatTokenizer, messages_of
from d3.llm.engine import EngineError, Request
from d3.llm.engines import openai_batch, server_client
from d3.llm.engines.batch_files import REQUESTS, RESULTS, STATE
from d3.llm.open_engine import open_engine
from d3.llm.prompt import Prompt, find_template
from helpers.batch_server import BatchServer
from helpers.openai_server import Server, text_of

TOKENIZER = ChatTokenizer()


@pytest.fixture
def server() -> Iterator[BatchServer]:
    server = BatchServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_client, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(openai_batch, "POLL_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def requests(count: int, **options: Any) -> list[Request]:
    plain = {"max_tokens": 9, "temperature": 0.5, **options}
    texts = [TOKENIZER.apply_chat_template([{"role": "user", "content": f"question {n}"}]) for n in range(count)]
    return [Request(key=f"r{n}#0", ids=tuple(TOKENIZER.encode(texts[n])), seed=n, **plain) for n in range(count)]


def ask(server: Any, folder: Path, asked: list[Request], **options: Any) -> list[Outcome[str]]:
    settings = {"kind": "openai_batch", "api": "chat", "served_model": "judge", "base_url": server.url, "retries": 2}
    engine = open_engine(EngineSettings(**{**settings, **options}), "")
    questions = [Question(row=one.key, request=one) for one in asked]
    with Journal(folder) as journal:
        return list(ask_all(engine, questions, journal, what="t", total=len(asked)))


def right(asked: list[Request]) -> list[str]:
    return [
        text_of({"messages": messages_of(one.ids), "temperature": 0.5, "top_p": 1.0, "seed": one.seed}) for one in asked
    ]


def texts(outcomes: list[Outcome[str]]) -> list[str | None]:
    return [outcome.answer and outcome.answer.text for outcome in outcomes]


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "batches").iterdir())


def test_answers_come_in_order_and_no_file_is_left(server: BatchServer, tmp_path: Path) -> None:
    asked = requests(10)
    assert texts(ask(server, tmp_path, asked, requests_per_file=4)) == right(asked)
    assert len(server.batches) == 3
    assert len(server.asked) == 10
    assert {(line["method"], line["url"], line["body"]["model"]) for line in server.asked} == {
        ("POST", "/v1/chat/completions", "judge")
    }
    assert kept(tmp_path) == []
    assert texts(ask(server, tmp_path, asked)) == right(asked)
    assert len(server.asked) == 10


def test_answers_are_those_of_the_kind_openai(server: BatchServer, tmp_path: Path) -> None:
    asked = requests(5)
    ask(server, tmp_path, asked)
    live = Server(chat=True)
    try:
        assert texts(ask(live, tmp_path, asked, kind="openai")) == right(asked)
        assert live.bodies == []
    finally:
        live.stop()


def test_choices_take_a_second_round(server: BatchServer, tmp_path: Path) -> None:
    outcomes = ask(server, tmp_path, requests(6, choices=("0", "1", "2"), stop=("#",)))
    assert [outcome.answer and outcome.answer.choice for outcome in outcomes] == [2] * 6
    assert len(server.batches) == 2
    assert sum("response_format" in line["body"] for line in server.asked) == 6


def test_drawn_answers_that_are_empty_are_asked_again_together(server: BatchServer, tmp_path: Path) -> None:
    server.empty_once = 4
    outcomes = ask(server, tmp_path, requests(6))
    assert all(outcome.answer and outcome.answer.text for outcome in outcomes)
    assert len(server.batches) == 2
    assert len(server.asked) == 10


@pytest.mark.parametrize("call", [("POST", "/files"), ("POST", "/batches"), ("GET", "/batches/batch_0")])
def test_a_key_that_expires_stops_in_one_line_and_the_next_run_asks_nothing_twice(
    server: BatchServer, tmp_path: Path, call: tuple[str, str]
) -> None:
    asked = requests(6)
    server.plan = lambda method, path, before: 401 if (method, path) == call and before >= 0 else None
    with pytest.raises(EngineError, match=r"HTTP 401: expired; check the key in OPENAI_API_KEY") as caught:
        ask(server, tmp_path, asked)
    assert "\n" not in str(caught.value)
    server.plan = lambda method, path, before: None
    assert texts(ask(server, tmp_path, asked)) == right(asked)
    assert len(server.batches) == 1
    assert len(server.asked) == 6
    assert len([text for text in server.files.values() if "method" in text]) == 1


def test_a_batch_that_was_made_just_before_a_kill_is_taken_up(server: BatchServer, tmp_path: Path) -> None:
    asked = requests(6)
    server.plan = lambda method, path, before: "torn" if (method, path) == ("POST", "/batches") else None
    with pytest.raises(EngineError, match="no JSON object"):
        ask(server, tmp_path, asked)
    assert len(server.batches) == 1
    server.plan = lambda method, path, before: None
    assert texts(ask(server, tmp_path, asked)) == right(asked)
    assert len(server.batches) == 1


def test_errors_that_pass_are_tried_again(server: BatchServer, tmp_path: Path) -> None:
    server.plan = lambda method, path, before: 503 if before == 0 else None
    asked = requests(3)
    assert texts(ask(server, tmp_path, asked)) == right(asked)


def test_another_cut_of_the_questions_waits_for_what_is_on_its_way(server: BatchServer, tmp_path: Path) -> None:
    asked = requests(8)
    server.plan = lambda method, path, before: 400 if path == "/batches/batch_0" else None
    with pytest.raises(EngineError, match="HTTP 400: no; correct it and run again"):
        ask(server, tmp_path, asked[:6])
    server.plan = lambda method, path, before: None
    assert texts(ask(server, tmp_path, asked[2:])) == right(asked[2:])
    assert len(server.asked) == 8
    assert len({line["custom_id"] for line in server.asked}) == 8


def test_a_download_that_is_torn_is_fetched_again(server: BatchServer, tmp_path: Path) -> None:
    asked = requests(6)
    server.plan = lambda method, path, before: "torn" if path.endswith("/content") and before == 0 else None
    assert texts(ask(server, tmp_path, asked)) == right(asked)
    assert len(server.asked) == 6


def test_a_download_that_stays_torn_is_one_line_and_loses_nothing(server: BatchServer, tmp_path: Path) -> None:
    asked = requests(6)
    server.plan = lambda method, path, before: "torn" if path.endswith("/content") else None
    with pytest.raises(EngineError, match=r"results of batch batch_0 came torn \(\d of 6 lines\); run again") as caught:
        ask(server, tmp_path, asked)
    assert "\n" not in str(caught.value)
    server.plan = lambda method, path, before: None
    assert texts(ask(server, tmp_path, asked)) == right(asked)
    assert len(server.asked) == 6


def test_a_refused_row_is_to_blame_alone_and_asked_by_the_next_run(server: BatchServer, tmp_path: Path) -> None:
    asked = requests(6)
    server.refused = {"question 3"}
    outcomes = ask(server, tmp_path, asked)
    assert [outcome.status for outcome in outcomes] == ["ok"] * 3 + ["engine_error"] + ["ok"] * 2
    assert "not this one" in (outcomes[3].detail or "")
    server.refused = set()
    assert texts(ask(server, tmp_path, asked)) == right(asked)
    assert len(server.asked) == 7


def test_what_an_expired_batch_left_is_asked_again(server: BatchServer, tmp_path: Path) -> None:
    server.ends = ["expired"]
    asked = requests(8)
    assert texts(ask(server, tmp_path, asked)) == right(asked)
    assert [len(text.splitlines()) for text in server.files.values() if '"method"' in text] == [8, 4]
    assert len(server.asked) == 8


def test_batches_that_expire_again_and_again_end(server: BatchServer, tmp_path: Path) -> None:
    server.ends = ["expired"] * 9
    outcomes = ask(server, tmp_path, requests(8))
    assert [outcome.status for outcome in outcomes].count("engine_error") == 1
    assert len(server.batches) == 3


def test_a_batch_that_failed_or_was_cancelled_is_one_line(server: BatchServer, tmp_path: Path) -> None:
    asked = requests(8)
    server.ends = ["failed", "cancelled"]
    with pytest.raises(EngineError, match=r"batch batch_0 failed \(the file is too large\); correct it and run again"):
        ask(server, tmp_path, asked)
    with pytest.raises(EngineError, match=r"batch batch_1 was cancelled; run again to ask what has no result"):
        ask(server, tmp_path, asked)
    assert texts(ask(server, tmp_path, asked)) == right(asked)
    assert len(server.asked) == 8


def by_hand(server: BatchServer, folder: Path) -> Path:
    """Answer the file as a user would who hands it to a provider; gives the path of the results."""
    (path,) = [path for path in folder.glob(f"batches/*{REQUESTS}") if not results_of(path).exists()]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    answers = [
        {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": server.reply(line["body"])}}
        for line in lines
    ]
    results_of(path).write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return results_of(path)


def results_of(path: Path) -> Path:
    return path.with_name(path.name.replace(REQUESTS, RESULTS))


def test_files_handed_to_the_user(server: BatchServer, tmp_path: Path) -> None:
    asked = requests(6)
    options = {"submit": False, "base_url": None}
    with pytest.raises(EngineError, match=rf"{REQUESTS}: 6 requests wait for .*{RESULTS} and run again"):
        ask(server, tmp_path, asked, **options)
    with pytest.raises(EngineError, match="6 requests wait"):
        ask(server, tmp_path, asked, **options)
    results = by_hand(server, tmp_path)
    whole = results.read_text()
    results.write_text(whole[: len(whole) * 3 // 5])
    with pytest.raises(EngineError, match=rf"{RESULTS}, line \d: torn batch file; fetch the provider's file again"):
        ask(server, tmp_path, asked, **options)
    results.write_text("".join(whole.splitlines(keepends=True)[:4]))
    with pytest.raises(EngineError, match="2 requests wait"):  # the rest, in a file of its own
        ask(server, tmp_path, asked, **options)
    by_hand(server, tmp_path)
    assert texts(ask(server, tmp_path, asked, **options)) == right(asked)
    assert kept(tmp_path) == []
    assert server.calls == []


@pytest.mark.parametrize(
    ("suffix", "words"),
    [(REQUESTS, r"line \d: torn batch file; delete .* there"), (STATE, "torn batch file; delete it")],
)
def test_torn_files_of_ours_are_one_line(server: BatchServer, tmp_path: Path, suffix: str, words: str) -> None:
    asked = requests(4)
    server.plan = lambda method, path, before: 400 if path.startswith("/batches/") else None
    with pytest.raises(EngineError, match="HTTP 400"):
        ask(server, tmp_path, asked)
    server.plan = lambda method, path, before: None
    (path,) = (tmp_path / "batches").glob(f"*{suffix}")
    path.write_text(path.read_text()[:-9])
    with pytest.raises(EngineError, match=words):
        ask(server, tmp_path, asked)
    for other in (tmp_path / "batches").iterdir():
        other.unlink()
    assert texts(ask(server, tmp_path, asked)) == right(asked)


def test_a_cap_of_0_writes_no_file(server: BatchServer, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"raise engine\.max_cost and run again"):
        ask(server, tmp_path, requests(2), price=[1, 1], max_cost=0)
    assert kept(tmp_path) == []
    assert server.calls == []


@pytest.mark.parametrize(
    "body", [None, 7, {}, {"choices": []}, {"choices": [{"message": {"content": 3}, "finish_reason": "stop"}]}]
)
def test_nonsense_in_results_is_no_exception(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    monkeypatch.setattr(server, "reply", lambda asked: body)
    outcomes = ask(server, tmp_path, requests(2))
    assert {outcome.detail for outcome in outcomes} == {"torn answer"}


def test_forget_finds_a_file_in_requests_that_are_on_their_way(server: BatchServer, tmp_path: Path) -> None:
    text = "def first():\n    return 'a line that no other file has, and long enough'\n\nprint(first())"
    prompt = Prompt(find_template("grade.jinja"), TOKENIZER, ("code",))
    request = Request(key="f#0", ids=prompt.render({"code": text}).ids, max_tokens=9)
    with pytest.raises(EngineError, match="1 requests wait"):
        ask(server, tmp_path, [request], submit=False)
    (path,) = (tmp_path / "batches").glob(f"*{REQUESTS}")
    assert holds(path, Probes({"f": text}), None) == {"f"}
    assert holds(path, Probes({"g": text.replace("first", "other").replace("a line", "no line")}), None) == set()
