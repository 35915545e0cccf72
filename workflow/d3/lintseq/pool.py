"""Worker processes that sample files side by side, and what surrounds them.

A worker is a fresh interpreter with a private folder as working directory, home and temporary
folder, and with nothing in its environment that changes what pylint does. Answers come back in the
order in which they are ready; they do not depend on how many workers there are or who answers.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from d3.config.data import Diffs
from d3.core.ids import LINE_BREAKS
from d3.core.paths import IMPORT_ROOT
from d3.errors import ToolError
from d3.lintseq import worker
from d3.lintseq.pinned_versions import check_versions
from d3.lintseq.worker import Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One sequence to sample: the k-th of a file. `seed` has 32 bits."""

    id: str
    sample: int
    text: str
    seed: int


def unfit(text: str, settings: Diffs) -> Answer | None:
    """Return the answer of a text that is not worth a linter, or None."""
    lines = text.count("\n") + 1
    status, detail = "", ""
    if not text.strip():
        status = "no_candidate_lines"
    elif lines > settings.max_lines:
        status, detail = "too_many_lines", f"{lines} lines"
    elif any(mark in text for mark in LINE_BREAKS):
        status, detail = "line_breaks", "line breaks other than the newline cannot round-trip"
    elif any("\ud800" <= mark <= "\udfff" for mark in text):
        status, detail = "encoding", "a lone surrogate is no UTF-8"
    elif text != text.strip():
        status, detail = "round_trip", "white space around the program cannot round-trip"
    return worker.refusal(status, detail) if status else None


class _Link:
    """The pool's end of a worker's socket, the file that it works on, and what the file has spent.

    The samples of a file are done one after the other, and share its limits on time.
    """

    def __init__(self, end: socket.socket, settings: Diffs) -> None:
        self.socket = end
        self.lines = end.makefile("r", encoding="utf-8")
        self.settings = settings
        self.tasks: list[Task] = []
        self.again = False
        self.number = 0
        self.began = 0.0
        self.cpu_left = self.wall_left = 0.0

    def take(self, tasks: Sequence[Task]) -> None:
        """Begin with a file: all the samples of it."""
        self.tasks = list(tasks)
        self.cpu_left, self.wall_left = self.settings.max_cpu_seconds, self.settings.max_wall_seconds
        self.start()

    def start(self, *, again: bool = False) -> None:
        """Return the worker the file's next sample, or the same one again."""
        self.again = again
        self.number += 1
        self.began = time.monotonic()
        text, seed = self.tasks[0].text, self.tasks[0].seed
        task = {"n": self.number, "text": text, "seed": seed, "cpu": self.cpu_left, "wall": self.wall_left}
        self.socket.sendall(json.dumps(task).encode() + b"\n")

    def charge(self, cpu: float) -> None:
        """Count the time that a sample took."""
        self.cpu_left -= cpu
        self.wall_left -= time.monotonic() - self.began

    def exhausted(self) -> str:
        """Name the time that the file has used up, or nothing."""
        return "CPU" if self.cpu_left <= 0 else "wall" if self.wall_left <= 0 else ""

    def answer(self) -> Answer | None:
        """Wait for a line: an answer, word of the worker's death, or None when the server is gone.

        A worker may die in the middle of an answer, or after one, so what cannot be read and what
        answers an earlier question is passed over.
        """
        for line in self.lines:
            with contextlib.suppress(ValueError):
                answer: Answer = json.loads(line)
                if answer.pop("n", self.number) == self.number:
                    return answer
        return None


