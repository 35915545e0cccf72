"""Downloads from the hub, here a small server on this machine: pinned, named when they fail, silent about the token."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers.workflow_run import d3

COMMIT, TOKEN = "0a" * 20, "hf_" + "Secret" * 6
CONTENT = b"PAR1 whatever the hub has PAR1"

pytestmark = pytest.mark.slow


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does for one file of a data set; `gated/data` requires a token of an account with access."""

    seen: list[tuple[str, str | None]]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization")))
        files = {f"/datasets/{name}/resolve/{COMMIT}/data/a.parquet" for name in ("open/data", "gated/data")}
        if self.path not in files:
            self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}, b"")
        elif "gated" in self.path and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "restricted"}, b"")
        else:
            digest = hashlib.sha256(CONTENT).hexdigest()
            self.answer(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'}, CONTENT)

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str | None]]]:
    """Start the server and lead the client to it; return what was asked."""
    seen: list[tuple[str, str | None]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"seen": seen}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield seen
    server.shutdown()


def fetch(folder: Path, dataset: str, file: str = "data/a.parquet") -> tuple[int, str]:
    place = folder / "run"
    place.mkdir(exist_ok=True)
    options = ["--dataset", dataset, "--revision", COMMIT, "--file", file, "--out", "got/a.parquet"]
    done = d3("hub-dataset", *options, cwd=place)
    return done.returncode, done.stdout + done.stderr


def test_a_file_is_downloaded_at_its_commit(tmp_path: Path, hub: list[tuple[str, str | None]]) -> None:
    code, output = fetch(tmp_path, "open/data")
    assert code == 0, output
    got = tmp_path / "run" / "got"
    assert (got / "a.parquet").read_bytes() == CONTENT
    assert sorted(path.name for path in got.iterdir()) == ["a.parquet", "a.parquet.prov.json"]
    assert {path for path, _ in hub if "/resolve/" in path} == {f"/datasets/open/data/resolve/{COMMIT}/data/a.parquet"}


def test_a_gated_data_set_says_what_to_do_and_the_token_is_written_nowhere(
    tmp_path: Path, hub: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, output = fetch(tmp_path, "gated/data")
    assert code == 1
    assert output.count("\n") == 1
    assert "it is gated" in output
    assert "https://huggingface.co/datasets/gated/data" in output
    assert "HF_TOKEN" in output
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    code, output = fetch(tmp_path, "gated/data")
    assert (code, hub[-1][1]) == (0, f"Bearer {TOKEN}")
    written = [path.read_text(errors="replace") for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(written) >= 2
    assert not [text for text in [*written, output] if TOKEN in text]


@pytest.mark.parametrize("file", ["data/absent.parquet", None])
def test_other_failures_are_one_line(
    tmp_path: Path, hub: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch, file: str | None
) -> None:
    if file is None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    code, output = fetch(tmp_path, "open/data", file or "data/a.parquet")
    assert code == 1
    assert "could not download open/data" in output
    assert "Traceback" not in output
    assert TOKEN not in output
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_images_are_not_given_the_token() -> None:
    from d3.config.models import Config
    from d3.operate.container_binds import variables
    from d3.pipeline.pipeline import Chain

    assert variables(Chain(Config()), {"HF_TOKEN": TOKEN, "D3_RUN": "x"}) == {"APPTAINERENV_D3_RUN": "x"}
