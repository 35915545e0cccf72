"""The sandbox against programs that cheat, spy, break out or never end."""

import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from d3.evals import sandbox
from d3.evals.sandbox import Limits, Sandbox, SandboxError

TEST = "assert add(1, 2) == 3\nassert add(2, 2) == 4\n"
GOOD = "def add(a, b):\n    return a + b\n"
BAD = "def add(a, b):\n    return a\n"


@pytest.fixture(scope="module")
def place() -> Iterator[Sandbox]:
    with Sandbox(Limits(timeout_seconds=1.5, memory_mb=512)) as opened:
        yield opened


def verdict(place: Sandbox, program: str, test: str = TEST, entry_point: str = "add") -> str:
    return place.judge(program, test, entry_point).verdict


def returned(place: Sandbox, expression: str, imports: str = "") -> str:
    """Return what a program sees: the repr of an expression, sent back as text through a failing test."""
    program = f"""{imports}
def look():
    try:
        return repr({expression})
    except Exception as error:
        return "E:" + repr(error)
"""
    found = place.judge(program, "text = look()\nraise RuntimeError(text)", "look")
    assert found.verdict == "error", found
    return found.detail.removeprefix("RuntimeError: ").removesuffix(" in: raise RuntimeError(text)")


def test_right_and_wrong_programs(place: Sandbox) -> None:
    assert place.judge(GOOD, TEST, "add") == ("passed", "")
    assert place.judge(BAD, TEST, "add") == ("failed", "assert add(1, 2) == 3")
    assert place.judge("def add(a, b):\n    return a / 0", TEST, "add").detail.startswith("ZeroDivisionError: division")
    assert place.judge("def add(a, b)", TEST, "add").detail.startswith("SyntaxError")
    assert place.judge("x = 1", TEST, "add").detail.startswith("NameError: the program defines no 'add'")
    assert verdict(place, "") == "error"


