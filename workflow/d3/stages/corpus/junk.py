"""Filters on what is no program that somebody wrote: generated, vendored, encoded, exported, repeated, all comment.

They judge rows and texts that parse, like those of `d3.stages.corpus.filters`, which names the order. What is only
unwanted by some (tests, comments in other languages) is kept unless the configuration says otherwise.
"""

import ast
import re
import string
from collections.abc import Sequence

from d3.core.tables import Row
from d3.stages.corpus.filter import OURS, from_source, lines_of, parsed, stripped_lines
from d3.stages.corpus.redaction import STRING_OR_COMMENT

STARCODER2 = "StarCoder2 (arXiv:2402.19173)"
LICENSES = tuple(f"max_{event}_repo_licenses" for event in ("stars", "issues", "forks"))
HEAD_LINES = 10
GENERATED = re.compile(
    r"\bauto-?generated\b|\b(automatically|machine)[ -]generated\b|\bgenerated automatically\b"
    r"|^\W*(this \w+ (is|was) )?generated (by|from|with)\b|\bfile (is|was) generated\b|@generated\b"
    r"|\bdo not (edit|modify)( by hand| this file| manually)?[\W]*$",
    re.IGNORECASE | re.MULTILINE,
)
GENERATED_PATH = re.compile(r"_pb2(_grpc)?\.pyi?$|(^|/)migrations/\d{4}_\w+\.py$")
VENDORED = re.compile(
    r"(^|/)(_?vendor(ed)?|_vendored_packages|site-packages|dist-packages|node_modules|third[_-]?party|externals?)/"
)
BASE64 = re.compile(r"[A-Za-z0-9+/\n=]{64,}")
HEXADECIMAL = re.compile(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,\s*|\b\s*)){8,}")
ESCAPES = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\[0-3][0-7]{2}|\\u[0-9a-fA-F]{4}){8,}")
IN_BASE64 = bytes(120 if chr(code) in f"{string.ascii_letters}{string.digits}+/\n=" else 32 for code in range(256))
IN_HEXADECIMAL = bytes(120 if chr(code) in f"{string.hexdigits}x,\\" else 32 for code in range(256))
"""Tables that map characters of the two expressions to x and others to a space, so that long runs are found fast."""
SPACES = bytes([*range(9, 14), *range(28, 33), *range(128, 256)])
"""What may be white space in an expression, and all beyond ASCII."""
LONGEST_ENCODED = 1024
"""Characters of one piece of encoded data [StarCoder2]."""
PROSE = 0.95
"""Share of comments and docstrings together, from which on a file is prose."""
NOTEBOOK = re.compile(r"^# (In ?\[[\d ]*\]:?|%%|<(code|markdown)cell>)|^[ \t]*get_ipython\(\)\.", re.MULTILINE)
PYTHON_2 = {
    *("BaseHTTPServer", "ConfigParser", "Cookie", "HTMLParser", "Queue", "SocketServer", "StringIO", "Tkinter"),
    *("__builtin__", "cPickle", "cStringIO", "cookielib", "dummy_thread", "httplib", "tkMessageBox", "urllib2"),
    *("urlparse", "xmlrpclib"),
}
TEST_PATH = re.compile(r"(^|/)tests?/|(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$")


@from_source(OURS)
def licence(row: Row, *, licenses: Sequence[str] | None) -> str | None:
    """Reject rows without a license, or with one that is not allowed in any of their repositories."""
    if licenses is None:
        return None
    named = sorted({name for column in LICENSES for name in row.get(column) or () if name})
    allowed = {name.lower() for name in licenses}
    if not named:
        return "no license is named; `corpus.licenses: null` keeps files without one"
    return next((f"{name} is not in corpus.licenses" for name in named if name.lower() not in allowed), None)


@from_source(OURS)
def vendored(row: Row) -> str | None:
    """Reject copies of packages of others."""
    found = VENDORED.search(row["max_stars_repo_path"] or "")
    return f"in {found[2]}" if found else None


@from_source(OURS)
def test_file(row: Row, *, tests: bool) -> str | None:
    """Reject tests, if they are unwanted."""
    return "its name is that of a test" if not tests and TEST_PATH.search(row["max_stars_repo_path"] or "") else None


@from_source(STARCODER2)
def generated(row: Row) -> str | None:
    """Reject files that a program wrote, by their name or by what their first lines say."""
    found = GENERATED_PATH.search(row["max_stars_repo_path"] or "")
    found = found or GENERATED.search("\n".join(row["content"].split("\n", HEAD_LINES)[:HEAD_LINES]))
    return f"by {found[0].strip()!r}" if found else None


