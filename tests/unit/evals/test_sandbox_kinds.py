# ruff: noqa: E501 - one program a line
"""Programs of many kinds against tests of many kinds: the verdict of plain Python, and no cheat passes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from d3.evals.execute import package_folders
from d3.evals.sandbox import Limits, Sandbox


@pytest.fixture(scope="module")
def place() -> Iterator[Sandbox]:
    with Sandbox(Limits(timeout_seconds=5), packages=package_folders(["numpy"])) as opened:
        yield opened


RIGHT = {
    "changes its argument": ("def f(xs): xs.sort()", "xs = [3, 1]\nassert f(xs) is None and xs == [1, 3]"),
    "changes what is inside": ("def f(d): d['a'].append(2)", "inner = []\nf({'a': inner})\nassert inner == [2]"),
    "returns its argument": ("def f(x): return x", "x = [[]]\nassert f(x) is x and f(x)[0] is x[0]"),
    "aliases in arguments": ("def f(a, b):\n    a.append(1)\n    return b", "x = []\nassert f(x, x) == [1] and x == [1]"),
    "a cycle": ("def f(x): return x[0] is x", "x = []\nx.append(x)\nassert f(x)"),
    "keeps what it returned": ("def f(x, s=[]):\n    s.append(x)\n    return s", "a = f(1)\nf(2)\nassert a == [1, 2]"),
    "is told of later changes": (
        "kept = []\ndef f(x=None):\n    if x is not None: kept.append(x)\n    return len(kept[0])",
        "x = [1]\nf(x)\nx.append(2)\nassert f() == 2",
    ),
    "an endless generator": (
        "def f():\n    n = 0\n    while True:\n        yield n * n\n        n += 1",
        "from itertools import islice\nassert list(islice(f(), 4)) == [0, 1, 4, 9]",
    ),
    "a generator's values sent": ("def f():\n    x = yield 1\n    yield x", "g = f()\nnext(g)\nassert g.send(5) == 5"),
    "a class": (
        "class f:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
        "    def __len__(self): return len(self.items)",
        "s = f()\ns.push(1)\nassert len(s) == 1 and s.items == [1] and isinstance(s, f)",
    ),
    "operators of a class": (
        "class f:\n    def __init__(s, x): s.x = x\n    def __add__(s, o): return f(s.x + o.x)\n"
        "    def __eq__(s, o): return s.x == o.x\n    def __lt__(s, o): return s.x < o.x",
        "assert f(1) + f(2) == f(3)\nassert sorted([f(2), f(1)])[0].x == 1\nassert f(1) != f(2)",
    ),
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(x): return P(x)",
        "p = f(1)\nassert p.x == 1 and p == f(1) and p != f(2) and repr(p) == 'P(x=1)'\np.x = 3\nassert p == f(3)",
    ),
    "an enum": (
        "from enum import Enum\nclass Color(Enum):\n    RED = 1\n    BLUE = 2\ndef f(): return Color.RED",
        "assert f() is Color.RED and f() == Color(1) and [c.name for c in Color] == ['RED', 'BLUE']",
    ),
    "a named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
        "assert f() == (1, 2) and f().x == 1",
    ),
    "a closure": ("def f(n): return lambda x: x + n", "assert f(3)(4) == 7"),
    "a function of the tests": ("def f(g, xs): return [g(x) for x in xs]", "assert f(lambda x: -x, [1, 2]) == [-1, -2]"),
    "a builtin as an argument": ("def f(g, xs): return g(xs)", "assert f(len, [1]) == 1 and f(max, [1, 2]) == 2"),
    "an object of the tests": (
        "def f(p): return p.x + p.double()",
        "class P:\n    x = 1\n    def double(self): return 2 * self.x\nassert f(P()) == 3",
    ),
    "an iterator of the tests": ("def f(it): return next(it) + sum(it)", "assert f(iter([1, 2, 3])) == 6"),
    "dates": (
        "from datetime import timedelta\ndef f(d): return d + timedelta(days=1)",
        "from datetime import date\nassert f(date(2024, 2, 28)) == date(2024, 2, 29)",
    ),
    "printed output": (
        "def f(n): print('hello', n)",
        "import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    f('x')\n"
        "assert out.getvalue() == 'hello x\\n'",
    ),
    "standard input": (
        "def f(): return int(input()) + int(input())",
        "import io, sys\nsys.stdin = io.StringIO('3\\n4\\n')\nassert f() == 7",
    ),
    "input replaced": (
        "def f(): return input('name? ')",
        "from unittest.mock import patch\nwith patch('builtins.input', return_value='x'):\n    assert f() == 'x'",
    ),
    "its own exception": (
        "class E(ValueError):\n    def __init__(self, code): super().__init__('bad'); self.code = code\n"
        "def f(): raise E(7)",
        "try:\n    f()\nexcept E as error:\n    assert isinstance(error, ValueError) and error.code == 7\n"
        "else:\n    assert False",
    ),
    "an exception's arguments": (
        "import json\ndef f(text): return json.loads(text)",
        "import json\ntry:\n    f('{')\nexcept json.JSONDecodeError as error:\n    assert error.pos == 1\nelse:\n    assert 0",
    ),
    "asyncio": (
        "import asyncio\nasync def one(x):\n    await asyncio.sleep(0.01)\n    return x\n"
        "def f(x, y):\n    async def both(): return sum(await asyncio.gather(one(x), one(y)))\n"
        "    return asyncio.run(both())",
        "assert f(1, 2) == 3",
    ),
    "a coroutine": (
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x",
        "import asyncio\nassert asyncio.run(f(3)) == 3",
    ),
    "annotations": (
        "def typed(g):\n    def h(*a):\n        for v, t in zip(a, g.__annotations__.values()):\n"
        "            if not isinstance(v, t): raise TypeError\n        return g(*a)\n    return h\n"
        "@typed\ndef f(x: (int, float)): return x",
        "assert f(1) == 1",
    ),
    "nested 300 deep": ("def f(n):\n    v = []\n    for _ in range(n): v = [v]\n    return v",
                        "v, d = f(300), 0\nwhile v: v, d = v[0], d + 1\nassert d == 300"),
    "exit in a guard": ("def f(x): return x\nif __name__ == '__main__':\n    f(int(input()))\n    exit(0)", "assert f(1) == 1"),
    "its arguments": ("import sys\ndef f(): return len(sys.argv)", "assert f() == 1"),
    "exit": ("def f():\n    try: exit(3)\n    except SystemExit as e: return e.code", "assert f() == 3"),
    "numpy": ("import numpy as np\ndef f(x, y): return np.add(x, y)", "assert f(2, 3) == 5 and f(0.5, 1) == 1.5"),
    "an array": ("import numpy as np\ndef f(a): a *= 2", "import numpy as np\na = np.ones(2)\nf(a)\nassert a.tolist() == [2, 2]"),
    "two functions": ("def g(s): return [ord(c) for c in s]\ndef f(v): return ''.join(map(chr, v))", "assert f(g('ab')) == 'ab'"),
    "a global that changes": ("n = 0\ndef f():\n    global n\n    n += 1", "f()\nf()\nassert n == 2"),
    "a memoryview": ("def f(b): return memoryview(b)[1:]", "assert bytes(f(b'abc')) == b'bc'"),
    "150 threads": (
        "from concurrent.futures import ThreadPoolExecutor\nimport time\ndef f(n):\n"
        "    with ThreadPoolExecutor(n) as p: return sum(p.map(lambda i: (time.sleep(0.2), i)[1], range(n)))",
        "assert f(150) == 11175",
    ),
    "a signature": (
        "def f(x, y=2):\n    '''Add.'''\n    return x + y",
        "import inspect\nassert f.__doc__ == 'Add.' and f.__name__ == 'f' and f(1) == 3\n"
        "assert str(inspect.signature(f)) == '(x, y=2)' and inspect.isfunction(f)",
    ),
    "a cache": ("from functools import lru_cache\n@lru_cache\ndef f(x): return x", "f(1)\nf(1)\nassert f.cache_info().hits == 1"),
    "surrogates": ("def f(): return '\\ud83d' + '\\ude00'", "assert len(f()) == 2"),
    "nan in a list": ("def f(x): return [x]", "x = float('nan')\nassert f(x) == [x] and f(x)[0] != f(x)[0]"),
    "recursion": ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(980) == 980"),
    "unittest": (
        "def f(x): return x + 1",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(1), 2)\nunittest.main()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_passes(place: Sandbox, name: str) -> None:
    program, test = RIGHT[name]
    found = place.judge(program, test + "\n", "f")
    assert found.verdict == "passed", found


LIES = "    def __eq__(s, o): return True\n    def __ne__(s, o): return False\n    def __len__(s): return 3\n"
LIES += "    def __sub__(s, o): return 0\n    def __rsub__(s, o): return 0\n    def __abs__(s): return 0\n"
LIES += "    def __lt__(s, o): return True\n    def __le__(s, o): return True\n    def __hash__(s): return 0\n"
FORGED = """
import os
from pathlib import Path
def f(*args):
    for text in (b'{"t":"ok","n":"","v":3,"o":[],"f":[]}', b'3', b'{}', b'[]', b'null'):
        for number in range(3, 64):
            try: os.write(number, len(text).to_bytes(8, "big") + text)
            except OSError: pass
    %s