FORGERIES = {
    "leaves with 0": BAD + "import os\nos._exit(0)",
    "leaves in the call": "import os\ndef add(a, b):\n    os._exit(0)",
    "sys.exit": BAD + "import sys\nsys.exit(0)",
    "sys.exit in the call": "import sys\ndef add(a, b):\n    sys.exit(0)",
    "prints": BAD + "print('passed')\nprint('[\"passed\", \"\"]')\nimport sys\nsys.stderr.write('passed')",
    "writes to every file": BAD
    + """
import os
for number in range(32):
    for text in (b'passed', b'["passed", ""]', (14).to_bytes(8, 'big') + b'["passed", ""]'):
        try:
            os.write(number, text)
        except OSError:
            pass
""",
    "atexit": BAD + "import atexit, os\natexit.register(lambda: os._exit(0))\nraise SystemExit",
    "builtins": BAD
    + "import builtins\nbuiltins.AssertionError = SystemExit\nbuiltins.__import__ = lambda *a, **k: None",
    "tracing": BAD + "import sys\nsys.settrace(lambda *a: None)\nsys.excepthook = lambda *a: None",
    "equals everything": """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
def add(a, b):
    return Yes()
""",
    "an integer that equals everything": """
class Yes(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def add(a, b):
    return Yes(7)
""",
    "a text that equals everything": """
class Yes(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def add(a, b):
    return Yes("3")
""",
    "frames of the caller": """
import sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        for name in ("check", "tests", "job"):
            if name in frame.f_globals or name in frame.f_locals:
                return 3
        frame = frame.f_back
    return 0
""",
    "its own server": """
import sys
main = sys.modules["__main__"]
main.encode = lambda *a: '["passed", ""]'
main.describe = lambda *a: '["passed", ""]'
main.call = lambda *a: 'true'
def add(a, b):
    return 0
""",
    "raises a false success": "class Passed(AssertionError): pass\ndef add(a, b):\n    raise Passed('passed')",
    "kills its parent": BAD
    + """
import os, signal
for process in (1, os.getppid(), -1):
    try:
        os.kill(process, signal.SIGKILL)
    except OSError:
        pass
""",
    "malformed answers": """
import os
def add(a, b):
    for number in range(3, 10):
        try: os.write(number, b'\\xff' * 4096)
        except OSError: pass
    return 3
""",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_program_can_make_its_own_verdict(place: Sandbox, name: str) -> None:
    assert verdict(place, FORGERIES[name]) in ("failed", "error", "crashed")
    assert verdict(place, GOOD) == "passed"  # and the next program is judged as ever


def test_a_deep_answer_is_an_answer() -> None:
    program = "def add(a, b):\n    value = []\n    for _ in range(10**4): value = [value]\n    return value"
    with Sandbox(Limits(timeout_seconds=20, memory_mb=512)) as patient:
        assert patient.judge(program, TEST, "add") == ("failed", "assert add(1, 2) == 3")
        deep = "v, d = add(1, 2), 0\nwhile v: v, d = v[0], d + 1\nassert d == 10**4"
        assert patient.judge(program, deep, "add") == ("passed", "")


def test_answers_written_ahead_are_answers_and_nothing_more(place: Sandbox) -> None:
    program = """
import os
def add(a, b):
    for number in range(3, 10):
        for text in (b'3', b'{"k":"opaque","v":["passed",true]}', b'{"k":"nonsense","v":[]}'):
            try: os.write(number, len(text).to_bytes(8, "big") + text)
            except OSError: pass
    return 0
"""
    assert verdict(place, program) in ("failed", "crashed")


def test_tests_that_never_call_the_program_do_not_pass(place: Sandbox) -> None:
    assert place.judge(GOOD, "assert True", "add") == ("error", "the tests never called the program")


@pytest.mark.parametrize(
    "value",
    [
        "None", "True", "0", "-7", "10**400", "-(2**63)", "1.5", "-0.0", "float('inf')", "2.5e-324", "1j",
        "'a\\ud800\\x00'",
        "b'\\x00\\xff'", "[1, [2, ()]]", "(1,)", "{1, 2}", "frozenset({(1, 2)})", "{'a': {1: [None]}, (1, 2): 'k'}",
        "{'k': 'tuple', 'v': [1]}", "range(3, 9, 2)", "Counter('aab')", "deque([1, 2])", "Decimal('1.10')",
        "Fraction(1, 3)", "OrderedDict(a=1)", "bytearray(b'x')", "{1: 2}.keys()", "{1: 2}.items()",
    ],
)  # fmt: skip
def test_plain_values_come_back_and_go_in(place: Sandbox, value: str) -> None:
    names = "from collections import *\nfrom decimal import Decimal\nfrom fractions import Fraction\n"
    program = f"{names}\ndef give():\n    return {value}\ndef same(x):\n    return x\n"
    test = f"{names}\nvalue = give()\nwanted = {value}\nassert value == wanted and type(value) is type(wanted)\n"
    assert place.judge(program, test, "give") == ("passed", "")
    echo = f"{names}\nvalue = {value}\nfound = same(value)\nassert found == value and type(found) is type(value)\n"
    assert place.judge(program, echo, "same") == ("passed", "")


def test_iterators_and_objects_cross_as_what_they_are(place: Sandbox) -> None:
    assert verdict(place, "def f():\n    yield 1", "r = f()\nassert r != [1]\nassert list(r) == [1]", "f") == "passed"
    assert verdict(place, "def f():\n    return map(str, [1])", "assert list(f()) == ['1']", "f") == "passed"
    assert verdict(place, "import itertools\nf = itertools.count", "assert next(f(7)) == 7", "f") == "passed"
    assert verdict(place, "class f: pass", "assert f() is not None and f() != f()", "f") == "passed"
    assert verdict(place, "import math\ndef f(): return math.nan", "r = f()\nassert r != r", "f") == "passed"


def test_exceptions_cross_by_name(place: Sandbox) -> None:
    program = "class Own(KeyError): pass\ndef f(x):\n    raise Own(x)"
    test = "try:\n    f(1)\nexcept KeyError:\n    pass\nelse:\n    assert False"
    assert verdict(place, program, test, "f") == "passed"
    assert place.judge(program, "f(1)", "f").detail.startswith("Own: 1")


def test_arguments_go_by_reference(place: Sandbox) -> None:
    assert verdict(place, "def f(x):\n    x.append(1)", "x = []\nf(x)\nassert x == [1]", "f") == "passed"
    assert verdict(place, "def f(x):\n    x.append(1)", "x = []\nf(x)\nassert x == []", "f") == "failed"


def test_no_environment_no_home_no_secrets(place: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "swordfish")
    secret = tmp_path / "secret.txt"
    secret.write_text("swordfish")
    with Sandbox(Limits(timeout_seconds=2)) as fresh:
        allowed = {"PYTHONHASHSEED", "PYTHONUTF8", "OPENBLAS_NUM_THREADS", "LD_LIBRARY_PATH", "PWD", "LC_CTYPE"}
        allowed |= {"MALLOC_ARENA_MAX"}
        extra = f"sorted(set(os.environ) - {allowed!r})"
        assert returned(fresh, extra, "import os") == "[]"
        assert "FileNotFoundError" in returned(fresh, f"open({str(secret)!r}).read()")
        assert "FileNotFoundError" in returned(fresh, "open('/etc/passwd').read()")
        assert "FileNotFoundError" in returned(fresh, f"open({str(Path(sandbox.__file__).resolve())!r}).read()")
        assert "FileNotFoundError" in returned(fresh, "os.listdir('/proc')", "import os")
        assert returned(fresh, "os.listdir('/tmp')", "import os") == "[]"
        home = returned(fresh, f"os.listdir({os.path.expanduser('~')!r})", "import os")
        visible = {Path(path).relative_to(Path.home()).parts[0] for path in readable_in_home()}
        assert home == repr(sorted(visible)) or "FileNotFoundError" in home
        assert (
            returned(fresh, "(os.getuid(), os.getgid(), os.uname().nodename)", "import os")
            == "(65534, 65534, 'sandbox')"
        )


def readable_in_home() -> list[str]:
    files = sandbox.visible(sandbox.this_python()).files
    return [path for path in files if Path(path).is_relative_to(Path.home())]


def test_installed_packages_and_the_network_are_out_of_reach(place: Sandbox) -> None:
    assert verdict(place, "import numpy\n" + GOOD) == "error"
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    answer = returned(place, f"socket.create_connection(('127.0.0.1', {port}), 1)", "import socket")
    assert "ConnectionRefused" in answer
    assert "E:" in returned(place, "socket.create_connection(('1.1.1.1', 53), 1)", "import socket")
    assert "E:" in returned(place, "socket.getaddrinfo('example.org', 80)", "import socket")
    server.close()


def test_nothing_can_be_written_but_a_little_in_tmp(place: Sandbox) -> None:
    for path in ("/x", "/usr/lib/x", f"{sys.base_prefix}/lib/x", "/dev/x"):
        assert "E:" in returned(place, f"open({path!r}, 'w')")
    fill = "b''.join(open(f'/tmp/{i}', 'wb').write(bytes(2**20)) and b'' for i in range(64))"
    assert "E:OSError" in returned(place, fill)
    assert int(returned(place, "open('/tmp/one', 'wb', 0).write(bytes(2**25))")) <= 2**24
    assert returned(place, "os.listdir('/tmp')", "import os") == "[]"  # nothing of the program before


@pytest.mark.parametrize(
    "attempt",
    [
        "os.fork()", "os.forkpty()", "os.posix_spawn('/usr/bin/true', ['true'], {})", "subprocess.run(['true'])",
        "os.system('true') or 1/0", "multiprocessing.Process(target=print).start()",
        "[][1] if libc.unshare(0x10000000) else 0", "[][1] if libc.ptrace(0, 0, 0, 0) else 0",
        "[][1] if libc.mount(b'x', b'/tmp', b'tmpfs', 0, 0) else 0", "[][1] if libc.shmget(0, 4096, 0o1600) < 0 else 0",
        "[][1] if libc.setns(3, 0) else 0", "os.memfd_create('x')", "os.chroot('/tmp')", "os.setuid(0)",
        "[][1] if libc.prctl(38, 0, 0, 0, 0) else 0",
    ],
)  # fmt: skip
def test_forbidden_system_calls(place: Sandbox, attempt: str) -> None:
    if "system" in attempt:
        assert returned(place, "os.system('true') != 0", "import os") == "True"
        return
    imports = "import os, subprocess, multiprocessing, ctypes\nlibc = ctypes.CDLL(None)"
    assert "E:" in returned(place, attempt, imports)


def test_no_capabilities_and_no_new_ones(place: Sandbox) -> None:
    script = """
import ctypes, struct
def caps():
    header = struct.pack("=II", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    assert ctypes.CDLL(None).capget(header, data) == 0
    return list(data.raw)
"""
    assert place.judge(script, "assert caps() == [0] * 24", "caps") == ("passed", "")


@pytest.mark.slow
def test_limits_end_loops_floods_and_bombs(place: Sandbox) -> None:
    before = time.monotonic()
    assert verdict(place, "while True: pass") == "timeout"
    assert verdict(place, "def add(a, b):\n    while True: pass") == "timeout"
    assert verdict(place, "while True: print('x' * 10**6)") == "timeout"
    assert verdict(place, "import time\ndef add(a, b):\n    time.sleep(100)") == "timeout"
    assert verdict(place, GOOD, "while add(1, 2): pass") == "timeout"
    assert time.monotonic() - before < 5 * sandbox.LONGEST_WAIT * 1.5 + 5
    assert verdict(place, "def add(a, b):\n    return [0] * 10**10") == "memory"
    assert verdict(place, "x = bytearray(10**9)\n" + GOOD) == "memory"
    assert verdict(place, "x = []\nwhile True: x.append(bytearray(10**6))") == "memory"
    assert verdict(place, "def add(a, b):\n    return add(a, b)") == "error"
    assert verdict(place, "import ctypes\nctypes.string_at(0)") == "crashed"
    endless = "import sys\nsys.setrecursionlimit(10**9)\ndef add(a, b):\n    return add(a, b)"
    assert verdict(place, endless) in ("crashed", "memory", "error", "timeout")
    assert verdict(place, "raise SystemExit") == "error"
    assert verdict(place, "input()") == "error"
    assert verdict(place, "x" * (2**20 + 1)) == "error"
    assert verdict(place, "x = '\ud800'") == "error"
    assert verdict(place, "x = '\x00'") == "error"
    assert verdict(place, GOOD) == "passed"


def test_threads_that_never_end_do_not_hold_anything_up() -> None:
    program = GOOD + "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n"
    before = time.monotonic()
    with Sandbox(Limits(timeout_seconds=60, memory_mb=512)) as patient:
        assert verdict(patient, program) == "passed"
        assert time.monotonic() - before < 30  # far from both the program's end and the limit


@pytest.mark.slow
def test_nothing_is_left_running(place: Sandbox) -> None:
    program = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nwhile True: pass"
    children_before = children()
    assert verdict(place, program) == "timeout"
    place.close()
    deadline = time.monotonic() + 5
    while children() - children_before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children() <= children_before


def children() -> set[int]:
    """Return the processes that descend from this one and run bubblewrap or an inner side."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"bwrap" in command.split(b"\0")[0] and str(sys.base_prefix).encode() in command:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid():
                found.add(int(folder.name))
    return found


def test_dying_with_the_supervisor(tmp_path: Path) -> None:
    script = f"""
import sys, threading
sys.path.insert(0, {str(Path(sandbox.__file__).parents[2])!r})
from d3.evals.sandbox import *
with Sandbox(Limits(timeout_seconds=60)) as place:
    print("open", flush=True)
    place.judge("while True: pass", "f()", "f")
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    time.sleep(0.3)
    below = descendants(process.pid)
    assert len(below) >= 4  # two bubblewraps with what they hold
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists() and not zombie(pid)]


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def test_verdicts_do_not_depend_on_the_hash_seed_or_on_chance(place: Sandbox) -> None:
    program = "def f():\n    return list({'a', 'b', 'c', 'd', 'e'})"
    assert len({returned(place, "list({'a', 'b', 'c', 'd', 'e'})") for _ in range(3)}) == 1
    assert len({returned(place, "random.random()", "import random") for _ in range(3)}) == 1
    assert verdict(place, program, "import random\nf()\nassert random.random() == 0.8444218515250481", "f") == "passed"


