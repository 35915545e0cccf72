"""Changes of a program that no instruction can be about: comments, quotes, layout, one line of a docstring."""

import ast
import warnings

from d3.core.unified_diff import lines_changed, make_diff

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def is_trivial(start: str, end: str) -> bool:
    """Return whether two programs differ in comments, quotes and layout alone, or in one line of docstrings.

    Both are compared as syntax trees; a program that does not parse makes no trivial change.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in somebody's strings
            before, after = ast.parse(start), ast.parse(end)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if ast.dump(before) == ast.dump(after):
        return True
    removed, added = _lines(start, end)
    return max(removed, added) <= 1 and ast.dump(_undocumented(before)) == ast.dump(_undocumented(after))


def _lines(start: str, end: str) -> tuple[int, int]:
    """Return how many lines a change deletes and adds."""
    total = lines_changed([make_diff(start, end)])
    more = len(end.split("\n")) * bool(end) - len(start.split("\n")) * bool(start)
    return (total - more) // 2, (total + more) // 2


def _undocumented(tree: ast.Module) -> ast.Module:
    """Remove the docstrings of a tree; a body that is one becomes `pass`, which may stand there instead."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return tree
