"""The rows of fine-tuning: a prompt with its completion, the loss on what follows the prompt.

A completion begins with its prompt and is tokenized whole, as generation and mid-training do
(`d3.core.example_tokens`). The loss begins after the tokens that generation is given. A row whose tokens do not
begin with them would train what no prompt leads to, and is dropped.
"""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from d3.core.example_tokens import ExampleTokens, begins_with
from d3.core.tokenizer_file import Vocabulary
from d3.errors import ConfigError
from d3.train.data import Tokens

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
    left_out: int = 0
    """Tokens behind the cut."""


class Encoder:
    """Turns prompt and completion into tokens."""

    def __init__(
        self, vocabulary: Vocabulary, *, sequence_length: int, too_long: Literal["drop", "cut_at_diff"] = "cut_at_diff"
    ) -> None:
        self.sequence_length, self.too_long, self.eos_id = sequence_length, too_long, vocabulary.eos_id
        self._tokens = ExampleTokens(vocabulary.settings, vocabulary.added)

    def encode(self, prompt: str | None, completion: str | None) -> Encoded | str:
        """Return a row as tokens, or the reason why it cannot be trained on.

        Reasons: null, not_unicode, control_token (the tokenizer cannot write the text as characters),
        prompt_mismatch (the completion does not begin with the prompt, or its tokens not with those of the
        prompt), no_answer (nothing follows it), too_long. With `cut_at_diff` a longer row loses the diffs that do not
        fit, and its end token; it is too long if none does.
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
        if len(tokens) < self.sequence_length:
            return Encoded(tokens=[*tokens, self.eos_id], loss_from=len(asked))
        kept = self._tokens.whole_diffs(tokens, self.sequence_length) if self.too_long == "cut_at_diff" else 0
        if kept <= len(asked):
            return "too_long"
        return Encoded(tokens=tokens[:kept], loss_from=len(asked), left_out=len(tokens) + 1 - kept)


class AnswerRows:
    """Encoded rows."""

    order = "sft-order"

    def __init__(self, rows: Path, *, cache: Path) -> None:
        """Open a Parquet file of ENCODED rows; `cache` is a folder for its memory-mapped form."""
        import datasets

        datasets.disable_progress_bars()
        path = glob.escape(str(rows.absolute()))  # it is taken for a pattern
        self._rows = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=str(cache))
        self.names: list[tuple[str | int, ...]] = list(zip(self._rows["id"], self._rows["sample"], strict=True))
        self.lengths = np.fromiter((len(tokens) for tokens in self._column("tokens")), np.int64)
        self._loss_from = list(self._column("loss_from"))

    def _column(self, name: str) -> Iterator[Any]:
        for batch in self._rows.select_columns([name]).iter(batch_size=1000):
            yield from batch[name]

    def tokens(self, row: int, start: int, end: int) -> Tokens:
        """Return some tokens of a row."""
        return np.array(self._rows[row]["tokens"][start:end], np.int64)

    def loss_from(self, row: int) -> int:
        """Return the first token of a row that the loss falls on."""
        return int(self._loss_from[row])
