"""The head of a function, its signature and docstring, read from the source file without importing its module.

Help and usage errors of a command are thus available in every environment and at once, whatever libraries
the module of the command needs.
"""

import ast
import importlib
import inspect
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FunctionType
from typing import Annotated, Any, Literal, NamedTuple

from d3.core.paths import PACKAGE

EXAMPLE = "Example: "


class Config:
    """Stands for `d3.config.models.Config`, which takes longer to import than all of the help takes."""


VOCABULARY: dict[str, Any] = {
    "Annotated": Annotated,
    "Config": Config,
    "Literal": Literal,
    "Mapping": Mapping,
    "Path": Path,
    "Sequence": Sequence,
}
"""Names that the head of a command may use; a head with any other name is read by importing its module."""


class Head(NamedTuple):
    """What a function says of itself."""

    signature: inspect.Signature
    doc: str

    @property
    def summary(self) -> str:
        """The first sentence of the docstring, without the full stop."""
        return self.doc.split("\n", 1)[0].rstrip(".")

    @property
    def description(self) -> str:
        """The docstring without its examples."""
        return "\n\n".join(part for part in self.doc.split("\n\n") if not part.startswith(EXAMPLE))

    @property
    def examples(self) -> list[str]:
        """The command lines of the paragraphs that start with `Example: `."""
        parts = (part for part in self.doc.split("\n\n") if part.startswith(EXAMPLE))
        return [" ".join(part.removeprefix(EXAMPLE).split()) for part in parts]


@cache
def functions(module: str) -> dict[str, ast.FunctionDef]:
    """Return the functions of a module of this package by name, in the order of the file."""
    return {node.name: node for node in _parse(module).body if isinstance(node, ast.FunctionDef)}


def fields(modules: Sequence[str], name: str) -> dict[str, str]:
    """Return the annotated fields of a class by name, with the first line of the text below each."""
    nodes = (node for module in modules for node in _parse(module).body)
    body = next(node.body for node in nodes if isinstance(node, ast.ClassDef) and node.name == name)
    found = {}
    for node, below in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            found[node.target.id] = str(text).split("\n")[0]
    return found


def _parse(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def read_head(target: str) -> Head:
    """Return the head of `module:function`."""
    module, name = target.split(":")
    node = functions(module)[name]
    bare = copy(node)
    bare.body, bare.decorator_list = [ast.Pass(lineno=node.lineno, col_offset=0)], []
    namespace = dict(VOCABULARY)
    try:
        code = compile(ast.Module([bare], []), module, "exec")
        exec(code, namespace)  # noqa: S102  (the package's own signature)
        function: FunctionType = namespace[name]
        signature = inspect.signature(function, eval_str=True)
    except NameError:
        signature = inspect.signature(getattr(importlib.import_module(module), name), eval_str=True)
    return Head(signature, inspect.cleandoc(ast.get_docstring(node) or ""))
