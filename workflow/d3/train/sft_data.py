"""Fine-tuning data: one prompt with its completion a sequence, the loss on what follows the prompt.

A completion begins with its prompt. It is tokenized once, whole, with the place of every token in
the text: tokenizing the prompt by itself gives other tokens at its end in many rows, and the loss
would begin in the wrong place. A token counts if it ends after the prompt does. So a token that
straddles the boundary (its first characters belong to the prompt) is trained on: it carries the
answer's first characters, which nothing else does. Special tokens that are written in a text are
its characters, not tokens of power; those that the tokenizer puts before every text stay.
"""

import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from d3.core.ids import derive_seed
from d3.core.tokenizer_file import Vocabulary
from d3.train.data import IGNORED, Example

ENCODED = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("tokens", pa.list_(pa.int32())),
        ("loss_from", pa.int32()),  # first token that the loss falls on
    ]
)
"""Rows ready for training, from one `encode` each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A row as tokens."""

    tokens: list[int]
    """Token ids, the end token last unless the row was cut."""
    loss_from: int
    """First token that the loss falls on."""


class Encoder:
    """Turns prompt and completion into tokens."""

    def __init__(self, vocabulary: Vocabulary, *, sequence_length: int) -> None:
        from tokenizers import Tokenizer

        settings = vocabulary.plain()
        self.sequence_length, self.eos_id = sequence_length, vocabulary.eos_id
        whole = Tokenizer.from_str(json.dumps(settings)).encode("a")
        marks = whole.special_tokens_mask
        self.before = whole.ids[: marks.index(0)] if 0 in marks else []
        """Special tokens that the tokenizer puts before every text, such as a begin token."""
        # Without post-processor, which may cut white space off the tokens' places.
        self._tokenizer = Tokenizer.from_str(json.dumps(settings | {"post_processor": None}))
        self._tokenizer.encode_special_tokens = True

    def encode(self, prompt: str | None, completion: str | None) -> Encoded | str:
        """Give a row as tokens, or the reason why it cannot be trained on.

        Reasons: null, not_unicode, prompt_mismatch (the completion does not begin with the prompt),
        no_answer (nothing follows it), too_long (the answer begins beyond the sequence length).
        Longer rows are cut at their end; a row that was cut has no end token.
        """
        if prompt is None or completion is None:
            return "null"
        if not completion.startswith(prompt):
            return "prompt_mismatch"
        if len(completion) == len(prompt):
            return "no_answer"
        try:
            completion.encode("utf-8")
        except UnicodeEncodeError:
            return "not_unicode"
        encoding = self._tokenizer.encode(completion, add_special_tokens=False)
        counts = (at for at, (_, end) in enumerate(encoding.offsets) if end > len(prompt))
        first = len(self.before) + next(counts, len(encoding.ids))
        if first >= self.sequence_length:
            return "too_long"
        tokens = [*self.before, *encoding.ids, self.eos_id][: self.sequence_length]
        return Encoded(tokens=tokens, loss_from=first)


class Answers:
    """Encoded rows in a seeded order; see the module's text."""

    def __init__(self, rows: Path, *, seed: int, cache: Path) -> None:
        """Open a Parquet file of ENCODED rows; `cache` is a folder for its memory-mapped form."""
        import datasets

        datasets.disable_progress_bars()
        self.seed = seed
        path = glob.escape(str(rows.absolute()))  # it is taken for a pattern
        self._rows = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=str(cache))
        self._names: Sequence[tuple[str, int]] = list(zip(self._rows["id"], self._rows["sample"], strict=True))
        self._lengths = np.fromiter((len(tokens) for tokens in self._columns("tokens")), np.int64)
        self._epoch: tuple[int, npt.NDArray[np.int64]] | None = None

    def _columns(self, name: str) -> Iterator[Any]:
        for batch in self._rows.select_columns([name]).iter(batch_size=1000):
            yield from batch[name]

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self._names)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Give an epoch's order of rows, which follows from their ids and the seed."""
        if self._epoch is None or self._epoch[0] != epoch:
            keys = [derive_seed(self.seed, "sft-order", epoch, *name) for name in self._names]
            self._epoch = (epoch, np.argsort(np.array(keys, np.uint64), kind="stable"))
        return self._epoch[1]

    def length(self, epoch: int, at: int) -> int:
        """Give the number of tokens of a row."""
        return int(self._lengths[self.order(epoch)[at]])

    def example(self, epoch: int, at: int) -> Example:
        """Give a row."""
        row = self._rows[int(self.order(epoch)[at])]
        tokens = np.array(row["tokens"], np.int64)
        labels = tokens.copy()
        labels[: row["loss_from"]] = IGNORED
        return Example(tokens=tokens, labels=labels)
