"""Start programs of completion tasks: a reference solution with some of its lines removed."""

import ast
import random

from d3.evals.solutions import parse, trimmed

MOST_DRAWS = 1000
"""Draws of removed lines before a solution counts as having no completion variant [authors' code]."""


def without_some_lines(program: str, seed: int) -> str | None:
    """Return a program without some of its lines that still parses, or None.

    Candidate lines hold code and no import, comment or part of a longer string; a random number of
    them, from one to all but two, is removed [authors' code]. Drawn again until the rest parses; the
    authors ask for a program without pylint errors instead. None: two candidates or fewer, or no
    draw in 1,000 parses.
    """
    lines = program.split("\n")
    candidates = _candidate_lines(program)
    if len(candidates) <= 2:
        return None
    draws = random.Random(seed)
    for _ in range(MOST_DRAWS):
        gone = set(draws.sample(candidates, draws.randint(1, len(candidates) - 2)))
        start = trimmed("\n".join(line for number, line in enumerate(lines) if number not in gone))
        try:
            parse(start)
        except SyntaxError:
            continue
        return start
    return None


def _candidate_lines(program: str) -> list[int]:
    """Return the numbers, from 0, of lines that may be removed."""
    inside: set[int] = set()
    for node in ast.walk(parse(program)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.end_lineno is not None:
            statement = node.end_lineno > node.lineno
            inside.update(range(node.lineno - 1, node.end_lineno) if statement else ())
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.end_lineno is not None:
            inside.update(range(node.lineno - 1, node.end_lineno))
    return [
        number
        for number, line in enumerate(program.split("\n"))
        if line.strip() and not line.lstrip().startswith("#") and "import" not in line and number not in inside
    ]
