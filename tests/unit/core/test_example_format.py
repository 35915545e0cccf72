"""Sub-trajectories are drawn as documented, and examples have the documented bytes."""

import itertools
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d3.core.example_format import (
    MARKERS,
    Part,
    draw_parts,
    escape,
    example_completion,
    example_prompt,
    holds_marker,
    number_lines,
    random_name,
    unescape,
)
from d3.core.unified_diff import apply_diffs, make_diff
from d3.evals.answer import read_answer


def parts_of_many(length: int, ends: str, count: int = 4, files: int = 1500) -> list[Part]:
    return [part for number in range(files) for part in draw_parts(0, f"{number}", 0, length, count=count, ends=ends)]


@pytest.mark.parametrize("ends", ["all", "authors"])
def test_half_of_the_parts_start_empty_and_the_rest_is_uniform(ends: str) -> None:
    length = 6
    last = length if ends == "all" else length - 1
    parts = parts_of_many(length, ends)
    assert len(parts) == 6000
    starts = Counter(part.start for part in parts)
    assert set(starts) == set(range(last))
    assert abs(starts[0] / len(parts) - 0.5) < 0.025
    for start in range(1, last):
        assert abs(starts[start] / len(parts) - 0.5 / (last - 1)) < 0.025
    ends_of_empty = Counter(part.end for part in parts if part.start == 0)
    assert set(ends_of_empty) == set(range(1, last + 1))
    for count in ends_of_empty.values():
        assert abs(count / starts[0] - 1 / last) < 0.03
    assert {part.end for part in parts if part.start == last - 1} == {last}


def test_only_the_mode_all_reaches_the_finished_file() -> None:
    assert max(part.end for part in parts_of_many(5, "all", files=200)) == 5
    assert max(part.end for part in parts_of_many(5, "authors", files=200)) == 4


@pytest.mark.parametrize(
    ("length", "ends", "allowed"),
    [
        (0, "all", set()),
        (0, "authors", set()),
        (1, "all", {(0, 1)}),
        (1, "authors", set()),
        (2, "authors", {(0, 1)}),
        (2, "all", {(0, 1), (0, 2), (1, 2)}),
        (3, "authors", {(0, 1), (0, 2), (1, 2)}),
    ],
)
def test_short_sequences(length: int, ends: str, allowed: set[tuple[int, int]]) -> None:
    drawn = parts_of_many(length, ends, files=60)
    assert {(part.start, part.end) for part in drawn} == allowed
    assert len(drawn) == (240 if allowed else 0)


def test_parts_are_numbered_and_belong_to_their_sequence_alone() -> None:
    parts = draw_parts(0, "id", 0, 50, count=4, ends="all")
    assert [part.number for part in parts] == [1, 2, 3, 4]
    assert draw_parts(0, "id", 0, 50, count=2, ends="all") == parts[:2]
    assert draw_parts(0, "id", 0, 50, count=0, ends="all") == []
    others = [draw_parts(1, "id", 0, 50, count=4, ends="all"), draw_parts(0, "id", 1, 50, count=4, ends="all")]
    assert parts not in others
    assert all(0 <= part.start < part.end <= 50 for part in parts)


def test_the_bytes_of_an_example() -> None:
    old, middle, new = "import os", "import os\n\nprint(os.sep)", "import os\n\nprint(os.sep, 1)"
    prompt = example_prompt("a.py", old, "Print the separator.")
    assert prompt == (
        "<code>\n[start of a.py]\n  1 import os\n[end of a.py]\n</code>\n\n"
        "<issue>\nPrint the separator.\n</issue>\n\n<code>\n"
    )
    completion = example_completion(prompt, [make_diff(old, middle), make_diff(middle, new)])
    assert completion == prompt + (
        "<|diff|>@@ -1,0 +2,2 @@\n+\n+print(os.sep)\n<|diff|>@@ -3 +3 @@\n-print(os.sep)\n+print(os.sep, 1)\n</code>"
    )
    empty = example_prompt("b.py", "", "Begin.")
    assert empty == "<code>\n[start of b.py]\n\n[end of b.py]\n</code>\n\n<issue>\nBegin.\n</issue>\n\n<code>\n"


def test_line_numbers_are_three_wide_and_grow() -> None:
    numbered = number_lines("\n".join("x" * (number % 2) for number in range(1, 1101))).split("\n")
    assert numbered[0] == "  1 x"
    assert numbered[1] == "  2 "
    assert numbered[98] == " 99 x"
    assert numbered[998] == "999 x"
    assert numbered[999:1001] == ["1000 ", "1001 x"]
    assert len(numbered) == 1100
    assert number_lines("") == ""


PIECE = st.sampled_from([*"ab +-@\\|<>/[", *MARKERS, "<\\code>", "[\\\\end of ", "\n</code>"])
PROGRAM = st.lists(PIECE, max_size=12).map("".join).map(str.strip)


@given(st.lists(PROGRAM, min_size=1, max_size=5))
def test_what_was_written_is_read_back(programs: list[str]) -> None:
    programs = ["", *programs]
    diffs = [make_diff(*pair) for pair in itertools.pairwise(programs) if pair[0] != pair[1]]
    prompt = example_prompt("a.py", "", "Do.")
    answer = example_completion(prompt, diffs).removeprefix(prompt)
    assert read_answer(answer) == (diffs, True)
    assert apply_diffs("", diffs) == programs[-1]


@given(PROGRAM)
def test_markers_in_a_text_are_escaped_and_come_back(text: str) -> None:
    assert not holds_marker(escape(text))
    assert unescape(escape(text)) == text
    assert (escape(text) == text) or holds_marker(text.replace("\\", ""))
    prompt = example_prompt("a.py", text, text)
    assert [prompt.count(marker) for marker in MARKERS] == [0, 2, 1, 1, 1, 1, 1]


def test_markers_are_found_wherever_they_stand() -> None:
    for marker in MARKERS:
        assert holds_marker(f"x = '{marker}'")
        assert not holds_marker(marker[:2] + "_" + marker[2:])
    assert not holds_marker("if a < b and code > c: print('[start]')")
    example = example_completion(example_prompt("a.py", "x = 1", "Do."), ["@@ -0,0 +1 @@\n+x"])
    assert all(marker in example for marker in MARKERS)


def test_random_names_are_names_of_python_files() -> None:
    names = [random_name(0, "id", number) for number in range(800)]
    stems = [name.removesuffix(".py") for name in names]
    assert all(name.endswith(".py") for name in names)
    assert {len(stem) for stem in stems} == set(range(1, 12))
    assert all(stem[0] in string.ascii_letters for stem in stems)
    assert {character for stem in stems for character in stem[1:]} == set(string.ascii_letters + string.digits + "-_")
    assert random_name(0, "id", 1) == names[1]
    assert random_name(1, "id", 1) != names[1]
