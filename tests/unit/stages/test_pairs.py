"""Pairs: functions that stand alone, from held-out files only, and the examples made of them."""

import ast
from pathlib import Path

import pytest

from d3.config.data import Pairs
from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id
from d3.core.tables import Row, read_notes, read_rows
from d3.core.unified_diff import make_diff
from d3.errors import InputError
from d3.evals.answer import read_answer
from d3.stages.pairs import compiles, imperative, pairs_of
from d3.stages.pairs import run as write_pairs
from d3.stages.pairs import sft_data as write_examples
from helpers.corpus_tables import open_config, run_corpus, stack_row, write_rows, write_shard

DOC = '    """Give the area of a square."""\n'


def texts(program: str, **settings: int) -> dict[str, str]:
    """The programs made of a program's functions, by the function's name."""
    return {pair["name"]: pair["text"] for pair in pairs_of(program.strip(), "file", Pairs(**settings))}


def test_a_function_is_taken_without_its_docstring() -> None:
    program = f"def area(side):\n{DOC}    # twice\n    return side * side\n\n\nprint(area(2))"
    pair = next(pairs_of(program, "file", Pairs()))
    assert pair == {
        "id": content_id("def area(side):\n    # twice\n    return side * side"),
        "text": "def area(side):\n    # twice\n    return side * side",
        "instruction": "Give the area of a square.",
        "name": "area",
        "file_id": "file",
    }
    assert list(pair) == schemas.PAIRS.names


def test_imports_that_are_used_are_put_in_front() -> None:
    program = f"""
import os, sys as system
import json
from math import (
    sqrt,
    pi as circle,
)

@staticmethod
def area(side: json.JSONDecoder, *, default=sqrt(2)):
{DOC}    return [system.path for _ in range(side)] + [circle]
"""
    assert texts(program)["area"] == (
        "import os, sys as system\nimport json\nfrom math import sqrt, pi as circle\n\n\n"
        "@staticmethod\ndef area(side: json.JSONDecoder, *, default=sqrt(2)):\n"
        "    return [system.path for _ in range(side)] + [circle]"
    )


@pytest.mark.parametrize(
    ("head", "call", "imports"),
    [
        ("import xml.dom\nimport xml.sax\nimport os", "xml.dom, xml.sax", "import xml.dom\nimport xml.sax"),
        ("import os; import json", "json", "import json"),
        ("import os.path as p", "p", "import os.path as p"),
    ],
)
def test_all_imports_that_bind_a_name_come_along(head: str, call: str, imports: str) -> None:
    program = f"{head}\n\ndef area(side):\n{DOC}    return {call}\n"
    assert texts(program)["area"] == f"{imports}\n\n\ndef area(side):\n    return {call}"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("SIZE = 3", "return SIZE"),
        ("class A: pass", "return A()"),
        ("def other(): pass", "return [other() for _ in range(3)]"),
        ("", "return undefined_name"),
        ("", "global counter\n    counter = 1"),
        ("", "def inner():\n        return hidden\n    return inner"),
        ("", "class Inner:\n        x = hidden\n    return Inner"),
        ("", "return lambda: hidden"),
        ("from os import *", "return sep"),
        ("from . import sibling", "return sibling"),
        ("from .compat import open", "return open(side)"),
        ("def open(x): pass", "return open(side)"),
        ("for print in (1, 2): pass", "return print(side)"),
        ("import json\njson = None", "return json.dumps(side)"),
        ("try:\n    import json\nexcept ImportError:\n    json = None", "return json.dumps(side)"),
    ],
)
def test_a_function_that_uses_names_of_its_module_is_not_taken(head: str, body: str) -> None:
    program = f"{head}\n\ndef area(side):\n{DOC}    {body}\n"
    assert compiles(program)
    assert texts(program) == {}


@pytest.mark.parametrize("signature", ["side=SIZE", "side: Size", "*sides: Size", "*, side=SIZE", "side) -> (Size"])
def test_defaults_decorators_and_annotations_count_too(signature: str) -> None:
    assert texts(f"SIZE = Size = 3\n\ndef area({signature}):\n{DOC}    return 1\n") == {}
    assert texts(f"SIZE = Size = 3\n\n@SIZE\ndef area():\n{DOC}    return 1\n") == {}


