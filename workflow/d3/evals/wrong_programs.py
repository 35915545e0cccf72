"""Programs that no benchmark's tests may pass: constants, raising bodies, and mutants of the reference."""

import ast
import builtins
import random
from collections.abc import Iterator
from itertools import islice

from d3.core.ids import derive_seed
from d3.evals.solutions import parse

CONSTANTS = ("None", "True", "False", "0", "1", "-1", "0.0", "float('nan')", "float('inf')", "''", "[]", "[[]]", "()",
             "{}", "set()")  # fmt: skip
EXCEPTIONS = tuple(
    sorted(
        name
        for name, kind in vars(builtins).items()
        if isinstance(kind, type) and issubclass(kind, BaseException) and not issubclass(kind, Warning)
    )
)
MUTANTS = 20
"""Mutants of a reference that are tried, or as many as it has."""
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def trivial_programs(entry_point: str) -> Iterator[tuple[str, str]]:
    """Yield a name and a program for everything that solves no task, whatever the task is."""
    yield "empty program", ""
    head = f"def {entry_point}(*args, **kwargs):\n    "
    yield "returns its first argument", f"{head}return args[0]\n"
    for constant in CONSTANTS:
        yield f"returns {constant}", f"{head}return {constant}\n"
    for name in EXCEPTIONS:
        yield f"raises {name}", f"{head}raise {name}\n"


def mutants(program: str, task_id: str, count: int = MUTANTS) -> list[tuple[str, str]]:
    """Return a name and the text of some mutants of a reference, chosen by the task's id.

    Each changes one operator, constant or bound, drops one statement or swaps two arguments.
    """
    total = sum(1 for _ in _all_changes(parse(program)))
    order = random.Random(derive_seed(0, "mutants", task_id)).sample(range(total), total)
    original = ast.unparse(parse(program))
    found: dict[str, str] = {}
    for number in order:
        tree = parse(program)
        name, change = next(islice(_all_changes(tree), number, None))
        change()
        text = ast.unparse(ast.fix_missing_locations(tree))
        if text != original:
            found.setdefault(text, name)
        if len(found) == count:
            break
    return [(name, text) for text, name in found.items()]


def _all_changes(tree: ast.Module) -> Iterator[tuple[str, "_Change"]]:
    """Yield all mutations of a program, none of them made."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) not in docstrings or not isinstance(node, ast.Constant):
            for name, change in _changes(node):
                yield f"{name}, line {getattr(node, 'lineno', 0)}", change


def _changes(node: ast.AST) -> Iterator[tuple[str, "_Change"]]:
    """Yield the ways in which a node can be mutated."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in COMPARISONS:
                yield "comparison", _Change(node.ops, place, COMPARISONS[type(operator)]())
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in OPERATORS:
        yield "operator", _Change(node.__dict__, "op", OPERATORS[type(node.op)]())
    if isinstance(node, ast.Constant):
        yield from _constants(node)
    if isinstance(node, ast.Call) and len(node.args) > 1:
        yield "arguments swapped", _Change(node.__dict__, "args", [node.args[1], node.args[0], *node.args[2:]])
    if isinstance(node, ast.Return) and node.value is not None:
        yield "returns nothing", _Change(node.__dict__, "value", None)
    if isinstance(node, ast.If | ast.While):
        yield "condition negated", _Change(node.__dict__, "test", ast.UnaryOp(op=ast.Not(), operand=node.test))
    for field in ("body", "orelse"):
        statements = getattr(node, field, None)
        if isinstance(node, ast.Module) or not isinstance(statements, list):
            continue
        for place, statement in enumerate(statements):
            if not isinstance(statement, ast.Expr | ast.Pass | ast.Return | ast.Import | ast.ImportFrom):
                yield "statement dropped", _Change(statements, place, ast.Pass())


def _constants(node: ast.Constant) -> Iterator[tuple[str, "_Change"]]:
    """Yield other values of a constant."""
    if isinstance(node.value, bool):
        yield "constant", _Change(node.__dict__, "value", not node.value)
    elif isinstance(node.value, int | float):
        for step in (1, -1):
            yield "constant", _Change(node.__dict__, "value", node.value + step)
    elif isinstance(node.value, str) and "\n" not in node.value:
        yield "constant", _Change(node.__dict__, "value", node.value + "x" if node.value else "x")


class _Change:
    """A change of one place of a syntax tree, to be made or not."""

    def __init__(self, holder: object, place: object, value: object) -> None:
        self.holder, self.place, self.value = holder, place, value

    def __call__(self) -> None:
        self.holder[self.place] = self.value  # type: ignore[index]
