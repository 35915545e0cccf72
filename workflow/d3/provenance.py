"""Digests of what decides a result: files, folders, and the code of a stage.

The digest of a stage's code follows its imports inside the package. Comments, formatting and
docstrings do not count, nor do modules that decide no row (`BESIDE_THE_POINT`).
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
MODULE_NAME = re.compile(r"d3(\.\w+)+")
FOREIGN = (".snakemake_timestamp",)
"""Files that Snakemake puts into a folder after the job that made it."""
DATA_NAME = re.compile(r"[\w.-]+\.(jinja|json|txt|tsv|html|css)")
BESIDE_THE_POINT = {
    "d3.config": "every setting that a stage reads is in its statement, with its value",
    "d3.config_read": "as d3.config; it only says what is wrong with a file",
    "d3.told": "as d3.config",
    "d3.errors": "texts for the user; a job that fails leaves no result",
    "d3.progress": "lines for the user",
    "d3.statement": "written beside the results, never read by a stage",
    "d3.surroundings": "as d3.statement",
    "d3.attempts": "as d3.statement",
    "d3.scrub": "as d3.statement",
    "d3.usage": "as d3.statement",
    "d3.contents": "as d3.statement",
    "d3.environments": "as d3.statement",
    "d3.images": "as d3.statement",
}
"""Modules that every stage imports and that change no row, each with the reason why it may be left out."""


def file_digest(path: Path) -> str:
    """Give the SHA-256 of a file, or of a folder: the hash of its sorted names and digests, without `FOREIGN`."""
    if path.is_dir():
        names = sorted(child for child in path.rglob("*") if child.is_file() and child.name not in FOREIGN)
        listing = "".join(f"{file_digest(child)}  {child.relative_to(path).as_posix()}\n" for child in names)
        return hashlib.sha256(listing.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def module_path(module: str) -> Path | None:
    """Give the file of a module of this package, or None if there is no such module."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _parse(path: Path) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Give the digest of a module's parsed code, without docstrings, what it imports or names of d3, and data files.

    Every statement that is only a string is left out: docstrings, and the texts under fields that
    describe the configuration.
    """
    tree = ast.parse(path.read_bytes())
    package = ["d3", *path.parent.relative_to(PACKAGE).parts]
    imported: list[str] = []
    data: set[str] = set()
    for node in ast.walk(tree):
        for block in ("body", "orelse", "finalbody"):
            statements = getattr(node, block, None)
            if isinstance(statements, list):
                statements[:] = [statement for statement in statements if not _is_text(statement)]
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            imported += [module, *[f"{module}.{alias.name}" for alias in node.names]]
        elif isinstance(node, ast.Constant) and MODULE_NAME.fullmatch(str(node.value)):
            imported.append(str(node.value))  # a process is started with this name
        elif isinstance(node, ast.Constant) and DATA_NAME.fullmatch(str(node.value)):
            data.update([str(node.value)] if path.with_name(str(node.value)).is_file() else [])
    ours = {name for name in imported if name.split(".")[0] == "d3"}
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(ours)), tuple(sorted(data))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def code_modules(module: str) -> Iterator[tuple[str, str]]:
    """Yield (name, digest) of a module, the packages it lies in, and all of d3 that they import or name.

    Data files of the package that they name, such as templates, come with them, named by their path.
    """
    seen = set(BESIDE_THE_POINT)
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = module_path(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        digest, imported, data = _parse(path)
        yield name, digest
        for file in data:
            beside = path.with_name(file)
            yield f"d3/{beside.relative_to(PACKAGE).as_posix()}", file_digest(beside)
        waiting += imported
        waiting += [name.rpartition(".")[0]] if "." in name else []


@cache
def modules_of(module: str) -> dict[str, str]:
    """Give `code_modules` as a dict, sorted by name.

    Raises ValueError for a module that is not there, whose edits nobody would notice.
    """
    if module_path(module) is None:
        raise ValueError(f"no module {module}")
    return dict(sorted(code_modules(module)))


def digest_of_modules(modules: Mapping[str, str]) -> str:
    """Give one digest for modules and their digests."""
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(modules.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def code_digest(module: str) -> str:
    """Give one digest for a stage's code; raises ValueError for a module that is not there."""
    return digest_of_modules(modules_of(module))
