"""What is known of a tokenizer without loading one: its size, its end token, its settings.

Two environments read the same `tokenizer.json`: the one with the Dolma toolkit, whose tokenizers
library is old, and the one with transformers. This room needs neither.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from d3.errors import InputError

EOS_FILES = ("tokenizer_config.json", "config.json", "generation_config.json")
"""Files that may name the end token, the first that does decides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """A tokenizer's settings."""

    settings: dict[str, Any]
    """What `tokenizer.json` holds."""
    sha256: str
    """SHA-256 of that file."""
    size: int
    """Number of different tokens, added ones included."""
    eos_id: int
    """Token that ends every document."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the tokenizer of a model's folder.

        Raises InputError when a file is missing or broken, or when nothing names the end token.
        """
        path = folder / "tokenizer.json"
        settings = _read_json(path)
        if settings is None:
            raise InputError("no such file", where=str(path), remedy="give a folder that holds a fast tokenizer")
        try:
            tokens = settings["model"]["vocab"]
            ids = dict(tokens) if isinstance(tokens, dict) else {token[0]: at for at, token in enumerate(tokens)}
            ids |= {token["content"]: token["id"] for token in settings.get("added_tokens") or []}
        except (KeyError, TypeError, IndexError, ValueError):
            raise InputError("holds no vocabulary", where=str(path), remedy="fetch it again") from None
        eos_id = _eos_id(folder, ids)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(settings=settings, sha256=digest, size=len(ids), eos_id=eos_id)

    @property
    def dtype(self) -> str:
        """Give the smallest numpy type that holds every id; the Dolma toolkit allows no other."""
        return "uint8" if self.size <= 2**8 else "uint16" if self.size <= 2**16 else "uint32"

    def plain(self) -> dict[str, Any]:
        """Give the settings without those that cut texts off or pad them."""
        return self.settings | {"truncation": None, "padding": None}

    def legacy(self) -> dict[str, Any]:
        """Give `plain` for tokenizers before 0.20, which wants a merge as "a b", not as a pair.

        Raises InputError for a merge whose halves hold a space: the older form cannot say it.
        """
        merges = self.settings["model"].get("merges")
        if merges is None:
            return self.plain()
        pairs = [merge for merge in merges if not isinstance(merge, str)]
        if any(" " in half for pair in pairs for half in pair):
            raise InputError(
                "a merge of this tokenizer holds a space, which the Dolma toolkit cannot read",
                where="tokenizer.json",
                remedy="use another tokenizer",
            )
        older = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
        return self.plain() | {"model": self.settings["model"] | {"merges": older}}


def _read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object, None if there is no such file."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"no JSON ({error})", where=str(path), remedy="fetch it again") from None
    if not isinstance(value, dict):
        raise InputError("no JSON object", where=str(path), remedy="fetch it again")
    return value


def _eos_id(folder: Path, ids: dict[str, int]) -> int:
    """Find the id of the end token in the first file that names one."""
    for name in EOS_FILES:
        settings = _read_json(folder / name) or {}
        token = settings.get("eos_token")
        if isinstance(token, dict):
            token = token.get("content")
        if token is not None:
            if token not in ids:
                raise InputError(f"eos_token {token!r} is not in the vocabulary", where=str(folder / name))
            return ids[token]
        number = settings.get("eos_token_id")
        if isinstance(number, list):
            number = number[0] if number else None
        if number is not None:
            return int(number)
    raise InputError("nothing names the end token", where=str(folder), remedy=f"add it to {EOS_FILES[0]}")
