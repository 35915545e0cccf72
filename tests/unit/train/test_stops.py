"""When a run must not go on, and requests to stop."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from d3.provenance.code_digest import rule_shells
from d3.train.stops import RUNAWAY_STEPS, fault, forget_request, requested, signals_stop

NAN, INF = float("nan"), float("inf")
LEARNING = [4 * 0.98**step for step in range(40)]


@pytest.mark.parametrize(
    ("losses", "norm", "reason"),
    [
        ([NAN], 1.0, "the loss is nan"),
        ([2.0, INF], 1.0, "the loss is inf"),
        ([2.0, -INF], None, "the loss is -inf"),
        ([2.0], NAN, "the norm of the gradient is nan"),
        ([2.0], INF, "the norm of the gradient is inf"),
        (LEARNING + [12.0] * RUNAWAY_STEPS, 1.0, "the loss was above 3 times its median of 2.698 for 10 steps"),
        ([0.1] * 200 + [0.31] * RUNAWAY_STEPS, 1.0, "the loss was above 3 times its median of 0.1 for 10 steps"),
    ],
)
def test_what_ends_a_run(losses: list[float], norm: float | None, reason: str) -> None:
    assert fault(losses, norm) == reason


@pytest.mark.parametrize(
    "losses",
    [
        [11.0],
        LEARNING,
        LEARNING + [12.0] * (RUNAWAY_STEPS - 1),
        LEARNING + [12.0] * 5 + [2.0] + [12.0] * 5,  # spikes
        LEARNING + [8.0] * 30,  # worse, but not three times
        [1.0] * (RUNAWAY_STEPS - 1) + [12.0] * RUNAWAY_STEPS,  # too few steps to know what is usual
    ],
)
def test_what_does_not(losses: list[float]) -> None:
    assert fault(losses, 3.0) is None
    assert fault(losses, None) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_asks_the_run_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with signals_stop(tmp_path):
        assert not requested(tmp_path)
        os.kill(os.getpid(), number)
        assert requested(tmp_path)
    assert signal.getsignal(number) == before
    forget_request(tmp_path)
    assert not requested(tmp_path)


STUB = """#!/bin/bash
trap 'sleep 0.2; echo saved; exit 1' TERM
echo training
while true; do sleep 0.05; done
"""


@pytest.mark.parametrize("rule", ["midtrain", "sft"])
def test_a_signal_to_the_whole_job_leaves_time_for_a_checkpoint(tmp_path: Path, rule: str) -> None:
    stub, log = tmp_path / "stub", tmp_path / "log"
    stub.write_text(STUB)
    stub.chmod(0o755)
    text = rule_shells()[rule].replace("{params.launch:q}", str(stub)).replace("{log:q}", str(log))
    script = re.sub(r"\{[^{}]+\}", "1", text)
    with subprocess.Popen(["bash", "-euo", "pipefail", "-c", script], start_new_session=True) as process:
        while not log.exists() or "training" not in log.read_text():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(10) == 1
    assert log.read_text().splitlines()[-1] == "saved"
