"""Unified diffs without context: made with difflib as pylintseq does, applied strictly.

A program is a string of lines joined by newlines, without a newline at its end; the empty string
is the empty program. A diff is its hunks only, without the two file header lines:

    @@ -3,0 +4,2 @@
    +    total = 0
    +    count = 0
"""

import difflib
import re
from collections.abc import Iterable, Sequence

from d3.errors import D3Error

HUNK = re.compile(r"@@ -(\d{1,7})(?:,(\d{1,7}))? \+(\d{1,7})(?:,(\d{1,7}))? @@\Z", re.ASCII)
"""The header of a hunk. Models write these numbers too, so they are bounded before they are converted."""


class DiffError(D3Error):
    """A diff that is malformed or does not fit the program."""


def split_lines(program: str) -> list[str]:
    """Return a program's lines; the empty program has none."""
    return program.split("\n") if program else []


def make_diff(old: str, new: str) -> str:
    """Return the hunks that turn `old` into `new`, without context; empty if they are equal."""
    lines = difflib.unified_diff(split_lines(old), split_lines(new), n=0, lineterm="")
    return "\n".join(line for number, line in enumerate(lines) if number >= 2)


def hunk_numbers(line: str) -> tuple[int, int, int, int] | None:
    """Return (old start, old count, new start, new count) of a hunk header, None for any other line."""
    header = HUNK.match(line)
    if header is None:
        return None
    old_start, old_count, new_start, new_count = (1 if number is None else int(number) for number in header.groups())
    return old_start, old_count, new_start, new_count


def apply_diff(program: str, diff: str) -> str:
    """Apply one diff; raises DiffError for a malformed hunk or one that does not fit the program."""
    source = split_lines(program)
    result: list[str] = []
    taken = 0  # lines of the source already copied or deleted
    lines = diff.split("\n")
    at = 0
    while at < len(lines):
        numbers = hunk_numbers(lines[at])
        if numbers is None:
            raise DiffError(f"line {at + 1} of the diff is no hunk header: {lines[at][:60]!r}")
        old_start, old_count, new_start, new_count = numbers
        body = lines[at + 1 : at + 1 + old_count + new_count]
        removed = [line[1:] for line in body[:old_count]]
        added = [line[1:] for line in body[old_count:]]
        marks = [line[:1] for line in body]
        if len(body) != old_count + new_count or marks != ["-"] * old_count + ["+"] * new_count:
            raise DiffError(f"the hunk at line {at + 1} of the diff does not hold the lines it announces")
        begin = old_start if old_count == 0 else old_start - 1
        if begin < taken or begin + old_count > len(source):
            raise DiffError(f"the hunk at line {at + 1} of the diff lies outside the program")
        if source[begin : begin + old_count] != removed:
            raise DiffError(f"the hunk at line {at + 1} of the diff deletes lines that are not there")
        result += source[taken:begin]
        if new_start != len(result) + (1 if new_count else 0):
            raise DiffError(f"the hunk at line {at + 1} of the diff names a wrong line of the new program")
        result += added
        taken = begin + old_count
        at += 1 + old_count + new_count
    return "\n".join(result + source[taken:])


def apply_diffs(program: str, diffs: Iterable[str]) -> str:
    """Apply diffs one after the other; raises DiffError."""
    for diff in diffs:
        program = apply_diff(program, diff)
    return program


def programs_of(diffs: Sequence[str]) -> list[str]:
    """Return all the programs of a sequence, from the empty one to the last: len(diffs) + 1 of them."""
    programs = [""]
    for diff in diffs:
        programs.append(apply_diff(programs[-1], diff))
    return programs


def lines_changed(diffs: Iterable[str]) -> int:
    """Count the added and deleted lines of some diffs."""
    lines = (line for diff in diffs for line in diff.split("\n"))
    return sum(numbers[1] + numbers[3] for line in lines if (numbers := hunk_numbers(line)))
