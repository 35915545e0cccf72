"""The opt-out list: repositories, users and files that no row may come from.

A text file with one entry a line; `#` begins a comment:

    repo:owner/name     every file that is known to lie in this repository
    user:owner          every file of this owner's repositories
    file:ID             one file: the SHA-256 of its normalised text, before or after redaction (our id), or its
                        git hash (hexsha)

A repository may also be given by its address (`repo:https://github.com/owner/name.git`), a user as `repo:owner/*`
or `user:@owner`. Names are compared without regard to case, as the forge does. A row matches by any of its three
repositories (of stars, issues and forks). Matching rows are rejected as `opted_out` before anything
else is looked at; they keep their place, hashes and repositories, so that a withdrawn entry finds
them again, and nothing of their text.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3.core.tables import Row, damage_named, open_parquet
from d3.errors import InputError

REPOSITORY_COLUMNS = ("max_stars_repo_name", "max_issues_repo_name", "max_forks_repo_name")
REASON = "opted_out"
LEAD = "by "
KINDS = ("repo", "user", "file")
NAME = r"[\w.+~-]+"
ENTRY = re.compile(rf"repo:{NAME}(?:/{NAME})+|user:{NAME}|file:(?:[0-9a-f]{{40}}|[0-9a-f]{{64}})")
ADDRESS = re.compile(
    r"(?:\w+://(?:[^/@]*@)?[^/]+/|[^/@]+@[^/:]+:|(?:www\.)?(?:github\.com|gitlab\.com|bitbucket\.org|codeberg\.org)/)"
)
"""What stands before OWNER/NAME in the address of a repository."""
INNER = {"tree", "blob", "raw", "commit", "commits", "issues", "pull", "pulls", "wiki", "releases", "-"}
"""What follows OWNER/NAME in the address of something inside of a repository."""
REMEDY = "write repo:OWNER/NAME, user:OWNER, or file: with 64 hexadecimal digits (id) or 40 (hexsha)"


@dataclass(frozen=True, slots=True)
class OptOut:
    """The entries of a list, in lower case, such as `repo:owner/name`."""

    entries: frozenset[str] = frozenset()

    def entry(self, repositories: Iterable[str], *hashes: str | None) -> str | None:
        """Return the entry that a row with these repositories and hashes matches, the first in alphabetical order."""
        return min(self.matching(repositories, *hashes), default=None)

    def matching(self, repositories: Iterable[str], *hashes: str | None) -> frozenset[str]:
        """Return all entries that a row with these repositories and hashes matches."""
        return self.entries.intersection(_names(repositories, hashes)) if self.entries else self.entries


NOBODY = OptOut()


def _names(repositories: Iterable[str], hashes: Iterable[str | None]) -> Iterator[str]:
    """Yield every entry that would match."""
    for repository in repositories:
        name = repository.lower()
        yield f"repo:{name}"
        yield f"user:{name.partition('/')[0]}"
    for digest in hashes:
        if digest:
            yield f"file:{digest.lower()}"


def parse_entry(text: str) -> str:
    """Return an entry in its one spelling; raise ValueError for what is none, or can match no row."""
    kind, colon, value = text.strip().lower().partition(":")
    if not colon or kind not in KINDS:
        raise ValueError(f"{text.strip()!r} is no entry")
    found = ADDRESS.match(value)
    name = re.sub(r"[?#].*", "", value[found.end() :]) if found else value
    parts = name.strip("/").removesuffix(".git").split("/")
    if inner := INNER.intersection(parts[2:]):
        raise ValueError(f"{value!r} leads into {'/'.join(parts[:2])} ({min(inner)}), it is no repository")
    if (parts[-1] == "*" and len(parts) == 2) or (found and len(parts) == 1):
        kind, parts = "user", parts[:1]
    if kind == "user":
        parts[0] = parts[0].removeprefix("@")
    entry = f"{kind}:{'/'.join(parts)}"
    if not ENTRY.fullmatch(entry):
        hint = f", did you mean user:{parts[0]}" if kind == "repo" and re.fullmatch(NAME, "/".join(parts)) else ""
        raise ValueError(f"{text.strip()!r} can match no row{hint}")
    return entry


def read_opt_out(path: Path) -> OptOut:
    """Read a list; raises InputError that names the file, and the line that is no entry."""
    with damage_named(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    entries = set()
    for number, line in enumerate(lines, start=1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        try:
            entries.add(parse_entry(text))
        except ValueError as error:
            raise InputError(f"line {number}: {error}", where=str(path), remedy=REMEDY) from None
    return OptOut(frozenset(entries))


def repositories_of(row: Row) -> list[str]:
    """Return the repositories that a source row, or its metadata, names; sorted, each once."""
    named = {row.get(column) for column in REPOSITORY_COLUMNS}
    return sorted(name for name in named if isinstance(name, str))


def detail_of(entry: str) -> str:
    """Return the `detail` of a row that was rejected because of an entry."""
    return LEAD + entry


def touches(entries: OptOut, kept: Path, rejected: Path) -> bool:
    """Return whether the corpus files of a batch would be others with this list than they are.

    That is so when a kept or otherwise rejected row matches an entry, or when a row that was opted
    out matches no entry, or another one, now. Only names and hashes are read. Files that are missing
    or damaged count as touched.
    """
    try:
        return _kept_match(entries, kept) or any(_changed(entries, row) for row in _rejected_rows(rejected))
    except InputError:
        return True


def _kept_match(entries: OptOut, kept: Path) -> bool:
    if not entries.entries:
        return False
    metadata = [f"metadata.{name}" for name in ("hexsha", *REPOSITORY_COLUMNS)]
    for batch in _batches(kept, ["id", "original", *metadata]):
        struct = batch.column("metadata")
        repositories = {name for column in REPOSITORY_COLUMNS for name in _values(struct.field(column))}
        columns = (batch.column("id"), batch.column("original"), struct.field("hexsha"))
        if entries.entry(repositories, *set().union(*map(_values, columns))):
            return True
    return False


def _values(column: Any) -> set[str]:
    return {value for value in column.unique().to_pylist() if value is not None}


def _rejected_rows(rejected: Path) -> Iterator[Row]:
    for batch in _batches(rejected, ["reason", "detail", "id", "original", "hexsha", "repositories"]):
        yield from batch.to_pylist()


def _changed(entries: OptOut, row: Row) -> bool:
    recorded = row["detail"].removeprefix(LEAD) if row["reason"] == REASON else None
    return entries.entry(row["repositories"] or (), row["id"], row["original"], row["hexsha"]) != recorded


def _batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with open_parquet(path, sorted({column.partition(".")[0] for column in columns})) as file, damage_named(path):
        yield from file.iter_batches(columns=list(columns))
