"""A real HTTP server on loopback that answers like `vllm serve`, or with chat alone, and misbehaves on demand."""

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from d3.core.ids import digest_of

Fault = tuple[str, Any]
"""What to do instead of answering: ("status", (code, headers)), ("sleep", seconds), ("torn", None),
("half", None), ("drop", None) or ("die", seconds until it is back)."""


def text_of(body: dict[str, Any]) -> str:
    """Return the answer to a request: it depends on all that decides it."""
    asked = {key: body.get(key) for key in ("temperature", "top_p", "seed")}
    return "words " + digest_of({"prompt": prompt_of(body), **asked})[:8]


def prompt_of(body: dict[str, Any]) -> Any:
    """Return what a request asks, of either API."""
    return body["messages"] if "messages" in body else body["prompt"]


class Server:
    """Return `url` and `plan`: a function of (body, how often this prompt was asked before) to a fault or None.

    With `chat` it has no other API, as most providers.
    """

    def __init__(
        self, plan: Callable[[dict[str, Any], int], Fault | None] = lambda body, before: None, *, chat: bool = False
    ) -> None:
        self.plan, self.chat = plan, chat
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.open = self.most_open = 0
        self.well = True
        self.models: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.start()

    def start(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.send(200 if owner.well else 503, json.dumps({"data": owner.models}).encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if owner.chat != self.path.endswith("/chat/completions"):
                    self.send(404, b'{"error": "no such path"}')
                    return
                with owner.lock:
                    before = sum(prompt_of(other) == prompt_of(body) for other in owner.bodies)
                    owner.bodies.append(body)
                    owner.headers.append(dict(self.headers))
                    owner.times.append(time.monotonic())
                    owner.open += 1
                    owner.most_open = max(owner.most_open, owner.open)
                try:
                    owner.answer(self, body, before)
                finally:
                    with owner.lock:
                        owner.open -= 1

            def send(self, status: int, data: bytes, length: int | None = None, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(length or len(data)))
                self.end_headers()
                self.wfile.write(data)

        ThreadingHTTPServer.allow_reuse_address = True
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answer(self, handler: Any, body: dict[str, Any], before: int) -> None:
        fault = self.plan(body, before)
        data = json.dumps(self.reply(body)).encode()
        if fault is None:
            handler.send(200, data)
            return
        kind, detail = fault
        if kind == "status":
            handler.send(detail[0], b'{"error": "no"}', **detail[1])
        elif kind == "sleep":
            time.sleep(detail)
            handler.close_connection = True
        elif kind == "torn":  # whole HTTP, half a JSON
            handler.send(200, data[: len(data) // 2])
        elif kind == "half":  # the connection closes inside the body
            handler.send(200, data[: len(data) // 2], length=len(data))
            handler.close_connection = True
        elif kind == "drop":
            handler.close_connection = True
        elif kind == "die":
            handler.close_connection = True
            threading.Thread(target=self.die, args=(detail,)).start()

    def die(self, seconds: float) -> None:
        self.stop()
        time.sleep(seconds)
        self.start()

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        if "messages" in body:
            return chat_reply(body)
        if "logprobs" in body:
            likeliest = {f"token_id:{token}": -1.0 - at for at, token in enumerate(body["logprob_token_ids"])}
            choice: dict[str, Any] = {"text": "x", "finish_reason": "length", "logprobs": {"top_logprobs": [likeliest]}}
        else:
            choice = {"text": text_of(body), "finish_reason": "stop", "token_ids": [40, 41, 42, 2]}
        return {"choices": [choice], "usage": {"completion_tokens": 4}}


def chat_reply(body: dict[str, Any]) -> dict[str, Any]:
    """Return the reply of a chat server: the last choice of a schema, or the free text."""
    text, logprobs = text_of(body), None
    if "response_format" in body:
        properties = body["response_format"]["json_schema"]["schema"]["properties"]
        text = json.dumps({"choice": properties["choice"]["enum"][-1]})
    if body.get("logprobs"):
        likeliest = [{"token": " 3", "logprob": -0.5}, {"token": "x", "logprob": -0.7}, {"token": "2", "logprob": -1.5}]
        logprobs = {"content": [{"token": " 3", "top_logprobs": likeliest}]}
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": logprobs}
    return {"choices": [choice], "usage": {"prompt_tokens": 90, "completion_tokens": 4}}


class Proxy(Server):
    """Hands requests on to another server, and misbehaves on demand."""

    def __init__(self, upstream: str, key: str, **options: Any) -> None:
        self.upstream, self.key = upstream, key
        super().__init__(**options)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.upstream}/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            reply: dict[str, Any] = json.load(response)
        return reply