def test_details_are_one_short_line_without_addresses(place: Sandbox) -> None:
    detail = place.judge("def f():\n    raise ValueError(object(), 'a\\nb' * 500)", "f()", "f").detail
    assert len(detail) <= 200
    assert "\n" not in detail
    assert "object at 0x>" in detail


def test_without_bubblewrap_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="there is no bubblewrap; install bubblewrap"):
        Sandbox(bwraps=[]).__enter__()
    with pytest.raises(SandboxError, match="does not start"):
        Sandbox(bwraps=[str(tmp_path / "bwrap")]).__enter__()
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxError, match="No permissions to create new namespace"):
        Sandbox(bwraps=[str(broken)]).__enter__()
    with Sandbox(bwraps=[str(broken), *sandbox.bubblewraps()]) as place:
        assert verdict(place, GOOD) == "passed"


def test_a_bubblewrap_that_builds_no_walls_is_refused(tmp_path: Path) -> None:
    """A wrapper that runs the command without any sandbox must be found out by the trial."""
    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/bash\nwhile [ "$1" != "--" ]; do shift; done\nshift\nexec "$@"\n')
    fake.chmod(0o755)
    with pytest.raises(SandboxError, match=r"does not (hold|start)"):
        Sandbox(bwraps=[str(fake)]).__enter__()


def test_unknown_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(SandboxError, match="no system-call filter for vax"):
        Sandbox().__enter__()


def test_many_sandboxes_at_the_same_time() -> None:
    results: list[tuple[int, str]] = []

    def work(number: int) -> None:
        with Sandbox(Limits(timeout_seconds=20)) as place:
            for value in range(3):
                program = f"def f():\n    return {number * 10 + value}"
                results.append((number, verdict(place, program, f"assert f() == {number * 10 + value}", "f")))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(number, "passed") for number in range(4) for _ in range(3)]
