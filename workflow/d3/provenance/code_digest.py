"""Digests of what decides a result: files, folders, and the code of a stage.

The digest of a stage's code follows its imports inside the package. Comments, formatting, docstrings,
import lines and the names of modules do not count (`d3.provenance.code_syntax`), nor do modules that decide no row
(`BESIDE_THE_POINT`), so that moving a module to another folder makes nothing stale. The digest is the
same on every supported minor version of Python.
"""

import ast
import hashlib
import io
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from d3.core.ids import file_digest
from d3.core.paths import IMPORT_ROOT, PACKAGE
from d3.provenance.code_syntax import Outline, outline

RULE_FILES = IMPORT_ROOT / "rules"
BIN = IMPORT_ROOT / "bin"
RULE = re.compile(r"^[ \t]*(?:rule|checkpoint)[ \t]+(\w+)[ \t]*:", re.MULTILINE)
SHELL = re.compile(r"^[ \t]+shell:\s*", re.MULTILINE)
DATA_NAME = re.compile(r"[\w.-]+\.(jinja|json|txt|tsv|html|css|js)")
IMPORTS = "(imports)"
"""Among the digests of modules: which module uses what of which other."""
BESIDE_THE_POINT = {
    "d3.config.models": "every setting that a stage reads is in its statement, with its value",
    **dict.fromkeys(
        ("d3.config.fields", "d3.config.engine", "d3.config.data", "d3.config.training", "d3.config.evaluation"),
        "as d3.config.models",
    ),
    "d3.config.load": "as d3.config.models; it only says what is wrong with a file",
    "d3.errors": "texts for the user; a job that fails leaves no result",
    "d3.core.progress": "lines for the user",
    "d3.pipeline.checks": "what `d3 verify` compares finished files with",
    "d3.provenance.statement": "written beside the results, never read by a stage",
    "d3.provenance.runtime": "as d3.provenance.statement",
    "d3.provenance.attempts": "as d3.provenance.statement",
    "d3.provenance.redact": "as d3.provenance.statement",
    "d3.provenance.resource_usage": "as d3.provenance.statement",
    "d3.provenance.digest_cache": "as d3.provenance.statement",
    "d3.provenance.environments": "as d3.provenance.statement",
    "d3.provenance.images": "as d3.provenance.statement",
    "d3.pipeline.source_shards": "as d3.pipeline.pipeline",
    "d3.pipeline.pipeline": "it names the files; what a stage reads is in its statement",
    "d3.pipeline.registry": "as d3.pipeline.pipeline",
    "d3.pipeline.stage": "as d3.pipeline.pipeline",
    "d3.provenance.code_syntax": "as d3.provenance.statement",
    "d3.core.paths": "as d3.provenance.statement",
    "d3.core.processes": "as d3.provenance.statement",
    "d3.provenance.code_digest": "as d3.provenance.statement",
}
"""Modules that every stage imports and that change no row, each with the reason why it may be left out."""


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


# --- modules ------------------------------------------------------------------------------------


