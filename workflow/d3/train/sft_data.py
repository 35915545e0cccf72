"""Fine-tuning data: one prompt with its completion a sequence, the loss on what follows the prompt.

A completion begins with its prompt and is tokenized whole, as generation and mid-training do
(`d3.core.example_tokens`). The loss begins after the tokens that generation is given. A row whose tokens do not
begin with them would train what no prompt leads to, and is dropped.
"""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from d3.core.example_tokens import ExampleTokens, begins_with
from d3.core.ids import derive_seed
from d3.core.tokenizer_file import Vocabulary
from d3.errors import ConfigError
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
        self.sequence_length, self.eos_id = sequence_length, vocabulary.eos_id
        self._tokens = ExampleTokens(vocabulary.settings)

    def encode(self, prompt: str | None, completion: str | None) -> Encoded | str:
        """Return a row as tokens, or the reason why it cannot be trained on.

        Reasons: null, not_unicode, control_token (the tokenizer cannot write the text as characters),
        prompt_mismatch (the completion does not begin with the prompt, or its tokens not with those of the
        prompt), no_answer (nothing follows it), too_long (the answer begins beyond the sequence length).
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
            asked, tokens = self._tokens.prompt(prompt), self._tokens.example(completion)
        except UnicodeEncodeError:
            return "not_unicode"
        except ConfigError:
            return "control_token"
        if not begins_with(tokens, asked):
            return "prompt_mismatch"
        if len(asked) >= self.sequence_length:
            return "too_long"
        return Encoded(tokens=[*tokens, self.eos_id][: self.sequence_length], loss_from=len(asked))


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
