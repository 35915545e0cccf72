"""Answers of models: where they begin and end, what is applied, what is repaired, and that nothing raises."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from d3.core.example_format import example_completion, example_prompt
from d3.core.unified_diff import make_diff
from d3.evals.answer import REPAIRS, build, read_answer
from helpers import fuzz_answers

D = "<|diff|>"
ADD = "@@ -0,0 +1,2 @@\n+def add(a, b):\n+    return a + b"
FIRST = "@@ -0,0 +1 @@\n+def add(a, b):"
THEN = "@@ -1,0 +2 @@\n+    return a + b"
RIGHT = "def add(a, b):\n    return a + b"
WRONG = "def add(a, b):\n    return a - b"
FIX = "@@ -2 +2 @@\n-    return a - b\n+    return a + b"
PROMPT = example_prompt("add.py", WRONG, "Mend add.")
NUMBER, LONG = "9" * 8, "9" * 1_000_000

OK, NO_DIFF, MALFORMED = "ok", "no_diff", "malformed_diff"
# name: (start, answer, finish reason, status or the repairs, program)
ANSWERS: dict[str, tuple[str, str, str, str, str | None]] = {
    # whole answers
    "one diff": ("", f"\n{D}{ADD}", "stop", OK, RIGHT),
    "two diffs": ("", f"\n{D}{FIRST}\n{D}{THEN}", "stop", OK, RIGHT),
    "a change of the start program": (WRONG, f"\n{D}{FIX}", "stop", OK, RIGHT),
    "two hunks": (WRONG, f"\n{D}@@ -1 +1 @@\n-def add(a, b):\n+def add(c, b):\n{FIX}", "stop", OK,
                  "def add(c, b):\n    return a + b"),
    "a newline at the end": ("", f"\n{D}{ADD}\n", "stop", OK, RIGHT),
    "everything is deleted": (WRONG, f"\n{D}@@ -1,2 +0,0 @@\n-def add(a, b):\n-    return a - b", "stop", OK, ""),
    "separators that are no newline": ("", f"{D}@@ -0,0 +1 @@\n+x = 'a\u2028b\x0cc\x85'", "stop", OK,
                                       "x = 'a\u2028b\x0cc\x85'"),
    # where the answer begins
    "no newline before": ("", f"{D}{ADD}", "stop", OK, RIGHT),
    "a greeting": ("", f"Sure, here it is: {D}{ADD}", "stop", OK, RIGHT),
    "the prompt again": ("", f"{PROMPT}\n{D}{ADD}\n</code>", "stop", OK, RIGHT),
    "the prompt again, with its start file": (WRONG, f"{PROMPT}\n{D}{FIX}", "stop", OK, RIGHT),
    "after a closing tag": ("", f"\n</code>\n{D}{ADD}", "stop", OK, RIGHT),
    # where it ends
    "a closing tag": ("", f"\n{D}{ADD}\n</code>", "stop", OK, RIGHT),
    "talk after the tag": ("", f"\n{D}{ADD}\n</code>\nHere you are.", "stop", OK, RIGHT),
    "talk beside the tag": ("", f"\n{D}{ADD}\n</code> Here you are.", "stop", OK, RIGHT),
    "a diff after the tag": ("", f"\n{D}{ADD}\n</code>\n{D}nonsense", "stop", OK, RIGHT),
    "the tag on the last line": ("", f"\n{D}{ADD}</code>", "stop", OK, RIGHT),
    "the tag on the last line, and talk": ("", f"\n{D}{ADD}</code>\nDone.", "stop", OK, RIGHT),
    "a line of the program that is a tag": ("", f"{D}@@ -0,0 +1,3 @@\n+x = '''\n+</code>\n+'''", "stop", OK,
                                            "x = '''\n</code>\n'''"),
    "a line of the program that ends with a tag": ("", f"{D}@@ -0,0 +1,2 @@\n+# </code>\n+x = 1", "stop", OK,
                                                   "# </code>\nx = 1"),
    "a line of the program with a marker": ("", f"\n{D}@@ -0,0 +1 @@\n+x = '{D}'", "stop", OK, f"x = '{D}'"),
    "a diff that begins in a line": ("", f"\n{D}{FIRST}{D}{THEN}", "stop", OK, RIGHT),
    # nothing to do, or nothing done
    "nothing to change": (RIGHT, "\n</code>", "stop", OK, RIGHT),
    "nothing at all, about a program": (RIGHT, "", "stop", OK, RIGHT),
    "nothing at all": ("", "", "stop", NO_DIFF, None),
    "a tag and no program": ("", "\n</code>", "stop", NO_DIFF, None),
    "cut off before anything": (RIGHT, "\n", "length", NO_DIFF, None),
    "words about a program": (RIGHT, "It is right.\n</code>", "stop", NO_DIFF, None),
    "plain code": ("", "\ndef add(a, b):\n    return a + b\n</code>", "stop", NO_DIFF, None),
    "fenced code": ("", f"```python\n{RIGHT}\n```", "stop", NO_DIFF, None),
    "a torn marker": ("", "\n<|di", "length", NO_DIFF, None),
    # torn answers
    "torn second diff": ("", f"\n{D}{ADD}\n{D}@@ -2,0 +3,2 @@\n+def x():", "length", OK, RIGHT),
    "torn header": ("", f"\n{D}{ADD}\n{D}@@ -2,0 +3", "length", OK, RIGHT),
    "torn marker": ("", f"\n{D}{ADD}\n<|di", "length", OK, RIGHT),
    "torn tag": ("", f"\n{D}{ADD}\n</co", "length", OK, RIGHT),
    "marker and nothing": ("", f"\n{D}{ADD}\n{D}", "length", OK, RIGHT),
    "whole only diff": ("", f"\n{D}{ADD}", "length", OK, RIGHT),
    "whole last diff": ("", f"\n{D}{FIRST}\n{D}{THEN}", "length", OK, RIGHT),
    "torn only diff": ("", f"\n{D}@@ -0,0 +1,2 @@\n+def add(a, b):", "length", MALFORMED, None),
    "cut off after the tag": ("", f"\n{D}{ADD}\n</code>\nand so", "length", OK, RIGHT),
    "torn, and malformed before": ("", f"\n{D}nonsense\n{D}@@ -2", "length", MALFORMED, None),
    "torn after an empty diff": (WRONG, f"\n{D}\n{D}@@ -2", "length", MALFORMED, None),
    # repaired
    "CRLF": ("", f"\n{D}{ADD}\n".replace("\n", "\r\n"), "stop", "carriage_returns", RIGHT),
    "CR at the end": ("", f"\n{D}@@ -0,0 +1 @@\n+x = 1\r", "stop", "carriage_returns", "x = 1"),
    "a blank line before the hunk": ("", f"\n{D}\n{ADD}", "stop", "blank_lines", RIGHT),
    "a blank line between diffs": ("", f"\n{D}{FIRST}\n\n{D}{THEN}", "stop", "blank_lines", RIGHT),
    "blank lines at the end": ("", f"\n{D}{ADD}\n\n\n", "stop", "blank_lines", RIGHT),
    "blanks at the end": ("", f"\n{D}{ADD}\n  ", "stop", "blank_lines", RIGHT),
    "a blank before the header": ("", f"\n{D} {ADD}", "stop", "outer_blanks", RIGHT),
    "a blank after the header": ("", f"\n{D}{ADD.replace(' @@', ' @@  ', 1)}", "stop", "outer_blanks", RIGHT),
    "blanks at the end of a deleted line": (WRONG, f"\n{D}{FIX.replace('- b', '- b  ')}", "stop", "outer_blanks",
                                            RIGHT),
    "file headers": ("", f"\n{D}--- a.py\n+++ b.py\n{ADD}", "stop", "file_headers", RIGHT),
    "context": (WRONG, f"\n{D}@@ -1,2 +1,2 @@\n def add(a, b):\n-    return a - b\n+    return a + b", "stop",
                "context_lines", RIGHT),
    "context on both sides": ("a\n\nb\nc", f"\n{D}@@ -1,4 +1,5 @@\n a\n\n+x\n b\n-c\n+d", "stop", "context_lines",
                              "a\n\nx\nb\nd"),
    "a mark of a missing newline": (WRONG, f"\n{D}{FIX}\n\\ No newline at end of file", "stop", "no_newline_mark",
                                    RIGHT),
    "a wrong line of the new program": (WRONG, f"\n{D}{FIX.replace('+2', '+7')}", "stop", "line_number", RIGHT),
    "an empty last diff": ("", f"\n{D}{ADD}\n{D}", "stop", "empty_diff", RIGHT),
    "an empty first diff": ("", f"\n{D}\n{D}{ADD}", "stop", "empty_diff", RIGHT),
    "several repairs": (WRONG, f"\n{D}\r\n--- a\r\n+++ b\r\n{FIX.replace('+2', '+9')}\r\n", "stop",
                        "blank_lines carriage_returns file_headers line_number", RIGHT),
    "CRLF and torn": ("", f"\n{D}{ADD}\n{D}@@ -2,0".replace("\n", "\r\n"), "length", "carriage_returns", RIGHT),
    # malformed
    "too few lines": ("", f"\n{D}@@ -0,0 +1,3 @@\n+def add(a, b):\n+    return a + b", "stop", MALFORMED, None),
    "too many lines": ("", f"\n{D}@@ -0,0 +1 @@\n+def add(a, b):\n+    return a + b", "stop", MALFORMED, None),
    "outside the program": (WRONG, f"\n{D}@@ -9,0 +10 @@\n+x = 1", "stop", MALFORMED, None),
    "before the program": (WRONG, f"\n{D}@@ -0,2 +1 @@\n     return a - b\n-def add(a, b):", "stop", MALFORMED, None),
    "deletes what is not there": (WRONG, f"\n{D}{FIX.replace('- b', '* b')}", "stop", MALFORMED, None),
    "context that is not there": (WRONG, f"\n{D}@@ -1,2 +1,2 @@\n def sub(a, b):\n-    return a - b\n+    return 1",
                                  "stop", MALFORMED, None),
    "blanks at the begin of a deleted line": (WRONG, f"\n{D}{FIX.replace('-    return', '-  return')}", "stop",
                                              MALFORMED, None),
    "hunks in the wrong order": (WRONG, f"\n{D}{FIX}\n@@ -1 +1 @@\n-def add(a, b):\n+def f(a, b):", "stop", MALFORMED,
                                 None),
    "added before deleted": (WRONG, f"\n{D}@@ -2 +2 @@\n+    return a + b\n-    return a - b", "stop", MALFORMED, None),
    "good, then nonsense": ("", f"\n{D}{ADD}\n{D}nonsense", "stop", MALFORMED, None),
    "good, then a torn header, not cut off": ("", f"\n{D}{ADD}\n{D}@@ -2,0 +3", "stop", MALFORMED, None),
    "nothing but markers": ("", f"\n{D}\n{D}\n{D}", "stop", MALFORMED, None),
    "very many markers": ("", D * 10_000, "stop", MALFORMED, None),
    "line numbers in the added lines": ("", f"\n{D}@@ -0,0 +1,2 @@\n+  1 def add(a, b):\n+  2     return a + b", "stop",
                                        MALFORMED, None),
    "half of a surrogate pair": ("", f"\n{D}@@ -0,0 +1 @@\n+x = '\ud800'", "stop", MALFORMED, None),
    "NUL": ("", f"\n{D}@@ -0,0 +1 @@\n+x = '\x00'", "stop", MALFORMED, None),
    "digits of another script": ("", f"\n{D}@@ -0,0 +\u0661,\u0662 @@\n+def add(a, b):\n+    return a + b", "stop",
                                 MALFORMED, None),
    "a long old start": ("", f"\n{D}@@ -{NUMBER},0 +1 @@\n+x", "stop", MALFORMED, None),
    "a long old count": ("", f"\n{D}@@ -0,{NUMBER} +1 @@\n+x", "stop", MALFORMED, None),
    "a long new start": ("", f"\n{D}@@ -0,0 +{NUMBER} @@\n+x", "stop", MALFORMED, None),
    "a long new count": ("", f"\n{D}@@ -0,0 +1,{NUMBER} @@\n+x", "stop", MALFORMED, None),
    "the longest count": ("", f"\n{D}@@ -0,0 +1,{NUMBER[1:]} @@\n+x", "stop", MALFORMED, None),
    "a million digits": ("", f"\n{D}@@ -{LONG},{LONG} +{LONG},{LONG} @@\n+x", "stop", MALFORMED, None),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_hand_made_answers(name: str) -> None:
    start, text, finish, wanted, program = ANSWERS[name]
    built = build(start, text, finish)
    repaired = wanted not in (OK, NO_DIFF, MALFORMED)
    assert built.status == ("repaired" if repaired else wanted)
    assert built.program == program
    assert built.repairs == (tuple(wanted.split()) if repaired else ())
    assert set(built.repairs) <= set(REPAIRS)
    assert built.detail is None or len(built.detail) < 200
    assert built.status in (OK, NO_DIFF) or built.detail


def test_every_repair_is_in_the_table() -> None:
    assert len(ANSWERS) >= 60
    assert {kind for *_, wanted, _ in ANSWERS.values() for kind in wanted.split()} >= set(REPAIRS)


def test_a_whole_answer_is_cut_off_anywhere() -> None:
    """Whatever is left out, the program is one of those between the diffs, or one whose last line is torn."""
    whole = example_completion("", [FIRST, THEN]).removesuffix("\n</code>")
    second = whole.index(D, whole.index(D) + 1)
    torn = [RIGHT[: len(RIGHT) - length] for length in range(len("    return a + b") + 1)]
    for end in range(second + len(D), len(whole) + 1):
        built = build("", whole[:end], "length")
        assert built.status == "ok"
        assert built.program in ("def add(a, b):", *torn)
        assert (built.detail is None) == (built.program != "def add(a, b):")
    for end in range(len(f"\n{D}"), len(f"\n{D}{FIRST.splitlines()[0]}") + 1):
        assert build("", whole[:end], "length").detail == "cut off at max_tokens in the only diff"


def test_a_long_sequence_is_read_back() -> None:
    programs = ["", *("\n".join(f"x{n} = '@@ -1 +1 @@'" for n in range(size)) for size in range(1, 40))]
    diffs = [make_diff(old, new) for old, new in itertools.pairwise(programs)]
    assert read_answer(example_completion("", diffs)) == (diffs, True)
    assert build("", example_completion("", diffs), "stop").program == programs[-1]


def test_no_mutated_answer_raises() -> None:
    found = fuzz_answers.fuzz(400, seed=5)
    assert not found.raised
    assert found.median_ms < 5


@pytest.mark.slow
def test_no_large_answer_raises_or_takes_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_answers, "LARGE_EVERY", 100)
    found = fuzz_answers.fuzz(100 * len(fuzz_answers.LARGE), seed=6)
    assert not found.raised
    assert 1 < found.largest_mb < fuzz_answers.MOST_MB


@pytest.mark.parametrize(
    ("wrong", "found"), [(lambda *given: 1 / 0, "ZeroDivisionError"), (lambda *given: bytearray(2**27), "MemoryError")]
)
def test_the_fuzz_finds_what_raises_and_what_allocates(
    wrong: Callable[..., Any], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_answers, "build", wrong)
    raised = fuzz_answers.fuzz(10, seed=0).raised
    assert raised.total() == 10
    assert {text.partition(":")[0] for text in raised} == {found}
