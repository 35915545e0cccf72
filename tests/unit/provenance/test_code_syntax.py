"""The outline of a module is the same on every Python, and follows names through scopes."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from d3 import code_syntax
from d3.code_syntax import Edge, outline

MODULES = {"d3.a", "d3.b", "d3.inner", "d3.inner.c"}

MANY_FORMS = """
from __future__ import annotations
import d3.a, os.path as osp
from d3.b import value as v
async def f(x: int, /, *rest: str, key: "d3.a" = v, **more) -> None:
    'Doc.'
    async with x as y, key: yield f"a{x!r:>{key}}b" "c" f'{y:}', rb"\\x00"
    match rest:
        case {"k": [1, *_], **other} if other: return
        case v.Point(x=0) | None as z: del z
    try: pass
    except* (OSError, ValueError) as error: raise error from None
class C(object, metaclass=type): field: int = 1_000
g = lambda v, *, w=v: (v, w, osp.join("\u00fc", "\\U0001f600"), 1e400, -0.0, 1j, ..., b"\\xff")
print(*[n for n in range(3) if (m := n)], **{**{}}, sep="")
h = f"{d3.a.X=}" f"{'nested'}"
"""
GOLDEN = "b9968a9dddc9f461"


def seen(code: str, package: tuple[str, ...] = ("d3",)) -> code_syntax.Outline:
    return outline(code.encode(), package, MODULES.__contains__)


def digest(code: str) -> str:
    return hashlib.sha256(seen(code).text.encode()).hexdigest()[:16]


def test_the_outline_of_many_forms_is_the_recorded_one() -> None:
    """The value was the same on Python 3.11, 3.12 and 3.13."""
    assert digest(MANY_FORMS) == GOLDEN


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_other_interpreters_of_this_machine_agree(minor: int, tmp_path: Path) -> None:
    python = sys.executable if sys.version_info[1] == minor else shutil.which(f"python3.{minor}")
    found = "" if python is None else subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode
    if found != 0:
        pytest.skip(f"no Python 3.{minor} on this machine")
    program = (
        "import hashlib, sys; from d3.code_syntax import outline\n"
        f"text = outline({MANY_FORMS.encode()!r}, ('d3',), {MODULES!r}.__contains__).text\n"
        "print(hashlib.sha256(text.encode()).hexdigest()[:16])"
    )
    path = {"PYTHONPATH": str(Path(code_syntax.__file__).parents[1])}
    done = subprocess.run(
        [str(python), "-c", program], capture_output=True, text=True, env=os.environ | path, check=True
    )
    assert done.stdout.strip() == GOLDEN


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("from d3.a import f\nf(1)", "from d3.b import f as g\ng(1)"),
        ("from d3.a import f\nf(1)", "import d3.b\nd3.b.f(1)"),
        ("from d3 import a\na.f(1)", "from d3.inner import c\nc.f(1)"),
        ("import json\njson.dumps(1)", "from json import dumps as d\nd(1)"),
        ("def f():\n    from d3 import a\n    return a.x", "def f():\n    from d3 import b\n    return b.x"),
        ("from d3 import a\ndef f(a):\n    return a", "from d3 import b\ndef f(a):\n    return a"),
        ("from d3 import a\ndef f():\n    for a in (): a()", "def f():\n    for a in (): a()"),
        ("x = ['-m', 'd3.a']", "x = ['-m', 'd3.inner.c']"),
    ],
)
def test_names_of_modules_do_not_count(one: str, other: str) -> None:
    assert seen(one).text == seen(other).text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("from d3.a import f\nf(1)", "from d3.a import g\ng(1)"),
        ("import json\njson.dumps(1)", "import simplejson as json\njson.dumps(1)"),
        ("from d3 import a\na.f(1)", "a.f(1)"),
        ("from d3 import a\ndef f(b):\n    return a", "from d3 import a\ndef f(a):\n    return a"),
        ("x = 1", "x = 1.0"),
        ("x = 'a'", "x = b'a'"),
        ("x = True", "x = 1"),
        ("x = f'{a:>3}'", "x = f'{a:>4}'"),
        ("x = ['-m', 'd3.a']", "x = ['-m', 'd3.z']"),
    ],
)
def test_what_is_used_counts(one: str, other: str) -> None:
    assert seen(one).text != seen(other).text


def test_edges_name_the_module_and_what_is_used_of_it() -> None:
    found = seen(
        "from d3.a import f\nfrom d3 import inner\nimport d3.inner.c\nf()\ninner.x\nd3.inner.c.y.z\n'd3.b'; w = 'd3.b'"
    )
    assert found.edges == {
        Edge("d3.a", "f"), Edge("d3.inner", ""), Edge("d3.inner", "x"), Edge("d3.inner.c", "y"), Edge("d3.b", "")
    }  # fmt: skip


def test_a_module_without_code_has_no_text() -> None:
    assert seen('"""Only a text."""\nimport os\n').text == ""