def module_path(module: str) -> Path | None:
    """Return the file of a module of this package, or None if there is no such module."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _outline(path: Path) -> Outline:
    package = ("d3", *path.parent.relative_to(PACKAGE).parts)
    return outline(path.read_bytes(), package, lambda name: module_path(name) is not None)


def _decisive(*modules: str) -> Iterator[tuple[str, Path, Outline]]:
    """Yield (name, path, outline) of modules and all that they import, without those beside the point."""
    seen = set(BESIDE_THE_POINT)
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = module_path(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        found = _outline(path)
        yield name, path, found
        waiting += found.imported
        waiting += [name.rpartition(".")[0]] if "." in name else []


def code_modules(*modules: str) -> Iterator[tuple[str, str]]:
    """Yield (name, digest) of modules, the packages they lie in, and all of d3 that they import or name.

    A module without code is left out. Data files of the package that a module names, such as templates,
    come with it, named by their path. The last digest, named `IMPORTS`, is that of who uses what of whom.
    """
    found = {name: (path, seen, text_digest(seen.text)) for name, path, seen in _decisive(*modules)}
    edges = set()
    for name, (path, seen, digest) in found.items():
        if seen.text:
            yield name, digest
        for file in sorted(filter(DATA_NAME.fullmatch, seen.strings)):
            beside = path.with_name(file)
            if beside.is_file():
                yield f"d3/{beside.relative_to(PACKAGE).as_posix()}", data_digest(beside)
        edges |= {
            (digest, edge.name, found[edge.module][2] if edge.module in found else "")
            for edge in seen.edges
            if edge.module not in BESIDE_THE_POINT
        }
    yield IMPORTS, text_digest("\n".join(map(" ".join, sorted(edges))))


@cache
def modules_of(*modules: str) -> dict[str, str]:
    """Return `code_modules` as a dict, sorted by name.

    Raise ValueError for a module that is not there, whose edits nobody would notice.
    """
    for module in modules:
        if module_path(module) is None:
            raise ValueError(f"no module {module}")
    return dict(sorted(code_modules(*modules)))


def digest_of_modules(modules: Mapping[str, str]) -> str:
    """Return one digest for the digests of some modules, whatever their names."""
    return text_digest("\n".join(sorted(modules.values())))


def code_digest(module: str) -> str:
    """Return one digest for a module's code; raise ValueError for a module that is not there."""
    return digest_of_modules(modules_of(module))


# --- templates, scripts and rules -----------------------------------------------------------------


@cache
def _template_digest(path: Path, mtime_ns: int) -> str:
    import jinja2

    text = path.read_text(encoding="utf-8")
    try:
        lexed = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).lex(text)
        tokens = [[kind, value] for _, kind, value in lexed]
    except jinja2.TemplateSyntaxError:
        return text_digest(text)
    kept: list[list[str]] = []
    for kind, value in tokens:
        if kind.startswith("comment") or kind == "whitespace":
            continue
        if kind == "data" and kept and kept[-1][0] == "data":
            kept[-1][1] += value
        else:
            kept.append([kind, value])
    return text_digest(repr(kept))


def data_digest(path: Path) -> str:
    """Return the digest of a file that code or a prompt is filled in from; comments of Jinja do not count."""
    return _template_digest(path, path.stat().st_mtime_ns) if path.suffix == ".jinja" else file_digest(path)


def script_digest(path: Path) -> str:
    """Return the digest of a shell script without its comments, blank lines and indentation."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return text_digest("\n".join(line for line in lines if line and not line.startswith("#")))


def shell_digest(text: str) -> str:
    """Return the digest of a rule's shell text; white space and comments between its words do not count."""
    words: list[object] = []
    for line in text.replace("\\\n", " ").splitlines():
        try:
            found = shlex.split(line, comments=True)
        except ValueError:  # a quotation over several lines
            found = [line]
        words += [found] if found else []
    return text_digest(repr(words))


@cache
def rule_shells() -> dict[str, str]:
    """Return the shell text of every rule in `workflow/rules` by the rule's name."""
    shells = {}
    for path in sorted(RULE_FILES.glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        names = list(RULE.finditer(text))
        ends = [name.start() for name in names[1:]] + [len(text)]
        for name, end in zip(names, ends, strict=False):
            if shell := SHELL.search(text, name.end(), end):
                shells[name[1]] = _first_string(text[shell.end() : end])
    return shells


def _first_string(text: str) -> str:
    """Return the value of the string literals that a text begins with."""
    import tokenize

    literals = []
    for token in tokenize.generate_tokens(io.StringIO(f"({text}\n)").readline):
        if token.type == tokenize.STRING:
            literals.append(token.string)
        elif token.string != "(" and token.type not in (tokenize.NL, tokenize.COMMENT):
            break
    return str(ast.literal_eval(f"({' '.join(literals)})"))
