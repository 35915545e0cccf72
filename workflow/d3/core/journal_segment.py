"""One file of a journal: blocks of lines that `zstdcat` shows, and an index that makes one entry cheap to find.

A segment is never changed. It is a sequence of Zstandard frames, each with some lines `KEY<tab>JSON`, and at
the end a skippable frame with the index: sorted 64-bit hashes of keys and the block of each, the same for
the ids that entries are about, and where each block begins with a checksum of its bytes. The file's name is
the SHA-256 of that index, so a whole check needs the file alone, while opening one reads 100 bytes and every
512th hash. Segments are merged by copying blocks as they are; only the index is computed again.
"""

import hashlib
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy
import numpy.typing

from d3.core.tables import written_whole

SUFFIX = ".journal.zst"
BLOCK_BYTES = 8 * 2**10
"""Lines are compressed in blocks of about so many bytes: one block is decompressed for one entry."""
FENCE = 512
"""Every so many hashes, one is kept in memory."""
LEVEL = 3
"""Zstandard's level of compression."""
SKIPPABLE = 0x184D2A50
"""Magic number of a Zstandard frame that decoders pass over (RFC 8878)."""
TRAILER = struct.Struct("<QQQQ16s8s")
MAGIC = b"D3JRNL01"

Numbers = numpy.typing.NDArray[Any]
Line = tuple[str, bytes, Sequence[str]]
"""A key, its value as JSON, and the ids that it is about."""


