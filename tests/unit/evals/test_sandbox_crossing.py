# ruff: noqa: E501 - one program a line
"""More kinds of programs: exceptions, iterators, aliases, callables, streams and classes that cross, and lies."""

from collections.abc import Iterator

import pytest

from d3.evals.sandbox import Limits, Sandbox


@pytest.fixture(scope="module")
def place() -> Iterator[Sandbox]:
    with Sandbox(Limits(timeout_seconds=10)) as opened:
        yield opened


RIGHT = {
    "a generator ends": (
        "def f():\n    yield 1",
        "g=f()\nassert next(g)==1\ntry:\n    next(g)\nexcept StopIteration: pass\nelse: assert 0",
    ),
    "generator return value": (
        "def f():\n    yield 1\n    return 7",
        "g=f()\nnext(g)\ntry:\n    next(g)\nexcept StopIteration as e: assert e.value==7",
    ),
    "iterator class raising StopIteration in next: all": (
        "class f:\n    def __init__(s): s.n=0\n    def __iter__(s): return s\n    def __next__(s):\n        s.n+=1\n        if s.n>3: raise StopIteration\n        return s.n",
        "assert list(f())==[1,2,3]",
    ),
    "stopasync is RuntimeError": ("def f(x): raise StopAsyncIteration", "try: f(1)\nexcept RuntimeError: pass"),
    "raises Exception own base": (
        "class E(Exception): pass\ndef f(): raise E('x')",
        "try: f()\nexcept Exception as e: assert type(e).__name__=='E' and str(e)=='x' and isinstance(e,E)",
    ),
    "exceptions cause": (
        "def f():\n    try: 1/0\n    except ZeroDivisionError as e: raise ValueError('v') from e",
        "try: f()\nexcept ValueError as e: assert isinstance(e.__cause__,ZeroDivisionError)",
    ),
    "unicode error args": (
        "def f(): b'\\xff'.decode('utf-8')",
        "try: f()\nexcept UnicodeDecodeError as e: assert e.start==0 and e.encoding=='utf-8'",
    ),
    "keyerror arg": (
        "def f(d,k): return d[k]",
        "try: f({},'a')\nexcept KeyError as e: assert e.args==('a',) and str(e)==\"'a'\"",
    ),
    "oserror errno": (
        "def f(): open('/nope')",
        "try: f()\nexcept FileNotFoundError as e: assert e.errno==2 and e.filename=='/nope'",
    ),
    "exception group": (
        "def f(): raise ExceptionGroup('g',[ValueError(1),TypeError(2)])",
        "try: f()\nexcept* ValueError as g: assert len(g.exceptions)==1\nexcept* TypeError: pass",
    ),
    "exception notes": (
        "def f():\n    e=ValueError('x'); e.add_note('n'); raise e",
        "try: f()\nexcept ValueError as e: assert e.__notes__==['n']",
    ),
    "exception returned": (
        "def f(): return ValueError('x')",
        "e=f()\nassert isinstance(e,ValueError) and e.args==('x',)",
    ),
    "exception class returned": ("def f(): return ValueError", "assert f() is ValueError"),
    "raises exc of tests": (
        "def f(g): return g()",
        "class T(Exception): pass\ndef g(): raise T('t')\ntry: f(g)\nexcept T as e: assert str(e)=='t'\nelse: assert 0",
    ),
    "same exc object": (
        "def f(g):\n    try: g()\n    except Exception as e: return e",
        "x=ValueError()\ndef g(): raise x\nassert f(g) is x",
    ),
    "catches tests exc by base": (
        "def f(g):\n    try: g()\n    except ValueError: return 'v'",
        "class T(ValueError): pass\ndef g(): raise T('t')\nassert f(g)=='v'",
    ),
    "alias two args in dict": ("def f(d): d['a'].append(1)", "x=[]\nf({'a':x,'b':x})\nassert x==[1]"),
    "alias returned inside": (
        "def f(x): return [x,x]",
        "x=[]\nr=f(x)\nassert r[0] is x and r[1] is x\nr[0].append(2)\nassert x==[2]",
    ),
    "tuple identity inner": ("def f(t): return t[0]", "x=[]\nassert f((x,)) is x"),
    "object attr alias": (
        "class f:\n    def __init__(s,x): s.x=x",
        "x=[1]\no=f(x)\no.x.append(2)\nassert x==[1,2] and o.x is x",
    ),
    "returned list mutated by object": (
        "class f:\n    def __init__(s): s.items=[]\n    def add(s,x): s.items.append(x)",
        "o=f()\ni=o.items\no.add(1)\nassert i==[1] and o.items is i",
    ),
    "copy returned not alias": (
        "class f:\n    def __init__(s): s.items=[]\n    def get(s): return list(s.items)",
        "o=f()\ni=o.get()\ni.append(1)\nassert o.get()==[]",
    ),
    "set mutation": ("def f(s): s.add(3); s.discard(1)", "s={1,2}\nf(s)\nassert s=={2,3}"),
    "dict order mutation": ("def f(d): d['z']=d.pop('a')", "d={'a':1,'b':2}\nf(d)\nassert list(d)==['b','z']"),
    "clear and refill in place": ("def f(x): x[:]=[9]", "x=[1,2,3]\ny=x\nf(x)\nassert y==[9]"),
    "bytearray in place": ("def f(b): b.reverse()", "b=bytearray(b'ab')\nf(b)\nassert b==b'ba'"),
    "linked list of tests": (
        "def f(h):\n    p=None\n    while h: h.next,p,h=p,h,h.next\n    return p",
        "class N:\n    def __init__(s,v,n=None): s.v=v; s.next=n\na=N(1,N(2,N(3)))\nr=f(a)\no=[]\nwhile r: o.append(r.v); r=r.next\nassert o==[3,2,1]",
    ),
    "nodes made from program's class": (
        "class Node:\n    def __init__(s,v,n=None): s.v=v; s.n=n\ndef f(h):\n    t=0\n    while h: t+=h.v; h=h.n\n    return t",
        "assert f(Node(1,Node(2)))==3",
    ),
    "isinstance of abc": (
        "from collections.abc import Sequence\nclass f(Sequence):\n    def __len__(s): return 2\n    def __getitem__(s,i):\n        if i>1: raise IndexError\n        return i",
        "from collections.abc import Sequence\no=f()\nassert isinstance(o,Sequence) and list(o)==[0,1] and 1 in o",
    ),
    "context manager": (
        "class f:\n    def __enter__(s): s.a=1; return s\n    def __exit__(s,*a): s.a=2; return True",
        "o=f()\nwith o as p:\n    assert p is o and o.a==1\n    raise ValueError\nassert o.a==2",
    ),
    "contextmanager fn": (
        "from contextlib import contextmanager\n@contextmanager\ndef f(l):\n    l.append(1)\n    yield 5\n    l.append(2)",
        "l=[]\nwith f(l) as x: assert x==5\nassert l==[1,2]",
    ),
    "property and setter": (
        "class f:\n    def __init__(s): s._x=1\n    @property\n    def x(s): return s._x\n    @x.setter\n    def x(s,v):\n        if v<0: raise ValueError('neg')\n        s._x=v",
        "o=f()\no.x=3\nassert o.x==3\ntry: o.x=-1\nexcept ValueError as e: assert str(e)=='neg'\nelse: assert 0",
    ),
    "classmethod static": (
        "class f:\n    n=0\n    @classmethod\n    def make(c): c.n+=1; return c()\n    @staticmethod\n    def s(x): return x*2",
        "o=f.make()\nassert isinstance(o,f) and f.n==1 and f.s(2)==4",
    ),
    "hash and dict key": (
        "class f:\n    def __init__(s,x): s.x=x\n    def __hash__(s): return hash(s.x)\n    def __eq__(s,o): return isinstance(o,f) and s.x==o.x",
        "d={f(1):'a'}\nassert d[f(1)]=='a' and f(2) not in d and len({f(1),f(1)})==1",
    ),
    "matmul, call, getitem, contains": (
        "class f:\n    def __call__(s,x): return x+1\n    def __getitem__(s,k): return k\n    def __setitem__(s,k,v): s.k=(k,v)\n    def __contains__(s,x): return x==3\n    def __matmul__(s,o): return 'm'\n    def __neg__(s): return 'n'\n    def __bool__(s): return False\n    def __int__(s): return 7\n    def __index__(s): return 2",
        "o=f()\no[1]=2\nassert o(1)==2 and o['a']=='a' and o[1:3]==slice(1,3) and o.k==(1,2) and 3 in o and 4 not in o and o@o=='m' and -o=='n' and not o and int(o)==7 and [5,6,7][o]==7",
    ),
    "str format": (
        "class f:\n    def __str__(s): return 'S'\n    def __repr__(s): return 'R'\n    def __format__(s,x): return 'F'+x",
        "o=f()\nassert str(o)=='S' and repr(o)=='R' and f'{o:>3}'=='F>3' and '%s'%o=='S'",
    ),
    "handle bool truth assert": ("class f:\n    def __bool__(s): return True", "assert f()"),
    "sorted by key callable": (
        "def f(xs,key): return sorted(xs,key=key)",
        "assert f([3,1,2],key=lambda x:-x)==[3,2,1]",
    ),
    "callable counts calls": (
        "def f(g,n):\n    for _ in range(n): g()",
        "c=[]\nf(lambda: c.append(1),5)\nassert len(c)==5",
    ),
    "a function of the tests changes its argument": (
        "def f(g):\n    x=[1]\n    g(x)\n    return x",
        "assert f(lambda x: x.append(2))==[1,2]",
    ),
    "callable raising": (
        "def f(g):\n    try: return g()\n    except ZeroDivisionError: return 'z'",
        "assert f(lambda: 1/0)=='z'",
    ),
    "decorator": (
        "import functools\ndef f(g):\n    @functools.wraps(g)\n    def w(*a,**k): return g(*a,**k)+1\n    return w",
        "@f\ndef h(x): 'doc'; return x\nassert h(1)==2 and h.__name__=='h' and h.__doc__=='doc'",
    ),
    "partial arg": ("def f(g): return g(1)", "import functools\nassert f(functools.partial(pow,2))==2"),
    "operator arg": ("def f(g,a,b): return g(a,b)", "import operator\nassert f(operator.add,1,2)==3"),
    "str method arg": (
        "def f(g,x): return g(x)",
        "assert f(str.upper,'a')=='A' and f(int,'3')==3 and f('x'.join,['a','b'])=='axb'",
    ),
    "bound method arg": ("def f(g): g(1)", "x=[]\nf(x.append)\nassert x==[1]"),
    "generator arg lazy": (
        "def f(it): return next(it)",
        "seen=[]\ndef g():\n    for i in range(3):\n        seen.append(i)\n        yield i\nit=g()\nassert f(it)==0 and seen==[0] and next(it)==1",
    ),
    "zip/map/filter args": (
        "def f(it): return list(it)",
        "assert f(zip([1],[2]))==[(1,2)] and f(map(str,[1]))==['1'] and f(filter(None,[0,1]))==[1] and f(enumerate('a'))==[(0,'a')] and f(reversed([1,2]))==[2,1]",
    ),
    "range ret": ("def f(): return range(3)", "assert f()==range(3) and list(f())==[0,1,2]"),
    "returned map": (
        "def f(x): return map(lambda v:v+1,x)",
        "m=f([1,2])\nassert next(m)==2 and list(m)==[3] and list(m)==[]",
    ),
    "returned zip type": ("def f(x): return zip(x,x)", "m=f([1])\nassert isinstance(m,zip) or hasattr(m,'__next__')"),
    "returned generator istype": (
        "def f():\n    yield 1",
        "import types,inspect\nassert isinstance(f(),types.GeneratorType) and inspect.isgeneratorfunction(f)",
    ),
    "dict views": ("def f(): return {'a':1}.values()", "assert list(f())==[1] and sum(f())==1"),
    "capture print end/flush": (
        "def f():\n    print('a',end='',flush=True)\n    import sys\n    sys.stdout.write('b')",
        "import io,sys\no=sys.stdout\nsys.stdout=io.StringIO()\nf()\nt=sys.stdout.getvalue()\nsys.stdout=o\nassert t=='ab'",
    ),
    "capture stderr": (
        "import sys\ndef f(): print('e',file=sys.stderr)",
        "import io,contextlib\ne=io.StringIO()\nwith contextlib.redirect_stderr(e): f()\nassert e.getvalue()=='e\\n'",
    ),
    "print to given file": (
        "def f(s): print('x',file=s)",
        "import io\ns=io.StringIO()\nf(s)\nassert s.getvalue()=='x\\n'",
    ),
    "stdin read": (
        "import sys\ndef f(): return sys.stdin.read().split()",
        "import io,sys\nsys.stdin=io.StringIO('1 2')\nassert f()==['1','2']",
    ),
    "stdin lines iter": (
        "import sys\ndef f(): return [l.strip() for l in sys.stdin]",
        "import io,sys\nsys.stdin=io.StringIO('1\\n2\\n')\nassert f()==['1','2']",
    ),
    "input EOF": (
        "def f():\n    r=[]\n    try:\n        while True: r.append(input())\n    except EOFError: return r",
        "import io,sys\nsys.stdin=io.StringIO('a\\nb')\nassert f()==['a','b']",
    ),
    "print interleaved with tests": (
        "def f(): print('b')",
        "import io,contextlib\no=io.StringIO()\nwith contextlib.redirect_stdout(o):\n    print('a')\n    f()\n    print('c')\nassert o.getvalue()=='a\\nb\\nc\\n'",
    ),
    "mock print": (
        "def f(): print('hi',2)",
        "from unittest.mock import patch\nwith patch('builtins.print') as p: f()\np.assert_called_once_with('hi',2)",
    ),
    "mock arg": (
        "def f(m): m.go(1); return m.x",
        "from unittest.mock import Mock\nm=Mock(x=4)\nassert f(m)==4\nm.go.assert_called_once_with(1)",
    ),
    "async gen": (
        "async def f():\n    for i in range(3): yield i",
        "import asyncio\nasync def m(): return [x async for x in f()]\nassert asyncio.run(m())==[0,1,2]",
    ),
    "gather coroutines": (
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(.01)\n    return x",
        "import asyncio\nasync def m(): return await asyncio.gather(f(1),f(2))\nassert asyncio.run(m())==[1,2]",
    ),
    "async with callback": (
        "async def f(g): return await g()",
        "import asyncio\nasync def g(): return 3\nassert asyncio.run(f(g))==3",
    ),
    "namedtuple field": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x:int\n    y:int=2\ndef f(): return P(1)",
        "p=f()\nassert p.x==1 and p==(1,2) and p._asdict()=={'x':1,'y':2} and p._replace(x=5).x==5 and isinstance(p,P) and isinstance(p,tuple)",
    ),
    "frozen dataclass": (
        "from dataclasses import dataclass,FrozenInstanceError\n@dataclass(frozen=True,order=True)\nclass f:\n    x:int",
        "import dataclasses\na=f(1)\ntry: a.x=2\nexcept dataclasses.FrozenInstanceError: pass\nelse: assert 0\nassert f(1)<f(2) and hash(a)==hash(f(1)) and dataclasses.asdict(a)=={'x':1}",
    ),
    "intenum": (
        "from enum import IntEnum\nclass C(IntEnum):\n    A=1\ndef f(): return C.A",
        "assert f()==1 and f()+1==2 and f() is C.A",
    ),
    "default dict": (
        "from collections import defaultdict\ndef f(): return defaultdict(list,a=[1])",
        "d=f()\nassert d=={'a':[1]} and d['z']==[]",
    ),
    "dict missing honest": (
        "class D(dict):\n    def __missing__(s,k): return k*2\ndef f(): return D(a=1)",
        "d=f()\nassert d['a']==1 and d['b']=='bb'",
    ),
    "user list honest": (
        "class Stack(list):\n    def push(s,x): s.append(x)\n    def peek(s): return s[-1]\ndef f(): return Stack()",
        "s=f()\ns.push(1)\ns.push(2)\nassert s.peek()==2 and len(s)==2 and s==[1,2] and s.pop()==2",
    ),
    "decimal ctx": (
        "from decimal import Decimal\ndef f(a): return a/3",
        "from decimal import Decimal\nassert f(Decimal(1))==Decimal(1)/3",
    ),
    "regex match": (
        "import re\ndef f(s): return re.match('(a)(b)',s)",
        "m=f('ab')\nassert m and m.group(1)=='a' and m.groups()==('a','b') and f('x') is None",
    ),
    "regex pattern arg": ("def f(p,s): return p.findall(s)", "import re\nassert f(re.compile('a'),'aba')==['a','a']"),
    "nan identity": ("def f(x): return x", "n=float('nan')\nassert f(n) is n and f([n])==[n]"),
    "None is": ("def f(): return None", "assert f() is None"),
    "string interned is?": ("def f(x): return x", "assert f('a')=='a'"),
    "deepcopy object": (
        "class f:\n    def __init__(s): s.x=[1]",
        "import copy\na=f()\nb=copy.deepcopy(a)\nb.x.append(2)\nassert a.x==[1] and b.x==[1,2] and a is not b",
    ),
    "setattr on function": ("def f(): return f.n", "f.n=3\nassert f()==3"),
    "global of program by module": ("N=[1]\ndef f(): N.append(2); return len(N)", "f()\nassert N==[1,2]"),
    "global int changed": ("n=0\ndef f():\n    global n\n    n+=1", "f()\nassert n==1"),
    "type of class": ("class f: pass", "assert type(f()) is f and f().__class__ is f and f.__name__=='f'"),
    "super meta": ("class M(type):\n    def __call__(c,*a): return 'm'\nclass f(metaclass=M): pass", "assert f()=='m'"),
    "singleton": (
        "class f:\n    i=None\n    def __new__(c):\n        if c.i is None: c.i=super().__new__(c)\n        return c.i",
        "assert f() is f()",
    ),
    "weakref cb": ("class f: pass", "import weakref\no=f()\nr=weakref.ref(o)\nassert r() is o"),
    "threading in program": (
        "import threading\ndef f(n):\n    r=[]\n    t=[threading.Thread(target=r.append,args=(i,)) for i in range(n)]\n    [x.start() for x in t];[x.join() for x in t]\n    return sorted(r)",
        "assert f(5)==[0,1,2,3,4]",
    ),
    "threaded callbacks": (
        "import threading\ndef f(g):\n    t=threading.Thread(target=g)\n    t.start(); t.join()",
        "c=[]\nf(lambda: c.append(1))\nassert c==[1]",
    ),
    "tempfile": (
        "import tempfile\ndef f():\n    with tempfile.TemporaryFile('w+') as t:\n        t.write('x'); t.seek(0); return t.read()",
        "assert f()=='x'",
    ),
    "sqlite": (
        "import sqlite3\ndef f(): return sqlite3.connect(':memory:').execute('select 1+1').fetchone()",
        "assert f()==(2,)",
    ),
    "a change of a list that only the object holds": (
        "class f:\n    def __init__(s): s.x=[1]",
        "b=f()\nb.x.append(2)\nassert b.x==[1,2]",
    ),
    "async generator that sleeps": (
        "import asyncio\nasync def f():\n    for i in range(2):\n        await asyncio.sleep(.01)\n        yield i",
        "import asyncio\nasync def m(): return [x async for x in f()]\nassert asyncio.run(m())==[0,1]",
    ),
}
WRONG = {
    "stopiteration from method": (
        "class f:\n    def get(s): raise StopIteration",
        "assert all(f().get()==x for x in [1])",
    ),
    "stopiter from __len__": (
        "class f:\n    def __len__(s): raise StopIteration",
        "assert all(map(lambda x: len(f())==x,[1]))",
    ),
    "stopiter from __getattr__": (
        "class f:\n    def __getattr__(s,n): raise StopIteration",
        "assert all(map(lambda x: f().value==x,[1]))",
    ),
    "stopiter from __eq__": (
        "class f:\n    def __eq__(s,o): raise StopIteration",
        "a=f()\nassert all(map(lambda x: a==f(),[1]))",
    ),
    "stopiter from __iter__": (
        "class f:\n    def __iter__(s): raise StopIteration",
        "assert all(map(lambda x: list(f())==[1],[1]))",
    ),
    "next lies: gen of tests empties": ("def f(it):\n    raise StopIteration", "assert all(f(i) for i in iter([1,2]))"),
    "stopasync": (
        "def f(x): raise StopAsyncIteration",
        "import asyncio\nasync def g():\n    f(1)\n    yield 1\nasync def h(): return [x async for x in g()]\nassert asyncio.run(h())==[]",
    ),
    "keyboardinterrupt": (
        "def f(x): raise KeyboardInterrupt",
        "try:\n    assert f(1)==1\nexcept KeyboardInterrupt: pass",
    ),
    "rebinding no effect": ("def f(x): x=sorted(x)", "x=[2,1]\nf(x)\nassert x==[1,2]"),
    "class attr missing": ("class f: pass", "assert f().x==1"),
    "handle==5 false": ("class f:\n    def __eq__(s,o): return True", "assert f()==5"),
    "5==handle": ("class f:\n    def __eq__(s,o): return True", "assert 5==f()"),
    "handle in list": ("class f:\n    def __eq__(s,o): return True\n    __hash__=None", "assert f() in [1,2]"),
    "list count": ("class f:\n    def __eq__(s,o): return True", "assert [1,2].count(f())==2"),
    "int subclass lying": (
        "class I(int):\n    def __eq__(s,o): return True\n    def __index__(s): return 3\n    __hash__=int.__hash__\ndef f(): return I(0)",
        "assert f()==3",
    ),
    "str subclass lying join": (
        "class S(str):\n    def __str__(s): return 'abc'\n    def __eq__(s,o): return True\n    __hash__=str.__hash__\ndef f(): return S('x')",
        "assert ''.join([f()])=='abc' or f()=='abc'",
    ),
    "list subclass iter lies": (
        "class L(list):\n    def __iter__(s): return iter([1,2,3])\n    def __len__(s): return 3\n    def __getitem__(s,i): return [1,2,3][i]\ndef f(): return L([9])",
        "assert list(f())==[1,2,3]",
    ),
    "dict subclass lies": (
        "class D(dict):\n    def __getitem__(s,k): return 1\n    def get(s,k,d=None): return 1\n    def __eq__(s,o): return True\ndef f(): return D()",
        "assert f()=={'a':1}",
    ),
    "huge int str": ("def f(): return str(10**5000)", "assert f()=='1'"),
    "bool vs int type": ("def f(): return 1", "assert f() is True"),
    "kills itself": (
        "import signal,os\ndef f():\n    os.kill(os.getpid(),signal.SIGKILL)\n    return 3",
        "assert f()==3",
    ),
    "abort": ("import os\ndef f():\n    os.abort()", "assert f()==3"),
    "coroutine that raises StopAsyncIteration": (
        "class f:\n    def __await__(s):\n        raise StopAsyncIteration\n        yield",
        "import asyncio\nclass G:\n    def __aiter__(s): return s\n    async def __anext__(s): return await f()\nasync def m(): return [x async for x in G()]\nassert asyncio.run(m())==[]",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_passes(place: Sandbox, name: str) -> None:
    program, test = RIGHT[name]
    found = place.judge(program, test + "\n", "f")
    assert found.verdict == "passed", found


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_does_not_pass(place: Sandbox, name: str) -> None:
    program, test = WRONG[name]
    found = place.judge(program, test + "\n", "f")
    assert found.verdict in ("failed", "error", "crashed"), found
