"""The journal at a million entries: CPU-seconds to fill, open, read and purge it, its memory, files and bytes.

Each part runs in a process of its own, over made-up answers of some hundred bytes. `former` is what the format
before this one did to open a journal, reading every chunk of 256 entries, on a tenth of the entries.

    python benchmarks/journal.py --entries 1000000
"""

import argparse
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from d3.core import journal
from d3.core.journal import Journal
from d3.core.journal_segment import SUFFIX

READS = 10_000
WORDS = ("program", "reads", "file", "returns", "lines", "sorted", "by", "length", "without", "blank", "comments")


def entry(number: int) -> tuple[str, dict[str, Any], list[str]]:
    """Return key, answer and what it is about; three answers are about one file."""
    source = random.Random(number)
    text = " ".join(source.choices(WORDS, k=40)) + f" {source.random()}"
    value = {"text": text, "finish_reason": "stop", "prompt_tokens": 400, "answer_tokens": 60}
    return key(number), {**value, "choice_probabilities": [source.random() for _ in range(5)]}, [f"file-{number // 3}"]


def key(number: int) -> str:
    """Return the key of an entry."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def part(name: str, folder: Path, entries: int) -> Iterator[tuple[str, str]]:
    """Do one part and yield what was measured."""
    started = time.process_time()
    if name == "fill":
        with Journal(folder) as kept:
            for number in range(entries):
                what, value, about = entry(number)
                kept.put(what, value, about=about)
        made = time.process_time()
        for number in range(entries // 10):
            entry(number)
        ours = made - started - 10 * (time.process_time() - made)
        yield "put", f"{1e6 * ours / entries:.0f} µs"
        paths = list(folder.iterdir())
        yield "files, bytes", f"{len(paths)}, {sum(path.stat().st_size for path in paths) / 1e6:,.0f} MB"
        return
    if name == "former":
        chunks = folder.parent / "former"
        chunks.mkdir()
        for begin in range(0, entries // 10, 256):
            text = b"".join(
                b"%s\t%s\n" % (key(number).encode(), json.dumps(entry(number)[1]).encode())
                for number in range(begin, min(begin + 256, entries // 10))
            )
            data = zstandard.ZstdCompressor(write_checksum=True).compress(text)
            (chunks / (hashlib.sha256(data).hexdigest() + SUFFIX)).write_bytes(data)
        started, index = time.process_time(), {}
        for path in chunks.iterdir():
            index.update(journal._former_lines(path) or {})
        yield f"former: open {entries // 10:,}", f"{time.process_time() - started:.2f} CPU-s"
        return
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = Journal(folder)
    opened = time.process_time() - started
    if name == "read":
        yield (
            "open",
            f"{opened:.3f} CPU-s, {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f} MB",
        )
        numbers = random.Random(0).sample(range(entries), READS)
        for label, keys in (("get", [key(number) for number in numbers]), ("miss", [f"{n}" for n in numbers])):
            began = time.process_time()
            found = sum(kept.get(one) is not None for one in keys)
            yield label, f"{1e6 * (time.process_time() - began) / READS:.0f} µs"
            assert found == (READS if label == "get" else 0)
    else:
        began = time.process_time()
        gone = kept.purge([f"file-{entries // 7}"])
        yield "purge of one id", f"{time.process_time() - began:.2f} CPU-s, {gone} entries"


def main() -> None:
    """Run all parts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        for label, figure in part(given.part[0], Path(given.part[1]), given.entries):
            print(f"{label:<20} {figure}", flush=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("fill", "read", "purge", "former"):
            words = [sys.executable, __file__, "--entries", str(given.entries), "--part", name, f"{scratch}/journal"]
            subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
