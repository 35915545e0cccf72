"""Mid-training data: tokenized documents, shuffled whole and packed into sequences of one length.

The documents of all shards are put in a seeded order of their own for every epoch, joined and cut
every `sequence_length` tokens; the last sequence may be shorter. A document that a cut goes through
goes on in the next sequence. With `mask_documents`, a token attends to and is predicted from its
own document (its own piece of it, after a cut) alone: positions start at 0 in every document, from
which transformers makes a block-diagonal mask, and the first token of a document is no label, for
nothing before it speaks of it. Without it a sequence is one text, where the first token of a
document is predicted from the end of the one before. The loss falls on all other tokens, the end
token of every document included.
"""

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from d3.config.models import Midtrain
from d3.core.ids import derive_seed
from d3.errors import InputError
from d3.train.data import IGNORED, Example


class PackedDocuments:
    """The documents of token shards as sequences; see the module's text."""

    def __init__(self, shards: Sequence[Path], *, sequence_length: int, seed: int, mask_documents: bool) -> None:
        """Open shards (NAME.npy beside NAME.csv.gz and NAME.json).

        Raises InputError for a shard that is not whole, and when there is no document at all.
        """
        self.sequence_length, self.seed, self.mask_documents = sequence_length, seed, mask_documents
        self._maps: list[npt.NDArray[Any]] = []
        tables = [self._open(path) for path in shards]
        self._ids = [name for names, _ in tables for name in names]
        self._shards = np.repeat(np.arange(len(tables)), [len(names) for names, _ in tables])
        bounds = np.concatenate([bounds for _, bounds in tables]) if tables else np.empty((0, 2), np.int64)
        self._starts, self._lengths = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        self.tokens = int(self._lengths.sum())
        """Number of tokens of all documents."""
        if not self.tokens:
            raise InputError(
                "no document in it",
                where=", ".join(map(str, shards)),
                remedy="look at the column `status` in grades, diffs and labels",
            )
        self._epoch: tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None

    @classmethod
    def of(cls, settings: Midtrain, shards: Sequence[Path], seed: int) -> Self:
        """Open shards as a section of the configuration says."""
        return cls(shards, sequence_length=settings.sequence_length, seed=seed, mask_documents=settings.mask_documents)

    def _open(self, path: Path) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Open a shard's memory map; give the ids and the (start, end) of its documents."""
        try:
            notes = json.loads(path.with_suffix(".json").read_bytes())
            with gzip.open(path.with_suffix(".csv.gz"), "rt", encoding="utf-8", newline="") as lines:
                rows = [(name, int(start), int(end)) for start, end, name, _, _ in csv.reader(lines)]
            size = path.stat().st_size
            dtype = np.dtype(notes["dtype"])
            documents = notes["documents"]
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"not a token shard ({error})", where=str(path), remedy="make it again") from None
        end = rows[-1][2] if rows else 0
        if len(rows) != documents or size != end * dtype.itemsize:
            raise InputError("shard and tables do not fit together", where=str(path), remedy="make it again")
        self._maps.append(np.memmap(path, dtype=dtype, mode="r") if rows else np.empty(0, dtype))
        bounds = np.array([row[1:] for row in rows], np.int64).reshape(-1, 2)
        return [row[0] for row in rows], bounds

    def __len__(self) -> int:
        """Give the number of sequences of an epoch."""
        return -(-self.tokens // self.sequence_length)

    def length(self, epoch: int, at: int) -> int:
        """Give the number of tokens of a sequence: less than the full length only for the last."""
        return min(self.sequence_length, self.tokens - at * self.sequence_length)

    def order(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Give an epoch's order of documents, and where each of them ends in the joined text.

        A document's place follows from its content and the seed, not from shards or rows.
        """
        if self._epoch is None or self._epoch[0] != epoch:
            keys = (derive_seed(self.seed, "midtrain-order", epoch, name) for name in self._ids)
            order = np.argsort(np.fromiter(keys, np.uint64), kind="stable")
            self._epoch = (epoch, order, np.cumsum(self._lengths[order]))
        return self._epoch[1], self._epoch[2]

    def example(self, epoch: int, at: int) -> Example:
        """Give a sequence."""
        order, ends = self.order(epoch)
        begin = at * self.sequence_length
        stop = begin + self.length(epoch, at)
        first, last = np.searchsorted(ends, [begin, stop - 1], side="right")
        pieces, positions, firsts = [], [], []
        done = begin
        for place in range(first, last + 1):
            document = order[place]
            skipped = done - (ends[place] - self._lengths[document])
            upto = min(ends[place], stop)
            start = self._starts[document] + skipped
            pieces.append(self._maps[self._shards[document]][start : start + upto - done])
            positions.append(np.arange(upto - done))
            firsts.append(done - begin)
            done = upto
        tokens = np.concatenate(pieces).astype(np.int64)
        labels = tokens.copy()
        if not self.mask_documents:
            return Example(tokens=tokens, labels=labels)
        labels[firsts] = IGNORED
        return Example(tokens=tokens, labels=labels, positions=np.concatenate(positions))
