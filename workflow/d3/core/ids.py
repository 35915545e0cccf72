"""Who a piece of text is, and the randomness that belongs to it.

Identity is content: an id is the SHA-256 of the normalised text, so it survives renamed files,
moved shards and reordered rows. Randomness is derived: every seed is a hash of the run's seed and
the names of what is drawn, so no result depends on the order in which work is done.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

LINE_BREAKS = "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""What `str.splitlines` cuts at besides the newline. Line-based diffs of a text that holds one of
these cannot give the text back, so the corpus rejects it."""
FOREIGN = (".snakemake_timestamp",)
"""Files that Snakemake puts into a folder after the job that made it."""


def normalise(text: str) -> str:
    """Return the form of a program that has an id: no byte order mark, LF line ends, stripped."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").strip()


def content_id(text: str) -> str:
    """Return the id of a normalised text: 64 hexadecimal digits of its SHA-256 in UTF-8.

    Raises UnicodeEncodeError for a text with a lone surrogate.
    """
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def program_number(identifier: str) -> int:
    """Return the first 63 bits of a content id, which fit the dataset's int64 column."""
    return int(identifier[:16], 16) >> 1


def derive_seed(run_seed: int, *names: str | int, bits: int = 63) -> int:
    """Return a seed of `bits` bits for what `names` names, independent of all other seeds."""
    digest = hashlib.sha256(canonical_json([run_seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - bits)


def unit_interval(run_seed: int, *names: str | int) -> float:
    """Return a number in [0, 1) for what `names` names: a coin that always falls the same way."""
    return derive_seed(run_seed, *names, bits=53) / 2**53


def canonical_json(value: Any) -> str:
    """Write a value as JSON in one way only: sorted keys, no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_path(path: str | Path) -> str:
    """Return the one spelling of a path: relative to the working folder if it lies below, else absolute.

    Symbolic links are not followed.
    """
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith("..") else Path(relative).as_posix()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder: the hash of the names and digests of its `folder_files`."""
    if path.is_dir():
        files = folder_files(path)
        listing = "".join(f"{file_digest(child)}  {child.relative_to(path).as_posix()}\n" for child in files)
        return hashlib.sha256(listing.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_files(folder: Path) -> list[Path]:
    """Return the files in a folder tree, sorted, without `FOREIGN`; links are followed unless they lead in a circle."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _leads_back(os.path.join(place, name))]
        files = (os.path.join(place, name) for name in names if name not in FOREIGN)
        found += [Path(file) for file in files if os.path.isfile(file)]
    return sorted(found)


def _leads_back(folder: str) -> bool:
    """Return whether a folder is a link to one that it lies in."""
    place = os.path.realpath(os.path.dirname(folder))
    return os.path.islink(folder) and Path(place).is_relative_to(os.path.realpath(folder))
