"""Python source reduced to what decides a result: the same text for every Python version, layout and name.

`outline` writes a module as one line of text in which nothing is left of comments, docstrings, formatting,
import lines, the names of this package's modules, and of what only checks outputs (`d3.pipeline.checks`).
A name that an import binds is written as what it stands for: `json.dumps` however `dumps` was imported, and
a name out of this package without its module. Which module that is belongs to the edges of the outline, so
that a renamed module leaves the text alone.

`ast.dump` cannot be used: its text differs between minor versions of Python.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
NAMING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
LEAVES = (*FUNCTIONS, ast.Name, ast.Constant, ast.arg)
POSITIONS = frozenset({"ctx", "kind", "lineno", "col_offset", "end_lineno", "end_col_offset", "type_comment"})
"""Fields of a syntax tree that say nothing about what a program does."""
OUTSIDE = frozenset({"decorator_list", "returns", "bases", "keywords"})
"""Fields of a function or class that are evaluated outside of its scope."""


class Edge(NamedTuple):
    """One use of another module of the package."""

    module: str
    name: str
    """What is used of it; empty for the module itself."""


class Outline(NamedTuple):
    """What a module does, and which modules of the package it does it with."""

    text: str
    """Empty for a module without code."""
    edges: frozenset[Edge]
    imported: frozenset[str]
    """Names of modules of the package that are imported or named in a string, with those that may be attributes."""
    strings: frozenset[str]
    """All short texts in the code, among which the names of data files are looked for."""


@dataclass(slots=True)
class _Writer:
    """Writes syntax trees as text; `is_module` answers whether a dotted name is a module of the package."""

    package: tuple[str, ...]
    is_module: Callable[[str], bool]
    edges: set[Edge] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)

    # --- names ----------------------------------------------------------------------------------

    def bindings(self, nodes: Iterable[ast.AST]) -> dict[str, str]:
        """Return what the imports among some nodes bind, as name -> dotted name."""
        bound: dict[str, str] = {}
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._note(alias.name)
                    root = alias.name.partition(".")[0]
                    bound[alias.asname or root] = alias.name if alias.asname else root
            elif isinstance(node, ast.ImportFrom):
                above = self.package[: len(self.package) - node.level + 1] if node.level else ()
                module = ".".join([*above, *([node.module] if node.module else [])])
                self._note(module)
                for alias in node.names:
                    dotted = f"{module}.{alias.name}"
                    self._note(dotted)
                    self.reference(dotted)  # another module may find the name here
                    bound[alias.asname or alias.name] = dotted
        return bound

    def _note(self, name: str) -> None:
        if name.partition(".")[0] == self.package[0]:
            self.imported.add(name)

    def reference(self, dotted: str) -> str:
        """Write a dotted name that an import bound; modules of the package are left out and become edges."""
        if dotted.partition(".")[0] != self.package[0]:
            return f"={dotted}"
        parts = dotted.split(".")
        for end in range(len(parts), 0, -1):
            module = ".".join(parts[:end])
            if self.is_module(module):
                self.edges.add(Edge(module, ".".join(parts[end : end + 1])))
                return f"={'.'.join(['', *parts[end:]])}"
        return f"={dotted}"

    # --- nodes ----------------------------------------------------------------------------------

    def write(self, value: object, names: Mapping[str, str]) -> str:
        """Write a node, a list of nodes or a plain value."""
        if isinstance(value, list):
            return f"[{','.join(self.write(item, names) for item in _statements(value))}]"
        if not isinstance(value, ast.AST):
            return ascii(value)
        if isinstance(value, ast.Name | ast.Attribute):
            root, _, rest = _dotted(value).partition(".")
            if root in names:
                return self.reference(f"{names[root]}.{rest}" if rest else names[root])
        elif isinstance(value, ast.Constant):
            return self._constant(value.value)
        elif isinstance(value, ast.JoinedStr):
            return f"JoinedStr{self.write(_merged(value.values), names)}"
        inner = self._inner(value, names)
        written = []
        for name in _fields(type(value).__name__):
            item = getattr(value, name, None)
            if item is None or item == [] or (name == "format_spec" and not _merged(item.values)):
                continue
            text = self.write(item, names if name in OUTSIDE else inner)
            if text != "[]":
                written.append(f"{name}={text}")
        return f"{type(value).__name__}({','.join(written)})"

    def _constant(self, value: object) -> str:
        if isinstance(value, str) and len(value) < 200:
            if value.startswith(f"{self.package[0]}.") and self.is_module(value):
                self._note(value)  # a process is started with this name
                self.edges.add(Edge(value, ""))
                return "<module>"
            self.strings.add(value)
        return f"{type(value).__name__}:{value!a}"

    def _inner(self, node: ast.AST, names: Mapping[str, str]) -> Mapping[str, str]:
        """Return the imported names inside of a scope: not those that its own names hide."""
        if not isinstance(node, (ast.Module, *FUNCTIONS)):
            return names
        own = list(_scope(node))
        bound = self.bindings(own)
        hidden = set() if isinstance(node, ast.Module) else set(_local_names(own)) - bound.keys()
        return {name: dotted for name, dotted in names.items() if name not in hidden} | bound


def outline(source: bytes, package: tuple[str, ...], is_module: Callable[[str], bool]) -> Outline:
    """Return the outline of a module that lies in `package` (such as `("d3", "llm")`).

    Raise SyntaxError if the source does not parse.
    """
    writer = _Writer(package, is_module)
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not _is_check(node)]
    text = writer.write(tree, {})
    empty = text == "Module()"
    return Outline(
        "" if empty else text, frozenset(writer.edges), frozenset(writer.imported), frozenset(writer.strings)
    )


def _is_check(node: ast.AST) -> bool:
    """Return whether a node is a function over a `FinishedJob`: those check outputs (`d3 verify`) and make none."""
    kinds = (argument.annotation for argument in node.args.args) if isinstance(node, ast.FunctionDef) else ()
    return any(isinstance(kind, ast.Name) and kind.id == "FinishedJob" for kind in kinds)


def _statements(items: list[object]) -> Iterator[object]:
    """Yield the items of a list without docstrings, other statements that are only a text, and imports."""
    for item in items:
        text = isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
        if not text and not isinstance(item, ast.Import | ast.ImportFrom):
            yield item


@cache
def _fields(kind: str) -> list[str]:
    """Return the fields of a kind of node that count, in an order that no version of Python changes."""
    return sorted(set(getattr(ast, kind)._fields) - POSITIONS)


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` of a name that is read, or of an attribute of one; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
        return ""
    return ".".join([node.id, *reversed(parts)]) if parts else node.id


def _scope(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope, without those of functions inside of it."""
    waiting = [node]
    while waiting:
        parent = waiting.pop()
        for name in _fields(type(parent).__name__):
            item = getattr(parent, name, None)
            children = item if isinstance(item, list) else [item]
            for child in children:
                if isinstance(child, ast.AST):
                    yield child
                    if not isinstance(child, LEAVES):
                        waiting.append(child)


def _local_names(own: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names that a function binds itself: arguments, assignments, loops, handlers, patterns."""
    for child in own:
        if isinstance(child, ast.Name):
            if not isinstance(child.ctx, ast.Load):
                yield child.id
        elif isinstance(child, ast.arg):
            yield child.arg
        elif isinstance(child, NAMING):
            yield child.name or ""


def _merged(parts: Iterable[ast.expr]) -> list[object]:
    """Return the parts of an f-string with neighbouring texts joined and empty ones left out.

    Where one text ends and the next begins differs between versions of Python.
    """
    merged: list[object] = []
    text = ""
    for part in parts:
        if isinstance(part, ast.Constant):
            text += str(part.value)
            continue
        merged += [ast.Constant(text), part] if text else [part]
        text = ""
    return [*merged, ast.Constant(text)] if text else merged
