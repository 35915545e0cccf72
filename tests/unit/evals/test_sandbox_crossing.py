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
    "nested gen of gens": (
        "def f():\n    for i in range(2):\n        yield (j for j in range(i+1))",
        "assert [list(g) for g in f()]==[[0],[0,1]]",
    ),
    "yield from tests gen": (
        "def f(it):\n    yield from it",
        "def g():\n    yield 1\n    yield 2\nassert list(f(g()))==[1,2]",
    ),
    "tests iterator stop in program": (
        "def f(it):\n    r=[]\n    while True:\n        try: r.append(next(it))\n        except StopIteration: return r",
        "assert f(iter([1,2]))==[1,2]",
    ),
    "next default": ("def f(it): return next(it,None)", "assert f(iter([])) is None"),
    "custom iterator of tests": (
        "def f(it): return [x for x in it]",
        "class I:\n    def __init__(s): s.n=0\n    def __iter__(s): return s\n    def __next__(s):\n        s.n+=1\n        if s.n>2: raise StopIteration\n        return s.n\nassert f(I())==[1,2]",
    ),
    "getitem iterable of tests": (
        "def f(x): return [v for v in x]",
        "class I:\n    def __getitem__(s,i):\n        if i>1: raise IndexError\n        return i\nassert f(I())==[0,1]",
    ),
    "sequence of tests len": (
        "def f(x): return len(x), x[0], 3 in x",
        "class I:\n    def __getitem__(s,i): return [7,8][i]\n    def __len__(s): return 2\n    def __contains__(s,x): return x==3\nassert f(I())==(2,7,True)",
    ),
    "eq objects of tests": (
        "def f(a,b): return a==b, a is b",
        "class I: pass\ni=I()\nassert f(i,i)==(True,True) and f(i,I())==(False,False)",
    ),
    "sort tests objects": (
        "def f(xs): return sorted(xs)",
        "class I:\n    def __init__(s,x): s.x=x\n    def __lt__(s,o): return s.x<o.x\na,b=I(2),I(1)\nassert f([a,b])==[b,a] and f([a,b])[0] is b",
    ),
    "dict with tests obj keys": (
        "def f(d): return [k for k in d]",
        "class K: pass\nk=K()\nassert f({k:1})==[k] and f({k:1})[0] is k",
    ),
    "set of objects of tests": ("def f(s): return len(s)", "class K: pass\nassert f({K(),K()})==2"),
    "isinstance on tests obj": (
        "def f(x): return isinstance(x,dict), hasattr(x,'a'), getattr(x,'z',5), callable(x)",
        "class K: a=1\nassert f(K())==(False,True,5,False)",
    ),
    "type name of tests obj": ("def f(x): return type(x).__name__", "class K: pass\nassert f(K())=='K'"),
    "str of tests obj": (
        "def f(x): return str(x)+repr(x)+f'{x}'",
        "class K:\n    def __repr__(s): return 'K'\nassert f(K())=='KKK'",
    ),
    "dataclass of tests": (
        "def f(p): p.x+=1; return p",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x:int\np=P(1)\nassert f(p) is p and p.x==2",
    ),
    "enum of tests": (
        "def f(c): return c.value, c.name",
        "from enum import Enum\nclass C(Enum):\n    A=3\nassert f(C.A)==(3,'A')",
    ),
    "class of tests as arg": (
        "def f(c): return c(4)",
        "class P:\n    def __init__(s,x): s.x=x\nr=f(P)\nassert isinstance(r,P) and r.x==4",
    ),
    "exception class arg": (
        "def f(g,e):\n    try: g()\n    except e: return 'caught'",
        "def g(): raise KeyError(1)\nassert f(g,KeyError)=='caught'",
    ),
    "exception tests-class arg": (
        "def f(e): raise e('m')",
        "class T(Exception): pass\ntry: f(T)\nexcept T as e: assert str(e)=='m'\nelse: assert 0",
    ),
    "retry decorator": (
        "def f(n):\n    def deco(g):\n        def w(*a):\n            for i in range(n):\n                try: return g(*a)\n                except ValueError:\n                    if i==n-1: raise\n        return w\n    return deco",
        "c=[]\n@f(3)\ndef g():\n    c.append(1)\n    if len(c)<3: raise ValueError('x')\n    return 'ok'\nassert g()=='ok' and len(c)==3\n@f(2)\ndef h(): raise ValueError('y')\ntry: h()\nexcept ValueError as e: assert str(e)=='y'\nelse: assert 0",
    ),
    "memoize": (
        "def f(g):\n    c={}\n    def w(*a):\n        if a not in c: c[a]=g(*a)\n        return c[a]\n    w.cache=c\n    return w",
        "n=[]\n@f\ndef g(x):\n    n.append(x)\n    return x*2\nassert g(1)==2 and g(1)==2 and n==[1] and g.cache=={(1,):2}",
    ),
    "lru on tests fn": (
        "import functools\ndef f(g): return functools.lru_cache(g)",
        "n=[]\ndef g(x):\n    n.append(x)\n    return x\nh=f(g)\nh(1);h(1)\nassert n==[1]",
    ),
    "compose": (
        "from functools import reduce\ndef f(*fs): return reduce(lambda a,b: lambda x: a(b(x)), fs)",
        "assert f(lambda x:x+1,lambda x:x*2)(5)==11",
    ),
    "event emitter": (
        "class f:\n    def __init__(s): s.h={}\n    def on(s,e,g): s.h.setdefault(e,[]).append(g)\n    def emit(s,e,*a): return [g(*a) for g in s.h.get(e,[])]",
        "l=[]\ne=f()\ne.on('x',l.append)\ne.on('x',lambda v:v*2)\nassert e.emit('x',3)==[None,6] and l==[3]",
    ),
    "LRU cache class": (
        "from collections import OrderedDict\nclass f:\n    def __init__(s,n): s.n=n; s.d=OrderedDict()\n    def get(s,k):\n        if k not in s.d: return -1\n        s.d.move_to_end(k); return s.d[k]\n    def put(s,k,v):\n        s.d[k]=v; s.d.move_to_end(k)\n        if len(s.d)>s.n: s.d.popitem(last=False)",
        "c=f(2)\nc.put(1,1);c.put(2,2)\nassert c.get(1)==1\nc.put(3,3)\nassert c.get(2)==-1 and list(c.d)==[1,3]",
    ),
    "tree": (
        "class f:\n    def __init__(s,v,l=None,r=None): s.v=v; s.l=l; s.r=r\n    def __iter__(s):\n        if s.l: yield from s.l\n        yield s.v\n        if s.r: yield from s.r",
        "t=f(2,f(1),f(3))\nassert list(t)==[1,2,3] and t.l.v==1 and t.l.l is None",
    ),
    "complex ret": ("def f(): return complex(1,2)", "assert f()==1+2j and isinstance(f(),complex)"),
    "print to real stdout ignored": ("def f():\n    print('x'*100000)\n    return 1", "assert f()==1"),
    "stdout replaced by program": (
        "import sys,io\ndef f():\n    o=sys.stdout\n    sys.stdout=io.StringIO()\n    print('x')\n    v=sys.stdout.getvalue()\n    sys.stdout=o\n    return v",
        "assert f()=='x\\n'",
    ),
    "write to fd1 captured?": ("import os\ndef f():\n    os.write(1,b'x')\n    return 1", "assert f()==1"),
    "sys.stdin.readline": (
        "import sys\ndef f(): return sys.stdin.readline()+sys.stdin.readline()",
        "import io,sys\nsys.stdin=io.StringIO('a\\nb\\n')\nassert f()=='a\\nb\\n'",
    ),
    "capsys loops": (
        "def f(n):\n    for i in range(n): print(i)",
        "import io,contextlib\nfor n in (1,2):\n    b=io.StringIO()\n    with contextlib.redirect_stdout(b): f(n)\n    assert b.getvalue()==''.join(f'{i}\\n' for i in range(n))",
    ),
    "generator printing": (
        "def f():\n    print('a')\n    yield 1\n    print('b')",
        "import io,contextlib\nb=io.StringIO()\nwith contextlib.redirect_stdout(b): list(f())\nassert b.getvalue()=='a\\nb\\n'",
    ),
    "stderr via logging": ("import logging\ndef f():\n    logging.warning('w')\n    return 1", "assert f()==1"),
    "sys.exit code": (
        "import sys\ndef f(): sys.exit(2)",
        "try: f()\nexcept BaseException as e: assert type(e).__name__ in ('SystemExit','RuntimeError')\nelse: assert 0",
    ),
    "recursion error": ("def f(): return f()", "try: f()\nexcept RecursionError: pass\nelse: assert 0"),
    "memory error in program": (
        "def f():\n    try: return [0]*10**12\n    except MemoryError: return 'm'",
        "assert f()=='m'",
    ),
    "type error wrong args": (
        "def f(x): return x",
        "try: f()\nexcept TypeError as e: assert 'missing' in str(e)\nelse: assert 0",
    ),
    "kwargs": ("def f(*a,**k): return a,k", "assert f(1,b=2)==((1,),{'b':2})"),
    "kwonly": ("def f(a,/,b,*,c=3): return (a,b,c)", "assert f(1,b=2)==(1,2,3) and f.__kwdefaults__=={'c':3}"),
    "defaults": ("def f(a=[1]): return a", "assert f.__defaults__==([1],)"),
    "annotations": ("def f(a:int)->str: return ''", "assert f.__annotations__=={'a':int,'return':str}"),
    "typing hints": (
        "from typing import List\ndef f(a:List[int]): return a",
        "import typing\nassert typing.get_type_hints(f)['a']",
    ),
    "frozenset of tuples": ("def f(): return frozenset({(1,2)})", "assert f()==frozenset({(1,2)})"),
    "mutable in tuple alias": (
        "def f(t): t[0].append(1); return t",
        "x=[]\nt=(x,)\nr=f(t)\nassert x==[1] and r==([1],)",
    ),
    "2d grid in place": (
        "def f(g):\n    for r in g: r.reverse()\n    g.reverse()",
        "g=[[1,2],[3,4]]\nr0=g[0]\nf(g)\nassert g==[[4,3],[2,1]] and g[1] is r0",
    ),
    "swap elements": ("def f(a,b): a[:],b[:]=b[:],a[:]", "a,b=[1],[2]\nf(a,b)\nassert a==[2] and b==[1]"),
    "nested defaultdict": (
        "from collections import defaultdict\ndef f():\n    d=defaultdict(lambda: defaultdict(int))\n    d['a']['b']+=1\n    return d",
        "d=f()\nassert d['a']['b']==1 and d['z']['y']==0",
    ),
    "counter ops": (
        "from collections import Counter\ndef f(s): return Counter(s)",
        "assert f('aab').most_common(1)==[('a',2)] and f('a')+f('b')==f('ab')",
    ),
    "chainmap": (
        "from collections import ChainMap\ndef f(): return ChainMap({'a':1},{'b':2})",
        "m=f()\nassert m['b']==2 and dict(m)=={'a':1,'b':2}",
    ),
    "mappingproxy": (
        "from types import MappingProxyType\ndef f(): return MappingProxyType({'a':1})",
        "assert f()['a']==1",
    ),
    "simplenamespace": ("from types import SimpleNamespace\ndef f(): return SimpleNamespace(a=1)", "assert f().a==1"),
    "heap of tuples": (
        "import heapq\ndef f(xs):\n    heapq.heapify(xs)\n    return heapq.heappop(xs)",
        "x=[3,1,2]\nassert f(x)==1 and len(x)==2",
    ),
    "date arithmetic": (
        "from datetime import datetime\ndef f(a,b): return b-a",
        "from datetime import datetime,timedelta\nassert f(datetime(2020,1,1),datetime(2020,1,2))==timedelta(days=1)",
    ),
    "date aware": (
        "from datetime import datetime,timezone,timedelta\ndef f(): return datetime(2020,1,1,tzinfo=timezone(timedelta(hours=2)))",
        "assert f().utcoffset().seconds==7200",
    ),
    "path": (
        "from pathlib import Path\ndef f(p): return p.name, p.suffix, p/'b'",
        "from pathlib import Path\nassert f(Path('/x/a.txt'))==('a.txt','.txt',Path('/x/a.txt/b'))",
    ),
    "io.StringIO ret": (
        "import io\ndef f():\n    s=io.StringIO()\n    s.write('a')\n    return s",
        "assert f().getvalue()=='a'",
    ),
    "bytesio arg": ("def f(b): return b.read()", "import io\nassert f(io.BytesIO(b'x'))==b'x'"),
    "open file tmp tests? program writes": (
        "def f(p):\n    open(p,'w').write('x')\n    return open(p).read()",
        "assert f('/tmp/a')=='x'",
    ),
    "array": (
        "import array\ndef f(a): a.append(3); return a",
        "import array\na=array.array('i',[1])\nassert f(a) is a and a.tolist()==[1,3]",
    ),
    "struct ret slice": ("def f(): return slice(1,2)", "assert [1,2,3][f()]==[2]"),
    "Ellipsis": ("def f(): return ...", "assert f() is ..."),
    "NotImplemented": ("def f(): return NotImplemented", "assert f() is NotImplemented"),
    "type ret": ("def f(x): return type(x)", "assert f(1) is int and f([]) is list and f(None) is type(None)"),
    "module ret": ("import math\ndef f(): return math", "assert f().pi>3"),
    "builtin fn ret": ("def f(): return len", "assert f()([1])==1"),
    "lambda list": ("def f(): return [lambda x,i=i: x+i for i in range(3)]", "assert [g(1) for g in f()]==[1,2,3]"),
    "bound method ret": ("class C:\n    def m(s): return 4\ndef f(): return C().m", "assert f()()==4"),
    "partial ret": ("from functools import partial\ndef f(): return partial(pow,2)", "assert f()(3)==8"),
    "singledispatch": (
        "from functools import singledispatch\n@singledispatch\ndef f(x): return 'o'\n@f.register\ndef _(x:int): return 'i'",
        "assert f(1)=='i' and f('a')=='o'",
    ),
    "total_ordering": (
        "from functools import total_ordering\n@total_ordering\nclass f:\n    def __init__(s,x): s.x=x\n    def __eq__(s,o): return s.x==o.x\n    def __lt__(s,o): return s.x<o.x",
        "assert f(1)<=f(1) and f(2)>f(1) and max([f(1),f(3)]).x==3",
    ),
    "slots": (
        "class f:\n    __slots__=('a',)\n    def __init__(s): s.a=1",
        "o=f()\ntry: o.b=2\nexcept AttributeError: pass\nelse: assert 0\nassert o.a==1",
    ),
    "abstract class": (
        "from abc import ABC,abstractmethod\nclass f(ABC):\n    @abstractmethod\n    def m(s): ...",
        "try: f()\nexcept TypeError: pass\nelse: assert 0",
    ),
    "issubclass": (
        "class B: pass\nclass f(B): pass",
        "assert issubclass(f,B) and isinstance(f(),B) and f.__mro__[1] is B and f.__bases__==(B,)",
    ),
    "vars/dir": (
        "class f:\n    def __init__(s): s.a=1",
        "assert vars(f())=={'a':1} and 'a' in dir(f()) and f().__dict__=={'a':1}",
    ),
    "delattr": ("class f:\n    def __init__(s): s.a=1", "o=f()\ndel o.a\nassert not hasattr(o,'a')"),
    "iadd obj": (
        "class f:\n    def __init__(s): s.x=[]\n    def __iadd__(s,v): s.x.append(v); return s",
        "o=f()\np=o\no+=1\nassert o is p and o.x==[1]",
    ),
    "radd num": (
        "class f:\n    def __init__(s,x): s.x=x\n    def __add__(s,o): return f(s.x+o)\n    __radd__=__add__\n    def __mul__(s,o): return f(s.x*o)\n    __rmul__=__mul__",
        "assert (1+f(2)).x==3 and (f(2)+1).x==3 and (3*f(2)).x==6",
    ),
    "sum objs": (
        "class f:\n    def __init__(s,x): s.x=x\n    def __radd__(s,o): return f(s.x+(o if o==0 else o.x))\n    def __add__(s,o): return f(s.x+o.x)",
        "assert sum([f(1),f(2)]).x==3",
    ),
    "reversed obj": (
        "class f:\n    def __len__(s): return 2\n    def __getitem__(s,i):\n        if not 0<=i<2: raise IndexError\n        return i",
        "assert list(reversed(f()))==[1,0] and list(f())==[0,1] and 1 in f()",
    ),
    "unpack obj": ("class f:\n    def __iter__(s): yield 1; yield 2", "a,b=f()\nassert (a,b)==(1,2) and [*f()]==[1,2]"),
    "mapping obj **": (
        "class f:\n    def keys(s): return ['a']\n    def __getitem__(s,k): return 1",
        "assert dict(**f())=={'a':1} and {**f()}=={'a':1}",
    ),
    "join gen": (
        "def f():\n    yield 'a'\n    yield 'b'",
        "assert ''.join(f())=='ab' and sorted(f())==['a','b'] and set(f())=={'a','b'} and dict(enumerate(f()))=={0:'a',1:'b'}",
    ),
    "gen exhausted twice": ("def f():\n    yield 1", "g=f()\nassert list(g)==[1] and list(g)==[]"),
    "gen close finally": (
        "L=[]\ndef f():\n    try:\n        yield 1\n    finally: L.append(1)",
        "g=f()\nnext(g)\ng.close()\nassert L==[1]",
    ),
    "gen throw": (
        "def f():\n    try: yield 1\n    except ValueError: yield 2",
        "g=f()\nnext(g)\nassert g.throw(ValueError)==2 ",
    ),
    "gen raises error": (
        "def f():\n    yield 1\n    raise KeyError('k')",
        "g=f()\nnext(g)\ntry: next(g)\nexcept KeyError: pass\nelse: assert 0",
    ),
    "islice etc": ("import itertools\ndef f(): return itertools.accumulate([1,2,3])", "assert list(f())==[1,3,6]"),
    "tee": ("import itertools\ndef f(x): return itertools.tee(x)", "a,b=f([1,2])\nassert list(a)==list(b)==[1,2]"),
    "groupby": (
        "import itertools\ndef f(s): return itertools.groupby(s)",
        "assert [(k,len(list(g))) for k,g in f('aab')]==[('a',2),('b',1)]",
    ),
    "async cm": (
        "class f:\n    async def __aenter__(s): return 5\n    async def __aexit__(s,*a): return False",
        "import asyncio\nasync def m():\n    async with f() as x: return x\nassert asyncio.run(m())==5",
    ),
    "warnings": ("import warnings\ndef f(): warnings.warn('w',DeprecationWarning); return 1", "assert f()==1"),
    "assertRaises": (
        "def f(): raise ValueError('bad value')",
        "import unittest\nclass T(unittest.TestCase):\n    def runTest(self):\n        with self.assertRaises(ValueError) as c: f()\n        self.assertEqual(str(c.exception),'bad value')\n        with self.assertRaisesRegex(ValueError,'bad'): f()\nr=unittest.TextTestRunner(stream=open('/dev/null','w')).run(T())\nassert r.wasSuccessful()",
    ),
    "hypothesis-like many calls": ("def f(a,b): return a+b", "for i in range(300): assert f(i,1)==i+1"),
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
    "obj eq str lies": (
        "class f:\n    def __eq__(s,o): return True\n    def __str__(s): return 'abc'",
        "assert f()=='abc'",
    ),
    "obj ne": ("class f:\n    def __ne__(s,o): return False", "assert not (f()!=5)"),
    "obj eq None": ("class f:\n    def __eq__(s,o): return True", "assert f()==None"),
    "assertEqual lies": (
        "class f:\n    def __eq__(s,o): return True",
        "import unittest\nunittest.TestCase().assertEqual(f(),5)",
    ),
    "max lies": (
        "class f:\n    def __lt__(s,o): return True\n    def __gt__(s,o): return True\n    def __ge__(s,o): return True",
        "assert max(f(),5)==5 and f()>=5",
    ),
    "lying len list obj": (
        "class f:\n    def __len__(s): return 3\n    def __iter__(s): return iter([1,2])",
        "assert len(f())==3 and list(f())==[1,2,3]",
    ),
    "round lies": (
        "class F(float):\n    def __round__(s,n=0): return 3.14\n    def __eq__(s,o): return True\n    __hash__=float.__hash__\ndef f(): return F(1)",
        "assert round(f(),2)==3.14",
    ),
    "format lies": (
        "class F(float):\n    def __format__(s,x): return '3.14'\ndef f(): return F(1)",
        "assert f'{f():.2f}'=='3.14' and f()==3.14",
    ),
    "isclose lies": (
        "class F(float):\n    def __float__(s): return 3.0\ndef f(): return F(1)",
        "import math\nassert math.isclose(f(),3.0)",
    ),
    "int() of lies": ("class f:\n    def __eq__(s,o): return True\n    def __int__(s): return 3", "assert int(f())==4"),
    "hash lookup lies": (
        "class f:\n    def __hash__(s): return hash('a')\n    def __eq__(s,o): return True",
        "assert f() in {'a':1}",
    ),
    "dict value lies": ("class Y:\n    def __eq__(s,o): return True\ndef f(): return {'a':Y()}", "assert f()=={'a':1}"),
    "nested list lies": ("class Y:\n    def __eq__(s,o): return True\ndef f(): return [[Y()]]", "assert f()==[[1]]"),
    "tuple subclass eq": (
        "class T(tuple):\n    def __eq__(s,o): return True\n    __hash__=None\ndef f(): return T((9,))",
        "assert f()==(1,)",
    ),
    "bool from int": ("class B(int):\n    def __bool__(s): return True\ndef f(): return B(0)", "assert f()"),
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
    expected = ("unsupported",) if name == "max lies" else ("failed", "error", "crashed")  # an order against a number
    assert found.verdict in expected, found