def hash_of(text: str) -> int:
    """Return the 64-bit hash under which a key or an id stands in an index."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(kw_only=True, slots=True)
class Index:
    """Where the entries of one or more segments lie."""

    hashes: Numbers
    """uint64, sorted; one an entry."""
    blocks: Numbers
    """uint32: the block of each entry."""
    about: Numbers
    """uint64, sorted; one a pair of id and block."""
    about_blocks: Numbers
    """uint32: the block of each pair."""
    sizes: Numbers
    """uint32: bytes of each block."""
    sums: Numbers
    """uint64: the BLAKE2b checksum of each block."""

    def __post_init__(self) -> None:
        """Sort the entries and the pairs."""
        order = numpy.lexsort((self.blocks, self.hashes))
        self.hashes, self.blocks = self.hashes[order], self.blocks[order]
        order = numpy.lexsort((self.about_blocks, self.about))
        self.about, self.about_blocks = self.about[order], self.about_blocks[order]

    def payload(self) -> bytes:
        """Return the index as it stands in a file, without the trailer."""
        arrays = (self.hashes, self.blocks, self.about, self.about_blocks, self.sizes, self.sums, self.hashes[::FENCE])
        return b"".join(array.astype(kind, copy=False).tobytes() for array, kind in zip(arrays, _KINDS, strict=True))


_KINDS = ("<u8", "<u4", "<u8", "<u4", "<u4", "<u8", "<u8")
_WIDTHS = [int(kind[-1]) for kind in _KINDS]


class DamagedError(Exception):
    """A file that is no whole segment."""


class Segment:
    """A segment that is open for reading; the file may be removed meanwhile."""

    def __init__(self, path: Path) -> None:
        """Open a segment; raise DamagedError if its end is not that of one, FileNotFoundError if it is gone."""
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(self._file).st_size
            end = os.pread(self._file, TRAILER.size, max(0, size - TRAILER.size))
            if len(end) < TRAILER.size or not end.endswith(MAGIC):
                raise DamagedError(path)
            self.entries, self.pairs, self.block_count, begin, check, _ = TRAILER.unpack(end)
            counts = [self.entries, self.entries, self.pairs, self.pairs, self.block_count, self.block_count]
            counts.append(-(-self.entries // FENCE))
            places = [begin + 8]
            for count, width in zip(counts, _WIDTHS, strict=True):
                places.append(places[-1] + count * width)
            if places[-1] + TRAILER.size != size or check != _check(self.entries, self.pairs, self.block_count, begin):
                raise DamagedError(path)
            self._places, self._counts, self.data_bytes = places, counts, begin
            self._fences = memoryview(self._section(6)).cast("Q")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __del__(self) -> None:
        """Close the file."""
        self.close()

    def _section(self, number: int) -> bytes:
        begin, end = self._places[number], self._places[number + 1]
        data = os.pread(self._file, end - begin, begin)
        while len(data) < end - begin:  # more than 2 GiB at once are not read
            data += os.pread(self._file, end - begin - len(data), begin + len(data))
        return data

    def index(self) -> Index:
        """Read the whole index."""
        arrays = [numpy.frombuffer(self._section(number), kind) for number, kind in enumerate(_KINDS[:6])]
        return Index(
            hashes=arrays[0],
            blocks=arrays[1],
            about=arrays[2],
            about_blocks=arrays[3],
            sizes=arrays[4],
            sums=arrays[5],
        )

    @cached_property
    def _starts(self) -> Any:
        """Where each block begins, and where the last one ends."""
        sizes = numpy.frombuffer(self._section(4), "<u4")
        return memoryview(numpy.concatenate([[0], numpy.cumsum(sizes, dtype=numpy.int64)]).data)

    def find(self, hashed: int) -> list[int]:
        """Return the blocks that may hold the entry of a key with this hash; nearly always none or one."""
        first = max(0, bisect_left(self._fences, hashed) - 1) * FENCE
        last = min(self.entries, bisect_right(self._fences, hashed) * FENCE)
        if first >= last:
            return []
        window = memoryview(os.pread(self._file, 8 * (last - first), self._places[0] + 8 * first)).cast("Q")
        low = bisect_left(window, hashed)
        high = bisect_right(window, hashed, low)
        if low == high:
            return []
        found = os.pread(self._file, 4 * (high - low), self._places[1] + 4 * (first + low))
        return list(memoryview(found).cast("I"))

    def block(self, number: int) -> bytes:
        """Return the compressed bytes of a block."""
        begin, end = self._starts[number], self._starts[number + 1]
        return os.pread(self._file, end - begin, begin)

    def lines(self, number: int) -> bytes | None:
        """Return the lines of a block, or None if it is damaged."""
        import zstandard

        try:
            lines: bytes = _decompressor().decompress(self.block(number))
        except zstandard.ZstdError:
            return None
        return lines

    def blocks_about(self, ids: Iterable[str]) -> set[int]:
        """Return the blocks that hold entries about one of these ids."""
        about, blocks = (numpy.frombuffer(self._section(number), _KINDS[number]) for number in (2, 3))
        wanted = numpy.array([hash_of(identifier) for identifier in ids], numpy.uint64)
        return set(blocks[numpy.isin(about, wanted)].tolist())

    def sound(self, sums: Numbers) -> Numbers:
        """Return which blocks have the checksums that the index names."""
        return numpy.array([_sum(self.block(number)) == sum for number, sum in enumerate(sums.tolist())], bool)

    def check(self) -> bool:
        """Read the whole file; return whether it is what its name says."""
        payload = b"".join(self._section(number) for number in range(7))
        name = _name(payload)
        return self.path.name == name and bool(self.sound(numpy.frombuffer(self._section(5), "<u8")).all())


@cache
def _decompressor() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor()


def entries_of(lines: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the key and the value of every line of a block."""
    for line in lines.split(b"\n")[:-1]:
        key, _, value = line.partition(b"\t")
        yield key.decode(), value


def value_in(lines: bytes, key: str) -> bytes | None:
    """Return the value of a key among the lines of a block, or None if it is not there."""
    mark = key.encode() + b"\t"
    at = 0 if lines.startswith(mark) else lines.find(b"\n" + mark) + 1
    if at == 0 and not lines.startswith(mark):
        return None
    return lines[at + len(mark) : lines.index(b"\n", at)]


