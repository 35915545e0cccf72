# ruff: noqa: E501 - one program a line
"""Programs that try to pass without solving anything: none of them passes."""

from collections.abc import Iterator

import pytest

from d3.evals.execute import package_folders
from d3.evals.sandbox import Limits, Sandbox


@pytest.fixture(scope="module")
def place() -> Iterator[Sandbox]:
    with Sandbox(Limits(timeout_seconds=10), packages=package_folders(["numpy"])) as opened:
        yield opened


LIAR = "class S(%s):\n    def __rsub__(s, o): return set()\n    def __sub__(s, o): return set()\n    def __rand__(s, o): return o\n    def __and__(s, o): return o\n    def __xor__(s, o): return set()\n    def __rxor__(s, o): return set()\n    def __or__(s, o): return o\n    def __ror__(s, o): return o\n    def __le__(s, o): return True\n    def __ge__(s, o): return True\n    def __lt__(s, o): return True\n    def __gt__(s, o): return True\n"
SEARCH = """
import gc, sys, os, socket
def f(x):
    channels = [o for o in gc.get_objects() if type(o).__name__ == 'Program']
    for c in channels:
        %s
    return 0
"""
ATTACKS = {
    "set difference by its own rule": (LIAR % "set" + "def f(x): return S()", "assert not ({1, 2} - f(1))"),
    "set difference, forward": (LIAR % "set" + "def f(x): return S([1])", "assert f(1) - {2} == set()"),
    "set intersection by its own rule": (LIAR % "frozenset" + "def f(x): return S()", "want = {1, 2}\nassert want & f(1) == want"),
    "symmetric difference by an object": (LIAR % "object" + "def f(x): return S()", "assert not {1, 2} ^ f(1)"),
    "union by an object": (LIAR % "object" + "def f(x): return S()", "want = {1, 2}\nassert f(1) | want == want"),
    "set difference by an object": (LIAR % "object" + "def f(x): return S()", "assert {1, 2} - f(1) == set()"),
    "subset by an object": (LIAR % "object" + "def f(x): return S()", "assert f(1) <= {1, 2}"),
    "order of text by an object": (LIAR % "object" + "def f(x): return S()", "assert 'a' < f(1) or f(1) > 'a'"),
    "difference of a dict view": (LIAR % "object" + "def f(x): return S()", "assert not {1: 2}.keys() - f(1) or not {1: 2}.keys() ^ f(1)"),
    "exclusive or of numbers": (LIAR % "int" + "def f(x): return S(9)", "assert not f(1) ^ 3"),
    "difference of counters": ("from collections import Counter\n" + LIAR % "Counter" + "def f(x): return S()", "from collections import Counter\nassert not Counter('ab') - f(1)"),
    "difference of dates": ("import datetime\nclass D(datetime.date):\n    def __sub__(s, o): return datetime.timedelta(0)\n    __rsub__ = __sub__\n    def __eq__(s, o): return True\n    __hash__ = None\ndef f(): return D(2000, 1, 1)", "import datetime\nd = datetime.date(2024, 1, 1)\nassert f() == d or f() - d == datetime.timedelta(0)"),
    "decimal that agrees": ("import decimal\nclass D(decimal.Decimal):\n    def __eq__(s, o): return True\n    def __sub__(s, o): return D(0)\n    __rsub__ = __sub__\n    def __abs__(s): return D(0)\n    def __hash__(s): return 0\ndef f(): return D(7)", "import decimal\nw = decimal.Decimal('0.3')\nassert f() == w or abs(f() - w) < 1"),
    "an equal for the tests' class": ("def f(p):\n    type(p).__eq__ = lambda s, o: True\n    return p", "class P:\n    def __init__(s, x): s.x = x\n    def __eq__(s, o): return s.x == o.x\nassert f(P(1)) == P(2)"),
    "a class for the tests' object": ("class Q:\n    def __eq__(s, o): return True\ndef f(p):\n    p.__class__ = Q\n    return p", "class P:\n    def __init__(s, x): s.x = x\n    def __eq__(s, o): return s.x == o.x\nassert f(P(1)) == P(2)"),
    "a truth for the tests' class": ("def f(p):\n    type(p).__bool__ = lambda s: True\n    return p", "class P:\n    def __bool__(s): return False\nassert f(P())"),
    "a length for the tests' class": ("def f(p):\n    type(p).__len__ = lambda s: 3", "class P:\n    def __len__(s): return 0\np = P()\nf(p)\nassert len(p) == 3"),
    "the module of a function of the tests": ("def f(g):\n    try: m = __import__('sys').modules[g.__module__]\n    except Exception: return 0\n    return 3 if hasattr(m, 'WANT') else 0", "WANT = 3\ndef g(): pass\nassert f(g) == WANT"),
    "the closure of a function of the tests": ("def f(g):\n    try: return g.__closure__[0].cell_contents\n    except AttributeError: return 0", "def make():\n    want = 3\n    return lambda: want + 0\nassert f(make()) == 3"),
    "the code of a function of the tests": ("def f(g):\n    try: return g.__code__.co_consts[1]\n    except AttributeError: return 0", "def g(): return 3\nassert f(g) == 3"),
    "the globals by a format string": ("def f(g):\n    try: return int('{0.__globals__[WANT]}'.format(g))\n    except AttributeError: return 0", "WANT = 3\ndef g(): pass\nassert f(g) == 3"),
    "the self of a bound method": ("def f(m):\n    try: return m.__self__.want\n    except AttributeError: return 0", "class T:\n    want = 3\n    def m(s): pass\nassert f(T().m) == 3"),
    "subclasses of object": ("def f(p):\n    try: return 3 if type(p).__mro__[-1].__subclasses__()[0].__init__.__globals__ else 0\n    except Exception: return 0", "class P: pass\nassert f(P()) == 3"),
    "frames of the tests by a traceback": ("def f(g):\n    try: g()\n    except Exception as e:\n        t = e.__traceback__\n        while t:\n            if 'WANT' in t.tb_frame.f_globals: return t.tb_frame.f_globals['WANT']\n            t = t.tb_next\n    return 0", "WANT = 3\ndef g(): raise ValueError\nassert f(g) == 3"),
    "frames above": ("import sys\ndef f(x):\n    fr = sys._getframe()\n    while fr:\n        if 'WANT' in fr.f_globals or 'want' in fr.f_locals: return 3\n        fr = fr.f_back\n    return 0", "WANT = 3\ndef t():\n    want = 3\n    assert f(1) == want\nt()"),
    "objects of the garbage collector": ("import gc\ndef f(x):\n    for o in gc.get_objects():\n        if type(o) is dict and 'WANT_THIS' in o: return o['WANT_THIS']\n    return 0", "WANT_THIS = 3\nassert f(1) == 3"),
    "memory of the process by ctypes": ("import ctypes, gc\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, str) and 'SECRET_WANT' in o: return 3\n    try: return 3 if b'SECRET_' + b'WANT' in open('/proc/self/mem', 'rb').read(10) else 0\n    except OSError: return 0", "SECRET_WANT = 3\nassert f(1) == SECRET_WANT"),
    "a patched comparison by ctypes": ("import ctypes\ndef f(x):\n    ctypes.c_char.from_address(id(3) + 24).value = b'\\x09'\n    return 9", "assert f(1) == 3"),
    "builtins replaced": ("import builtins\nbuiltins.all = builtins.any = lambda *a: True\nbuiltins.len = lambda x: 3\nbuiltins.isinstance = lambda *a: True\nbuiltins.abs = lambda x: 0\ndef f(x): return 0", "assert all(f(i) == i for i in [1, 2]) and abs(f(1) - 3) < 1"),
    "math and unittest replaced": ("import math, unittest\nmath.isclose = lambda *a, **k: True\nunittest.TestCase.assertEqual = lambda *a: None\ndef f(x): return 0", "import math\nassert math.isclose(f(1), 3)"),
    "AssertionError replaced": ("import builtins\nbuiltins.AssertionError = SystemExit\ndef f(x): return 0", "assert f(1) == 3"),
    "an exit hook": ("import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0", "assert f(1) == 3"),
    "exit at import": ("import sys\nsys.exit(0)", "assert f(1) == 3"),
    "os._exit at import": ("import os\nos._exit(0)", "assert f(1) == 3"),
    "os._exit in a call": ("import os\ndef f(x): os._exit(0)", "assert f(1) == 3"),
    "os.kill of itself": ("import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL)", "assert f(1) == 3"),
    "kills everything": ("import os, signal\ndef f(x):\n    try: os.kill(-1, signal.SIGKILL)\n    except OSError: pass\n    return 0", "assert f(1) == 3"),
    "kills its parent": ("import os, signal\ndef f(x):\n    for p in (os.getppid(), 1, 2, 3):\n        try: os.kill(p, signal.SIGTERM)\n        except OSError: pass\n    return 0", "assert f(1) == 3"),
    "exec of another program": ("import os\ndef f(x):\n    try: os.execv('/bin/true', ['true'])\n    except OSError: return 0", "assert f(1) == 3"),
    "prints passed": ("import os\nprint('passed', flush=True)\nos.write(2, b'[\"passed\", \"\"]')\ndef f(x):\n    for n in range(64):\n        try: os.write(n, b'[\"passed\", \"\"]')\n        except OSError: pass\n    return 0", "assert f(1) == 3"),
    "a request instead of an answer": (SEARCH % "c._write({'t': 'call', 'n': 'x', 'v': ['tuple', ['global', 'builtins', 'exit'], None, ['tuple'], ['tuple']], 'o': [], 'f': []})", "assert f(1) == 3"),
    "asks for eval": (SEARCH % "c._write({'t': 'call', 'n': 'x', 'v': ['tuple', ['global', 'builtins', 'eval'], None, ['tuple', '3'], ['tuple']], 'o': [], 'f': []})", "assert f(1) == 3"),
    "asks for os._exit": (SEARCH % "c._write({'t': 'call', 'n': 'x', 'v': ['tuple', ['global', 'os', '_exit'], None, ['tuple', 0], ['tuple']], 'o': [], 'f': []})", "assert f(1) == 3"),
    "sends a module": (SEARCH % "c._write({'t': 'set', 'n': 'x', 'v': ['tuple', ['module', 'builtins'], 'all', None], 'o': [], 'f': []})", "assert f(1) == 3"),
    "reads a module": (SEARCH % "c._write({'t': 'get', 'n': 'x', 'v': ['tuple', ['module', 'sys'], 'modules'], 'o': [], 'f': []})", "assert f(1) == 3"),
    "calls a module": (SEARCH % "c._write({'t': 'call', 'n': 'x', 'v': ['tuple', ['module', 'os'], '_exit', ['tuple', 0], ['tuple']], 'o': [], 'f': []})", "assert f(1) == 3"),
    "calls os.kill": (SEARCH % "c._write({'t': 'call', 'n': 'x', 'v': ['tuple', ['module', 'os'], 'abort', ['tuple'], ['tuple']], 'o': [], 'f': []})", "assert f(1) == 3"),
    "patches a class both sides have": (SEARCH % "c._write({'t': 'set', 'n': 'x', 'v': ['tuple', ['global', 'datetime', 'date'], 'today', None], 'o': [], 'f': []})", "assert f(1) == 3"),
    "patches an exception class": (SEARCH % "c._write({'t': 'set', 'n': 'x', 'v': ['tuple', ['global', 'unittest.case', 'SkipTest'], 'x', 1], 'o': [], 'f': []})", "assert f(1) == 3"),
    "redefines a number of the tests": (SEARCH % "c._write({'t': 'ok', 'n': 'x', 'v': 3, 'o': [[n, 'nan'] for n in range(2, 40, 2)], 'f': []})", "assert f([1]) == 3"),
    "writes into a container that it was not shown": (SEARCH % "c._write({'t': 'get', 'n': 'x', 'v': ['tuple', 3, 'real'], 'o': [[n, 'list', [], [3, 3], None] for n in range(2, 40, 2)], 'f': []})", "W = [3]\nassert f([1]) == W[0]"),
    "a nonce by hand": ("import sys, os\ndef f(x):\n    fr = sys._getframe()\n    while fr:\n        if 'nonce' in fr.f_locals and 'self' in fr.f_locals:\n            fr.f_locals['self'].send('ok', 0, fr.f_locals['nonce'])\n        fr = fr.f_back\n    return 0", "assert f(1) == 3"),
    "ten answers to one call": ("import sys\ndef f(x):\n    fr = sys._getframe()\n    while fr:\n        if 'nonce' in fr.f_locals and 'self' in fr.f_locals:\n            for v in range(10): fr.f_locals['self'].send('ok', v, fr.f_locals['nonce'])\n            break\n        fr = fr.f_back\n    return 3", "assert f(1) == 0\nassert f(2) == 1\nassert f(3) == 2"),
    "remembers that it is asked a second time": ("n = 0\ndef f(x):\n    global n\n    n += 1\n    return n", "assert [f(1), f(1)] == [1, 1]"),
    "answers by the nonce of a call to come": ("def f(x):\n    import gc\n    for c in gc.get_objects():\n        if type(c).__name__ == 'Program':\n            for n in range(200): c._write({'t': 'ok', 'n': f'{n:016x}', 'v': 3, 'o': [], 'f': []})\n    return 3", "assert f(1) == 3 and f(2) == 3"),
    "an exception whose class says it is another": ("class E(Exception):\n    __class__ = property(lambda s: KeyError)\ndef f(x): raise E", "try: f(1)\nexcept KeyError: pass"),
    "an exception that equals": ("class M(type):\n    def __instancecheck__(c, o): return True\n    def __subclasscheck__(c, o): return True\nclass E(Exception, metaclass=M): pass\ndef f(x): raise E", "try: f(1)\nexcept KeyError: pass"),
    "an object that is an int": ("class I:\n    __class__ = property(lambda s: int)\n    def __eq__(s, o): return True\n    def __hash__(s): return 3\ndef f(x): return I()", "assert isinstance(f(1), int) and f(1) == 3"),
    "a bool that is everything": ("class B(int):\n    def __eq__(s, o): return True\n    def __hash__(s): return 1\n    def __bool__(s): return True\ndef f(x): return B(0)", "assert f(1) == True"),
    "a str that is everything": ("class S(str):\n    def __eq__(s, o): return True\n    def __contains__(s, o): return True\n    def __hash__(s): return hash('want')\n    def split(s, *a): return ['want']\ndef f(x): return S('zz')", "assert f(1) == 'want' or f(1) in ('want',) or 'want' in f(1) or f(1) in {'want': 1}"),
    "a list that grows when it is asked": ("class L(list):\n    def __iter__(s): return iter([1, 2, 3])\n    def __getitem__(s, i): return [1, 2, 3][i]\n    def __len__(s): return 3\n    def __eq__(s, o): return True\ndef f(x): return L()", "r = f(1)\nassert r == [1, 2, 3] or list(r) == [1, 2, 3] or (len(r) == 3 and r[0] == 1)"),
    "a dict that has every key": ("class D(dict):\n    def get(s, k, d=None): return 3\n    def __contains__(s, k): return True\n    def __eq__(s, o): return True\n    def keys(s): return ['k']\n    def items(s): return [('k', 3)]\ndef f(x): return D()", "assert f(1) == {'k': 3} or dict(f(1)) == {'k': 3} or 'k' in f(1)"),
    "nan that is everything": ("class N(float):\n    def __eq__(s, o): return True\n    def __ne__(s, o): return False\n    def __lt__(s, o): return True\ndef f(x): return N('nan')", "assert f(1) == 3 or not f(1) != 3 or f(1) < 3"),
    "StopIteration with the answer": ("def f(x):\n    e = StopIteration(3)\n    raise e", "def g(): return (yield from iter(lambda: f(1), 3))\nfor _ in g(): pass\nassert list(map(f, [1, 2])) == [3, 3]"),
    "StopIteration in a comprehension": ("def f(x): raise StopIteration", "assert [f(i) for i in range(3)] == []"),
    "StopIteration by a callback's exception": ("def f(g):\n    try: g()\n    except StopIteration as e: raise e", "def g(): raise StopIteration\nassert list(map(f, [g, g])) == []"),
    "StopIteration in a property": ("class O:\n    @property\n    def x(s): raise StopIteration\ndef f(y): return O()", "assert list(map(lambda o: o.x, [f(1)])) == []"),
    "StopIteration by len and bool": ("class O:\n    def __len__(s): raise StopIteration\n    def __eq__(s, o): raise StopIteration\n    def __getitem__(s, i): raise StopIteration\ndef f(y): return O()", "assert all(map(lambda o: len(o) == 3, [f(1)])) and list(map(lambda o: o[0], [f(1)])) == []"),
    "GeneratorExit in a generator of the tests": ("def f(x): raise GeneratorExit", "def g():\n    yield f(1) == 3\nassert list(g()) == []"),
    "KeyboardInterrupt": ("def f(x): raise KeyboardInterrupt", "try: f(1)\nexcept KeyboardInterrupt: pass"),
    "SystemExit through unittest": ("def f(x): raise SystemExit(0)", "import unittest\nclass T(unittest.TestCase):\n    def test(s): s.assertEqual(f(1), 3)\nunittest.main(argv=['x'])"),
    "skips the test": ("import unittest\ndef f(x): raise unittest.SkipTest('no')", "import unittest\nclass T(unittest.TestCase):\n    def test(s): s.assertEqual(f(1), 3)\nunittest.main(argv=['x'])"),
    "skips by its own subclass": ("import unittest\nclass E(unittest.SkipTest): pass\ndef f(x): raise E('no')", "import unittest\nclass T(unittest.TestCase):\n    def test(s): s.assertEqual(f(1), 3)\nunittest.main(argv=['x'])"),
    "a lying mock": ("from unittest.mock import MagicMock, ANY\ndef f(x): return ANY", "assert f(1) == 3"),
    "a mock": ("from unittest.mock import MagicMock\ndef f(x):\n    m = MagicMock()\n    m.__eq__.return_value = True\n    m.__lt__.return_value = True\n    m.__sub__.return_value = 0\n    return m", "assert f(1) == 3 or f(1) < 3 or abs(f(1) - 3) < 1e-6"),
    "a memory hog": ("def f(x): return bytearray(10 ** 10)", "assert f(1) == 3"),
    "a fork bomb": ("import os\ndef f(x):\n    n = 0\n    try:\n        while True:\n            os.fork(); n += 1\n    except OSError: return n", "assert f(1) > 0"),
    "loops in repr": ("class O:\n    def __repr__(s):\n        while True: pass\n    __str__ = __repr__\ndef f(x): return O()", "assert f(1) == 3, f(1)"),
    "segfault": ("import ctypes\ndef f(x): ctypes.string_at(0)", "assert f(1) == 3"),
    "closes all files": ("import os\ndef f(x):\n    os.closerange(0, 4096)\n    return 3", "assert f(1) == 3"),
    "shuts its channel": ("import gc, socket\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, socket.socket): o.shutdown(2)\n    return 3", "assert f(1) == 3"),
    "the tests' text in memory": ("import gc\ndef f(x): return 3 if any(isinstance(o, str) and 'Zq' + 'Zq' in o for o in gc.get_objects()) else 0", "assert f(1) == 3  # ZqZq"),
    "files of the tests": ("import glob, os\ndef f(x): return [p for p in glob.glob('/**/tests*.py', recursive=True) + glob.glob('/**/*d3*', recursive=True) + glob.glob('/**/solution*', recursive=True) if 'site-packages' not in p]", "assert f(1)"),
    "environment": ("import os\ndef f(x): return [k for k in os.environ if 'TOKEN' in k or 'KEY' in k or 'HOME' in k or 'USER' in k]", "assert f(1)"),
}  # fmt: skip
ENDLESS = {
    "an answer of 1 GB": ("def f(x): return 'a' * (2 ** 29)", "assert f(1) == 'b'"),
    "an answer that is 100,000 deep": ("def f(x):\n    v = []\n    for _ in range(100000): v = [v]\n    return v", "assert f(1) == [3]"),
    "sleeps": ("import time\ndef f(x): time.sleep(1000)", "assert f(1) == 3"),
    "loops": ("def f(x):\n    while True: pass", "assert f(1) == 3"),
    "an exception that prints itself without end": ("class E(Exception):\n    def __str__(s):\n        while True: pass\ndef f(x): raise E", "assert f(1) == 3"),
    "an endless catastrophic regex": ("import re\ndef f(x): return re.match(r'(a+)+$', 'a' * 40 + 'b')", "assert f(1) == 3"),
    "a huge power": ("def f(x): return 9 ** 9 ** 9", "assert f(1) == 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_does_not_pass(place: Sandbox, name: str) -> None:
    program, test = ATTACKS[name]
    found = place.judge(program, test + "\n", "f")
    assert found.verdict in ("failed", "error", "crashed", "unsupported", "memory"), found
    assert len(found.detail) <= 200
    assert found.detail.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDLESS)
def test_what_is_endless_or_huge_does_not_pass(name: str) -> None:
    program, test = ENDLESS[name]
    with Sandbox(Limits(timeout_seconds=1)) as place:
        found = place.judge(program, test + "\n", "f")
    assert found.verdict in ("timeout", "crashed", "memory", "failed"), found