@pytest.mark.parametrize(
    "body",
    [
        "return area(side - 1)",
        "x = [y for y in range(side)]\n    return {x: z for z in x}",
        "try:\n        return len(side)\n    except ValueError as error:\n        raise KeyError(error)",
        "import json\n    return json.dumps(side)",
        "def inner(x):\n        return x + side\n    return inner(1)",
        "return (n := side) + n",
    ],
)
def test_a_function_that_stands_alone_is_taken(body: str) -> None:
    found = texts(f"def area(side):\n{DOC}    {body}\n")
    assert found == {"area": f"def area(side):\n    {body}"}


@pytest.mark.parametrize(
    "function",
    [
        "def area(side):\n    return side",
        'def area(side):\n    """Give the area of a square."""',
        'def area(side): """Give the area of a square."""; return side',
        'def area(side):\n    """Give the area of a square."""; return side',
        'def area(side):\n    """Too short."""\n    return side',
        'def area(side):\n    """Too.\n\n    But then it goes on and on."""\n    return side',
        'def area(side):\n    """Give half a \\ud800 character here."""\n    return side',
        'def area(side):\n    """Give a \\0 character right here."""\n    return side',
        'async def area(side):\n    """Give the area of a square."""\n    return side',
        'class A:\n    def area(side):\n        """Give the area of a square."""\n        return side',
        'if True:\n    def area(side):\n        """Give the area of a square."""\n        return side',
    ],
)
def test_functions_that_say_too_little_or_are_no_plain_functions(function: str) -> None:
    assert texts(function) == {}


def test_long_docstrings_become_one_line_and_long_functions_are_left() -> None:
    body = "".join(f"    x = {number}\n" for number in range(5))
    program = f'def area(side):\n    """Give the\n       area of it.\n\n    More.\n    """\n{body}'
    assert [pair["instruction"] for pair in pairs_of(program, "f", Pairs(min_words=4))] == ["Give the area of it."]
    assert len(texts(program, max_lines=6, min_words=4)["area"].split("\n")) == 6
    assert texts(program, max_lines=5) == {}


@pytest.mark.parametrize(
    "program", ["def f(a, a): pass", "break", "x = 1\ndef f():\n    x\n    global x", "x = " + "-" * 1500 + "1"]
)
def test_a_program_that_parses_but_does_not_compile_has_no_pairs(program: str) -> None:
    ast.parse(program)
    whole = f"{program}\n\ndef area(side):\n{DOC}    return side\n"
    assert list(pairs_of(whole, "file", Pairs())) == [] or compiles(whole)


def held_out_corpus(folder: Path) -> tuple[Path, dict[str, str]]:
    """A corpus of 60 files, half of them held out; gives its path and the split of every file."""
    library = [f"def area_{n}(side):\n{DOC}    return side * {n}\n" for n in range(50)] + [
        f"x = {n}" for n in range(10)
    ]
    kept, _ = run_corpus(
        write_shard(folder / "a.parquet", [stack_row(text) for text in library]), open_config(held_out=0.5)
    )
    return folder / "out" / "kept.parquet", {line["id"]: line["split"] for line in kept}


def test_only_held_out_files_give_pairs(tmp_path: Path) -> None:
    corpus, splits = held_out_corpus(tmp_path)
    write_pairs(parse_config({"pairs": {"sample": None}}), corpus, tmp_path / "pairs.parquet")
    pairs = list(read_rows(tmp_path / "pairs.parquet", schemas.PAIRS))
    assert {splits[pair["file_id"]] for pair in pairs} == {"sft"}
    assert [pair["id"] for pair in pairs] == sorted(content_id(pair["text"]) for pair in pairs)
    assert all(compiles(pair["text"]) and '"""' not in pair["text"] for pair in pairs)
    notes = read_notes(tmp_path / "pairs.parquet")
    assert notes["read"] == 60
    assert notes["kept"] == len(pairs)
    assert notes["dropped"]["not_held_out"] == list(splits.values()).count("midtrain")
    sample = parse_config({"pairs": {"sample": 5}})
    write_pairs(sample, corpus, tmp_path / "few.parquet")
    few = list(read_rows(tmp_path / "few.parquet", schemas.PAIRS))
    assert len(few) == 5
    assert all(pair in pairs for pair in few)
    write_pairs(sample, corpus, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "few.parquet").read_bytes()


