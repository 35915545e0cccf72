"""What is known of a tokenizer without loading one: its size, its end token, its settings.

Two environments read the same `tokenizer.json`: the one with the Dolma toolkit, whose tokenizers
library is old, and the one with transformers. This room needs neither.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from d3.core.example_format import DIFF
from d3.errors import ConfigError, InputError

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
    added: tuple[str, ...] = ()
    """Tokens that structure examples (`tokens.added`); all else in a text is text."""
    new: dict[str, int] = field(default_factory=dict)
    """Ids of those that the folder's file does not have."""

    @classmethod
    def read(cls, folder: Path, added: Sequence[str] | None = None) -> Self:
        """Read the tokenizer of a model's folder, with the tokens `added` to it unless it has them.

        Raises InputError when a file is missing or broken, or when nothing names the end token; ConfigError if it
        has `<|diff|>` as a token and that is not in `added`.
        """
        path = folder / "tokenizer.json"
        settings = tokenizer_settings(folder)
        try:
            tokens = settings["model"]["vocab"]
            ids = dict(tokens) if isinstance(tokens, dict) else {token[0]: at for at, token in enumerate(tokens)}
            ids |= {token["content"]: token["id"] for token in settings.get("added_tokens") or []}
        except (KeyError, TypeError, IndexError, ValueError):
            raise InputError("holds no vocabulary", where=str(path), remedy="fetch it again") from None
        eos_id = _eos_id(folder, ids)
        wanted = tuple(added or ())
        check_added(settings, wanted, path, missing=False)
        new = {token: max(ids.values()) + at for at, token in enumerate((t for t in wanted if t not in ids), start=1)}
        extended = _with_added(settings, wanted, new)
        text = path.read_bytes() if extended == settings else _written(extended)
        return cls(
            settings=extended,
            sha256=hashlib.sha256(text).hexdigest(),
            size=len(ids) + len(new),
            eos_id=eos_id,
            added=wanted,
            new=new,
        )

    def write(self, folder: Path) -> None:
        """Write the tokenizer into a folder that has a copy of the file that it was read from."""
        path = folder / "tokenizer.json"
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            path.write_bytes(_written(self.settings))

    @property
    def dtype(self) -> str:
        """Return the smallest numpy type that holds every id; the Dolma toolkit allows no other."""
        return "uint8" if self.size <= 2**8 else "uint16" if self.size <= 2**16 else "uint32"

    def legacy(self) -> dict[str, Any]:
        """Return `plain_settings` for tokenizers before 0.20, which wants a merge as "a b", not as a pair.

        Raise InputError for a merge whose halves contain a space: the older form cannot express it.
        """
        plain = plain_settings(self.settings, self.added)
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


def check_added(settings: Mapping[str, Any], added: Sequence[str], where: Path, *, missing: bool = True) -> None:
    """Raise ConfigError unless a tokenizer has the tokens that structure examples exactly if they are `added`.

    Without `missing`, it may lack some.
    """
    has = {token["content"] for token in settings.get("added_tokens") or []}
    if DIFF in has and DIFF not in added:
        remedy = f'set tokens.added to ["{DIFF}"], or take a tokenizer without it'
        raise ConfigError(
            f"the tokenizer has {DIFF} as a token, but tokens.added does not name it", where=str(where), remedy=remedy
        )
    lacking = [token for token in added if token not in has]
    if missing and lacking:
        remedy = "take a model that was trained with tokens.added, or set it to null"
        raise ConfigError(
            f"tokens.added names {lacking[0]}, which the tokenizer does not have", where=str(where), remedy=remedy
        )


def _with_added(settings: dict[str, Any], added: Sequence[str], new: Mapping[str, int]) -> dict[str, Any]:
    """Return settings with tokens that are found in texts, and are no special ones: decoding would leave those out."""
    if not added:
        return settings
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokens = [
        token | ({"special": False} if token["content"] in added else {})
        for token in settings.get("added_tokens") or []
    ]
    tokens += [{"id": number, "content": token, **flags} for token, number in new.items()]
    return {**settings, "added_tokens": tokens}


def _written(settings: Mapping[str, Any]) -> bytes:
    return (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def plain_settings(settings: Mapping[str, Any], kept: Sequence[str] = ()) -> dict[str, Any]:
    """Return a tokenizer's settings for text that is data: never cut off or padded, every added token special.

    A special token can be written as plain text (`encode_special_tokens`), any other added token cannot. Runs of
    white space, which some tokenizers add to write code in fewer tokens, stay as they are, and so do those in `kept`.
    """
    added = [
        token
        | {"special": token["content"] not in kept and (bool(token.get("special")) or bool(token["content"].strip()))}
        for token in settings.get("added_tokens") or []
    ]
    return {**settings, "truncation": None, "padding": None, "added_tokens": added}


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """Return what the `tokenizer.json` of a model's folder holds; raise InputError when it cannot be read."""
    path = folder / "tokenizer.json"
    settings = _read_json(path)
    if settings is None:
        raise InputError("no such file", where=str(path), remedy="give a folder that holds a fast tokenizer")
    return settings


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