"""
CASES = "CASES = [(1, 3), (2, 4)]\n"
WRONG = {
    "StopIteration ends all(map())": ("def f(x): raise StopIteration", CASES + "assert all(map(lambda c: f(c[0]) == c[1], CASES))"),
    "its subclass": ("class E(StopIteration): pass\ndef f(x): raise E", CASES + "assert all(map(lambda c: f(c[0]) == c[1], CASES))"),
    "GeneratorExit": ("def f(x): raise GeneratorExit", CASES + "def g():\n    yield f(1) == 3\nassert all(g())"),
    "SystemExit": ("def f(x): raise SystemExit(0)", "assert f(1) == 3"),
    "an empty list is close": ("def f(x): return []", "import numpy as np\nassert np.allclose(f(1), 3.5)"),
    "a missing import": ("def f(x: List[int]) -> Nothing: return 3", "assert f(1) == 3"),
    "sorts what must stay": ("def f(xs):\n    xs.sort()\n    return xs", "xs = [2, 1]\nassert f(xs) == [1, 2] and xs == [2, 1]"),
    "a shared default": ("def f(x, s=[]):\n    s.append(x)\n    return s", "a = f(1)\nf(2)\nassert a == [1]"),
    "a lying int": (f"class I(int):\n{LIES}def f(x): return I(9)", "assert f(1) == 3 or abs(f(1) - 3) < 1e-6 or f(1) < 0"),
    "a lying float": (f"class I(float):\n{LIES}def f(x): return I(9)", "assert f(1) == 3 or abs(3 - f(1)) < 1e-6"),
    "a lying list": (f"class I(list):\n{LIES}def f(x): return I([9])", "assert f(1) == [1, 2, 3] or len(f(1)) == 3"),
    "a lying tuple": (f"class I(tuple):\n{LIES}def f(x): return I([9])", "assert f(1) == (1, 2, 3)"),
    "a lying text": (f"class I(str):\n{LIES}def f(x): return I('9')", "assert f(1) == 'x' or f(1) in {'x'}"),
    "a lying object": (f"class I:\n{LIES}def f(x): return I()", "assert f(1) == 3 or 3 == f(1) or f(1) in [3] or 3 in {f(1)}"),
    "an object's difference": (f"class I:\n{LIES}def f(x): return I()", "assert abs(f(1) - 3) < 1e-6"),
    "an object's order": (f"class I:\n{LIES}def f(x): return I()", "assert f(1) <= 3 or f(1) < 3.0"),
    "an object for numpy": (
        "class I:\n    def __array_ufunc__(s, *a, **k): return True\n    __array_function__ = __array_ufunc__\n"
        "def f(x): return I()",
        "import numpy as np\nassert np.allclose(f(1), 3)",
    ),
    "frames by hand": (FORGED % "return 0", "assert f(1) == 3"),
    "frames by hand, then gone": (FORGED % "os._exit(0)", "assert f(1) == 3"),
    "frames by hand, then silent": (FORGED % "import time; time.sleep(60)", "assert f(1) == 3"),
    "answers ahead": ((FORGED % "return 0") + "f()\nos._exit(0)", "assert f(1) == 3"),
    "goes after its answer": (
        "import os, threading, time\ndef f(x):\n    threading.Thread(target=lambda: (time.sleep(.1), os._exit(0))).start()\n    return 3",
        "assert f(1) == 3\nimport time\ntime.sleep(.6)",
    ),
    "the tests' globals": (
        "def f(g):\n    try: return g.__globals__['__builtins__'] and 3\n    except AttributeError: return 0",
        "def g(): pass\nassert f(g) == 3",
    ),
    "the tests' frames": (
        "def f(g):\n    try: return g.gi_frame.f_globals and 3\n    except AttributeError: return 0",
        "assert f(i for i in [1]) == 3",
    ),
    "its own assertion": ("def f(x): raise AssertionError", "assert f(1) == 3"),
    "2,000 threads": (
        "import threading, time\nthreading.stack_size(65536)\nalive = 0\ntry:\n    for _ in range(2000):\n"
        "        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n        alive += 1\n"
        "except Exception: pass\ndef f(): return alive",
        "assert f() >= 2000",
    ),
    "50,000 files": (
        "import os\nn = 0\ntry:\n    for n in range(50000): os.close(os.open(f'/tmp/{n}', os.O_CREAT))\nexcept OSError: n = 0\n"
        "def f(): return n",
        "assert f() == 49999",
    ),
    "mode of /dev/null": ("import os\ndef f():\n    os.chmod('/dev/null', 0o666)\n    return 3", "assert f() == 3"),
    "times of /dev/null": ("import os\ndef f():\n    os.utime('/dev/null')\n    return 3", "assert f() == 3"),
    "a lock on /dev/null": (
        "import fcntl\ndef f():\n    fcntl.lockf(open('/dev/null', 'w'), fcntl.LOCK_EX)\n    return 3", "assert f() == 3"),
    "a lock on a library": (
        "import fcntl, os\ndef f():\n    fcntl.flock(open(os.__file__), fcntl.LOCK_SH)\n    return 3", "assert f() == 3"),
    "the kernel's cryptography": ("import socket\ndef f():\n    socket.socket(38, 5)\n    return 3", "assert f() == 3"),
    "netlink": ("import socket\ndef f():\n    socket.socket(16, 3)\n    return 3", "assert f() == 3"),
    "vsock": ("import socket\ndef f():\n    socket.socket(40, 1)\n    return 3", "assert f() == 3"),
    "notices about files": (
        "import ctypes\ndef f(): return ctypes.CDLL(None).inotify_init() >= 0", "assert f()"),
    "the system's packages": (
        "import glob\ndef f(): return glob.glob('/usr/lib/python3*/dist-packages/*') + glob.glob('/etc/*')", "assert f()"),
    "a process table": ("import os\ndef f(): return [p for p in ('/proc', '/server/proc', '/sys') if os.path.exists(p)]", "assert f()"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_does_not_pass(place: Sandbox, name: str) -> None:
    before = os.stat("/dev/null")
    program, test = WRONG[name]
    found = place.judge(program, test + "\n", "f")
    assert found.verdict in ("failed", "error", "crashed", "timeout", "unsupported"), found
    after = os.stat("/dev/null")
    assert (before.st_mode, before.st_mtime) == (after.st_mode, after.st_mtime)


POOL = (
    "from multiprocessing import Pool\ndef g(x): return x * x\ndef f(xs):\n    with Pool(2) as p: return p.map(g, xs)"
)
ZONE = "from zoneinfo import ZoneInfo\ndef f(): return str(ZoneInfo('Europe/Paris'))"


def test_what_is_off_by_default_is_unsupported_and_can_be_allowed(place: Sandbox) -> None:
    refused = place.judge(POOL, "assert f([1, 2]) == [1, 4]", "f")
    assert refused.verdict == "unsupported"
    assert "execute.processes" in refused.detail
    assert place.judge(ZONE, "assert f() == 'Europe/Paris'", "f").verdict == "unsupported"
    with Sandbox(Limits(timeout_seconds=5, processes=2, time_zones=True)) as wider:
        assert wider.judge(POOL, "assert f([1, 2]) == [1, 4]", "f").verdict == "passed"
        zones = os.path.isdir("/usr/share/zoneinfo")
        assert wider.judge(ZONE, "assert f() == 'Europe/Paris'", "f").verdict == ("passed" if zones else "unsupported")


def test_another_interpreter_runs_the_programs() -> None:
    found = sorted(Path("/usr/bin").glob("python3.1[2-9]")) + sorted(
        Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python3")
    )
    if not found:
        pytest.skip("no second interpreter")
    with Sandbox(Limits(timeout_seconds=10, interpreter=str(found[-1]))) as newer:
        assert newer.judge("def f[T](x: T) -> T: return x", "assert f([1]) == [1]", "f").verdict == "passed"
