"""CPU time decides about a timeout, a reference's time about a task's limit; what is close is judged again alone."""

import threading
import time
from typing import Any, cast

import pytest

from d3.evals.sandbox import Limits, Sandbox, Verdict
from d3.evals.tasks import Task
from d3.evals.time_limit import TimeLimits, Turns

TASK = Task(
    task_id="T", instruction="", name="f.py", start="", test="assert f()", entry_point="f", canonical="reference"
)


class Timed:
    """A sandbox in which a program takes the CPU seconds that it is given, one after the other."""

    def __init__(self, **seconds: list[float]) -> None:
        self.seconds = seconds
        self.limits = Limits(timeout_seconds=5)
        self.spent, self.late = 0.0, False
        self.judged: list[tuple[str, float]] = []

    def judge(self, program: str, tests: str, entry_point: str, *, limit: float | None = None) -> Verdict:
        longest = limit or self.limits.timeout_seconds
        times = self.seconds[program]
        self.spent = times.pop(0) if len(times) > 1 else times[0]
        self.late = longest < self.spent <= 1.2 * longest
        self.judged.append((program, longest))
        return Verdict("passed" if self.spent <= longest else "timeout", "")


def judge(program: str, **seconds: list[float]) -> tuple[str, list[tuple[str, float]]]:
    place = Timed(**seconds)
    verdict = TimeLimits().judge(cast(Sandbox, place), TASK, program)
    return verdict.verdict, place.judged


def test_what_is_fast_is_judged_once() -> None:
    assert judge("quick", quick=[1.0]) == ("passed", [("quick", 5)])


def test_what_is_close_to_the_limit_is_judged_again() -> None:
    assert judge("close", close=[5.5, 4.5]) == ("passed", [("close", 5), ("close", 5)])


def test_a_slow_reference_makes_a_longer_limit() -> None:
    assert judge("slow", slow=[9.0], reference=[3.0]) == ("passed", [("slow", 5), ("reference", 60), ("slow", 12)])
    assert judge("slow", slow=[13.0], reference=[3.0])[0] == "timeout"


def test_an_endless_program_of_a_fast_task_is_not_judged_again() -> None:
    assert judge("endless", endless=[99.0], reference=[0.1]) == ("timeout", [("endless", 5), ("reference", 60)])


def test_a_reference_is_measured_once() -> None:
    place = Timed(endless=[99.0], reference=[2.0])
    limits = TimeLimits()
    for _ in range(3):
        assert limits.judge(cast(Sandbox, place), TASK, "endless").verdict == "timeout"
    assert [name for name, _ in place.judged].count("reference") == 1


def test_alone_is_alone() -> None:
    turns, inside, seen = Turns(), [], []

    def work(turn: Any, name: str) -> None:
        with turn():
            inside.append(name)
            seen.append(list(inside))
            time.sleep(0.02)
            inside.remove(name)

    threads = [threading.Thread(target=work, args=(turns.shared, "shared")) for _ in range(6)]
    threads += [threading.Thread(target=work, args=(turns.alone, "alone")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 9
    assert all(names == ["alone"] for names in seen if "alone" in names)


BUSY = """
import time
def f(seconds):
    begin = time.process_time()
    while time.process_time() < begin + seconds: pass
    return 1
"""


@pytest.mark.slow
def test_waiting_does_not_count_and_working_does() -> None:
    with Sandbox(Limits(timeout_seconds=0.5)) as place:
        assert place.judge("import time\ndef f(): time.sleep(1); return 1", "assert f() == 1", "f").verdict == "passed"
        assert place.judge(BUSY, "f(60)", "f").verdict == "timeout"
        assert place.judge("import time\ndef f(): time.sleep(60)", "f()", "f").verdict == "timeout"
        assert place.spent < 0.5
        assert place.judge(BUSY, "assert f(0.6) == 1", "f", limit=6).verdict == "passed"
