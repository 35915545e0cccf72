"""The backward sampling of LintSeq: which lines are deleted together, step by step, until none is left.

A step draws one line, deletes it with its indented dependants, lints what remains, deletes the lines
that the linter names, and so on until the linter is silent. The steps read backwards are a way to
write the program. This is pylintseq 0.0.2's `lintseq_backward_sampling_pythonic` with the parameters
of its command (one child a round, no beam, weights by indentation, comments and the inside of
upper-case constants never drawn), and it takes the same random numbers from the same generator in
the same order: given the same seed and the same linter it returns the same steps.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from d3.core.unified_diff import DiffError, make_diff, programs_of


class Trace(NamedTuple):
    """One message of the linter, in the words of pylintseq's message template."""

    msg_id: str
    line: str
    column: str
    msg: str


Lint = Callable[[str], Sequence[Trace]]
"""Return the messages of a program; empty when it has no errors."""


class SampleError(Exception):
    """A file that gives no sequence; `status` is the word that counts are made of."""

    def __init__(self, status: str, detail: str = "") -> None:
        self.status, self.detail = status, detail
        super().__init__(f"{status}: {detail}" if detail else status)


NO_LINE = "the file has no line that may be drawn"


def sample_edits(text: str, lint: Lint | None, seed: int, *, max_depth: int) -> list[list[int]]:
    """Return the line numbers, from 0, that each backward step deletes, sorted.

    A step also names dependants that an earlier step has deleted, as pylintseq's do.
    `seed` has 32 bits. `lint` None is the linter-free ablation: the same draws, no induced deletions.
    Comment lines that no step takes remain to the end; they are what the first diff writes.
    Raises SampleError `no_candidate_lines` for a file without a line to draw (empty, only comments)
    and `lint_crash` when the linter names a line that is not there.
    """
    lines = text.split("\n")
    remaining = _candidates(lines)
    weights, indents = _weights(lines, remaining)
    generator = np.random.RandomState(seed)
    choices = np.arange(len(lines))
    probabilities = weights / weights.sum() if weights.any() else None
    edits: list[list[int]] = []
    deleted: list[int] = []
    while remaining and len(edits) < max_depth:
        if edits:
            choices = np.array(remaining)
            probabilities = weights[choices]
            probabilities = probabilities / probabilities.sum()
        if probabilities is None:
            break
        drawn = int(generator.choice(choices, (1,), p=probabilities, replace=False)[0])
        edit = sorted(set(_induced(lines, drawn, deleted, indents, lint)))
        edits.append(edit)
        gone = set(edit)
        remaining = [line for line in remaining if line not in gone]
        deleted = sorted(gone.union(deleted))
    if not edits:
        raise SampleError("no_candidate_lines", NO_LINE)
    return edits


def _candidates(lines: Sequence[str]) -> list[int]:
    """Return the lines that may be drawn: no blank line, no comment, none inside an upper-case constant.

    A constant `NAME = (` or `NAME = [` that goes on over more lines can only be deleted by its first
    line; it ends with the line that ends in the closing bracket.
    """
    candidates = []
    closing = ""
    for number, line in enumerate(lines):
        stripped = line.lstrip()
        if not stripped or stripped[0] == "#":
            continue
        last = line.rstrip()[-1]
        if closing:
            if last == closing:
                closing = ""
            continue
        candidates.append(number)
        if "=" in line and line[: line.find("=")].replace(" ", "").isupper() and last in "([":
            closing = ")" if last == "(" else "]"
    return candidates


def _weights(
    lines: Sequence[str], candidates: Sequence[int]
) -> tuple["np.ndarray[tuple[int], np.dtype[np.float64]]", list[int]]:
    """Return the weight of every line in a draw, and its indentation in characters.

    A line's weight is its depth in units of the first indentation of the file, at least 1 if it has
    none. Lines of at most one character take the indentation of the line above.
    """
    drawable = set(candidates)
    unit: int | None = None
    indent = 0
    indents, weights = [], []
    for number, line in enumerate(lines):
        stripped = len(line.lstrip())
        if stripped > 1:
            indent = len(line) - stripped
        indents.append(indent)
        if unit is None and indent > 0:
            unit = indent
        if number not in drawable:
            weights.append(0.0)
        else:
            weights.append(indent / unit if indent and unit else 1.0)
    return np.array(weights), indents


def _dependants(line: int, indents: Sequence[int]) -> range:
    """Return the lines right after a line that are indented deeper than it."""
    end = line + 1
    while end < len(indents) and indents[end] > indents[line]:
        end += 1
    return range(line + 1, end)


def _induced(
    lines: Sequence[str], drawn: int, deleted: Sequence[int], indents: Sequence[int], lint: Lint | None
) -> list[int]:
    """Return all lines that go with `drawn`, possibly twice: its dependants, and what then has errors."""
    edit: list[int] = []
    affected = [drawn]
    gone = set(deleted)
    while affected:
        taken = set(edit).union(affected)
        children = [child for line in affected for child in _dependants(line, indents) if child not in taken]
        edit += affected + children
        gone.update(affected, children)
        kept = [number for number in range(len(lines)) if number not in gone]
        if lint is None:
            break
        traces = lint("\n".join(lines[number] for number in kept))
        try:
            affected = [kept[int(trace.line) - 1] for trace in traces]
        except (IndexError, ValueError):
            bad = [trace for trace in traces if not trace.line.isdigit() or int(trace.line) > len(kept)]
            raise SampleError("lint_crash", f"the linter names a line that is not there: {bad[:1]}") from None
    return edit


def programs_backward(text: str, edits: Sequence[Sequence[int]]) -> list[str]:
    """Return the programs after no step, after the first step and so on, ending with the empty one."""
    lines = text.split("\n")
    programs = [text]
    gone: set[int] = set()
    for edit in edits:
        gone.update(edit)
        programs.append("\n".join(line for number, line in enumerate(lines) if number not in gone))
    if programs[-1]:
        programs.append("")
    return programs


def forward_diffs(text: str, edits: Sequence[Sequence[int]]) -> list[str]:
    """Return the diffs that write `text` from the empty program, in order; steps that change nothing
    but surrounding blank lines have none.

    Raises SampleError `round_trip` when applying them does not give `text` back exactly: a text with
    line breaks other than the newline, or with blank lines around it.
    """
    programs = [program.strip() for program in programs_backward(text, edits)[::-1]]
    diffs = [make_diff(old, new) for old, new in pairwise(programs)]
    diffs = [diff for diff in diffs if diff]
    check_round_trip(text, diffs)
    return diffs


def check_round_trip(text: str, diffs: Sequence[str]) -> None:
    """Raise SampleError `round_trip` if the diffs do not give a text back."""
    try:
        back = programs_of(diffs)[-1]
    except DiffError as error:
        raise SampleError("round_trip", str(error)) from None
    if back != text:
        raise SampleError("round_trip", "the diffs do not give the file back")
