"""Fork server inside bubblewrap: a fresh process, with walls of its own, for every program or test.

`walls.py` starts this text with `python -c`, once a worker. The server imports what programs and tests
use, so that a new process costs a fork. It never runs model-written code itself. Messages on its
control socket: `start` with the file of a channel forks a child; `end` kills the child and all below
it. A program's child gets namespaces, a `/tmp`, limits and a system-call filter before it reads the program.
"""

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from typing import Any, NoReturn

PRELOADED = ("bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools",
             "hashlib", "heapq", "inspect", "itertools", "json", "math", "operator", "random", "re", "string",
             "textwrap", "typing", "_strptime", "_sitebuiltins")  # fmt: skip
"""Modules of the standard library that are imported once."""
INSIDE = 65534
"""User and group of a program, in its own user namespace."""
NEW = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x02000000
"""User, mount, process, network, IPC, host-name and control-group namespaces."""
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 36, 38
PR_SET_DUMPABLE, PR_GET_TID_ADDRESS = 4, 40
CLONE = {"x86_64": 56, "aarch64": 220}
CHILD_TID = 0x00200000 | 0x01000000
"""The C library's record of a thread's number is set in the child, and cleared at its end."""
SETTING = "/server"
"""Where the server sees its process table; covered before a program runs."""

libc = ctypes.CDLL(None, use_errno=True)
raw = ctypes.PyDLL(None, use_errno=True)
"""The same, called with Python's lock held, as a fork needs it."""
raw.syscall.restype = ctypes.c_long


def call(result: int, what: str) -> None:
    """Raise OSError if a C function failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def drop_root(user: int) -> None:
    """Become an unused user: nothing that runs here may be root outside."""
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else its own process table entries would belong to root


def install_filter(rules: bytes) -> None:
    """Put the system-call filter on this process and all after it."""
    buffer = ctypes.create_string_buffer(rules, len(rules))
    program = struct.pack("=HxxxxxxQ", len(rules) // 8, ctypes.addressof(buffer))
    call(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    call(libc.prctl(PR_SET_SECCOMP, 2, ctypes.c_char_p(program), 0, 0), "seccomp")


def mount(kind: bytes, target: str, options: str, flags: int = 0) -> None:
    """Mount a file system without set-user-id programs and devices."""
    call(libc.mount(b"none", target.encode(), kind, flags | 2 | 4, options.encode()), f"mount {target}")


def fork_into_namespaces() -> int:
    """Fork a child that is alone in new namespaces; return as `os.fork` does.

    One process less than unsharing and then forking. Only for a process of one thread.
    """
    python = ctypes.pythonapi
    address = ctypes.c_void_p()
    flags = NEW | signal.SIGCHLD
    if libc.prctl(PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) == 0 and address.value:
        flags |= CHILD_TID
    tid = ctypes.c_void_p(address.value)
    python.PyOS_BeforeFork()
    # The last two arguments change places between machines; the thread-local storage is not used.
    child = raw.syscall(ctypes.c_long(CLONE[os.uname().machine]), ctypes.c_ulong(flags), None, None, tid, tid)
    if child == 0:
        python.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if child < 0:
        raise OSError(number, f"clone: {os.strerror(number)}")
    return int(child)


def furnish(limits: dict[str, Any], user: int, group: int) -> None:
    """Map this process's only user, outside `user`, and make its `/tmp` of limited size and a loopback interface."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{INSIDE} {user} 1"),
        ("gid_map", f"{INSIDE} {group} 1"),
    ):
        file = os.open(f"{SETTING}/proc/self/{name}", os.O_WRONLY)
        os.write(file, text.encode())
        os.close(file)
    mount(b"tmpfs", SETTING, "size=4k,nr_inodes=1,mode=555", flags=1)
    flags = os.statvfs("/dev/null").f_flag  # those that bubblewrap has set must stay
    flags = flags & 0xC0F | (1 << 21 if flags & 4096 else 0)
    call(libc.mount(None, b"/dev/null", None, 4096 | 32 | 1 | flags, None), "mount /dev/null")  # its mode, its times
    size = f"size={limits['file_bytes']},nr_inodes={limits['files_in_tmp']},mode=1777"
    mount(b"tmpfs", "/tmp", size)
    if limits["processes"]:
        mount(b"tmpfs", "/dev/shm", size)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as interface:
        fcntl.ioctl(interface, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS: up, running


def set_limits(limits: dict[str, Any]) -> None:
    """Set this process's resource limits, hard and soft."""
    for kind, name in (
        (resource.RLIMIT_CPU, "cpu_seconds"),
        (resource.RLIMIT_AS, "memory"),
        (resource.RLIMIT_FSIZE, "file_bytes"),
        (resource.RLIMIT_NOFILE, "open_files"),
        (resource.RLIMIT_NPROC, "threads"),
        (resource.RLIMIT_CORE, "core"),
        (resource.RLIMIT_MEMLOCK, "core"),
    ):
        if name not in limits:
            continue
        hard = resource.getrlimit(kind)[1]
        value = limits[name] if hard == resource.RLIM_INFINITY else min(limits[name], hard)
        resource.setrlimit(kind, (value, value))


def drop_capabilities(*, bounding: bool) -> None:
    """Leave all capabilities, with `bounding` also those that a program could get back by running another."""
    for number in range(64 if bounding else 0):
        if libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break
    call(libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24)), "capset")


