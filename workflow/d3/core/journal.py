"""A journal of finished work: what was paid for once is never asked for again.

A journal is a folder of segments (`d3.core.journal_segment`), which are only ever added or merged: a job
writes a small one every time it flushes and merges its own; whoever closes the journal merges what is left, so
that there are few, and an entry is found by its key in some microseconds among millions. A segment appears in
one step (temporary file, fsync, rename), and before those that it replaces go: a kill at any time loses
nothing. Several processes, also on several nodes, may write into one folder: they share no file that changes.
Each sees what lay there when it opened the journal, and its own entries. What is damaged is left out with a
warning, so its entries are worked out again.

A key must name everything that decides its value (use `d3.core.ids.digest_of`), so a key has one value: a
second `put` of a known key changes nothing. No times or host names are kept. An entry may say what it is about
(ids of files), so that `purge` finds what must be forgotten.
"""

import errno
import hashlib
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from d3.core import journal_segment
from d3.core.journal_segment import SUFFIX, DamagedError, Line, Segment, entries_of, hash_of, value_in
from d3.core.leftovers import leftovers
from d3.core.tables import remove
from d3.errors import D3Error

FLUSH_ENTRIES = 256
FLUSH_BYTES = 8 * 2**20
SEGMENT_ENTRIES = 2**20
"""Segments of more entries are not merged: one id is purged by writing one of them again."""
IMPORT_ENTRIES = 2**16
BLOCKS_IN_MEMORY = 64
SCANS = 20
"""How often a folder is read again in which others merge."""
GONE = (errno.ENOENT, errno.ESTALE)
"""What a file system reports when another process has removed a file; a network file system for an open one too."""
ABOUT = "about"
"""Name beside a value's own ones under which an entry says what it is about."""

log = logging.getLogger(__name__)


