"""A stand-in for the interface of the Hugging Face Hub that takes uploads: repositories, commits, large files."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """What the hub was told."""

    token: str
    address: str = ""
    repositories: dict[str, bool] = field(default_factory=dict)
    """Whether they are private, by name."""
    files: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256."""
    commits: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


@contextmanager
def hub_server(token: str) -> Iterator[Hub]:
    """Serve a hub on this machine that knows one token."""
    hub = Hub(token)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Print nothing."""

        def do_GET(self) -> None:
            self.answer("GET")

        def do_POST(self) -> None:
            self.answer("POST")

        def do_PUT(self) -> None:
            self.answer("PUT")

        def answer(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.calls.append(f"{method} {self.path}")
            blob = re.fullmatch(r"/blobs/(\w+)", self.path)
            if blob and method == "PUT":  # the address is the right to write
                hub.blobs[blob[1]] = body
                self.send(200, {})
            elif self.headers.get("Authorization") != f"Bearer {hub.token}":
                self.send(401, {"error": f"Invalid credentials: {self.headers.get('Authorization')}"})
            else:
                self.send(*respond(hub, self.path.partition("?")[0], body))

        def send(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def respond(hub: Hub, path: str, body: bytes) -> tuple[int, Any]:
    """Return status and content of an answer."""
    if path == "/api/repos/create":
        told = json.loads(body)
        name = f"{told.get('organization') or 'ann'}/{told['name']}"
        known = name in hub.repositories
        hub.repositories.setdefault(name, told.get("visibility") == "private" or told.get("private") is True)
        return (409 if known else 200), {"url": f"{hub.address}/datasets/{name}"}
    if path.endswith("/preupload/main"):
        files = json.loads(body)["files"]
        modes = {item["path"]: "lfs" if item["path"].endswith(".parquet") else "regular" for item in files}
        return 200, {
            "files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
        }
    if path.endswith("/info/lfs/objects/batch"):
        objects = [
            {**item, "actions": {"upload": {"href": f"{hub.address}/blobs/{item['oid']}", "header": {}}}}
            for item in json.loads(body)["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}
    if path.endswith("/commit/main"):
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                hub.commits.append(value["summary"])
            elif line["key"] == "file":
                hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                hub.files[value["path"]] = hub.blobs[value["oid"]]
        return 200, {
            "commitUrl": f"{hub.address}{path.removeprefix('/api').removesuffix('main')}{'1' * 40}",
            "commitOid": "1" * 40,
            "success": True,
        }
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    return 404, {"error": f"no such page: {path}"}