def keep_only(*files: int) -> None:
    """Close every file but the first three and those named."""
    low = 3
    for file in sorted(files):
        os.closerange(low, file)
        low = file + 1
    os.closerange(low, 4096)


def isolate(limits: dict[str, Any], rules: bytes, report: int, files: list[int], user: tuple[int, int]) -> None:
    """Build a program's walls around this process, alone in its namespaces; end it if they do not stand."""
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        furnish(limits, *user)
        os.setsid()  # the server is of another process group than what a program can reach
        keep_only(*files, report)
        os.chdir("/tmp")
        set_limits(limits)
        drop_capabilities(bounding=bool(limits["processes"]))
        install_filter(rules)
    except OSError as error:
        os.write(report, json.dumps([error.errno, str(error)]).encode())
        os._exit(1)
    os.close(report)


class Server:
    """Serves one child after the other."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.limits: dict[str, Any] = settings["limits"]
        self.rules = bytes.fromhex(settings["filter"])
        self.control = socket.socket(fileno=settings["control"])
        self.child = 0
        self.prepared: Any = None

    def read(self) -> tuple[dict[str, Any], list[int]]:
        """Read a message and its files; end this process when the supervisor is gone."""
        header, files, _, _ = socket.recv_fds(self.control, 8, 2)
        data = b""
        if len(header) == 8:
            wanted = int.from_bytes(header, "big")
            while len(data) < wanted and (piece := self.control.recv(wanted - len(data))):
                data += piece
        if not data:
            self.end()
            os._exit(0)
        return json.loads(data), files

    def write(self, message: Any) -> None:
        """Send an answer to the supervisor."""
        data = json.dumps(message).encode()
        self.control.sendall(len(data).to_bytes(8, "big") + data)

    def start(self, job: dict[str, Any], files: list[int]) -> None:
        """Fork a child for a job, and answer when its walls stand, or what is wrong with them."""
        for name in job.get("import", ()):
            with contextlib.suppress(ImportError):
                __import__(name)
        if "tests" in job:  # compiled once for all programs of a task
            from d3.evals.sandbox import tests_side

            self.prepared = tests_side.prepare(job["tests"])
            gc.freeze()
        reader, writer = os.pipe()
        alone = self.settings["side"] == "program"
        user = os.getuid(), os.getgid()
        try:
            self.child = fork_into_namespaces() if alone else os.fork()
        except OSError as error:
            for file in (reader, writer, *files):
                os.close(file)
            self.write([error.errno, str(error)])
            return
        if self.child == 0:
            os.close(reader)
            if alone:
                isolate(self.limits | {"cpu_seconds": job["cpu_seconds"]}, self.rules, writer, files, user)
            self.work(job, files, writer)
        os.close(writer)
        for file in files:
            os.close(file)
        with open(reader, "rb") as report:
            fault = report.read()
        self.write(json.loads(fault) if fault else None)

    def work(self, job: dict[str, Any], files: list[int], report: int) -> NoReturn:
        """Be the child."""
        from d3.evals.sandbox import program_side, tests_side

        if self.settings["side"] == "program":
            program_side.main(files[0])
            os._exit(0)
        os.close(report)
        keep_only(*files)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        set_limits({"memory": self.limits["memory"], "core": 0, "cpu_seconds": job["cpu_seconds"]})
        tests_side.main(job, self.prepared, *files)
        os._exit(0)

    def end(self) -> None:
        """Kill the child and what came of it, and wait until all of it is gone."""
        if self.child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        self.child = 0

    def spent(self) -> float:
        """Return the CPU seconds of the child, all its threads included."""
        try:
            return time.clock_gettime(
                (~self.child << 3) | 2
            )  # the clock of another process, see clock_getcpuclockid(3)
        except OSError:
            return 0.0

    def serve(self) -> NoReturn:
        """Answer the supervisor until it is gone."""
        while True:
            message, files = self.read()
            if message["do"] == "start":
                self.start(message, files)
            elif message["do"] == "spent":
                self.write(self.spent())
            else:
                self.end()
                self.write(None)


def main(settings: dict[str, Any], register_at_fork: Any) -> None:
    """Make this process harmless and serve; `register_at_fork` is `os.register_at_fork` for programs."""
    drop_root(settings["user"])
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.path += settings["path"]
    for name in PRELOADED:
        __import__(name)
    os.register_at_fork = register_at_fork
    silence = os.open("/dev/null", os.O_RDWR)
    server = Server(settings)
    if settings["side"] == "tests":
        install_filter(server.rules)
    sys.argv = ["solution.py"]
    gc.collect()
    gc.freeze()
    server.write("ready")
    os.dup2(silence, 2)
    server.serve()
