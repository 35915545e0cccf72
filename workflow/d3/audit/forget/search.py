"""Searching everything that a run left for lines of certain files.

Tables, JSON, journals, token maps and compressed files are decoded first; lines are compared without
the white space and the marks of a diff around them. All other files are read as bytes, in which a line
may stand anywhere. Not searched are weights of models: numbers, of which nobody can say what they were
computed from by looking.
"""

import gzip
import html
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3.core.file_tree import walk

SHORTEST = 24
"""Characters of a line that can tell a file from others."""
PER_FILE = 16
"""Lines of a file that are looked for, the longest ones."""
MARGIN = "+-<> \t"
"""What a diff or a quotation puts before a line."""
WEIGHTS = (".safetensors", ".pt", ".bin", ".distcp")
TAG = re.compile(r"<[^<>]*>")
ESCAPED = re.compile(r"\\[nrt]")


def bare(line: str) -> str:
    """Return a line as it is compared."""
    return line.lstrip(MARGIN).rstrip()


class Probes:
    """Lines that only the files in question hold, each with the id of one of these files."""

    def __init__(self, texts: Mapping[str, str], others: Iterable[str] = ()) -> None:
        """Choose lines of `texts` (by id) that none of `others` holds."""
        wanted: dict[str, str] = {}
        for identifier, text in texts.items():
            for line in map(bare, text.split("\n")):
                if len(line) >= SHORTEST:
                    wanted.setdefault(line, identifier)
        for text in others:
            for line in text.split("\n"):
                wanted.pop(bare(line), None)
        self.lines: dict[str, str] = {}
        self.without = set(texts)
        """Files of which no line can be told from others: nobody could notice them."""
        counts = dict.fromkeys(texts, 0)
        for line, identifier in sorted(wanted.items(), key=lambda item: (-len(item[0]), item[0])):
            if counts[identifier] < PER_FILE:
                counts[identifier] += 1
                self.lines[line] = identifier
                self.without.discard(identifier)
        self._begins: dict[str, list[str]] = {}
        for line in self.lines:
            self._begins.setdefault(line[:SHORTEST], []).append(line)

    def in_lines(self, text: str) -> set[str]:
        """Return the files of which a text holds whole lines."""
        found = (self.lines.get(bare(line)) for line in text.split("\n"))
        return {identifier for identifier in found if identifier is not None}

    def anywhere(self, text: str) -> set[str]:
        """Return the files of which a text holds a line, wherever it stands."""
        found = set()
        for place in range(len(text) - SHORTEST + 1):
            for line in self._begins.get(text[place : place + SHORTEST], ()):
                if text.startswith(line, place):
                    found.add(self.lines[line])
        return found


@dataclass(kw_only=True, slots=True)
class Found:
    """What a search came to."""

    hits: dict[Path, set[str]] = field(default_factory=dict)
    """File -> ids of the files whose text it holds."""
    searched: int = 0
    weights: list[Path] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)
    """Files that could not be decoded, with the reason; these prove nothing."""


def search(
    folders: Iterable[Path], probes: Probes, *, leave_out: Iterable[Path] = (), tokenizer: Path | None = None
) -> Found:
    """Search every file below some folders but `leave_out`; `tokenizer` is the tokenizer.json of token maps."""
    found = Found()
    left_out = {os.path.abspath(path) for path in leave_out}
    decode = None
    for path in (path for folder in folders for path in files_below(folder)):
        if os.path.abspath(path) in left_out:
            continue
        if path.name.endswith(WEIGHTS):
            found.weights.append(path)
            continue
        found.searched += 1
        try:
            if path.suffix == ".npy" and decode is None:
                decode = _decoder(tokenizer)
            hits = holds(path, probes, decode)
        except Exception as error:  # whatever a damaged file raises: it is named, and the search goes on
            found.unread[path] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            continue
        if hits:
            found.hits[path] = hits
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, sorted, also behind links to folders; links to files are not read."""
    for place, _, files in walk(folder):
        yield from (place / name for name in files if not (place / name).is_symlink())


def holds(path: Path, probes: Probes, decode: Callable[[list[int]], str] | None = None) -> set[str]:
    """Return the ids of the files whose lines a file holds; raises what decoding raises."""
    name = path.name.removesuffix(".part")
    if _begins_with(path, b"PAR1"):
        return _in_table(path, probes)
    if name.endswith(".npy"):
        return _in_tokens(path, probes, decode)
    if name.endswith(".journal.zst"):
        import zstandard

        with path.open("rb") as file:
            text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read().decode()
        values = (line.partition("\t")[2] for line in text.splitlines())
        return {hit for value in values for hit in _in_json(value, probes)}
    data = _unpacked(path)
    text = data.decode("utf-8", "replace")
    if name.endswith((".json", ".jsonl", ".json.gz", ".jsonl.gz", ".jsonl.zst", ".prov.json")):
        return _in_json_text(text, probes)
    hits = probes.in_lines(text) | probes.anywhere(text)
    if name.endswith((".html", ".svg")):
        hits |= probes.anywhere(html.unescape(TAG.sub("", text))) | probes.anywhere(html.unescape(text))
    return hits


def _begins_with(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def _unpacked(path: Path) -> bytes:
    if _begins_with(path, b"\x1f\x8b"):
        with gzip.open(path) as file:
            return file.read()
    if _begins_with(path, b"\x28\xb5\x2f\xfd"):
        with pa.input_stream(str(path), compression="zstd") as stream:
            return bytes(stream.read())
    return path.read_bytes()


def _in_table(path: Path, probes: Probes) -> set[str]:
    with pq.ParquetFile(path) as file:
        columns = [field.name for field in file.schema_arrow if _has_text(field.type)]
        batches = file.iter_batches(batch_size=256, columns=columns)
        return {
            hit
            for batch in batches
            for row in batch.to_pylist()
            for text in strings(row)
            for hit in probes.in_lines(text)
        }


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_text(kind.field(place).type) for place in range(kind.num_fields))
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def strings(value: Any) -> Iterator[str]:
    """Yield every string inside of a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)


def _in_json(text: str, probes: Probes) -> set[str]:
    return {hit for string in strings(json.loads(text)) for hit in probes.in_lines(string)}


def _in_json_text(text: str, probes: Probes) -> set[str]:
    """Search one JSON value, JSON lines, or, where it is neither, the text with its escapes taken for lines."""
    try:
        return _in_json(text, probes)
    except ValueError:
        pass
    try:
        return {hit for line in text.splitlines() if line for hit in _in_json(line, probes)}
    except ValueError:
        return probes.anywhere(ESCAPED.sub("\n", text))


def _decoder(tokenizer: Path | None) -> Callable[[list[int]], str]:
    if tokenizer is None:
        raise FileNotFoundError("no tokenizer to read token maps with")
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer))
    return lambda ids: str(loaded.decode(ids, skip_special_tokens=False))


def _in_tokens(path: Path, probes: Probes, decode: Callable[[list[int]], str] | None) -> set[str]:
    """Decode a token map document by document."""
    import numpy as np

    if decode is None or path.stat().st_size == 0:
        return set()
    notes = json.loads(path.with_suffix(".json").read_text())
    tokens = np.memmap(path, dtype=notes["dtype"], mode="r")
    ends = [0, *(int(end) + 1 for end in np.flatnonzero(tokens == notes["eos_id"])), len(tokens)]
    pieces = (decode(tokens[start:end].tolist()) for start, end in pairwise(ends) if end > start)
    return {hit for piece in pieces for hit in probes.in_lines(piece)}
