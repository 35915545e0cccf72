"""What clients of a server wait between two tries, shortened for tests."""

import pytest

from d3.llm.engines import server_client


def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a client try again soon, and reach a server of this machine whatever the environment says."""
    monkeypatch.setattr(server_client, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(server_client, "LONGEST_WAIT", 0.3)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
