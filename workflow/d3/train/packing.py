"""Packing: which rows, or pieces of rows, make up the sequences of an epoch.

| packing | a sequence |
|---|---|
| `best_fit` | whole rows, the longest first, each into the fullest sequence that still takes it |
| `wrap` | the next `limit` tokens of all rows, joined: rows are torn wherever a sequence ends [authors' code] |
| `none` | one row |

Best fit (Ding et al. 2024, "Fewer Truncations Improve Language Modeling") tears no row. Both orders follow from the
seeded order of the rows alone, and every epoch has the same number of sequences.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Packing = Literal["best_fit", "wrap", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The pieces of rows that an epoch's sequences consist of, in their order."""

    rows: Integers
    """Row of each piece."""
    starts: Integers
    """First token of each piece in its row."""
    ends: Integers
    """Token after its last one."""
    bounds: Integers
    """First piece of each sequence, and the number of pieces."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def pieces(self, sequence: int) -> list[tuple[int, int, int]]:
        """Return (row, start, end) of the pieces of a sequence."""
        chosen = slice(self.bounds[sequence], self.bounds[sequence + 1])
        columns = (self.rows, self.starts, self.ends)
        return list(zip(*(column[chosen].tolist() for column in columns), strict=True))

    def tokens(self) -> Integers:
        """Return the number of tokens of every sequence."""
        ends = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        return np.diff(ends[self.bounds])

    def counts(self, limit: int) -> dict[str, float]:
        """Return what packing did: rows torn, tokens behind a tear (without their instruction), share of padding."""
        torn = self.starts > 0
        tokens = int((self.ends - self.starts).sum())
        return {
            "sequences": len(self),
            "tokens": tokens,
            "torn": len(np.unique(self.rows[torn])),
            "behind_tear": int((self.ends - self.starts)[torn].sum()),
            "padding": round(1 - tokens / (len(self) * limit), 6),
        }


def pack(packing: Packing, lengths: Integers, order: Integers, limit: int) -> Layout:
    """Return the sequences of at most `limit` tokens of the rows in `order`; unless torn, none is longer than that."""
    order = order[lengths[order] > 0]
    if packing == "wrap":
        return _wrap(lengths, order, limit)
    if packing == "best_fit":
        sequences = _best_fit(lengths, order, limit)
        order = order[np.argsort(sequences, kind="stable")]
        bounds = np.concatenate([[0], np.cumsum(np.bincount(sequences))])
    else:
        bounds = np.arange(len(order) + 1)
    return Layout(rows=order, starts=np.zeros_like(order), ends=lengths[order], bounds=bounds)


def _wrap(lengths: Integers, order: Integers, limit: int) -> Layout:
    """Join all rows and cut them every `limit` tokens; the last sequence may be shorter."""
    row_ends = np.cumsum(lengths[order])
    total = int(row_ends[-1])
    ends = np.union1d(row_ends, np.arange(limit, total, limit))
    starts = np.concatenate([[0], ends[:-1]])
    places = np.searchsorted(row_ends, starts, side="right")
    row_starts = (row_ends - lengths[order])[places]
    return Layout(
        rows=order[places],
        starts=starts - row_starts,
        ends=ends - row_starts,
        bounds=np.concatenate([np.searchsorted(starts, np.arange(0, total, limit)), [len(starts)]]),
    )


def _best_fit(lengths: Integers, order: Integers, limit: int) -> Integers:
    """Return the sequence of each row of `order`; sequences are numbered as their first rows follow each other."""
    with_room: list[list[int]] = [[] for _ in range(limit + 1)]
    rooms = 0  # bit n is set while some sequence has room for exactly n tokens
    found = np.empty(len(order), np.int64)
    count = 0
    longest_first = np.argsort(-lengths[order], kind="stable")
    for place, length in zip(longest_first.tolist(), lengths[order][longest_first].tolist(), strict=True):
        if enough := rooms >> length:
            room = length + (enough & -enough).bit_length() - 1
            sequence = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, sequence = limit, count
            count += 1
        found[place] = sequence
        if room > length:
            with_room[room - length].append(sequence)
            rooms |= 1 << (room - length)
    _, first = np.unique(found, return_index=True)
    return np.argsort(np.argsort(first, kind="stable"), kind="stable")[found]
