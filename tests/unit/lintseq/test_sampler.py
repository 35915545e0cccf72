"""The sampler: what is drawn, what goes with it, and what comes out."""

import pytest

from d3.diffs import apply_diffs
from d3.lintseq.sampler import SampleError, Trace, forward_diffs, programs_backward, sample_edits

TEXT = "import os\n\n# where\ndef here():\n    name = os.getcwd()\n    return name\n\n\nprint(here())"


def never(_: str) -> list[Trace]:
    return []


def test_dependants_go_with_their_header() -> None:
    for seed in range(20):
        for edit in sample_edits(TEXT, None, seed, max_depth=512):
            if 3 in edit:
                assert {4, 5} & set(edit) == {4, 5} or not {4, 5} & set(edit)


def test_every_drawable_line_is_deleted() -> None:
    edits = sample_edits(TEXT, never, 7, max_depth=512)
    deleted = {line for edit in edits for line in edit}
    assert all(edit == sorted(set(edit)) for edit in edits)
    assert deleted >= {0, 3, 4, 5, 8}
    assert 2 not in deleted


def test_equal_seeds_give_equal_steps() -> None:
    first = sample_edits(TEXT, None, 5, max_depth=512)
    assert first == sample_edits(TEXT, None, 5, max_depth=512)
    assert any(first != sample_edits(TEXT, None, seed, max_depth=512) for seed in range(6, 12))


def test_lines_that_the_linter_names_go_too() -> None:
    def lint(program: str) -> list[Trace]:
        lines = program.split("\n")
        if "import os" in lines or "    name = os.getcwd()" not in lines:
            return []
        return [Trace("E0602", str(lines.index("    name = os.getcwd()") + 1), "11", "Undefined variable 'os'")]

    for seed in range(30):
        edits = sample_edits(TEXT, lint, seed, max_depth=512)
        step = {line: number for number, edit in reversed(list(enumerate(edits))) for line in edit}
        assert step[4] <= step[0]


def test_depth_is_limited() -> None:
    assert len(sample_edits(TEXT, never, 1, max_depth=2)) == 2
    diffs = forward_diffs(TEXT, sample_edits(TEXT, never, 1, max_depth=2))
    assert apply_diffs("", diffs) == TEXT


def test_the_inside_of_a_constant_is_not_drawn() -> None:
    text = "NAMES = [\n    'a',\n    'b',\n]\nx = 1"
    first = {tuple(sample_edits(text, None, seed, max_depth=512)[0]) for seed in range(40)}
    assert first == {(0, 1, 2, 3), (4,)}


@pytest.mark.parametrize("text", ["# only\n\n# comments", "#"])
def test_nothing_to_draw(text: str) -> None:
    with pytest.raises(SampleError) as caught:
        sample_edits(text, never, 0, max_depth=512)
    assert caught.value.status == "no_candidate_lines"


@pytest.mark.parametrize("line", ["99", "none"])
def test_a_linter_that_names_no_line_is_a_crash(line: str) -> None:
    with pytest.raises(SampleError) as caught:
        sample_edits(TEXT, lambda _: [Trace("E0001", line, "0", "?")], 0, max_depth=512)
    assert caught.value.status == "lint_crash"


def test_backward_programs_end_empty() -> None:
    programs = programs_backward("a\nb\n# c", [[1], [0]])
    assert programs == ["a\nb\n# c", "a\n# c", "# c", ""]


def test_diffs_that_do_not_give_the_file_back_are_refused() -> None:
    with pytest.raises(SampleError) as caught:
        forward_diffs("a\nb\n", [[1], [0]])
    assert caught.value.status == "round_trip"


def test_a_sequence_that_must_not_change() -> None:
    assert sample_edits(TEXT, None, 1234, max_depth=512) == GOLDEN


GOLDEN = [[0], [5], [4], [8], [3, 4, 5, 6, 7]]
