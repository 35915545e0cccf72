"""Labels begin with a verb or do not, and equal ones are found."""

import random
from array import array

import pytest

from d3.wording import VERBS, duplicate_key, duplicate_share, verb_first


@pytest.mark.parametrize(
    "sentence",
    [
        "Write a Python program that reads dates.",
        "change the program so that it is faster",
        "Also add a test",
        "Please, now implement the parser",
        "Reimplement the loop",
        "**Add** a docstring",
        "`Wrap` the call",
        "Lazy-load the module",
        "Deduplicate rows",
        "Unregister the hook",
    ],
)
def test_commands_begin_with_a_verb(sentence: str) -> None:
    assert verb_first(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Added a parser",
        "Adds a parser",
        "Adding a parser",
        "The program reads dates",
        "A parser for dates",
        "This change adds a parser",
        "It reads dates",
        "Now",
        "also please",
        "Python program that reads dates",
        "Reality is hard",
        "Reads",
        "Depth of the tree",
        "",
        "123",
    ],
)
def test_other_sentences_do_not(sentence: str) -> None:
    assert not verb_first(sentence)


def test_the_list_holds_base_forms() -> None:
    assert len(VERBS) > 400
    assert all(verb == verb.lower() for verb in VERBS)
    assert not {verb for verb in VERBS if verb.endswith("ing") and verb not in ("bring", "string")}
    assert not {f"{verb}s" for verb in VERBS} & VERBS - {"process", "pass", "compress", "address", "express"}


def test_duplicates_are_the_same_words() -> None:
    same = ["Add a parser.", "add a  parser", "Add a PARSER!", "`Add` a parser"]
    assert len({duplicate_key(text) for text in same}) == 1
    other = ["Add the parser.", "Add a parser for dates", "Parser a add", "Add aparser"]
    assert len({duplicate_key(text) for text in [*same, *other]}) == 5


def test_the_share_counts_all_but_one_of_each() -> None:
    assert duplicate_share(array("Q")) is None
    assert duplicate_share(array("Q", [7])) == 0
    assert duplicate_share(array("Q", [7, 7, 7, 7, 7])) == pytest.approx(0.8)
    draw = random.Random(3)
    values = [draw.randrange(50) * 2**58 for _ in range(500)]
    assert duplicate_share(array("Q", values)) == pytest.approx(1 - len(set(values)) / 500)
