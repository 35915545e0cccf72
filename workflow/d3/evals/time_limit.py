"""The time limit of a task: that of the configuration, or four times what the task's reference takes on this machine.

References are measured where it matters: when a program of their task has timed out. A program that needed up to
`sandbox.LATE` times its limit is judged again while nothing else runs here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from d3.evals import sandbox
from d3.evals.tasks import Task

REFERENCES = 4
"""Limit of a task, in CPU times of its reference."""
LONGEST_REFERENCE = 60.0
"""Most CPU seconds in which a reference is measured."""


class Turns:
    """Lets many judge at the same time, or one alone."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._judging = 0
        self._alone = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Judge beside others, when nobody waits to be alone."""
        with self._turn(lambda: not self._alone):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Judge when nobody else does."""
        with self._changed:
            self._alone += 1
        try:
            with self._turn(lambda: not self._judging):
                yield
        finally:
            with self._changed:
                self._alone -= 1
                self._changed.notify_all()

    @contextmanager
    def _turn(self, free: Callable[[], bool]) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(free)
            self._judging += 1
        try:
            yield
        finally:
            with self._changed:
                self._judging -= 1
                self._changed.notify_all()


class TimeLimits:
    """Judges programs under the limits of their tasks."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._of_tasks: dict[str, float] = {}

    def judge(self, place: sandbox.Sandbox, task: Task, program: str) -> sandbox.Verdict:
        """Return the verdict of a program; raise SandboxError if no sandbox starts."""
        with self._turns.shared():
            verdict = place.judge(program, task.test, task.entry_point)
        if verdict.verdict != "timeout":
            return verdict
        with self._turns.alone():
            if place.late:
                verdict = place.judge(program, task.test, task.entry_point)
            limit = self._limit_of(place, task) if verdict.verdict == "timeout" else 0.0
            if limit > place.limits.timeout_seconds:
                verdict = place.judge(program, task.test, task.entry_point, limit=limit)
        return verdict

    def _limit_of(self, place: sandbox.Sandbox, task: Task) -> float:
        """Return the limit of a task, for which its reference is run once."""
        if task.task_id not in self._of_tasks:
            found = place.judge(task.canonical, task.test, task.entry_point, limit=LONGEST_REFERENCE)
            seconds = REFERENCES * place.spent if found.verdict == "passed" else 0.0
            self._of_tasks[task.task_id] = max(place.limits.timeout_seconds, seconds)
        return self._of_tasks[task.task_id]