class Pool:
    """Some workers; `run` answers tasks. Use it as a context manager.

    `warm` names modules that the files import: their trees are built once, for all workers. They
    change nothing but the time. `resident_mb` is the memory of the worker that answered last,
    `modules` how many trees of imported modules it holds. Raises ToolError when the processes cannot
    be started.
    """

    def __init__(self, settings: Diffs, workers: int, warm: Iterable[str] = ()) -> None:
        self.settings, self.count = settings, max(1, workers)
        self.warm = sorted(set(warm))
        self._links: list[_Link] = []
        self.resident_mb = self.modules = 0
        self._stack = contextlib.ExitStack()
        self._server: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    def __enter__(self) -> Self:
        """Return the pool; its processes start with the first task.

        Raise ToolError if they would lint with other versions than those that the linter was written for.
        """
        if self.settings.lint:
            check_versions()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes and remove their folder."""
        self._stack.close()

    def _start(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="d3-lintseq-")))
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        environment = {
            **kept,
            "PYTHONPATH": str(IMPORT_ROOT),
            "PYTHONHASHSEED": "0",
            "PYTHONNOUSERSITE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "LC_ALL": "C.UTF-8",
            **{name: str(folder) for name in ("HOME", "TMPDIR", "PYLINTHOME", "XDG_CACHE_HOME")},
        }
        self._log = self._stack.enter_context((folder / "log").open("w+", encoding="utf-8"))
        pairs = [socket.socketpair() for _ in range(self.count)]
        numbers = [theirs.fileno() for _, theirs in pairs]
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-m", worker.__name__, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env=environment,
            cwd=folder,
            pass_fds=numbers,
            text=True,
        )
        self._stack.callback(self._end)
        for ours, theirs in pairs:
            theirs.close()
            self._links.append(_Link(ours, self.settings))
        with contextlib.suppress(BrokenPipeError):
            settings = self.settings.model_dump(mode="json") | {"warm": self.warm}
            assert self._server.stdin is not None
            self._server.stdin.write(json.dumps(settings) + "\n")
            self._server.stdin.flush()

    def _end(self) -> None:
        for link in self._links:
            link.lines.close()
            link.socket.close()
        if self._server is not None:
            try:
                self._server.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            if self._server.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._server.stdin.close()

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Answer]]:
        """Answer every task, in the order in which the answers are ready.

        The samples of a file must come one after the other: they go to one worker.
        """
        with selectors.DefaultSelector() as busy:
            idle: list[_Link] = []
            for _, group in groupby(tasks, key=attrgetter("id")):
                file = list(group)
                answer = unfit(file[0].text, self.settings)
                if answer is not None:
                    yield from ((task, answer) for task in file)
                    continue
                if self._server is None:
                    self._start()
                    for link in self._links:
                        busy.register(link.socket, selectors.EVENT_READ, link)
                    idle = list(self._links)
                while not idle:
                    yield from self._collect(busy)
                    idle = [link for link in self._links if not link.tasks]
                idle.pop().take(file)
            while any(link.tasks for link in self._links):
                yield from self._collect(busy)

    def _collect(self, busy: selectors.BaseSelector) -> Iterator[tuple[Task, Answer]]:
        """Take the answers that are there, waiting for one if need be."""
        for key, _ in busy.select():
            link: _Link = key.data
            answer = link.answer()
            if answer is None:
                self._fail()
            if answer is None or not link.tasks:
                continue
            link.charge(answer.pop("cpu", 0.0))
            self.resident_mb = answer.pop("resident", self.resident_mb)
            self.modules = answer.pop("modules", self.modules)
            ended = ""
            if "died" in answer:
                code = answer["died"]
                ended = TIMERS.get(code, "")
                if not ended and not link.again and not link.exhausted():
                    link.start(again=True)
                    continue
                answer = _epitaph(code, self.settings)
            yield link.tasks.pop(0), answer
            ended = ended or link.exhausted()
            while ended and link.tasks:
                yield link.tasks.pop(0), _timeout(ended, self.settings)
            if link.tasks:
                link.start()

    def _fail(self) -> None:
        assert self._server is not None
        assert self._log is not None
        code = self._server.wait()
        self._log.seek(0)
        last = self._log.read().strip().splitlines()[-1:]
        raise ToolError(
            f"the sampling processes ended with {code} ({' '.join(last)})",
            where="lintseq",
            remedy="run the rule again; finished files are kept",
        )


TIMERS = {-signal.SIGPROF: "CPU", -signal.SIGXCPU: "CPU", -signal.SIGALRM: "wall"}
"""How a worker ends that exceeds a limit on time."""


def _timeout(what: str, settings: Diffs) -> Answer:
    """Return the answer of a task whose file has used up its time."""
    most = settings.max_cpu_seconds if what == "CPU" else settings.max_wall_seconds
    return worker.refusal("timeout", f"{what} time: the samples of a file may take {most:g} s together")


def _epitaph(code: int, settings: Diffs) -> Answer:
    """Return the answer of a task whose worker died, alone with it."""
    if code in TIMERS:
        return _timeout(TIMERS[code], settings)
    if code == -signal.SIGKILL:
        return worker.refusal("memory", "killed by the system")
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return worker.refusal("lint_crash", f"the process ended with {name}")
