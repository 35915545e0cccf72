"""A provider's Batch API on loopback: files, batches and results, with the faults that batches have."""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from helpers.openai_server import Server, chat_reply

STATUSES = {401: b"expired", 400: b"no", 500: b"oh", 503: b"busy"}


class BatchServer:
    """Return `url`; `plan` is a function of (method, path, calls so far) to an HTTP status, "torn" or None."""

    def __init__(self) -> None:
        self.plan: Callable[[str, str, int], int | str | None] = lambda method, path, before: None
        self.calls: list[tuple[str, str]] = []
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        """Every line that was answered."""
        self.polls = 2
        """A batch ends when it was looked at so often."""
        self.ends: list[str] = []
        """How the next batches end; `completed` when empty. An expired one has answered the first half."""
        self.refused: set[str] = set()
        """Texts: a request with one of them gets an error."""
        self.empty_once = 0
        """So many free texts are empty."""
        self.lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.handle_call("GET", b"")

            def do_POST(self) -> None:
                self.handle_call("POST", self.rfile.read(int(self.headers["Content-Length"])))

            def handle_call(self, method: str, data: bytes) -> None:
                path = self.path.removeprefix("/v1").partition("?")[0]
                with owner.lock:
                    before = owner.calls.count((method, path))
                    owner.calls.append((method, path))
                    fault = owner.plan(method, path, before)
                    status = fault if isinstance(fault, int) else 200
                    body = STATUSES[status] if status != 200 else owner.answer(method, path, data)
                if fault == "torn":
                    body = body[: len(body) * 2 // 3]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answer(self, method: str, path: str, data: bytes) -> bytes:
        name = path.split("/")[2] if path.count("/") > 1 else ""
        if (method, path) == ("POST", "/files"):
            found = re.search(rb'filename="[^"]+"\r\n[^\r]*\r\n\r\n(.*)\r\n--', data, re.DOTALL)
            assert found
            assert b'name="purpose"\r\n\r\nbatch' in data
            return json.dumps({"id": self.keep(found[1].decode())}).encode()
        if (method, path) == ("POST", "/batches"):
            made = {"id": f"batch_{len(self.batches)}", "status": "validating", **json.loads(data), "seen": 0}
            self.batches[made["id"]] = made
            return json.dumps(made).encode()
        if (method, path) == ("GET", "/batches"):
            return json.dumps({"data": list(self.batches.values())}).encode()
        if path.startswith("/batches/"):
            return json.dumps(self.look(self.batches[name])).encode()
        if path.endswith("/content"):
            return self.files[name].encode()
        return b'{"data": []}'

    def keep(self, text: str) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = text
        return name

    def look(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["seen"] += 1
        if batch["seen"] == self.polls:
            self.end(batch, self.ends.pop(0) if self.ends else "completed")
        elif batch["seen"] < self.polls:
            batch["status"] = "in_progress"
        return batch

    def end(self, batch: dict[str, Any], status: str) -> None:
        batch["status"] = status
        if status == "failed":
            batch["errors"] = {"data": [{"message": "the file\nis too large"}]}
            return
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        total, lines = len(lines), lines if status == "completed" else lines[: len(lines) // 2]
        good, bad = [], []
        for line in reversed(lines):  # results come in any order
            self.asked.append(line)
            made = {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": self.reply(line["body"])}}
            if any(text in json.dumps(line["body"]) for text in self.refused):
                made["response"] = {"status_code": 400, "body": {"error": {"message": "not this one"}}}
                bad.append(made)
            else:
                good.append(made)
        batch["request_counts"] = {"total": total, "completed": len(good), "failed": len(bad)}
        batch["output_file_id"] = self.keep("".join(json.dumps(line) + "\n" for line in good))
        if bad:
            batch["error_file_id"] = self.keep("".join(json.dumps(line) + "\n" for line in bad))

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        if "messages" not in body:
            return Server.reply(self, body)  # type: ignore[arg-type]
        reply = chat_reply(body)
        if self.empty_once and "response_format" not in body:
            self.empty_once -= 1
            reply["choices"][0]["message"]["content"] = ""
        return reply
