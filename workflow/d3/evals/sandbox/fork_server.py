"""Starts a fork server (`server.py`) behind bubblewrap's walls and talks with it."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d3.evals.sandbox.verdict import INSTALL, REMEDIES, SandboxError
from d3.evals.sandbox.walls import this_python

START_SECONDS = 60.0
"""Longest start of a sandbox; a start that takes longer is a fault of the machine, not a verdict."""
INNER = ("values", "remote", "table", "channel", "program_side", "tests_side", "server")
"""Modules of this folder that run inside, in the order of their imports."""

BOOTSTRAP = """
import os, sys, types
register, settings = os.register_at_fork, {settings!r}
if not settings["limits"]["processes"]:
    os.register_at_fork = lambda **_: None
for name in ("d3", "d3.evals", "d3.evals.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, text in {texts!r}.items():
    full = "d3.evals.sandbox." + name
    sys.modules[full] = module = types.ModuleType(full)
    setattr(sys.modules["d3.evals.sandbox"], name, module)
    exec(compile(text, name + ".py", "exec"), module.__dict__)
sys.modules["d3.evals.sandbox.server"].main(settings, register)
"""
"""What the standard library does after each fork is left out where programs cannot fork: it makes locks new, which
nobody holds in a server of one thread, and reseeds `random`, which is seeded for each program."""


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
        """Ask the server to `end` its child and all that came of it, or for the CPU time that it has `spent`."""
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
