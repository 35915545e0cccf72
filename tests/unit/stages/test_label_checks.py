"""Label checks without a model: each fault is found, each sound label passes, and the configuration decides."""

from array import array
from typing import Any

import pytest

from d3.config.data import LabelChecks
from d3.core.example_format import Part
from d3.llm.ask import Outcome
from d3.llm.engine import Answer
from d3.stages.label_checks import faults_of
from d3.stages.label_metrics import duplicate_key, duplicates_across
from d3.stages.labels import Piece, label_row

START = "import os\n\n\ndef area(width, height):\n    return width * height"
END = START + "\n\n\nclass Box:\n    size = area(2, 3)"


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("Add a class `Box` whose `size` is computed by `area(2, 3)`.", None),
        ("Remove the unused import `os`.", None),  # it is in the program before the change
        ('Set `Box.size = area(2, "much text")` in the class.', None),  # words of a string are no names
        ("Write the class with `class Box` and `return`.", None),
        ("Add a class `Crate` for boxes.", "unknown_name"),
        ("Rename `wid` to something longer.", "unknown_name"),  # a part of a name is no name
        ("Call `area(depth)` in `Box`.", "unknown_name"),
        ("Add a helper that is probably used by others.", "hedged"),
        ("Add what seems to be a class of boxes.", "hedged"),
        ("Add a class that might hold sizes.", "hedged"),
        ("Add the mighty class of boxes that appear on screen.", None),
        ("Add a class that computes the", "cut"),
        ("Add the following classes:", "cut"),
        ("Add a class (with its size.", "cut"),
        ("Add a class `Box that has a size.", "cut"),
        ("Add a class and...", "cut"),
        ("Add " + "a very " * 40 + "large class.", "long"),
        ("Add a class that things are stored in one by one.", None),
    ],
)
def test_every_fault_is_found_and_nothing_else(label: str, fault: str | None) -> None:
    found = [name for name, _ in faults_of(label, (START, END), LabelChecks())]
    assert found == ([] if fault is None else [fault])


def row(text: str, **checks: Any) -> dict[str, Any]:
    answer = Answer(text=text, finish_reason="stop", prompt_tokens=9, answer_tokens=3)
    piece = Piece(identifier="a" * 64, sample=0, part=Part(1, 0, 2), texts=(START, END))
    return label_row(Outcome(row=piece, status="ok", answer=answer), "", LabelChecks(**checks))


def test_a_fault_is_counted_or_is_the_status() -> None:
    text = "Add a class `Crate` that might hold boxes."
    kept = row(text)
    assert (kept["status"], kept["label"], kept["faults"]) == ("ok", text, ["unknown_name", "hedged"])
    gone = row(text, hedges="drop")
    assert (gone["status"], gone["detail"], gone["label"]) == ("hedged", "might", None)
    assert (gone["faults"], gone["verb_first"], gone["raw"]) == (None, None, text)
    assert row(text, names="drop")["detail"] == "Crate is in neither program"
    assert row(text, cut="drop", long="drop")["status"] == "ok"
    assert row("Add a class.", max_words=2)["faults"] == ["long"]
    assert row("Add a class.", names="drop", hedges="drop", cut="drop", long="drop")["faults"] == []


def test_equal_sentences_of_other_files_are_counted() -> None:
    said = ["Add a class.", "add a class", "Add a class.", "Add a loop.", "Add a loop.", "Fix it."]
    keys = array("Q", map(duplicate_key, said))
    assert duplicates_across(keys, array("Q", [7, 7, 2, 5, 5, 1])) == 2  # the file 2 owns the first sentence
    assert duplicates_across(array("Q"), array("Q")) == 0
