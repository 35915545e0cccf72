"""Progress lines: rows done / total, rate and time left, for a terminal and for a log file."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from d3.core.printable import printable
from d3.core.terminal import BAR_WIDTH, bar_text, columns

T = TypeVar("T")
WARM_UP = 2
"""Lines without a time left."""


def announce(text: str) -> None:
    """Print one line on standard error at once: what starts now and may take a while."""
    print(printable(text), file=sys.stderr, flush=True)


class Progress:
    """Counts rows and prints a line now and then; the last line is printed by `close`.

    `total` is None while it is unknown. On a terminal the line is rewritten in place twice a
    second; in a log it is a new line every `every` seconds. `done` rows were done before the start,
    by a run that was killed; they do not count for the rate. `note` ends the next lines. A time left is
    shown from the third line on: rows come in batches, and the first two tell nothing of the pace.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        unit: str = "rows",
        *,
        every: float = 30.0,
        stream: TextIO | None = None,
        done: int = 0,
    ) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.every = 0.5 if self.terminal else every
        self.done = self.before = done
        self.note = ""
        self.lines = 0
        """Lines with rows that were printed."""
        self.start = self.last = time.monotonic()

    def advance(self, rows: int = 1) -> None:
        """Count `rows` more rows as done."""
        self.done += rows
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self._print(now)

    def close(self) -> None:
        """Print the final line."""
        self._print(time.monotonic())
        if self.terminal:
            self.stream.write("\n")

    def _print(self, now: float) -> None:
        rate = (self.done - self.before) / max(now - self.start, 1e-9)
        line = f"{self.what}: {self.done}"
        if self.total is not None:
            share = 100 * self.done / self.total if self.total else 100
            line += f"/{self.total} {self.unit} ({share:.0f} %)"
        else:
            line += f" {self.unit}"
        line += f", {rate:.1f} {self.unit}/s, {clock(now - self.start)} so far"
        self.lines += 1
        if self.total is not None and self.before < self.done < self.total and self.lines > WARM_UP:
            line += f", ETA {clock((self.total - self.done) / rate)}"
        if self.note:
            line += f", {self.note}"
        line = printable(line)
        if self.terminal:
            bar = "" if self.total is None else bar_text(self.done, self.total, self.stream)
            room = (columns(self.stream) or len(line)) - (BAR_WIDTH + 1 if bar else 0) - 1
            line = f"\r\x1b[K{bar}{line[: max(room, 0)]}"  # a line that wraps could not be written over
        self.stream.write(line if self.terminal else f"{line}\n")
        self.stream.flush()


def clock(seconds: float) -> str:
    """Write a duration as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def track(rows: Iterable[T], what: str, total: int | None, unit: str = "rows") -> Iterator[T]:
    """Pass `rows` through, with progress lines on standard error."""
    progress = Progress(what, total, unit)
    for row in rows:
        yield row
        progress.advance()
    progress.close()