# --- examples -------------------------------------------------------------------------------------


def sequence(pair: Row, **changes: object) -> Row:
    first = pair["text"].split("\n")[0]
    diffs = [make_diff("", first), make_diff(first, pair["text"])]
    return {"id": pair["id"], "sample": 0, "status": "ok", "detail": None, "edits": [], "diffs": diffs, **changes}


def test_examples_replay_to_their_function(tmp_path: Path) -> None:
    pairs = list(pairs_of(f"def area(side):\n{DOC}    return side\n\ndef b(x):\n{DOC}    return -x\n", "f", Pairs()))
    pairs_path = write_rows(tmp_path / "pairs.parquet", schemas.PAIRS, pairs)
    rows = [sequence(pairs[0]), sequence(pairs[1], status="timeout", diffs=None)]
    write_examples(
        Config(), pairs_path, write_rows(tmp_path / "diffs.parquet", schemas.DIFFS, rows), tmp_path / "o.jsonl"
    )
    (example,) = read_rows(tmp_path / "o.jsonl", schemas.SFT)
    assert example["prompt"].startswith(
        "<code>\n[start of area_solution.py]\n\n[end of area_solution.py]\n</code>\n\n<issue>\n"
    )
    assert "Give the area of a square." in example["prompt"]
    assert example["completion"].startswith(example["prompt"] + "<|diff|>@@ -0,0 +1 @@\n+def area(side):")
    assert read_answer(example["completion"].removeprefix(example["prompt"])).diffs == rows[0]["diffs"]


def test_foreign_or_wrong_sequences_are_refused(tmp_path: Path) -> None:
    (pair,) = pairs_of(f"def area(side):\n{DOC}    return side\n", "f", Pairs())
    pairs_path = write_rows(tmp_path / "pairs.parquet", schemas.PAIRS, [pair])
    for changes, words in (
        ({"id": "0" * 64}, "is not in"),
        ({"diffs": [make_diff("", "x = 1")]}, "do not give its text"),
    ):
        diffs = write_rows(tmp_path / "diffs.parquet", schemas.DIFFS, [sequence(pair, **changes)])
        with pytest.raises(InputError, match=words) as caught:
            write_examples(Config(), pairs_path, diffs, tmp_path / "out.parquet")
        assert str(diffs) in str(caught.value)
        assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("docstring", "instruction"),
    [
        ("Return the area of a square.", "Return the area of a square."),
        ("Returns the :class:`~os.PathLike` of ``name``:", "Return the os.PathLike of name."),
        ("computes `x`_ and **all** of [the rest](http://a.b) now", "Compute x and all of the rest now."),
        ("Applies *args* to __init__ of every class.", "Apply args to __init__ of every class."),
        ("Call f(*args, **kwargs) with a_b and c_d", "Call f(*args, **kwargs) with a_b and c_d."),
        ("See `the manual <http://a.b>`_ of <b>it</b> all.", None),
        ("This function returns the area of it.", None),
        ("The area of a square.", None),
        ("Returns ``x``:", None),  # too short
        ("Return it >>> area(2) 4 as shown", None),
    ],
)
def test_an_imperative_instruction_begins_with_a_verb_and_has_no_markup(
    docstring: str, instruction: str | None
) -> None:
    assert imperative(docstring, 4) == instruction
    program = f'def f(x):\n    """{docstring}"""\n    return x'
    plain = [pair["instruction"] for pair in pairs_of(program, "file", Pairs(min_words=1))]
    assert plain == [docstring]
    found = [pair["instruction"] for pair in pairs_of(program, "file", Pairs(min_words=4, instructions="imperative"))]
    assert found == [instruction] * (instruction is not None)
