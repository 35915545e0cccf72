"""Many programs in one sandbox leave nothing behind; `make flat-drill` judges 10,000."""

from pathlib import Path

import pytest

from d3.evals.sandbox import Limits, Sandbox
from helpers.held import State, state

PROGRAM = "import os\ndef add(a, b):\n    open('/tmp/left', 'w').write('x' * 10000)\n    return a + b\n"


def test_nothing_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: list[State] = []
    with Sandbox(Limits()) as sandbox:
        for _ in range(3):
            for _ in range(20):
                assert sandbox.judge(PROGRAM, "assert add(1, 2) == 3\n", "add").verdict == "passed"
            seen.append(state())
    assert len({entry[1:] for entry in seen}) == 1, seen
    assert seen[0].zombies == seen[0].temporary == 0
    assert seen[-1].megabytes < seen[0].megabytes + 4, seen