class _Blocks:
    """Lines in compressed blocks, and their index, not yet sorted."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.texts: list[bytes] = []
        hashes: list[int] = []
        places: list[int] = []
        about: set[tuple[int, int]] = set()
        for number, block in enumerate(_in_blocks(lines)):
            self.texts.append(_compress(b"".join(key.encode() + b"\t" + value + b"\n" for key, value, _ in block)))
            hashes += [hash_of(key) for key, _, _ in block]
            places += [number] * len(block)
            about.update((hash_of(identifier), number) for _, _, ids in block for identifier in ids)
        self.hashes = numpy.array(hashes, numpy.uint64)
        self.blocks = numpy.array(places, numpy.uint32)
        self.about = numpy.array([pair[0] for pair in sorted(about)], numpy.uint64)
        self.about_blocks = numpy.array([pair[1] for pair in sorted(about)], numpy.uint32)
        self.sizes = numpy.array([len(text) for text in self.texts], numpy.uint32)
        self.sums = numpy.array([_sum(text) for text in self.texts], numpy.uint64)


def merge(
    folder: Path, segments: Sequence[Segment], changed: Mapping[int, Sequence[Line]] = MappingProxyType({})
) -> Path | None:
    """Write one segment with all that several hold, and return its path; None if nothing is left.

    Blocks are copied as they are, without damaged ones and those whose entries all stand in an earlier block.
    `changed` names, by number over all segments, the blocks instead of which only these lines are kept.
    """
    parts = [segment.index() for segment in segments]
    base = numpy.cumsum([0, *(segment.block_count for segment in segments)])
    sizes, sums = (numpy.concatenate([getattr(part, name) for part in parts]) for name in ("sizes", "sums"))
    hashes, about = (numpy.concatenate([getattr(part, name) for part in parts]) for name in ("hashes", "about"))
    blocks, about_blocks = (
        numpy.concatenate([getattr(part, name) + first for part, first in zip(parts, base, strict=False)])
        for name in ("blocks", "about_blocks")
    )
    sound = numpy.concatenate([segment.sound(part.sums) for segment, part in zip(segments, parts, strict=True)])
    sound[list(changed)] = False
    kept = numpy.flatnonzero(sound[blocks])
    kept = kept[numpy.argsort(hashes[kept], kind="stable")]
    kept = kept[numpy.concatenate([[True], hashes[kept][1:] != hashes[kept][:-1]])[: len(kept)]]
    live = numpy.zeros(len(sizes), bool)
    live[blocks[kept]] = True
    copied = numpy.flatnonzero(live)
    added = _Blocks(lines for several in changed.values() for lines in several)
    renumbered = numpy.cumsum(live) - 1
    pairs = live[about_blocks]
    index = Index(
        hashes=numpy.concatenate([hashes[kept], added.hashes]),
        blocks=numpy.concatenate([renumbered[blocks[kept]], added.blocks + len(copied)]),
        about=numpy.concatenate([about[pairs], added.about]),
        about_blocks=numpy.concatenate([renumbered[about_blocks[pairs]], added.about_blocks + len(copied)]),
        sizes=numpy.concatenate([sizes[copied], added.sizes]),
        sums=numpy.concatenate([sums[copied], added.sums]),
    )
    if not len(index.hashes):
        return None
    owners = numpy.searchsorted(base, copied, side="right") - 1
    old = (segments[of].block(int(at - base[of])) for at, of in zip(copied, owners, strict=True))
    return _write(folder, index, chain(old, added.texts))


def write(folder: Path, lines: Iterable[Line]) -> Path:
    """Write a segment with these lines, whose keys must differ; it is there wholly or not at all."""
    blocks = _Blocks(lines)
    names = ("hashes", "blocks", "about", "about_blocks", "sizes", "sums")
    return _write(folder, Index(**{name: getattr(blocks, name) for name in names}), blocks.texts)


def _in_blocks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    block: list[Line] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line[0]) + len(line[1])
        if size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _write(folder: Path, index: Index, blocks: Iterable[bytes]) -> Path:
    payload = index.payload()
    path = folder / _name(payload)
    begin = int(index.sizes.sum())
    counts = len(index.hashes), len(index.about), len(index.sizes)
    with written_whole(path) as part, part.open("wb") as file:
        for block in blocks:
            file.write(block)
        file.write(struct.pack("<II", SKIPPABLE, len(payload) + TRAILER.size))
        file.write(payload)
        file.write(TRAILER.pack(*counts, begin, _check(*counts, begin), MAGIC))
        file.flush()
        os.fsync(file.fileno())
    return path


def _name(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest() + SUFFIX


def _check(*numbers: int) -> bytes:
    return hashlib.blake2b(struct.pack("<4Q", *numbers), digest_size=16).digest()


def _sum(block: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(block, digest_size=8).digest(), "little")


def _compress(text: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(text)
