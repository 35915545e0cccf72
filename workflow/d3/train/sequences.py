"""The sequences that a model is trained on: rows of tokens in a seeded order, packed.

A row's place follows from its id and the seed, not from shards or their order. With `mask`, a token attends to and is
predicted from its own row (its own piece of it, if the row is torn) alone: positions start at 0 in every piece, from
which transformers makes a block-diagonal mask, and the first token of a piece is no label, for nothing before it
speaks of it. Without it a sequence is one text. The loss falls on the tokens of a row from `loss_from` on, its end
token included.
"""

from typing import Protocol

import numpy as np

from d3.core.ids import derive_seed
from d3.train.data import IGNORED, Example, Tokens
from d3.train.packing import Integers, Layout, Packing, pack


class Rows(Protocol):
    """Rows of tokens."""

    order: str
    """Name of the seeds that they are put in order by."""
    names: list[tuple[str | int, ...]]
    """The id of each row."""
    lengths: Integers
    """How many of its first tokens are trained on; 0 for a row that was dropped."""

    def tokens(self, row: int, start: int, end: int) -> Tokens:
        """Return some tokens of a row."""

    def loss_from(self, row: int) -> int:
        """Return the first token of a row that the loss falls on."""


class Sequences:
    """Packed rows as a source of examples."""

    def __init__(self, rows: Rows, *, packing: Packing, limit: int, seed: int, mask: bool = True) -> None:
        """Prepare the order; the sequences of an epoch are laid out when they are asked for."""
        self.rows, self.packing, self.limit, self.seed, self.mask = rows, packing, limit, seed, mask
        self._epoch: tuple[int, Layout, Integers] | None = None

    def layout(self, epoch: int) -> Layout:
        """Return the sequences of an epoch."""
        return self._laid_out(epoch)[0]

    def _laid_out(self, epoch: int) -> tuple[Layout, Integers]:
        if self._epoch is None or self._epoch[0] != epoch:
            seeds = (derive_seed(self.seed, self.rows.order, epoch, *name) for name in self.rows.names)
            order = np.argsort(np.fromiter(seeds, np.uint64), kind="stable").astype(np.int64)
            layout = pack(self.packing, self.rows.lengths, order, self.limit)
            self._epoch = (epoch, layout, layout.tokens())
        return self._epoch[1:]

    def __len__(self) -> int:
        """Return the number of sequences of an epoch."""
        return len(self.layout(0) if self._epoch is None else self._epoch[1])

    def length(self, epoch: int, at: int) -> int:
        """Return the number of tokens of a sequence."""
        return int(self._laid_out(epoch)[1][at])

    def example(self, epoch: int, at: int) -> Example:
        """Return a sequence."""
        pieces = self.layout(epoch).pieces(at)
        tokens = np.concatenate([self.rows.tokens(*piece) for piece in pieces]).astype(np.int64)
        if not self.mask:
            return Example(tokens=tokens, labels=tokens.copy())
        labels, begin = tokens.copy(), 0
        for row, start, end in pieces:
            silent = max(self.rows.loss_from(row) - start, 1)
            labels[begin : begin + min(silent, end - start)] = IGNORED
            begin += end - start
        positions = np.concatenate([np.arange(end - start) for _, start, end in pieces])
        return Example(tokens=tokens, labels=labels, positions=positions)
