"""The one tokenization of D3 examples: for mid-training, for fine-tuning and for generation.

Text is data: control tokens that are written in it are its characters (`PlainText`), but for `<|diff|>` where
`tokens.added` makes it one token: files and instructions have it escaped. Every example begins with
what the tokenizer's own post-processor puts before a text, such as a begin token, and in generation so does a prompt.

**Tokens meet.** A model continues a prompt well if the prompt's tokens are those that training showed it. Many
tokenizers write the end of a prompt in other tokens once an answer follows: Llama 3's merge `>` and a newline. So a
prompt ends with the newline after `<code>` (`d3.core.example_format`), and of its tokens generation is given those
alone that stay when an answer follows. They are a prefix of the tokens of every example with this prompt.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from d3.core.example_format import CODE_END, DIFF, OPENING
from d3.core.tokenizer_file import Vocabulary, plain_settings
from d3.errors import ConfigError

BOUNDARY = re.compile(rf"\n{re.escape(DIFF)}|\n{re.escape(CODE_END)}\Z")
"""What follows a diff in an example: the next one, or the end."""


class PlainText:
    """Encodes text in which no control token is recognized: all added tokens but runs of white space."""

    def __init__(self, settings: Mapping[str, Any], kept: Sequence[str] = ()) -> None:
        """Load a tokenizer from what its `tokenizer.json` holds; the tokens `kept` are recognized all the same."""
        from tokenizers import Tokenizer, processors

        state = plain_settings(settings, kept)
        added = [token for token in state.get("added_tokens") or [] if token["special"]]
        self.control: dict[int, str] = {token["id"]: token["content"] for token in added}
        self._tokenizer = Tokenizer.from_str(json.dumps(state))
        whole = self._tokenizer.encode("a")
        marks = takewhile(lambda mark: mark[1] == 1, zip(whole.ids, whole.special_tokens_mask, strict=True))
        self.begin = [token for token, _ in marks] if 0 in whole.special_tokens_mask else []
        """Control tokens that the tokenizer puts before every text."""
        self._tokenizer.encode_special_tokens = True
        # others cut white space off the places of tokens
        self._tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        self._inside = re.compile("|".join(f"(?<={re.escape(t[0])}){re.escape(t[1:])}" for t in self.control.values()))

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text; none of them is a control token.

        Raise ConfigError when the tokenizer cannot write the text without one.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self.control.keys().isdisjoint(ids):
            return ids
        ids = []  # the model of some tokenizers knows control tokens as words: cut the words in two
        for piece in _cut(text, [match.start() for match in self._inside.finditer(text)]):
            ids += self._tokenizer.encode(piece, add_special_tokens=False).ids
        found = self.control.keys() & ids
        if found:
            raise ConfigError(f"the tokenizer cannot write {self.control[min(found)]!r} as plain text")
        return ids

    def ends(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        """Return the text of some ids and where in it each of them ends; ("", []) if it has other ids."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return (text, [end for _, end in encoding.offsets]) if encoding.ids == list(ids) else ("", [])


def _cut(text: str, places: list[int]) -> list[str]:
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True) if start < end]


class ExampleTokens:
    """Turns examples and prompts into tokens; see the module's text."""

    def __init__(self, settings: Mapping[str, Any], added: Sequence[str] = ()) -> None:
        """Load a tokenizer from what its `tokenizer.json` holds, which has the tokens `added`."""
        self._text = PlainText(settings, added)
        self.begin: list[int] = self._text.begin
        """What every example and every prompt begins with."""

    @classmethod
    def of_model(cls, folder: Path, added: Sequence[str] | None = None) -> "ExampleTokens":
        """Load the tokenizer of a model's folder; raise InputError or ConfigError as `Vocabulary.read` does."""
        vocabulary = Vocabulary.read(folder, added)
        return cls(vocabulary.settings, vocabulary.added)

    def example(self, completion: str) -> list[int]:
        """Return the tokens of a whole example, without the end token."""
        return self.begin + self._text.ids(completion)

    def prompt(self, prompt: str) -> list[int]:
        """Return the tokens that generation is given: those of the prompt that stay when an answer follows."""
        alone, followed = self._text.ids(prompt), self._text.ids(prompt + OPENING)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(alone, followed, strict=False))
        return self.begin + [token for token, _ in same]

    def whole_diffs(self, tokens: Sequence[int], limit: int) -> int:
        """Return how many first tokens of an example, at most `limit`, end where one of its diffs ends.

        0 if not even the prompt and one diff fit, or if the text of the tokens is not what it was made of.
        """
        text, ends = self._text.ends(tokens[len(self.begin) :])
        first = text.find(f"\n{DIFF}")
        found = [match.start() for match in BOUNDARY.finditer(text, first + 1)] if first >= 0 else []
        best = 0
        for place in found:  # behind the last character of a diff, or behind its newline
            count = bisect_right(ends, place + 1)
            if count and ends[count - 1] >= place and len(self.begin) + count <= limit:
                best = len(self.begin) + count
        return best


def begins_with(tokens: Sequence[int], prompt: Sequence[int]) -> bool:
    """Return whether the tokens of an example begin with those of its prompt."""
    return list(tokens[: len(prompt)]) == list(prompt)
