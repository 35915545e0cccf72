"""What a job leaves behind about itself: digests of code and files, and one statement.

A statement is an in-toto Statement v1 whose predicate has the shape of SLSA provenance v1. It lies
next to the job's first output as `NAME.prov.json` and is never an input of another rule, since it
holds times and host names.
"""

import ast
import hashlib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from d3.tables import written_whole

PACKAGE = Path(__file__).parent
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
MODULE_NAME = re.compile(r"d3(\.\w+)+")
BUILD_TYPE = "urn:d3:stage:v1"


def file_digest(path: Path) -> str:
    """Give the SHA-256 of a file, or of a folder: the hash of its sorted names and digests."""
    if path.is_dir():
        names = sorted(child for child in path.rglob("*") if child.is_file())
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
def _parse(path: Path) -> tuple[str, tuple[str, ...]]:
    """Give the digest of a module's parsed code, without docstrings, and what it imports or names of d3.

    Every statement that is only a string is left out: docstrings, and the texts under fields that
    describe the configuration.
    """
    tree = ast.parse(path.read_bytes())
    package = ["d3", *path.parent.relative_to(PACKAGE).parts]
    imported: list[str] = []
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
    ours = {name for name in imported if name.split(".")[0] == "d3"}
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(ours))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def code_modules(module: str) -> Iterator[tuple[str, str]]:
    """Yield (module, digest) for a module, the packages it lies in, and all of d3 that they import or name."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = module_path(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        digest, imported = _parse(path)
        yield name, digest
        waiting += imported
        waiting += [name.rpartition(".")[0]] if "." in name else []


@cache
def code_digest(module: str) -> str:
    """Give one digest for a stage's code: comments, formatting and docstrings do not count.

    Raises ValueError for a module that is not there, whose edits nobody would notice.
    """
    if module_path(module) is None:
        raise ValueError(f"no module {module}")
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(code_modules(module)))
    return hashlib.sha256(listing.encode()).hexdigest()


def write_statement(
    path: Path,
    *,
    stage: str,
    outputs: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, Any]],
    params: Any,
    code: str,
    counts: Mapping[str, Any],
    started: float,
    ended: float,
) -> None:
    """Write a job's statement; `outputs` and `inputs` are in-toto resource descriptors.

    `counts` holds rows in, kept and dropped by reason; times are seconds since the epoch.
    """
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": list(outputs),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"stage": stage, "params": params},
                "internalParameters": {"slurm_job": os.environ.get("SLURM_JOB_ID"), "code": code},
                "resolvedDependencies": list(inputs),
            },
            "runDetails": {
                "builder": {"id": BUILD_TYPE, "version": {"python": sys.version.split()[0]}},
                "metadata": {"startedOn": started, "finishedOn": ended, "host": socket.gethostname()},
                "byproducts": [{"name": "rows", "content": counts}],
            },
        },
    }
    with written_whole(path) as part:
        part.write_text(json.dumps(statement, indent=1, ensure_ascii=False) + "\n")
