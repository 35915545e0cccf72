"""The supervisor: judges programs one after the other, each between two sandboxes."""

import json
import os
import platform
import select
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from d3.evals.sandbox.fork_server import ForkServer
from d3.evals.sandbox.limits import LATE, LONGEST_PROGRAM, LONGEST_WAIT, Limits
from d3.evals.sandbox.system_calls import MACHINES, system_call_filter
from d3.evals.sandbox.verdict import INSTALL, SandboxError, Verdict
from d3.evals.sandbox.walls import bubblewraps, outer_walls, outside_user, this_python, visible

PAUSES = (0.2, 1.0, 3.0, 5.0)
"""Seconds before a sandbox that does not start is tried again."""

PROBE = """
import os, socket

def look(paths):
    seen = [path for path in paths if os.path.exists(path)]
    attempts = {
        "new processes": lambda: os.fork() or os._exit(0),
        "a writable root": lambda: open("/written", "w"),
        "the network": lambda: socket.create_connection(("1.1.1.1", 53), 0.2),
        "the kernel's sockets": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
            seen.append(what)
        except OSError:
            pass
    return seen
"""


class Sandbox:
    """A place to judge programs in, one after the other; use one per thread.

        with Sandbox(Limits(timeout_seconds=5)) as sandbox:
            verdict, detail = sandbox.judge(program, tests, "add")

    Entering it tries the walls with a program that looks around. Raises SandboxError when there is no
    bubblewrap or it does not hold what it should. `packages` are folders of installed packages that tests
    and programs may import; `bwraps` names the bubblewrap programs to try instead of those found.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        packages: Sequence[Path] = (),
        bwraps: Sequence[str] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._packages = list(packages)
        self._bwraps = bubblewraps() if bwraps is None else list(bwraps)
        self._interpreters = {"program": self.limits.interpreter or this_python(), "tests": this_python()}
        self._outer: tuple[str, bool] = ("", True)
        self._servers: dict[str, ForkServer] = {}
        self.spent = 0.0
        """CPU seconds of the last program with its tests; where they are below the limit, what the clock says."""
        self.late = False

    def __enter__(self) -> Self:
        """Find a bubblewrap that works and try its walls."""
        if platform.machine() not in MACHINES:
            raise SandboxError(f"no system-call filter for {platform.machine()}", "use x86-64 or 64-bit ARM")
        if not self._bwraps:
            raise SandboxError("there is no bubblewrap", INSTALL)
        fault = None
        for bwrap in self._bwraps:
            for proc in (True, False):  # a process table of its own, or, in some containers, the container's
                self._outer = (bwrap, proc)
                try:
                    self._try_walls()
                    return self
                except SandboxError as error:
                    self.close()
                    fault = fault or SandboxError(f"{bwrap}: {error.reason}", error.remedy)
        assert fault is not None
        raise fault

    def __exit__(self, *_: object) -> None:
        """End the fork servers."""
        self.close()

    def close(self) -> None:
        """End the fork servers; the next program starts new ones."""
        while self._servers:
            self._servers.popitem()[1].kill()

    def _try_walls(self) -> None:
        """Run a program that looks for what it must not see, and tests that find a wrong answer out."""
        with tempfile.NamedTemporaryFile() as ours:
            hidden = [ours.name, str(Path(__file__).resolve()), "/etc/passwd", "/proc/self", "/sys/kernel"]
            hidden += ["/server/proc", "/usr/lib/python3/dist-packages", "/home", "/dev/tty"]
            wanted = ["new processes"] if self.limits.processes else []
            trials = (
                (f"seen = look({hidden!r})\nassert seen == {wanted}, seen", "passed"),
                ("assert look([]) == 1", "failed"),
            )
            for tests, expected in trials:
                found = self._judge(PROBE, tests, "look")
                if found.verdict != expected:
                    raise SandboxError(f"the sandbox does not hold: {found.verdict} {found.detail}", INSTALL)

    def judge(self, program: str, tests: str, entry_point: str, *, limit: float | None = None) -> Verdict:
        """Run `tests`, Python text that calls the function `entry_point` of `program`, and say what came of it.

        `limit` is another time limit than that of `limits`. Afterwards `spent` is the time that it took, and
        `late` whether it ended after its limit, but no later than `LATE` times it.
        A sandbox that cannot be started is tried again. Raises SandboxError if it never can, which says
        nothing about the program.
        """
        if len(program) > LONGEST_PROGRAM:
            return Verdict("error", "the program is longer than 2**20 characters")
        try:
            program.encode("utf-8")
        except UnicodeEncodeError:
            return Verdict("error", "the program holds a lone surrogate")
        for pause in PAUSES:
            try:
                return self._judge(program, tests, entry_point, limit)
            except SandboxError:
                self.close()
                time.sleep(pause)
        return self._judge(program, tests, entry_point, limit)

    def _server(self, side: str) -> ForkServer:
        """Return the fork server of a side, started if there is none."""
        if side not in self._servers:
            limits, interpreter = self.limits, self._interpreters[side]
            packages = self._packages if interpreter == this_python() else []
            processes = bool(limits.processes) or side == "tests"
            try:
                seen = visible(interpreter, tuple(map(str, packages)))
            except (OSError, ValueError) as error:
                raise SandboxError(str(error), "check the path of the interpreter") from None
            bwrap, proc = self._outer
            file_bytes = limits.file_mb * 2**20
            walls = outer_walls(
                bwrap, seen, packages=packages, tmp_bytes=file_bytes, processes=bool(limits.processes),
                time_zones=limits.time_zones, proc=proc,
            )  # fmt: skip
            settings = {
                "side": side,
                "user": outside_user(),
                "path": ["/packages"] if packages else [],
                "filter": system_call_filter(platform.machine(), processes=processes).hex(),
                "limits": {
                    "memory": (limits.memory_mb + (limits.threads if side == "program" else 0)) * 2**20,
                    "file_bytes": file_bytes,
                    "files_in_tmp": limits.files,
                    "open_files": limits.open_files,
                    "threads": limits.threads,
                    "processes": limits.processes,
                    "core": 0,
                },
            }
            self._servers[side] = ForkServer(walls, interpreter, settings)
        return self._servers[side]

    def _judge(self, program: str, tests: str, entry_point: str, longer: float | None = None) -> Verdict:
        limit = longer or self.limits.timeout_seconds
        self.spent, self.late = 0.0, False
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        cpu = {"cpu_seconds": int(LONGEST_WAIT * limit) + 2}  # ends what outlives its supervisor
        job: dict[str, Any] = {"program": program, "entry_point": entry_point, **cpu}
        files = [ours.fileno(), theirs.fileno(), writer]
        numpy = {text: ["numpy"] if "numpy" in text else [] for text in (program, tests)}
        try:
            server, judge = self._server("program"), self._server("tests")
            server.start({"import": numpy[program], **cpu}, [files[1]])
            if judge.tests != tests:
                job |= {"tests": tests, "import": numpy[tests]}
            judge.start(job, [files[0], files[2]])
            judge.tests = tests
            begin = time.monotonic()
            for file in (ours, theirs):
                file.close()
            os.close(writer)
            writer = -1
            answer = self._read_verdict(reader, begin, limit)
            server.ask("end")
            judge.ask("end")
        finally:
            for file in (ours, theirs):
                file.close()
            for number in (reader, writer):
                if number >= 0:
                    os.close(number)
        if answer is None or self.late:
            return Verdict("timeout", f"no verdict after {limit:g} s")
        if not answer:
            return Verdict("crashed", "the process of the tests died")
        verdict, detail = json.loads(answer)
        return Verdict(str(verdict), str(detail))

    def _read_verdict(self, reader: int, begin: float, limit: float) -> bytes | None:
        """Return what the tests' process wrote before it ended, or None at the deadline.

        CPU time decides. The clock does so after `LONGEST_WAIT` limits, for programs that wait.
        """
        data, backstop = b"", begin + LONGEST_WAIT * limit
        deadline = begin + limit
        while True:
            if select.select([reader], [], [], max(deadline - time.monotonic(), 0))[0]:
                piece = os.read(reader, 2**16)
                if piece:
                    data += piece
                    continue
                self.spent = time.monotonic() - begin
                if self.spent > limit:
                    self.spent = self._cpu_seconds()
                    self.late = self.spent > limit
                return data
            now = time.monotonic()
            self.spent = self._cpu_seconds()
            left = LATE * limit - self.spent
            if left <= 0 or now >= backstop:
                return None
            deadline = min(now + max(left, 0.02), backstop)

    def _cpu_seconds(self) -> float:
        """Return the CPU seconds of the program and of its tests."""
        return float(sum(server.ask("spent") for server in self._servers.values()))