class JournalError(D3Error):
    """A journal folder that cannot be used."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Health:
    """What `verify` found: sound segments, their entries with repeats, and the files that are damaged."""

    segments: int
    entries: int
    damaged: tuple[Path, ...]


class Journal:
    """Values by key, on disk. In memory lie the entries not yet flushed, every 512th hash of a key, and the last
    few blocks that were read.
    """

    def __init__(self, folder: Path, *, flush_entries: int = FLUSH_ENTRIES) -> None:
        """Open or make a journal; raises JournalError when `folder` is a file."""
        if folder.exists() and not folder.is_dir():
            raise JournalError("is not a folder", where=str(folder), remedy="name another journal folder")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.flush_entries = flush_entries
        self._pending: dict[str, Line] = {}
        self._pending_bytes = 0
        self._own: set[Path] = set()
        """Segments that this process wrote, and nobody merged since."""
        self._warned: set[Path] = set()
        self._segments: list[Segment] = []
        self._damaged: list[Path] = []
        self._recent: OrderedDict[tuple[Path, int], bytes] = OrderedDict()
        self._scan()
        self._import_former()

    # --- using --------------------------------------------------------------------------------------

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the value of a key, or None if there is none."""
        line = self._line(key)
        if line is None:
            return None
        value: dict[str, Any] = json.loads(line.decode())
        value.pop(ABOUT, None)
        return value

    def __contains__(self, key: str) -> bool:
        """Return whether a key has a value."""
        return self._line(key) is not None

    def __bool__(self) -> bool:
        """Return True, also for an empty journal: `if journal` asks whether there is one."""
        return True

    def __len__(self) -> int:
        """Count the keys."""
        return sum(1 for _ in self.keys())

    def put(self, key: str, value: dict[str, Any], *, about: Collection[str] = ()) -> None:
        """Add a value; it is on disk after the next `flush`. A known key keeps its first value.

        `about` names what it is about, such as the id of a file. Every so many entries are flushed at once.
        Raises ValueError for a key with a tab or line break.
        """
        if "\t" in key or "\n" in key:
            raise ValueError(f"a journal key holds no tab or line break: {key!r}")
        if key in self:
            return
        noted = {**value, ABOUT: sorted(about)} if about else value
        line = json.dumps(noted, sort_keys=True, separators=(",", ":")).encode()
        self._pending[key] = _line_of(key, line)
        self._pending_bytes += len(line)
        if len(self._pending) >= self.flush_entries or self._pending_bytes >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Bring all entries to the disk, as one segment that is there wholly or not at all."""
        if not self._pending:
            return
        path = journal_segment.write(self.folder, self._pending.values())
        self._own.add(path)
        self._pending, self._pending_bytes = {}, 0
        self._scan()
        self._merge_small(segment for segment in self._segments if segment.path in self._own)

    def close(self) -> None:
        """Flush, and merge small segments, those of other processes too."""
        wrote = bool(self._own or self._pending)
        self.flush()
        if wrote:
            self._scan()
            self._merge_small(self._segments)

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, also after an error: what was answered was answered."""
        self.close()

    def about(self, word: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield key and value of every entry on the disk that is about an id, or whose key is `WORD something`."""
        for segment in self._segments:
            for number in sorted(segment.blocks_about([word])):
                for key, line in entries_of(self._lines(segment, number)):
                    if word in _line_of(key, line)[2]:
                        value = json.loads(line)
                        value.pop(ABOUT, None)
                        yield key, value

    def keys(self) -> Iterator[str]:
        """Yield every key once, segment by segment, then those not yet flushed."""
        known: set[int] = set()
        for segment in self._segments:
            for number in range(segment.block_count):
                for key, _ in entries_of(segment.lines(number) or b""):
                    if (hashed := hash_of(key)) not in known:
                        known.add(hashed)
                        yield key
        yield from list(self._pending)

    # --- keeping house ------------------------------------------------------------------------------

    def purge(self, about: Collection[str], holds: Callable[[str], bool] | None = None) -> int:
        """Remove the entries that are about one of these ids, or whose value as JSON text `holds` says is
        to go; return their number. What is damaged goes too, since nobody can tell what is in it. A segment
        that holds none of them is not written again, and without `holds` only the blocks about the ids are read.
        """
        wanted = set(about)
        self.flush()
        self._scan()
        gone = 0
        for segment in list(self._segments):
            changed: dict[int, list[Line]] = {}
            for number in segment.blocks_about(wanted) if holds is None else range(segment.block_count):
                text = segment.lines(number)
                lines = [_line_of(key, value) for key, value in entries_of(text or b"")]
                stay = [
                    line
                    for line in lines
                    if wanted.isdisjoint(line[2]) and not (holds is not None and holds(line[1].decode()))
                ]
                if text is None or len(stay) < len(lines):
                    changed[number] = stay
                    gone += len(lines) - len(stay)
            if changed:
                self._replace([segment], changed)
        for path in self._damaged:
            remove(path)
        return gone

    def compact(self, *, alone: bool = False) -> int:
        """Merge all segments, without repeats, damaged blocks and leftovers of dead processes, with what can be read
        of damaged files; return the number of entries that are left. Segments that other processes add meanwhile
        stay as they are. `alone`: no process of another machine is at work on the journal.
        """
        self.flush()
        self._scan()
        groups: list[list[Segment]] = []
        for segment in self._segments:
            if not groups or sum(one.entries for one in groups[-1]) + segment.entries > SEGMENT_ENTRIES:
                groups.append([])
            groups[-1].append(segment)
        for group in groups:
            self._replace(group)
        damaged = list(verify(self.folder).damaged)
        self._take_over(damaged, {line[0]: line for path in damaged for line in _readable(path) if line[0] not in self})
        for path in leftovers(self.folder, alone=alone):
            remove(path)
        return sum(segment.entries for segment in self._segments)

    # --- inside -------------------------------------------------------------------------------------

    def _line(self, key: str) -> bytes | None:
        """Return the value of a key as JSON."""
        if key in self._pending:
            return self._pending[key][1]
        hashed = hash_of(key)
        for _ in range(SCANS):
            try:
                for segment in self._segments:
                    for number in segment.find(hashed):
                        value = value_in(self._lines(segment, number), key)
                        if value is not None:
                            return value
                return None
            except OSError as error:
                if error.errno not in GONE:
                    raise
                self._scan()
        return None

    def _lines(self, segment: Segment, number: int) -> bytes:
        """Return the lines of a block; none, with a warning, if it is damaged."""
        name = segment.path, number
        lines = self._recent.pop(name, None)
        if lines is None:
            lines = segment.lines(number)
            if lines is None:
                self._warn(segment.path)
                lines = b""
        self._recent[name] = lines
        if len(self._recent) > BLOCKS_IN_MEMORY:
            self._recent.popitem(last=False)
        return lines

    def _warn(self, path: Path) -> None:
        if path not in self._warned:
            self._warned.add(path)
            log.warning("%s: damaged in a journal; what cannot be read there is worked out again", path)

    def _scan(self) -> None:
        """Open what lies in the folder; begin again when a segment has been merged between listing and opening."""
        known = {segment.path: segment for segment in self._segments}
        for _ in range(SCANS):
            self._segments, self._damaged = [], []
            for path in sorted(self.folder.glob(f"*{SUFFIX}")):
                try:
                    self._segments.append(known.get(path) or Segment(path))
                except FileNotFoundError:
                    break
                except DamagedError:
                    self._damaged.append(path)
            else:
                break
        self._segments.sort(key=lambda segment: -segment.entries)

    def _merge_small(self, segments: Iterable[Segment]) -> None:
        """Merge segments as long as a larger one is not larger than all smaller ones together: their number grows
        with the logarithm of the number of entries, and so does how often an entry is copied.
        """
        ascending = sorted(segments, key=lambda segment: segment.entries)
        total = together = 0
        for number, segment in enumerate(ascending):
            if total + segment.entries > SEGMENT_ENTRIES:
                break
            if segment.entries <= total:
                together = number + 1
            total += segment.entries
        if together:
            self._replace(ascending[:together])

    def _replace(self, segments: list[Segment], changed: dict[int, list[Line]] | None = None) -> None:
        """Write one segment instead of several, and remove these."""
        try:
            path = journal_segment.merge(self.folder, segments, changed or {})
        except OSError as error:
            if error.errno not in GONE:
                raise
            path = None  # another process has merged them
        else:
            for segment in segments:
                if segment.path != path:
                    remove(segment.path)
        if path is not None and all(segment.path in self._own for segment in segments):
            self._own.add(path)
        self._scan()

    def _import_former(self) -> None:
        """Take over the chunks of the former format, which lay in a folder for each batch."""
        paths: list[Path] = []
        lines: dict[str, Line] = {}
        for path in [*self._damaged, *self.folder.glob(f"*/**/*{SUFFIX}")]:
            found = _former_lines(path)
            if found is not None:
                paths.append(path)
                lines |= found
            else:
                self._warn(path)
            if len(lines) >= IMPORT_ENTRIES:
                self._take_over(paths, lines)
                paths, lines = [], {}
        if paths:
            self._take_over(paths, lines)

    def _take_over(self, paths: list[Path], lines: dict[str, Line]) -> None:
        written = {journal_segment.write(self.folder, lines.values())} if lines else set()
        self._own |= written
        for path in set(paths) - written:
            remove(path)
            with suppress(OSError):
                path.parent.rmdir()
        self._scan()


def verify(folder: Path) -> Health:
    """Read everything in the folder of a journal from the disk; nothing is changed."""
    entries = sound = 0
    damaged = []
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        try:
            segment = Segment(path)
            found = segment.entries if segment.check() else None
        except FileNotFoundError:
            continue  # merged meanwhile
        except DamagedError:
            former = _former_lines(path)
            found = None if former is None else len(former)
        if found is None:
            damaged.append(path)
        else:
            sound += 1
            entries += found
    return Health(segments=sound, entries=entries, damaged=tuple(damaged))


def _line_of(key: str, value: bytes) -> Line:
    """Return an entry with the ids that it is about: a key of two words is about the first one."""
    ids = json.loads(value).get(ABOUT, ())
    return key, value, ids or ([key.partition(" ")[0]] if " " in key else [])


def _readable(path: Path) -> Iterator[Line]:
    """Yield the entries of a damaged file that stand in whole blocks."""
    import zstandard

    data = path.read_bytes()
    begins = [*(match.start() for match in re.finditer(re.escape(zstandard.FRAME_HEADER), data)), len(data)]
    for begin, end in pairwise(begins):
        with suppress(zstandard.ZstdError):
            text = zstandard.ZstdDecompressor().decompress(data[begin:end])
            yield from (_line_of(key, value) for key, value in entries_of(text))


def _former_lines(path: Path) -> dict[str, Line] | None:
    """Return the entries of a chunk of the former format, whose name is the SHA-256 of its bytes; None for others."""
    import zstandard

    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() + SUFFIX != path.name:
        return None
    text = zstandard.ZstdDecompressor().decompress(data)
    return {key: _line_of(key, value) for key, value in entries_of(text)}
