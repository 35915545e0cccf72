"""What a model wrote as a program: the continuation of a prompt, or code between fences in a chat's answer.

**Continuation** (`base`). The program is the prompt and what follows it, up to the first stop string.

**Chat** (`instruct`). Of the blocks between fences that are Python, or name no language, the last that defines the
entry point is the program; examples of its use before and after do no harm, and a better version replaces an earlier
one. What precedes `</think>` is left out. An answer whose block only becomes a program by a repair of its form is
`repaired` and counts in the lenient score alone; `FENCE_REPAIRS` names them.

Statuses are those of `d3.evals.answer`, with `no_code` for an answer that contains no program. No text raises, and
time grows with its length.
"""

import ast
import re
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from d3.evals.answer import CUT, LINE_RETURN, LONGEST, Built, unusable
from d3.evals.solutions import parse

FENCE_REPAIRS = {
    "carriage_returns": "carriage returns at the end of lines",
    "indented_block": "a block that is indented as a whole",
    "no_fence": "an answer that is a program, without fences around it",
    "open_fence": "a block that no fence ends",
    "other_language": "a block that is said to be in another language",
    "several_blocks": "a program in several blocks",
}
"""What the lenient reading forgives in a chat's answer."""
PYTHON = ("", "python", "py", "python3", "py3")
"""Names of the language of a block, in lower case."""
FENCE = re.compile(r"(?P<indent>[ \t]*)(?:[-*+>] )?(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)\Z")
REASONING_END = "</think>"
REASONING = "<think>"
MOST_NESTING = 200
"""Brackets inside each other of a text that is parsed: deeper ones stop the parser of Python."""


class Block(NamedTuple):
    """A block of code between fences."""

    language: str
    code: str
    closed: bool
    indented: bool


def continued(prompt: str, text: str, stop: Sequence[str], finish_reason: str) -> Built:
    """Return the program that a continuation makes of a prompt, without what follows a stop string."""
    if len(text) > LONGEST:
        return Built("no_code", f"longer than {LONGEST:,} characters", None)
    end = min((place for mark in stop if (place := text.find(mark)) >= 0), default=len(text))
    code = text[:end].rstrip()
    if not code:
        return Built("no_code", None, None)
    if fault := unusable(code):
        return Built("no_code", fault, None)
    return Built("ok", CUT if finish_reason == "length" and end == len(text) else None, prompt + code)


def extracted(text: str, entry_point: str, finish_reason: str) -> Built:
    """Return the program in a chat's answer, which must define `entry_point`."""
    if len(text) > LONGEST:
        return Built("no_code", f"longer than {LONGEST:,} characters", None)
    repairs: set[str] = set()
    _, thought, answer = text.rpartition(REASONING_END)
    if not thought and text.lstrip().startswith(REASONING):
        return Built("no_code", "the reasoning does not end", None)
    answer, returns = LINE_RETURN.subn("", answer)
    if returns:
        repairs.add("carriage_returns")
    blocks = blocks_of(answer)
    code = _chosen(blocks, answer, entry_point, repairs)
    if code is None:
        return Built("no_code", f"no block of code defines {entry_point}" if blocks else None, None)
    if fault := unusable(code):
        return Built("no_code", fault, None)
    if not repairs:
        return Built("ok", None, code)
    detail = CUT if finish_reason == "length" and "open_fence" in repairs else FENCE_REPAIRS[min(repairs)]
    return Built("repaired", detail, code, tuple(sorted(repairs)))


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of code of a text in Markdown. A longer fence may contain shorter ones."""
    blocks: list[Block] = []
    lines: list[str] | None = None
    fence = language = indent = ""
    for line in text.split("\n"):
        found = FENCE.match(line)
        if lines is None:
            if found:
                fence, indent, lines = found["fence"], found["indent"], []
                language = (found["info"].split() or [""])[0].lower()
            continue
        if found and found["fence"].startswith(fence) and not found["info"].strip():
            blocks.append(_block(language, lines, indent, closed=True))
            lines = None
        else:
            lines.append(line)
    if lines is not None:
        blocks.append(_block(language, lines, indent, closed=False))
    return [block for block in blocks if block.code]


def _block(language: str, lines: list[str], indent: str, *, closed: bool) -> Block:
    """Return a block without the indentation of its fence, as Markdown reads it."""
    plain = [line[len(indent) :] if line.startswith(indent) else line.lstrip() for line in lines]
    text = "\n".join(plain).strip("\n").rstrip()
    return Block(language, textwrap.dedent(text), closed, text[:1] in (" ", "\t"))


def _chosen(blocks: list[Block], answer: str, entry_point: str, repairs: set[str]) -> str | None:
    """Return the program of an answer, or None; add how it was repaired."""
    python = [block for block in blocks if block.language in PYTHON]
    for candidates, kind in ((python, ""), (blocks, "other_language")):
        defining = [block for block in candidates if defines(block.code, entry_point)]
        if defining:
            block = defining[-1]
            repairs.update({kind} - {""})
            repairs.update({"open_fence"} if not block.closed else ())
            repairs.update({"indented_block"} if block.indented else ())
            helpers = [other.code for other in python if _is_needed(other, block, entry_point)]
            repairs.update({"several_blocks"} if helpers else ())
            return "\n\n".join([*helpers, block.code])
    whole = answer.strip("\n").rstrip()
    if not blocks and defines(whole, entry_point) and _parses(whole):
        repairs.add("no_fence")
        return whole
    return None


def defines(code: str, name: str) -> bool:
    """Return whether a program defines a name at its top level, also where it does not parse."""
    return name in _defined(code) or bool(
        re.search(rf"^(?:async[ \t]+def|def|class)[ \t]+{re.escape(name)}\b", code, re.MULTILINE)
    )


def _is_needed(other: Block, block: Block, entry_point: str) -> bool:
    """Return whether a block defines what the program uses and does not define itself."""
    if other is block or defines(other.code, entry_point):
        return False
    missing = _used(block.code) - _defined(block.code)
    return bool(missing & _defined(other.code))


def _tree(code: str) -> ast.Module | None:
    depth = deepest = 0
    for letter in code:
        depth += (letter in "([{") - (letter in ")]}")
        deepest = max(deepest, depth)
    if deepest > MOST_NESTING:
        return None
    try:
        return parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _parses(code: str) -> bool:
    return _tree(code) is not None


def _defined(code: str) -> set[str]:
    names: set[str] = set()
    tree = _tree(code)
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
    return names


def _used(code: str) -> set[str]:
    tree = _tree(code)
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} if tree else set()
