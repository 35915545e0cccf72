"""A process that samples files, one forked child for each sequence; run by the pool, never by hand.

It reads one JSON object a line from standard input and answers each with one line on standard
output. The first line is the settings. A child begins in the
state of a fresh process, whatever was sampled before, and it dies with all that it changed. It has
limits on its CPU time, its wall time and its address space, and its end is always a row: `ok`, or a
status that says why there is no sequence.
"""

import contextlib
import ctypes
import gc
import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d3.lintseq.environment import link_packages, standard_library
from d3.lintseq.sampler import Lint, SampleError, forward_diffs, sample_edits

PR_SET_PDEATHSIG = 1
WALL_FACTOR, WALL_SLACK = 4.0, 30.0
"""A sequence may take this many times its CPU limit, and these seconds, of wall time (our default)."""

Answer = dict[str, Any]


def sample(task: Mapping[str, Any], lint: Lint | None, settings: Mapping[str, Any]) -> Answer:
    """Sample one sequence of `task` (text, seed); gives status, detail, edits and diffs."""
    try:
        edits = sample_edits(task["text"], lint, task["seed"], max_depth=settings["max_depth"])
        diffs = forward_diffs(task["text"], edits)
    except SampleError as error:
        return refusal(error.status, error.detail)
    return {"status": "ok", "detail": None, "edits": edits, "diffs": diffs}


def refusal(status: str, detail: str) -> Answer:
    """Give the answer of a file without a sequence."""
    return {"status": status, "detail": detail or None, "edits": None, "diffs": None}


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _child(task: Mapping[str, Any], lint: Lint | None, settings: Mapping[str, Any], pipe: int) -> None:
    """Sample under the limits and write the answer into the pipe; never returns."""
    try:
        die_with_parent()
        cpu = float(settings["max_cpu_seconds"])
        memory = int(settings["max_memory_mb"]) * 2**20
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(cpu) + 1, math.ceil(cpu) + 1))
        signal.setitimer(signal.ITIMER_PROF, cpu)
        try:
            answer = sample(task, lint, settings)
        except MemoryError:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            answer = refusal("memory", f"more than {settings['max_memory_mb']} MB of address space")
        except Exception as error:
            answer = refusal("lint_crash", f"{type(error).__name__}: {error}"[:200])
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(pipe, data) :]
    finally:
        os._exit(0)


def run_forked(task: Mapping[str, Any], lint: Lint | None, settings: Mapping[str, Any]) -> Answer:
    """Sample in a forked child; what exceeds a limit or dies becomes an answer with its status."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(task, lint, settings, writing)
    os.close(writing)
    deadline = time.monotonic() + WALL_FACTOR * settings["max_cpu_seconds"] + WALL_SLACK
    data, late = b"", False
    while not late:
        late = not select.select([reading], [], [], max(deadline - time.monotonic(), 0))[0]
        piece = b"" if late else os.read(reading, 2**20)
        if not piece:
            break
        data += piece
    if late:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if late:
        return refusal("timeout", "wall time")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGPROF, signal.SIGXCPU) or (number == signal.SIGKILL and not data):
            return refusal("timeout", f"more than {settings['max_cpu_seconds']:g} CPU-seconds")
        return refusal("lint_crash", f"killed by {signal.Signals(number).name}")
    try:
        answer: Answer = json.loads(data)
    except ValueError:
        return refusal("memory", "the process ended without an answer")
    return answer


def _linter(settings: Mapping[str, Any], folder: Path) -> Lint | None:
    """Give the linter that the settings ask for; None is the linter-free ablation."""
    if not settings["lint"]:
        return None
    from d3.lintseq.linter import Linter

    packages = folder / "packages"
    packages.mkdir()
    work = folder / "work"
    work.mkdir()
    search_path = [*standard_library(), *link_packages(settings["packages"], packages)]
    return Linter(work, search_path, ignore_unresolved=settings["unresolved_imports"] == "ignore")


def main() -> None:
    """Answer tasks until standard input ends."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints must not get between the answers
    settings = json.loads(sys.stdin.readline())
    lint = _linter(settings, Path.cwd())
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(run_forked(json.loads(line), lint, settings)), file=answers, flush=True)


if __name__ == "__main__":
    main()
