"""Parts that no instruction can be about are drawn again."""

from itertools import pairwise
from typing import Any

import pytest

from d3.config.load import parse_config
from d3.core.example_format import draw_parts
from d3.core.unified_diff import make_diff
from d3.stages.labels import parts_of
from d3.stages.trivial_change import is_trivial

DOC = 'def f(x):\n    """Say it.\n\n    More.\n    """\n    return x'


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("", "# a comment\n# and another"),
        ("x = 1", "x = 1  # one\n# two"),
        ("x = 'a'\ny = 'b'", 'x = "a"\ny = """b"""'),
        ("f(1, 2)", "f(\n    1,\n    2,\n)"),
        (DOC, DOC.replace("    More.\n", "")),
        (DOC, DOC.replace("Say it", "Tell it")),
        ("def f(x):\n    return x", 'def f(x):\n    """Say it."""\n    return x'),
    ],
)
def test_comments_quotes_layout_and_one_line_of_a_docstring_are_trivial(start: str, end: str) -> None:
    assert is_trivial(start, end)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("", "x = 1"),
        ("x = 1", "x = 2"),
        ("x = 'a'", "x = b'a'"),
        ("def f(x):\n    return x", DOC),  # several lines of a docstring
        ("def f(x):\n    return x", 'def f(x):\n    """Say."""\n    return -x'),
        ("if x:\n    y", "if x:\n  y\nz"),
        ("x = (", "x = (  # does not parse"),
    ],
)
def test_what_a_program_does_is_not(start: str, end: str) -> None:
    assert not is_trivial(start, end)


def test_unwanted_parts_are_drawn_again_and_others_stay() -> None:
    plain = draw_parts(0, "id", 0, 30, count=40, ends="all")
    again = draw_parts(0, "id", 0, 30, count=40, ends="all", unwanted=lambda part: part.end - part.start < 5)
    assert any(part.end - part.start < 5 for part in plain)
    assert all(part.end - part.start >= 5 for part in again)
    for before, after in zip(plain, again, strict=True):
        assert (before == after) == (before.end - before.start >= 5)
    assert draw_parts(0, "id", 0, 30, count=3, ends="all", unwanted=lambda part: True)  # ends after some draws


def test_labels_draw_trivial_parts_again_where_the_configuration_says_so() -> None:
    programs = ["", *(f"x = {n}\n# {n}" if n % 3 == 0 else f"x = {n // 3 * 3}\n# {n}" for n in range(30))]
    row: dict[str, Any] = {"id": "a", "sample": 0}
    row["diffs"] = [make_diff(old, new) for old, new in pairwise(programs)]
    config = parse_config({"labels": {"sub_trajectories": 50, "trivial": "redraw"}})
    plain = parse_config({"labels": {"sub_trajectories": 50}})

    def trivial(parts: list[Any]) -> int:
        return sum(is_trivial(programs[part.start], programs[part.end]) for part in parts)

    assert trivial(parts_of(plain, row)) > 0
    assert trivial(parts_of(config, row)) == 0
    assert parts_of(config, row) == parts_of(config, row)
