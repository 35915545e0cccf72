"""The processes that sample files; started by the pool, never by hand.

One server loads the linter, builds the trees of the modules that the files import, and forks a
worker for every socket that the pool has handed down. It does nothing else but fork a new one when a
worker dies, so that a file that crashes pylint or eats all memory harms no other.

A worker answers tasks, one JSON object a line in and one out. A task says how much CPU and wall time
is left to its file; what exceeds that is ended by the kernel. The address space of the process is
limited too. Between two tasks the linter forgets everything, so a task finds what a fresh process would.
"""

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d3.core.processes import die_with_parent, resident_mb
from d3.lintseq.import_sandbox import link_packages, standard_library
from d3.lintseq.sampler import NO_LINE, SampleError, check_round_trip, forward_diffs, sample_edits

if TYPE_CHECKING:
    from d3.lintseq.linter import Linter

GROWTH_MB = 64
"""A worker that has grown by this much makes room for a new one (our default)."""
ENDED, RETIRED, FAILED = 0, 3, 4
"""Exit codes of a worker: nothing more to do; answered, but not fit for more; not answered."""

Answer = dict[str, Any]


def sample(task: Mapping[str, Any], lint: "Linter | None", settings: Mapping[str, Any]) -> Answer:
    """Sample one sequence of `task` (text, seed); gives status, detail, edits and diffs."""
    try:
        if settings["sampler"] == "pylintseq":
            edits, diffs = _sample_with_pylintseq(task, settings["max_depth"])
        else:
            edits = sample_edits(task["text"], lint, task["seed"], max_depth=settings["max_depth"])
            diffs = forward_diffs(task["text"], edits)
    except SampleError as error:
        return refusal(error.status, error.detail)
    return {"status": "ok", "detail": None, "edits": edits, "diffs": diffs}


def _sample_with_pylintseq(task: Mapping[str, Any], max_depth: int) -> tuple[list[list[int]], list[str]]:
    from d3.lintseq import reference

    found = reference.sequence_of(task["text"], task["seed"], max_depth)
    if found is None:
        raise SampleError("no_candidate_lines", NO_LINE)
    edits, diffs = found
    check_round_trip(task["text"], diffs)
    return [sorted({int(line) for line in edit}) for edit in edits], diffs


def refusal(status: str, detail: str = "") -> Answer:
    """Return the answer of a file without a sequence."""
    return {"status": status, "detail": detail or None, "edits": None, "diffs": None}


class _Worker:
    """One forked process: answers what comes out of its socket."""

    def __init__(self, link: socket.socket, built: int, lint: "Linter | None", settings: Mapping[str, Any]) -> None:
        self.link, self.built, self.lint, self.settings = link, built, lint, settings
        self.memory = int(settings["max_memory_mb"]) << 20
        self.known = set(lint.modules()) if lint else set()

    def run(self) -> int:
        """Answer tasks until the pool hangs up; gives the exit code."""
        die_with_parent()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (self.memory, resource.RLIM_INFINITY))
        resident = resident_mb()
        most = resident + GROWTH_MB
        fresh = True
        for line in self.link.makefile("r", encoding="utf-8"):
            task = json.loads(line)
            began = time.process_time()
            try:
                answer = self._sample(task)
            except MemoryError:
                if not fresh:
                    return FAILED
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                detail = f"more than {self.settings['max_memory_mb']} MB of address space"
                self._send(refusal("memory", detail) | {"n": task["n"]})
                return RETIRED
            held = {"resident": resident, "modules": len(self.known)}
            self._send(answer | held | {"n": task["n"], "cpu": time.process_time() - began})
            if self.settings["sampler"] == "pylintseq":
                return RETIRED  # pylint keeps what it has seen: every sequence gets a fresh process
            self._forget()
            resident = resident_mb()
            if resident > most:
                return RETIRED
            fresh = False
        return ENDED

    def _sample(self, task: Mapping[str, Any]) -> Answer:
        signal.setitimer(signal.ITIMER_PROF, task["cpu"])
        signal.setitimer(signal.ITIMER_REAL, task["wall"])
        try:
            return sample(task, self.lint, self.settings)
        except MemoryError:
            raise
        except Exception as error:
            return refusal("lint_crash", f"{type(error).__name__}: {error}"[:200])
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _send(self, answer: Answer) -> None:
        self.link.sendall(json.dumps(answer).encode() + b"\n")

    def _forget(self) -> None:
        if self.lint is None:
            return
        self.lint.forget()
        gc.collect()
        new = set(self.lint.modules()) - self.known
        if not new:
            return
        gc.freeze()  # only now: what is frozen and dies later is never freed
        self.known |= new
        for name in sorted(new):
            os.write(self.built, f"{name}\n".encode())


class _Server:
    """Forks the workers, and new ones for those that die."""

    def __init__(self, links: Sequence[socket.socket], settings: Mapping[str, Any], folder: Path) -> None:
        self.links, self.settings = links, settings
        self.lint = _linter(settings, folder)
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.workers: dict[int, socket.socket] = {}
        if self.lint:
            self.lint.warm(settings["warm"])

    def run(self) -> None:
        """Keep a worker at every socket until the pool has hung up on all of them."""
        for link in self.links:
            self._fork(link)
        while self.workers:
            child, status = os.wait()
            link = self.workers.pop(child)
            code = os.waitstatus_to_exitcode(status)
            if code == ENDED:
                continue
            if code != RETIRED:
                with contextlib.suppress(OSError):
                    link.sendall(b"\n" + json.dumps({"died": code}).encode() + b"\n")
            self._learn()
            self._fork(link)

    def _learn(self) -> None:
        """Build the modules that workers have needed, so that the next one has them."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.reading, 2**16):
                data += piece
        if self.lint:
            self.lint.warm(sorted(set(data.decode().split())))

    def _fork(self, link: socket.socket) -> None:
        gc.collect()
        gc.freeze()
        child = os.fork()
        if child:
            self.workers[child] = link
            return
        code = FAILED
        try:
            for other in self.links:
                if other is not link:
                    other.close()
            if self.lint:
                folder = Path.cwd() / f"work-{os.getpid()}"
                folder.mkdir()
                self.lint.work_in(folder)
            code = _Worker(link, self.writing, self.lint, self.settings).run()
        except BrokenPipeError:
            code = ENDED
        finally:
            os._exit(code)


def _linter(settings: Mapping[str, Any], folder: Path) -> "Linter | None":
    """Return the linter that the settings ask for; None is the linter-free ablation, or pylintseq with its own."""
    if settings["sampler"] == "pylintseq":
        from d3.lintseq import reference

        reference.load()
        gc.enable()
        return None
    if not settings["lint"]:
        return None
    from d3.lintseq.linter import Linter

    packages = folder / "packages"
    packages.mkdir()
    work = folder / "work"
    work.mkdir()
    search_path = [*standard_library(), *link_packages(sorted(settings["packages"]), packages)]
    return Linter(work, search_path, ignore_unresolved=settings["unresolved_imports"] == "ignore")


def main() -> None:
    """Serve the sockets whose numbers are the arguments; the settings are the first line of input."""
    die_with_parent()
    gc.disable()
    settings = json.loads(sys.stdin.readline())
    links = [socket.socket(fileno=int(number)) for number in sys.argv[1:]]
    _Server(links, settings, Path.cwd()).run()


if __name__ == "__main__":
    main()
