"""When a training run ends early: a signal asks it to, or its loss says that it has diverged.

SIGTERM (SLURM at the time limit, preemption) and SIGUSR1 make a file in the work folder. Process 0 looks for it after
every step, so that all processes write one checkpoint of the same step and end. The signal may reach any of them, or
only the process that started them.
"""

import math
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from d3.core.tables import remove
from d3.errors import ToolError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
REQUEST = "stop"
"""The file in the work folder."""
RUNAWAY_RATIO, RUNAWAY_STEPS, MEDIAN_STEPS = 3.0, 10, 100
"""A loss above so many times the median of up to so many steps before, for so many steps, has run away."""


class StopRequestedError(ToolError):
    """A run that was asked to stop, and left a whole checkpoint."""

    def __init__(self, stage: str, work: Path) -> None:
        super().__init__(
            f"{stage}: stopped by a signal after a whole checkpoint",
            where=str(work),
            remedy="run the same command again to resume",
        )


def requested(work: Path) -> bool:
    """Return whether a run was asked to stop."""
    return (work / REQUEST).exists()


@contextmanager
def signals_stop(work: Path) -> Iterator[None]:
    """Have the signals ask the run in this work folder to stop, instead of ending this process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: (work / REQUEST).touch()) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def forget_request(work: Path) -> None:
    """Remove what an earlier signal left."""
    remove(work / REQUEST)


def fault(losses: Sequence[float], norm: float | None) -> str | None:
    """Return why a run must not go on after the last of its losses, None if it may."""
    if not math.isfinite(losses[-1]):
        return f"the loss is {losses[-1]}"
    if norm is not None and not math.isfinite(norm):
        return f"the norm of the gradient is {norm}"
    before = losses[-RUNAWAY_STEPS - MEDIAN_STEPS : -RUNAWAY_STEPS]
    if len(before) < RUNAWAY_STEPS:
        return None
    usual = median(before)
    if min(losses[-RUNAWAY_STEPS:]) > RUNAWAY_RATIO * usual:
        return f"the loss was above {RUNAWAY_RATIO:g} times its median of {usual:.4g} for {RUNAWAY_STEPS} steps"
    return None
