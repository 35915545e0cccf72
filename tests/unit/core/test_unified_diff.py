"""Diffs: what is made applies, what is malformed does not."""

import random
from itertools import pairwise

import pytest

from d3.core.unified_diff import DiffError, apply_diff, apply_diffs, lines_changed, make_diff, programs_of

LINES = ["", "a", "a", "b", "+c", "-d", "@@ -1 +1 @@", "    e", "--- f", "<|diff|>"]


def some_program(chance: random.Random) -> str:
    """Return a program of up to 12 lines; its first line is not empty, so that it is not the empty program."""
    return "\n".join(["x", *(chance.choice(LINES) for _ in range(chance.randrange(12)))])


@pytest.mark.parametrize("seed", range(300))
def test_a_diff_turns_one_program_into_the_other(seed: int) -> None:
    chance = random.Random(seed)
    old, new = some_program(chance), some_program(chance)
    for before, after in ((old, new), ("", new), (old, "")):
        diff = make_diff(before, after)
        assert (apply_diff(before, diff) if diff else before) == after


def test_a_sequence_gives_all_its_programs() -> None:
    programs = ["", "a", "a\nb", "z\na\nb", "z\nb"]
    diffs = [make_diff(old, new) for old, new in pairwise(programs)]
    assert programs_of(diffs) == programs
    assert apply_diffs("a", diffs[1:]) == "z\nb"
    assert lines_changed(diffs) == 4


@pytest.mark.parametrize(
    ("program", "diff", "fault"),
    [
        ("a", "", "no hunk header"),
        ("a", "hello", "no hunk header"),
        ("a", "@@ -1 +1 @@ def f():\n-a\n+b", "no hunk header"),
        ("a", "@@ -1 +1 @@\n-a", "does not hold"),
        ("a", "@@ -1 +1 @@\n-a\n+b\n+c", "no hunk header"),
        ("a", "@@ -1 +1 @@\n+b\n-a", "does not hold"),
        ("a", "@@ -1 +1 @@\n-b\n+c", "deletes lines that are not there"),
        ("a", "@@ -2 +2 @@\n-a\n+b", "outside the program"),
        ("a", "@@ -2,0 +3 @@\n+b", "outside the program"),
        ("a\nb", "@@ -2 +2 @@\n-b\n+c\n@@ -1 +1 @@\n-a\n+d", "outside the program"),
        ("a\nb", "@@ -1,0 +5 @@\n+c", "wrong line of the new program"),
    ],
)
def test_a_wrong_diff_is_refused(program: str, diff: str, fault: str) -> None:
    with pytest.raises(DiffError, match=fault):
        apply_diff(program, diff)