@from_source(STARCODER2)
def encoded_data(text: str, *, max_encoded: float) -> str | None:
    """Reject texts with much base64, hexadecimal numbers or escapes."""
    data = text.encode()
    runs = (
        (BASE64, b"x" * 64 in data.translate(IN_BASE64)),
        (HEXADECIMAL, b"x" * 16 in data.translate(IN_HEXADECIMAL, SPACES)),
        (ESCAPES, text.count("\\") >= 8),
    )
    pieces = [len(found[0]) for pattern, possible in runs if possible for found in pattern.finditer(text)]
    longest, share = max(pieces, default=0), sum(pieces) / len(text)
    if longest > LONGEST_ENCODED:
        return f"{longest} characters in one piece"
    return f"{share:.3f} of the characters" if share > max_encoded else None


@from_source(OURS)
def notebook_export(text: str) -> str | None:
    """Reject cells of a notebook that were saved as a program."""
    found = NOTEBOOK.search(text)
    return f"contains {found[0].strip()!r}" if found else None


@from_source(OURS)
def repeated_lines(text: str, *, max_repeated: float) -> str | None:
    """Reject texts most of whose lines are copies of earlier ones."""
    lines = [line for line in stripped_lines(text) if line]
    share = 1 - len(set(lines)) / len(lines)
    return f"{share:.3f} of the lines" if share > max_repeated else None


@from_source(OURS)
def minified(text: str) -> str | None:
    """Reject texts of which a fifth is in lines of ten statements or more; strings and comments do not count."""
    if text.count(";") < 10 or not any(line.count(";") >= 10 for line in lines_of(text)):
        return None
    code = STRING_OR_COMMENT.sub("", text)
    dense = sum(len(line) for line in code.split("\n") if line.count(";") >= 10)
    return f"{dense / len(text):.3f} of the characters" if dense > len(text) / 5 else None


@from_source("StarCoder (arXiv:2305.06161); a file without comments is kept, docstrings count only where they are all")
def mostly_comments(text: str, *, max_comments: float) -> str | None:
    """Reject texts with too large a share of comments, or of nothing but these and docstrings."""
    lines = stripped_lines(text)
    comments = {number for number, line in enumerate(lines) if line[:1] == "#"}
    strings: set[int] = set()
    waiting: list[ast.stmt] = [*parsed(text).body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            waiting += node.body
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            strings.update(range(node.lineno - 1, node.end_lineno or node.lineno))
    total = max(sum(map(len, lines)), 1)
    share = sum(len(lines[number]) for number in comments - strings) / total
    prose = sum(len(lines[number]) for number in comments | strings) / total
    if share > max_comments:
        return f"{share:.3f} of the characters"
    return f"{prose:.3f} of the characters, with docstrings" if prose > PROSE else None


@from_source(OURS)
def data_table(text: str, *, max_data: float) -> str | None:
    """Reject texts that are literals at the top level: tables, settings, translations."""
    lines = lines_of(text)
    size = 0
    for node in parsed(text).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
            node.value, ast.Dict | ast.List | ast.Set | ast.Tuple
        ):
            inner = (part for part in ast.walk(node.value) if isinstance(part, ast.expr))
            if all(isinstance(part, LITERAL) for part in inner):
                size += sum(len(line) + 1 for line in lines[node.lineno - 1 : node.end_lineno])
    share = min(size / len(text), 1.0)
    return f"{share:.3f} of the characters" if share > max_data else None


LITERAL = ast.Constant | ast.Dict | ast.List | ast.Set | ast.Tuple | ast.UnaryOp


@from_source(OURS)
def python_2(text: str) -> str | None:
    """Reject programs that import modules of Python 2 and have no other way."""
    for node in parsed(text).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            if name.split(".")[0] in PYTHON_2:
                return f"imports {name}"
    return None


@from_source(OURS)
def packaging(text: str) -> str | None:
    """Reject scripts that do nothing but call `setup` of setuptools or distutils."""
    tree = parsed(text)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom | ast.Import)]
    modules = {name.split(".")[0] for node in imports for name in _modules(node)}
    calls = [node for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    named = {ast.unparse(node.value.func).split(".")[-1] for node in calls if isinstance(node.value, ast.Call)}
    return "calls setup" if "setup" in named and modules & {"setuptools", "distutils"} else None


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]


@from_source(OURS)
def foreign_comments(text: str, *, min_ascii_letters: float | None) -> str | None:
    """Reject texts with many letters of other alphabets than the Latin one, if they are unwanted."""
    if min_ascii_letters is None or text.isascii():
        return None
    letters = list(filter(str.isalpha, text))
    share = sum(map(str.isascii, letters)) / max(len(letters), 1)
    return f"{share:.3f} of the letters are ASCII" if share < min_ascii_letters else None


ROW_JUNK = (licence, vendored, generated, test_file)
TEXT_JUNK = (notebook_export, encoded_data, repeated_lines, minified, foreign_comments)
TREE_JUNK = (mostly_comments, data_table, python_2, packaging)
"""For texts that parse."""
