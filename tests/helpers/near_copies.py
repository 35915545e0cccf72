"""Near-copies of programs: what people do to a file that they take over."""

import ast
import builtins
import io
import random
import tokenize
from collections.abc import Callable, Sequence

import black
from black.parsing import InvalidInput
from black.report import NothingChanged

Change = Callable[[str], str | None]
"""Returns the changed program, or None for one that it does not fit."""

HEADER = "\n".join(
    [
        "# Copyright (c) 2021 The Example Company and its contributors. All rights reserved.",
        *(f"# Line {number} of the terms under which this file may be used and copied." for number in range(9)),
    ]
)


def _tokens(text: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(text).readline))


def _replaced(text: str, edits: Sequence[tuple[tokenize.TokenInfo, str]]) -> str:
    lines = text.split("\n")
    for token, new in sorted(edits, key=lambda edit: edit[0].start, reverse=True):
        (line, start), (_, end) = token.start, token.end
        lines[line - 1] = lines[line - 1][:start] + new + lines[line - 1][end:]
    return "\n".join(lines)


def other_comments(text: str) -> str | None:
    """Replace every comment by another of the same length."""
    comments = [token for token in _tokens(text) if token.type == tokenize.COMMENT]
    edits = [(token, "# " + "other words " * (len(token.string) // 12 + 1)) for token in comments]
    return _replaced(text, edits) if len(comments) > 2 else None


def license_header(text: str) -> str | None:
    """Put a license before a program, in place of the comment that it begins with."""
    lines = text.split("\n")
    while lines and (not lines[0].strip() or lines[0].startswith("#")):
        lines.pop(0)
    return "\n".join([HEADER, "", *lines])


def reordered(text: str) -> str | None:
    """Shuffle the functions and classes at the top level."""
    body = ast.parse(text).body
    starts = [min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1 for node in body]
    moved = [index for index, node in enumerate(body) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    if len(moved) < 4 or len(set(starts)) < len(starts):
        return None
    lines, ends = text.split("\n"), [*starts[1:], None]
    pieces = ["\n".join(lines[start:end]) for start, end in zip(starts, ends, strict=True)]
    order = random.Random(len(text)).sample(moved, len(moved))
    changed = [pieces[order[moved.index(index)]] if index in moved else piece for index, piece in enumerate(pieces)]
    return "\n".join([*lines[: starts[0]], *changed])


def reformatted(text: str) -> str | None:
    """Format a program with shorter lines and other quotes."""
    changed = black.format_str(text, mode=black.Mode(line_length=60)).strip()
    return changed if len(set(changed.split("\n")) - set(text.split("\n"))) > 5 else None


def renamed(text: str) -> str | None:
    """Rename the parameters and variables of all functions."""
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = [node for function in functions for node in ast.walk(function)]
    names = {node.arg for node in inside if isinstance(node, ast.arg)}
    names |= {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names -= {alias.asname or alias.name.split(".")[0] for node in imports for alias in node.names}
    names -= {"self", "cls", *dir(builtins)}
    new = {name: f"item{number}" for number, name in enumerate(sorted(names))}
    tokens = _tokens(text)
    pairs = zip([None, *tokens], tokens, strict=False)
    edits = [
        (token, new[token.string])
        for before, token in pairs
        if token.type == tokenize.NAME and token.string in new and not (before and before.string == ".")
    ]
    return _replaced(text, edits) if len(names) > 3 else None


CHANGES: dict[str, Change] = {
    "other comments": other_comments,
    "license header": license_header,
    "reordered": reordered,
    "reformatted": reformatted,
    "renamed variables": renamed,
}


def near_copies(texts: Sequence[str], count: int) -> dict[str, list[tuple[str, str]]]:
    """Return `count` pairs of a program and its near-copy of each kind; no program is taken twice."""
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in CHANGES}
    used: set[str] = set()
    for name, change in sorted(CHANGES.items(), key=lambda item: item[0] != "reordered"):
        for text in texts:
            if len(found[name]) == count:
                break
            changed = None if text in used else _changed(change, text)
            if changed is not None and changed != text:
                used.add(text)
                found[name].append((text, changed))
    return found


def _changed(change: Change, text: str) -> str | None:
    try:
        changed = change(text)
        if changed is not None:
            ast.parse(changed)
    except (SyntaxError, ValueError, tokenize.TokenError, InvalidInput, NothingChanged):
        return None
    return changed
