"""Whether the hub can be reached is known in seconds."""

import socket
import time

import pytest

from d3.core import hub


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*hub.PROXIES, "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def test_a_hub_that_listens_has_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub.hub_fault() is None
    assert hub.hub_fault() == "127.0.0.1: Connection refused"


def test_a_silent_hub_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(address: object, timeout: float) -> socket.socket:
        time.sleep(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(hub, "SECONDS", 0.05)
    monkeypatch.setattr(socket, "create_connection", silent)
    assert hub.hub_fault() == "huggingface.co: timed out"


def test_a_proxy_is_left_to_the_client_and_offline_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert hub.hub_fault() is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.hub_fault() == "HF_HUB_OFFLINE is set"
