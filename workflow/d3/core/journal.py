"""A journal of finished work: what was paid for once is never asked for again.

A journal is a folder of chunks that are only ever added. A chunk is a file of lines, `KEY<tab>JSON`,
compressed with Zstandard (`zstdcat` shows it), whose name is the SHA-256 of its bytes: a torn or
damaged chunk does not match its name and is left out with a warning, so its entries are worked out
again. A chunk appears in one step (temporary file, fsync, rename). Several processes may write into
one folder; each sees what lay there when it opened the journal, and its own entries.

A key must name everything that decides its value (use `d3.core.ids.digest_of`), so a key has one
value: a second `put` of a known key changes nothing. No times or host names are kept. An entry may say
what it is about (ids of files), so that `purge` finds what must be forgotten.
"""

import hashlib
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from d3.core.leftovers import leftovers
from d3.core.tables import remove, written_whole
from d3.errors import D3Error

SUFFIX = ".journal.zst"
CHUNK_ENTRIES = 256
CHUNK_BYTES = 8 * 2**20
CHUNKS_IN_MEMORY = 4
ABOUT = "about"
"""Name beside a value's own ones under which an entry says what it is about."""

log = logging.getLogger(__name__)


class JournalError(D3Error):
    """A journal folder that cannot be used."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Health:
    """What `Journal.verify` found: sound chunks, distinct keys, and the files that are damaged."""

    chunks: int
    entries: int
    damaged: tuple[Path, ...]


class Journal:
    """Values by key, on disk. In memory lie only the entries not yet flushed, 16 bytes and a
    position for every other key, and the last few chunks that were read.
    """

    def __init__(self, folder: Path, *, chunk_entries: int = CHUNK_ENTRIES) -> None:
        """Open or make a journal; raises JournalError when `folder` is a file."""
        if folder.exists() and not folder.is_dir():
            raise JournalError("is not a folder", where=str(folder), remedy="name another journal folder")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.chunk_entries = chunk_entries
        self._pending: dict[str, bytes] = {}
        self._pending_bytes = 0
        self._chunks: list[Path] = []
        self._index: dict[bytes, tuple[int, int]] = {}  # digest of key -> chunk, offset of its value
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._scan()

    # --- using --------------------------------------------------------------------------------------

    def get(self, key: str) -> dict[str, Any] | None:
        """Give the value of a key, or None if there is none."""
        pending = self._pending.get(key)
        if pending is not None:
            return _value(pending)
        name = _short(key)
        for _ in range(2):
            position = self._index.get(name)
            if position is None:
                return None
            text = self._text(position[0])
            if text is not None:
                return _value(text[position[1] : text.index(b"\n", position[1])])
            self._scan()  # another process compacted the folder: the entry lies elsewhere now
        return None

    def __contains__(self, key: str) -> bool:
        """Tell whether a key has a value."""
        return key in self._pending or _short(key) in self._index

    def __bool__(self) -> bool:
        """Say yes, also for an empty journal: `if journal` asks whether there is one."""
        return True

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._index) + len(self._pending)

    def put(self, key: str, value: dict[str, Any], *, about: Collection[str] = ()) -> None:
        """Add a value; it is on disk after the next `flush`. A known key keeps its first value.

        `about` names what it is about, such as the id of a file. Full chunks are flushed at once. Raises
        ValueError for a key with a tab or line break.
        """
        if "\t" in key or "\n" in key:
            raise ValueError(f"a journal key holds no tab or line break: {key!r}")
        if key in self:
            return
        noted = {**value, ABOUT: sorted(about)} if about else value
        line = json.dumps(noted, sort_keys=True, separators=(",", ":")).encode()
        self._pending[key] = line
        self._pending_bytes += len(line)
        if len(self._pending) >= self.chunk_entries or self._pending_bytes >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Bring all entries to the disk, as one chunk that is there wholly or not at all."""
        if not self._pending:
            return
        path, offsets = self._write_chunk(self._pending)
        number = len(self._chunks)
        self._chunks.append(path)
        for key, offset in offsets.items():
            self._index[_short(key)] = (number, offset)
        self._pending, self._pending_bytes = {}, 0

    def close(self) -> None:
        """Flush."""
        self.flush()

    def __enter__(self) -> Self:
        """Give the journal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush, also after an error: what was answered was answered."""
        self.close()

    # --- keeping house ------------------------------------------------------------------------------

    def keys(self) -> Iterator[str]:
        """Yield every key once, in the order of the chunks' names, then those not yet flushed."""
        for number in range(len(self._chunks)):
            for key, offset, _ in _entries(self._text(number) or b""):
                if self._index.get(_short(key)) == (number, offset):
                    yield key
        yield from list(self._pending)

    def purge(self, about: Collection[str], holds: Callable[[str], bool] | None = None) -> int:
        """Remove the entries that are about one of these ids, or whose value as JSON text `holds` says is
        to go; give their number. Damaged chunks go too, since nobody can tell what is in them. Nothing is
        rewritten when there are none of both.
        """
        wanted = set(about)

        def goes(line: bytes) -> bool:
            noted = json.loads(line).get(ABOUT, ())
            return not wanted.isdisjoint(noted) or (holds is not None and holds(line.decode()))

        self.flush()
        self._scan()
        gone = {
            key
            for number in range(len(self._chunks))
            for key, _, line in _entries(self._text(number) or b"")
            if goes(line)
        }
        if gone or self.verify().damaged:
            self.compact(lambda key: key not in gone)
        return len(gone)

    def compact(self, keep: Callable[[str], bool] | None = None, *, alone: bool = False) -> int:
        """Rewrite the journal as full chunks, without repeats, damaged chunks, leftovers of dead
        processes and the keys for which `keep` answers False; give the number of keys that are left.

        `alone`: no process of another machine is at work on the journal. New chunks are written before old
        ones go, so a kill at any time loses nothing. Chunks that another process added since this journal was
        opened stay as they are.
        """
        self.flush()
        self._scan()
        old = self.verify().damaged + tuple(self._chunks)
        new: set[Path] = set()
        batch: dict[str, bytes] = {}
        size = 0
        for number in range(len(self._chunks)):
            for key, offset, line in _entries(self._text(number) or b""):
                if self._index.get(_short(key)) != (number, offset) or not (keep is None or keep(key)):
                    continue
                batch[key] = line
                size += len(line)
                if len(batch) >= self.chunk_entries or size >= CHUNK_BYTES:
                    new.add(self._write_chunk(batch)[0])
                    batch, size = {}, 0
        if batch:
            new.add(self._write_chunk(batch)[0])
        for path in {*old, *leftovers(self.folder, alone=alone)} - new:
            remove(path)
        self._scan()
        return len(self)

    def verify(self) -> Health:
        """Read every chunk in the folder again, from the disk."""
        keys: set[bytes] = set()
        damaged = []
        sound = 0
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            text = _read(path)
            if text is None:
                damaged.append(path)
                continue
            sound += 1
            keys.update(_short(key) for key, _, _ in _entries(text))
        return Health(chunks=sound, entries=len(keys), damaged=tuple(damaged))

    # --- inside -------------------------------------------------------------------------------------

    def _scan(self) -> None:
        """Build the index from what lies in the folder."""
        self._chunks, self._index = [], {}
        self._recent.clear()
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            text = _read(path)
            if text is None:
                log.warning("%s: damaged chunk of a journal, ignored; its entries are worked out again", path)
                continue
            number = len(self._chunks)
            self._chunks.append(path)
            for key, offset, _ in _entries(text):
                self._index.setdefault(_short(key), (number, offset))

    def _text(self, number: int) -> bytes | None:
        """Give the lines of a chunk, or None if it is gone or damaged."""
        text = self._recent.pop(number, None)
        if text is None:
            text = _read(self._chunks[number])
        if text is not None:
            self._recent[number] = text
            if len(self._recent) > CHUNKS_IN_MEMORY:
                self._recent.popitem(last=False)
        return text

    def _write_chunk(self, entries: dict[str, bytes]) -> tuple[Path, dict[str, int]]:
        """Write one chunk; give its path and where each key's value begins in its text."""
        import zstandard

        lines = bytearray()
        offsets = {}
        for key, line in entries.items():
            lines += key.encode() + b"\t"
            offsets[key] = len(lines)
            lines += line + b"\n"
        data = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(lines))
        path = self.folder / (hashlib.sha256(data).hexdigest() + SUFFIX)
        with written_whole(path) as part, part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return path, offsets


def _short(key: str) -> bytes:
    """Give 16 bytes that stand for a key in the index."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def _value(line: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(line)
    value.pop(ABOUT, None)
    return value


def _read(path: Path) -> bytes | None:
    """Give a chunk's lines, or None if it is gone or does not match its name."""
    import zstandard

    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != path.name.removesuffix(SUFFIX):
            return None
        return zstandard.ZstdDecompressor().decompress(data)
    except (OSError, zstandard.ZstdError):
        return None


def _entries(text: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Yield (key, where its value begins, its value's line) of a chunk's lines."""
    offset = 0
    for line in text.split(b"\n")[:-1]:
        key, _, value = line.partition(b"\t")
        yield key.decode(), offset + len(key) + 1, value
        offset += len(line) + 1
