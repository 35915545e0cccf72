"""Reference solutions of benchmarks as Python text: parsing, signatures, and what their tests need of them."""

import ast
import warnings
from types import CodeType


def parse(program: str) -> ast.Module:
    """Parse a program without the compiler's warnings about old escapes; raise SyntaxError or ValueError."""
    with warnings.catch_warnings(action="ignore"):
        return ast.parse(program)


def trimmed(program: str) -> str:
    """Return a program as the pipeline writes programs: LF line ends, no empty lines around it."""
    return program.replace("\r\n", "\n").strip("\n").rstrip()


def without_docstrings(program: str) -> str:
    """Return a program without the lines of its docstrings, or as it is if it does not parse."""
    try:
        tree = parse(program)
    except (SyntaxError, ValueError):
        return program
    lines = program.split("\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            doc = node.body[0]
            for number in range(doc.lineno - 1, doc.end_lineno or doc.lineno):
                lines[number] = ""
    return "\n".join(lines)


def signature(function: ast.FunctionDef) -> str:
    """Return a function's name, parameters and result type."""
    result = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"{function.name}({ast.unparse(function.args)}){result}"


def supporting_code(program: str, tests: str, entry_point: str) -> str:
    """Return those imports and definitions of a reference program that its tests use besides the entry point.

    Three tasks of HumanEval test with a helper that is defined in the prompt (`poly`, `encode_cyclic`,
    `encode_shift`). The tests take it from the benchmark, never from the program under test.
    """
    defined: dict[str, ast.stmt] = {}
    for node in parse(program).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined.update({(alias.asname or alias.name).split(".")[0]: node for alias in node.names})
        elif isinstance(node, ast.Assign):
            defined.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
    defined.pop(entry_point, None)
    needed: set[ast.stmt] = set()
    names = names_used(tests)
    while found := {defined[name] for name in names if name in defined} - needed:
        needed |= found
        names = {node.id for part in found for node in ast.walk(part) if isinstance(node, ast.Name)}
    pieces = [ast.unparse(node) for node in sorted(needed, key=lambda node: node.lineno)]
    return "".join(f"{piece}\n\n" for piece in pieces)


def names_used(program: str) -> set[str]:
    """Return the global names, and some more, that a program uses; raise SyntaxError.

    It is compiled, never run: megabytes of literals in MBPP+'s tests make a syntax tree costly.
    """
    with warnings.catch_warnings(action="ignore"):
        waiting = [compile(program, "tests.py", "exec", dont_inherit=True)]
    names: set[str] = set()
    while waiting:
        code = waiting.pop()
        names.update(code.co_names)
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names
