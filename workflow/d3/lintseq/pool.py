"""Worker processes that sample files side by side, and what surrounds them.

A worker is a fresh interpreter with a private folder as working directory, home and temporary
folder, and with nothing in its environment that changes what pylint does. Answers come back in the
order in which they are ready; they do not depend on how many workers there are or who answers.
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, cast

from d3.errors import ToolError
from d3.identity import LINE_BREAKS

PACKAGE_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What decides a sequence besides the file and its seed."""

    lint: bool = True
    unresolved_imports: Literal["error", "ignore"] = "error"
    packages: tuple[str, ...] = ()
    max_depth: int = 512
    max_lines: int = 2000
    max_cpu_seconds: float = 120.0
    max_memory_mb: int = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One sequence to sample: the k-th of a file. `seed` has 32 bits."""

    id: str
    sample: int
    text: str
    seed: int


Answer = dict[str, Any]
"""`status`, `detail`, `edits` and `diffs` of one sequence."""


def unfit(text: str, settings: Settings) -> Answer | None:
    """Give the answer of a text that is not worth a linter, or None."""
    lines = text.count("\n") + 1
    status, detail = "", None
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
    return {"status": status, "detail": detail, "edits": None, "diffs": None} if status else None


class _Worker:
    """One process and the task that it works on."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        folder.mkdir()
        self.log = (folder / "log").open("w+", encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")}
        environment = {
            **kept,
            "PYTHONPATH": str(PACKAGE_ROOT),
            "PYTHONHASHSEED": "0",
            "PYTHONNOUSERSITE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "LC_ALL": "C.UTF-8",
            **{name: str(folder) for name in ("HOME", "TMPDIR", "PYLINTHOME", "XDG_CACHE_HOME")},
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "d3.lintseq.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            cwd=folder,
            encoding="utf-8",
        )
        self.input = cast(IO[str], self.process.stdin)
        self.output = cast(IO[str], self.process.stdout)
        self.task: Task | None = None
        self._send({**asdict(settings), "packages": list(settings.packages)})

    def _send(self, value: Any) -> None:
        try:
            self.input.write(json.dumps(value) + "\n")
            self.input.flush()
        except BrokenPipeError:
            self._fail()

    def start(self, task: Task) -> None:
        """Give the worker something to do."""
        self.task = task
        self._send({"text": task.text, "seed": task.seed})

    def answer(self) -> Answer:
        """Wait for its answer; raises ToolError when the process has died."""
        line = self.output.readline()
        if not line.endswith("\n"):
            self._fail()
        answer: Answer = json.loads(line)
        return answer

    def _fail(self) -> None:
        self.process.wait()
        self.log.seek(0)
        last = self.log.read().strip().splitlines()[-1:]
        raise ToolError(
            f"a sampling process ended with {self.process.returncode} ({' '.join(last)})",
            where="lintseq",
            remedy="run the rule again; finished files are kept",
        )

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.input, self.output, self.log):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class Pool:
    """Some workers; `run` answers tasks. Use it as a context manager."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self.settings, self.count = settings, max(1, workers)
        self._workers: list[_Worker] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        """Make the private folders; processes start with the first task."""
        self._folder = tempfile.TemporaryDirectory(prefix="d3-lintseq-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes and remove their folders."""
        for worker in self._workers:
            worker.close()
        if self._folder is not None:
            self._folder.cleanup()

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Answer]]:
        """Answer every task, in the order in which the answers are ready."""
        with selectors.DefaultSelector() as busy:
            for task in tasks:
                answer = unfit(task.text, self.settings)
                if answer is not None:
                    yield task, answer
                elif len(self._workers) < self.count:
                    assert self._folder is not None
                    worker = _Worker(Path(self._folder.name) / str(len(self._workers)), self.settings)
                    self._workers.append(worker)
                    worker.start(task)
                    busy.register(worker.output, selectors.EVENT_READ, worker)
                else:
                    yield self._collect(busy, task)
            while any(worker.task for worker in self._workers):
                yield self._collect(busy, None)

    def _collect(self, busy: selectors.BaseSelector, following: Task | None) -> tuple[Task, Answer]:
        """Take the next answer, and give its worker the following task."""
        while True:
            for key, _ in busy.select():
                worker: _Worker = key.data
                answer = worker.answer()
                task = cast(Task, worker.task)
                worker.task = None
                if following is not None:
                    worker.start(following)
                return task, answer
