"""When a run must not go on, and requests to stop."""

import os
import signal
from pathlib import Path

import pytest

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
