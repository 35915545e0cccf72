"""What a model wrote after a prompt, read as diffs and built into a program.

**Where the answer is.** The first `<|diff|>` begins it, wherever it stands, so that a repeated prompt or a greeting
does no harm. `</code>` on a line of its own, or as the last thing on a line, ends it. Lines that a hunk announces
belong to it, whatever markers they contain.

**What it is worth.** Diffs are applied in their order. Strictly, each must be well formed and fit, else there is no
program (the authors' script skips malformed hunks). An answer that only needs repairs of its form gets the status
`repaired` and counts in the lenient score alone; `REPAIRS` names them. Without a diff and without any other text, an
answer leaves the start program as it is.

**Torn answers.** When the model was cut off at `max_tokens`, a last diff that is not whole is left out: LintSeq trains
for steps that each leave a whole program. A torn diff that is the only one leaves none.

Every number is bounded before it is converted and nothing is allocated by an announced count, so no text raises.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from d3.core.example_format import CODE_END, DIFF, unescape
from d3.core.unified_diff import HUNK, DiffError, apply_diff, hunk_numbers, split_lines

REPAIRS = {
    "blank_lines": "blank lines around a diff or its hunks",
    "carriage_returns": "carriage returns at the end of lines",
    "context_lines": "lines of the program around the change",
    "empty_diff": "a diff without a hunk, beside others",
    "file_headers": "`---` and `+++` lines before a hunk",
    "line_number": "a wrong line number of the new program",
    "no_newline_mark": "`\\ No newline at end of file`",
    "outer_blanks": "blanks around a hunk header, or at the end of a deleted or context line",
}
"""What the lenient reading forgives."""
HUNK_BEGIN = re.compile(r"\s*" + HUNK.pattern.removesuffix(r"\Z"), re.ASCII)
DIFF_IN_BODY = re.compile(re.escape(DIFF) + "(?=@@ -)")
LINE_RETURN = re.compile(r"\r(?=\n|\Z)")
BODY = ("+", "-", " ")
LONGEST = 2_000_000
"""Characters of an answer, which bounds memory: a thousand times what models write."""
CUT = "cut off at max_tokens"


class Written(NamedTuple):
    """The diffs of an answer, and whether `</code>` ended it."""

    diffs: list[str]
    closed: bool


class Built(NamedTuple):
    """The outcome of an answer."""

    status: str
    """`ok`, `repaired`, `no_diff`, `malformed_diff` or `no_code`."""
    detail: str | None
    program: str | None
    repairs: tuple[str, ...] = ()


def build(start: str, text: str, finish_reason: str) -> Built:
    """Apply an answer to the start program; see the text of the module."""
    if len(text) > LONGEST:
        return Built("malformed_diff", f"longer than {LONGEST:,} characters", None)
    diffs, closed = read_answer(text)
    torn = finish_reason == "length" and not closed
    if not diffs:
        unchanged = start and not torn and not text.partition(CODE_END)[0].strip()
        return Built("ok", "nothing to change", start) if unchanged else Built("no_diff", None, None)
    if torn:
        diffs[-1] = _without_torn_marker(diffs[-1])
    only_torn = f"{CUT} in the only diff" if torn and len(diffs) == 1 else None
    if not any(diff.strip() for diff in diffs):
        return Built("malformed_diff", only_torn or "no diff contains a hunk", None)
    strict, repairs = None, set[str]()
    try:
        program, whole = _apply_all(start, diffs, torn, _apply_strict)
    except DiffError as error:
        strict = error.reason
        try:
            program, whole = _apply_all(start, diffs, torn, lambda old, diff: _apply_repaired(old, diff, repairs))
        except DiffError:
            return Built("malformed_diff", only_torn or strict, None)
    if fault := unusable(program):
        return Built("malformed_diff", fault, None)
    if _copies_numbers(diffs):
        return Built("malformed_diff", "the added lines repeat the line numbers of the prompt", None)
    if strict is not None:
        return Built("repaired", strict, program, tuple(sorted(repairs)))
    return Built("ok", None if whole else f"{CUT}: the last diff is left out", program)


def unusable(program: str) -> str | None:
    """Return why no file can hold a program, None if one can."""
    found = re.search("[\0\ud800-\udfff]", program)
    return "the program contains NUL or half of a surrogate pair" if found else None


def read_answer(text: str) -> Written:
    """Return the diffs of a text, their escapes undone; none if it contains no marker."""
    _, marker, answer = text.partition(DIFF)
    if not marker:
        return Written([], CODE_END in text)
    diffs: list[list[str]] = [[]]
    lines = answer.split("\n")
    old = new = 0  # lines that the current hunk still announces
    closed = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        ended = line.rstrip()
        inside = (old > 0 or new > 0) and line.startswith(BODY)
        if inside:
            old, new = old - (line[0] != "+"), new - (line[0] != "-")
            goes_on = (old > 0 or new > 0) and following.startswith(BODY)
            closed = ended.endswith(CODE_END) and ended[1:] != CODE_END and not goes_on
        else:
            closed = line.startswith(CODE_END) or ended.endswith(CODE_END)
        if closed:
            line = ended.removesuffix(CODE_END) if inside else line.partition(CODE_END)[0]
        first, *further = DIFF_IN_BODY.split(line) if inside else line.split(DIFF)
        if first or not (further or closed):
            diffs[-1].append(first)
        diffs += [[begun] for begun in further]
        if closed:
            break
        if (further or not inside) and (header := HUNK_BEGIN.match(diffs[-1][-1])):
            _, old, _, new = hunk_numbers(header[0].strip()) or (0, 0, 0, 0)
    if diffs[-1][-1:] == [""]:
        diffs[-1].pop()  # the text ended with a newline
    return Written([unescape("\n".join(diff)) for diff in diffs], closed)


def _without_torn_marker(diff: str) -> str:
    """Return a diff without a last line that is the beginning of a marker."""
    before, _, last = diff.rpartition("\n")
    return before if last and any(marker.startswith(last) for marker in (DIFF, CODE_END)) else diff


def _apply_all(start: str, diffs: list[str], torn: bool, apply: Callable[[str, str], str]) -> tuple[str, bool]:
    """Return the program after all diffs and True, or after all but a torn last one and False; raise DiffError."""
    program = start
    for number, diff in enumerate(diffs, start=1):
        try:
            program = apply(program, diff)
        except DiffError:
            if torn and number == len(diffs) and any(before.strip() for before in diffs[:-1]):
                return program, False
            raise
    return program, True


def _apply_strict(program: str, diff: str) -> str:
    if LINE_RETURN.search(diff):
        raise DiffError("a line ends with a carriage return")
    return apply_diff(program, diff)


def _apply_repaired(program: str, diff: str, repairs: set[str]) -> str:
    """Rewrite a diff as the strict one that it stands for and apply that; name the repairs. Raise DiffError."""
    if not diff.strip():
        repairs.add("empty_diff")
        return program
    diff, returns = LINE_RETURN.subn("", diff)
    if returns:
        repairs.add("carriage_returns")
    source, lines = split_lines(program), iter(diff.split("\n"))
    strict: list[str] = []
    shift = 0  # lines that the hunks before added
    for line in lines:
        if (kind := _kind_between_hunks(line)) is not None:
            repairs.add(kind)
            continue
        numbers = hunk_numbers(line.strip())
        if numbers is None:
            raise DiffError("a line between hunks is no hunk header")
        if line != line.strip():
            repairs.add("outer_blanks")
        old_start, old, new_start, new = numbers
        at = old_start if old == 0 else old_start - 1
        if new_start != at + shift + (1 if new else 0):
            repairs.add("line_number")
        removed, added = list[str](), list[str]()
        while old > 0 or new > 0:
            line = next(lines, "\\") or " "
            if line[0] == "\\" and line != "\\":
                repairs.add("no_newline_mark")
                continue
            if line[0] == " ":
                repairs.add("context_lines")
                strict += _hunk(at, shift, removed, added)
                shift += len(added) - len(removed)
                removed, added = [], []
            old, new = old - (line[0] != "+"), new - (line[0] != "-")
            if line[0] not in BODY or old < 0 or new < 0 or (line[0] == "-" and added):
                raise DiffError("a hunk does not contain the lines it announces")
            if line[0] == "+":
                added.append(line[1:])
                continue
            if not 0 <= at < len(source) or source[at].rstrip() != line[1:].rstrip():
                raise DiffError("a hunk names lines that are not there")
            if source[at] != line[1:]:
                repairs.add("outer_blanks")
            if line[0] == "-":
                removed.append(source[at])
            at += 1
        strict += _hunk(at, shift, removed, added)
        shift += len(added) - len(removed)
    return apply_diff(program, "\n".join(strict)) if strict else program


def _kind_between_hunks(line: str) -> str | None:
    """Return the repair that leaves out a line between hunks, None if it must not be left out."""
    if not line.strip():
        return "blank_lines"
    if line.startswith(("--- ", "+++ ")):
        return "file_headers"
    return "no_newline_mark" if line.startswith("\\ No newline") else None


def _hunk(end: int, shift: int, removed: list[str], added: list[str]) -> list[str]:
    """Return the strict hunk of some lines, of which the deleted ones end before line `end` (from 0) of the program."""
    if not removed and not added:
        return []
    begin = end - len(removed)
    old_start, new_start = begin + bool(removed), begin + shift + bool(added)
    header = f"@@ -{old_start},{len(removed)} +{new_start},{len(added)} @@"
    return [header, *(f"-{line}" for line in removed), *(f"+{line}" for line in added)]


def _copies_numbers(diffs: list[str]) -> bool:
    """Return whether every added line begins with its number, as the lines of the prompt do."""
    number, found = 0, False
    for line in (line for diff in diffs for line in diff.split("\n")):
        if numbers := hunk_numbers(line.strip()):
            number = numbers[2]
        elif line.startswith(("+", " ")):
            if line[0] == "+" and not line.startswith(f"+{number:3d} "):
                return False
            number, found = number + 1, found or line[0] == "+"
    return found
