"""Shingles: what two programs must have in common to be near-duplicates, as numbers.

A program becomes the words of its names, keywords and literals, without comments and docstrings, so that neither
a license header nor a formatter changes anything. A shingle is `ngram` words in a row, and the similarity of two
programs that of their sets of shingles (Jaccard). In the blinded view all names are one word but for keywords,
builtins and attributes, imports are left out and operators count, so that renamed copies remain alike.

What this does not find: copies in which a third of the code differs, and files of few words.
"""

import builtins
import keyword
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

LEXEME = re.compile(
    r"(?P<comment>\#[^\n]*)"
    r"|(?:\b[rbuftRBUFT]{1,2})?(?P<string>\"\"\"(?:[^\\\"]|\\[\s\S]|\"(?!\"\"))*\"\"\"|'''(?:[^\\']|\\[\s\S]|'(?!''))*'''"
    r"|\"(?:[^\"\\\n]|\\[\s\S])*\"|'(?:[^'\\\n]|\\[\s\S])*')"
    r"|(?P<word>\w+)|(?P<break>\\?\n\s*)|(?P<other>[^\s\w]+?)"
)
CODE_PIECE = re.compile(
    r"(?P<piece>[^\n\\#\"']+)|(?P<comment>\#[^\n]*)|(?P<string>"
    r"\"\"\"[^\"\\]*(?:(?:\\[\s\S]|\"(?!\"\"))[^\"\\]*)*\"\"\"|'''[^'\\]*(?:(?:\\[\s\S]|'(?!''))[^'\\]*)*'''"
    r"|\"[^\"\\\n]*(?:\\[\s\S][^\"\\\n]*)*\"|'[^'\\\n]*(?:\\[\s\S][^'\\\n]*)*')"
    r"|(?P<break>\\?\n\s*)|(?P<other>[^\s\w])"
)
STRING_PREFIX = re.compile(r"\b[rbuftRBUFT]{1,2}$")
LITERAL_WORD = re.compile(r"\w+")
IMPORT_LINE = re.compile(r"^[ \t]*(?:from[ \t.]+[\w.]*[ \t]*)?import\b[^\n(]*(?:\([^)]*\))?", re.MULTILINE)
KNOWN = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "self", "cls"})
BLIND = "_"
BLINDED_SHINGLES = 50
"""So many shingles a program has at least in the blinded view, where all short programs look alike."""
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Multipliers of splitmix64 (Steele, Lea, Flood 2014)."""


def words(text: str) -> list[str]:
    """Return the words of a program without its comments and docstrings.

    What is between strings and comments on a line is one piece, whose words are found at once: this takes the time.
    """
    found: list[str] = []
    depth = 0
    statement = before = True  # whether a statement may begin here, and before the last piece
    prefix = ""  # what may be one of the string that follows
    for token in CODE_PIECE.finditer(text):
        kind, piece = token.lastgroup, token[0]
        if kind == "piece":
            found += LITERAL_WORD.findall(piece)
            shown = piece.strip()
            before, prefix = statement, ""
            if text[token.end() : token.end() + 1] in ('"', "'") and (match := STRING_PREFIX.search(piece)):
                prefix = match[0]
                before = _begins(piece[: -len(prefix)].strip(), statement, depth + _depth(piece))
            depth += _depth(piece)
            statement = _begins(shown, statement, depth)
        elif kind == "break":
            statement, prefix = depth == 0 and piece[0] != "\\", ""
        elif kind == "string":
            if prefix:
                found.pop()
                statement = before
            if not (statement and _ends_line(text, token.end())):
                found += LITERAL_WORD.findall(piece)
            statement, prefix = False, ""
        elif kind == "other":
            statement, prefix = False, ""
    return found


def _depth(piece: str) -> int:
    """Return how many brackets more are opened than closed."""
    opened = piece.count("(") + piece.count("[") + piece.count("{")
    return opened - piece.count(")") - piece.count("]") - piece.count("}")


def _begins(shown: str, statement: bool, depth: int) -> bool:
    """Return whether a statement may begin after a piece of a line, without the white space around it."""
    return shown[-1] in ":;" and depth == 0 if shown else statement


def blinded_words(text: str) -> list[str]:
    """Return the words and operators of a program in the blinded view."""
    return list(_blinded_words(IMPORT_LINE.sub("", text)))


def _blinded_words(text: str) -> Iterator[str]:
    depth = 0
    statement = True  # whether a statement may begin here
    previous = ""
    for token in LEXEME.finditer(text):
        kind = token.lastgroup
        if kind == "comment":
            continue
        if kind == "break":
            statement = depth == 0 and token[0][0] != "\\"
            continue
        if kind == "string":
            if not (statement and _ends_line(text, token.end())):
                yield from LITERAL_WORD.findall(token["string"])
        elif kind == "word":
            word = token[0]
            yield BLIND if previous != "." and not word[0].isdigit() and word not in KNOWN else word
        else:
            depth += (token[0] in "([{") - (token[0] in ")]}")
            if token[0] not in "(),:;.":
                yield token[0]
        previous = token[0]
        statement = previous in (":", ";") and depth == 0 and kind == "other"


def _ends_line(text: str, place: int) -> bool:
    """Return whether nothing but a comment follows on the line."""
    end = text.find("\n", place)
    return (text[place:] if end < 0 else text[place:end]).lstrip(" \t;")[:1] in ("", "#")


@lru_cache(maxsize=200_000)
def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def shingles(found: Sequence[str], ngram: int) -> Hashes:
    """Return the hashes of the different shingles of some words, sorted."""
    if len(found) < ngram:
        return np.empty(0, dtype=np.uint64)
    hashes = np.fromiter(map(_hash, found), dtype=np.uint64, count=len(found))
    return np.unique(combined([hashes[start : len(found) - ngram + 1 + start] for start in range(ngram)]))


def combined(parts: Sequence[Hashes]) -> Hashes:
    """Return one hash of several, element by element; their order counts."""
    total = np.zeros_like(parts[0])
    for part in parts:
        total = _mixed(total + part)
    return total


def _mixed(values: Hashes) -> Hashes:
    values = (values ^ (values >> np.uint64(30))) * MIX[0]
    values = (values ^ (values >> np.uint64(27))) * MIX[1]
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


def jaccard(one: Hashes, other: Hashes) -> float:
    """Return the Jaccard similarity of two sets of shingles."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)
