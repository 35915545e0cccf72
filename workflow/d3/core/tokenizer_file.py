"""What is known of a tokenizer without loading one: its size, its end token, its settings.

Two environments read the same `tokenizer.json`: the one with the Dolma toolkit, whose tokenizers
library is old, and the one with transformers. This room needs neither.
"""

import hashlib
import json
from collections.abc import Mapping
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

    def legacy(self) -> dict[str, Any]:
        """Return `plain_settings` for tokenizers before 0.20, which wants a merge as "a b", not as a pair.

        Raise InputError for a merge whose halves contain a space: the older form cannot express it.
        """
        plain = plain_settings(self.settings)
        merges = self.settings["model"].get("merges")
        if merges is None:
            return plain
        pairs = [merge for merge in merges if not isinstance(merge, str)]
        if any(" " in half for pair in pairs for half in pair):
            raise InputError(
                "a merge of this tokenizer holds a space, which the Dolma toolkit cannot read",
                where="tokenizer.json",
                remedy="use another tokenizer",
            )
        older = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
        return plain | {"model": self.settings["model"] | {"merges": older}}


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tokenizer's settings for text that is data: never cut off or padded, every added token special.

    A special token can be written as plain text (`encode_special_tokens`), any other added token cannot. Runs of
    white space, which some tokenizers add to write code in fewer tokens, stay as they are.
    """
    added = [
        token | {"special": bool(token.get("special")) or bool(token["content"].strip())}
        for token in settings.get("added_tokens") or []
    ]
    return {**settings, "truncation": None, "padding": None, "added_tokens": added}


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
