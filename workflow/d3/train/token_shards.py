"""The rows of mid-training: the documents of token shards, as the stage tokens wrote them."""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d3.core.ids import derive_seed
from d3.errors import InputError
from d3.train.data import Tokens

MOST_DOCUMENTS = 2000
"""Documents that a loss is measured on: by a few thousand, its interval is below 1 % of it."""
WHILE_TRAINING = 64
"""Documents that it is measured on between steps."""


class TokenShards:
    """Documents of some shards (NAME.npy beside NAME.csv.gz and NAME.json)."""

    order = "midtrain-order"

    def __init__(self, shards: Sequence[Path], kept: Mapping[int, int] | None = None) -> None:
        """Open the shards; of the documents in `kept` only so many first tokens are trained on.

        Raise InputError for a shard that is not whole, and when there is no document at all.
        """
        self._maps: list[npt.NDArray[Any]] = []
        tables = [self._open(path) for path in shards]
        self.names: list[tuple[str | int, ...]] = [(name,) for names, _, _ in tables for name in names]
        self.held_out = np.concatenate([held for _, _, held in tables]) if tables else np.empty(0, bool)
        """Whether the source file of each document is held out from training."""
        self._shards = np.repeat(np.arange(len(tables)), [len(names) for names, _, _ in tables])
        bounds = np.concatenate([bounds for _, bounds, _ in tables]) if tables else np.empty((0, 2), np.int64)
        self._starts = bounds[:, 0]
        self.whole = bounds[:, 1] - bounds[:, 0]
        """Number of tokens of each document."""
        self.lengths = self.whole.copy()
        for row, tokens in (kept or {}).items():
            self.lengths[row] = tokens
        if not self.lengths.any():
            raise InputError(
                "contains no document that fits" if len(self.names) else "contains no document",
                where=", ".join(map(str, shards)),
                remedy="look at the column `status` in grades, diffs and labels, or raise midtrain.sequence_length",
            )

    def _open(self, path: Path) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Open a shard's memory map; return id, (start, end) and whether it is held out of each of its documents."""
        try:
            notes = json.loads(path.with_suffix(".json").read_bytes())
            with gzip.open(path.with_suffix(".csv.gz"), "rt", encoding="utf-8", newline="") as lines:
                rows = [(name, int(start), int(end), int(line)) for start, end, name, _, line in csv.reader(lines)]
            size = path.stat().st_size
            dtype = np.dtype(notes["dtype"])
            documents = notes["documents"]
            held_out = frozenset(notes.get("held_out", ()))
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"not a token shard ({error})", where=str(path), remedy="make it again") from None
        end = rows[-1][2] if rows else 0
        if len(rows) != documents or size != end * dtype.itemsize:
            raise InputError("shard and tables do not fit together", where=str(path), remedy="make it again")
        self._maps.append(np.memmap(path, dtype=dtype, mode="r") if rows else np.empty(0, dtype))
        bounds = np.array([row[1:3] for row in rows], np.int64).reshape(-1, 2)
        return [row[0] for row in rows], bounds, np.array([row[3] in held_out for row in rows], bool)

    def tokens(self, row: int, start: int, end: int) -> Tokens:
        """Return some tokens of a document."""
        begin = self._starts[row]
        piece: Tokens = self._maps[self._shards[row]][begin + start : begin + end]
        return piece

    def loss_from(self, row: int) -> int:
        """Return 0: the loss falls on the whole document."""
        return 0


def held_out_documents(shards: TokenShards, *, limit: int, most: int = MOST_DOCUMENTS) -> list[Tokens]:
    """Return the held-out documents' tokens, at most `limit` of each: `most` documents, chosen by their ids."""
    rows = [int(row) for row in shards.held_out.nonzero()[0]]
    rows.sort(key=lambda row: derive_seed(0, "held-out-document", *shards.names[row]))
    return [
        np.asarray(shards.tokens(row, 0, min(int(shards.whole[row]), limit)), np.int64)
        for row in rows[:most]
        if shards.whole[row] > 1
    ]
