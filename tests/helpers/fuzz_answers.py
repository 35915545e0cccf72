"""Mutated answers through everything that reads what a model wrote: exceptions, memory and time.

    make fuzz-answers ARGS='--answers 100000 --seed 3'

Each answer goes through the programs of `generate`, grades, labels and topics, and their rows into tables.
"""

import argparse
import random
import resource
import statistics
import time
import tracemalloc
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from d3.core import schemas
from d3.core.example_format import Part, example_completion, example_prompt
from d3.evals.answer import build
from d3.evals.generate import Sample, sample_row
from d3.evals.tasks import Task
from d3.llm.ask import Outcome
from d3.llm.engine import Answer
from d3.stages.grades import grade_row
from d3.stages.labels import Piece, label_row
from d3.stages.topics import CHOICES, Instruction, topics_row

START = "def add(a, b):\n    return a - b"
SEEDS = (
    example_completion("", ["@@ -0,0 +1 @@\n+import os", "@@ -2,2 +2 @@\n-    x\n-    y\n+    return a + b"]),
    example_completion("", ["@@ -2 +2 @@\n-    return a - b\n+    return a + b", "@@ -2,0 +3,2 @@\n+\n+x = 1"]),
    example_completion("", ["@@ -1,2 +1,3 @@\n def add(a, b):\n-    return a - b\n+    c = a\n+    return c + b"]),
    example_prompt("a.py", START, "Mend it.") + "\n<|diff|>@@ -2 +2 @@\n-    return a - b\n+    return a + b\n</code>",
    "**Rationale:** clear and small.\n\nFinal score: 3",
    "Final  score: **4**\n",
    'Sure, here is the instruction: "Write a function that adds two numbers." It is short.',
    "Commit message: Add a parser for dates.\n```python\nx = 1\n```",
    '```json\n{"topics": ["sorting"], "libraries": [], "tools": null, "difficulty": "easy", "task_type": "fix",}\n```',
    '{"Topics": ["a", "b"], "libraries": "numpy", "tools": [1e999], "difficulty": 3, "task_type": {"a": [[]]}}',
)
PIECES = (
    "<|diff|>", "</code>", "\n", "\r\n", "\r", " ", "\t", "+", "-", "@@", "@@ -0,0 +1 @@\n",
    "@@ -1,2 +1,11111111111 @@", "@@ -2,9999999 +2,9999999 @@\n", "--- a\n+++ b\n",
    "\\ No newline at end of file\n", "\0", "\x1b[2J", "\ud800", "\udfff\ud800", "\u2028", "\u202e", "\u0661",
    "\U0001f600", "\ufffd", "_", "*", "`", "```", '"', "'", "{", "}", "[", "]", ",", ":", "\\u", "\\ud800", "null",
    "NaN", "-Infinity", "1e999", "9" * 20, "9" * 5000, "Final score: ", "Label:", ". ", "Sure", "é",
)  # fmt: skip
LARGE = ("<|diff|>" * 100_000, "9" * 1_000_000, "[" * 100_000, '{"topics":' * 20_000, ". " * 200_000, " " * 500_000,
         "\n<|diff|>@@ -0,0 +1 @@\n+x" * 2_000, ", " * 300_000, "ab\n" * 300_000, "\r" * 500_000, "`" * 300_000,
         "Final score: " * 50_000, "\ud800" * 300_000, "Label" * 100_000, "@@ -1 +1 @@\n" * 50_000)  # fmt: skip
MOST_MB = 50
LARGE_EVERY = 2_000
FINISH = ("stop", "length", "error", "\ud800")


class Result(NamedTuple):
    """What became of all answers."""

    raised: Counter[str]
    statuses: Counter[str]
    median_ms: float
    largest_mb: float
    """Most memory that one answer took, of those that are large."""
    slowest_s: float


def mutated(draws: random.Random) -> str:
    """Return a mutated answer."""
    text = draws.choice(SEEDS)
    for _ in range(draws.choice((0, 1, 1, 2, 3, 8))):
        at, to = sorted(draws.randrange(len(text) + 1) for _ in range(2))
        kind = draws.randrange(6)
        piece = draws.choice(PIECES)
        if kind == 0:
            text = text[:at] + piece + text[at:]
        elif kind == 1:
            text = text[:at] + piece + text[to:]
        elif kind == 2:
            text = text[:at] + text[to:]
        elif kind == 3:
            text = text[:to] + text[at:to][:500] * draws.randrange(4) + text[to:]
        elif kind == 4:
            other = draws.choice(SEEDS)
            text = text[:at] + other[draws.randrange(len(other)) :]
        else:
            text = text[:at] + piece * draws.randrange(30) + text[at:]
    return text


def answers(count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Yield (start program, text, finish reason)."""
    draws = random.Random(seed)
    for number in range(count):
        text = mutated(draws)
        if number % LARGE_EVERY == LARGE_EVERY - 1:
            at = draws.randrange(len(text) + 1)
            text = text[:at] + LARGE[number // LARGE_EVERY % len(LARGE)] + text[at:]
        yield draws.choice(("", START)), text, draws.choice(FINISH)


def rows_of(start: str, text: str, finish: str) -> list[tuple[pa.Schema, dict[str, Any]]]:
    """Return the rows that every stage makes of an answer."""
    build(start, text, finish)  # as it came: an engine's answer has no halves of surrogate pairs
    answer = Answer(text=text, finish_reason=finish, prompt_tokens=1, answer_tokens=1)
    chances = [replace(answer, choice_probabilities=(1 / count,) * count) for count in (5, *map(len, CHOICES.values()))]
    task = Task(task_id="t", name="a.py", start=start, instruction="i", test="", entry_point="add", canonical="")
    piece = Piece(identifier="f", sample=0, part=Part(1, 0, 1), begun="Instruction: Write")
    about = Instruction(names=("f", 0, 1), begun='{"topics": [')
    choices = [Outcome(row=about, status="ok", answer=read_off) for read_off in chances[1:]]
    sample = Outcome(row=Sample(task, 0, "p", 1), status="ok", answer=answer)
    return [
        (schemas.SAMPLES, sample_row(sample, "diff")),
        (schemas.SAMPLES, sample_row(sample, "base")),
        (schemas.SAMPLES, sample_row(sample, "instruct")),
        (schemas.GRADES, grade_row(Outcome(row="f", status="ok", answer=answer), "parse")),
        (schemas.GRADES, grade_row(Outcome(row="f", status="ok", answer=chances[0]), "constrained")),
        (schemas.LABELS, label_row(Outcome(row=piece, status="ok", answer=answer), " write the instruction ")),
        (schemas.TOPICS, topics_row([Outcome(row=about, status="ok", answer=answer)])),
        (schemas.TOPICS, topics_row([Outcome(row=about, status="ok", answer=answer), *choices])),
    ]


class Tables:
    """Writes rows as the stages do, many at a time; names the rows that no table takes."""

    def __init__(self) -> None:
        self.rows: list[tuple[pa.Schema, dict[str, Any]]] = []
        self.characters = 0

    def add(self, rows: list[tuple[pa.Schema, dict[str, Any]]], characters: int) -> list[str]:
        self.rows += rows
        self.characters += characters
        return self.flush() if self.characters > 2**20 else []

    def flush(self) -> list[str]:
        faults = []
        for schema in (schemas.SAMPLES, schemas.GRADES, schemas.LABELS, schemas.TOPICS):
            rows = [row for kind, row in self.rows if kind is schema]
            try:
                pa.Table.from_pylist(rows, schema=schema)
            except Exception as error:
                faults.append(f"{type(error).__name__} in a table: {error!s:.200}")
        self.rows, self.characters = [], 0
        return faults


@contextmanager
def bounded(megabytes: int) -> Iterator[None]:
    """Let the process grow by so much at most: what needs more raises MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + megabytes * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def fuzz(count: int, seed: int) -> Result:
    """Feed mutated answers to all readers."""
    raised, statuses = Counter[str](), Counter[str]()
    seconds, largest = array("d"), 0
    tables = Tables()
    for start, text, finish in answers(count, seed):
        large = len(text) > 50_000
        if large:
            tracemalloc.start()  # too slow for all
        begun = time.process_time()
        try:
            with bounded(200 if large else MOST_MB):
                rows = rows_of(start, text, finish)
        except Exception as error:
            raised[f"{type(error).__name__}: {error!s:.80} ({text!r:.80}, {finish!r})"] += 1
            continue
        finally:
            seconds.append(time.process_time() - begun)
            if large:
                largest = max(largest, tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        statuses[rows[0][1]["status"]] += 1
        raised.update(tables.add(rows, len(text)))
    raised.update(tables.flush())
    return Result(raised, statuses, 1e3 * statistics.median(seconds), largest / 1e6, max(seconds))


def main() -> int:
    """Fuzz, print what was found and return 1 if anything raised or took more than 50 MB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = fuzz(options.answers, options.seed)
    print(f"{options.answers:,} answers: {found.raised.total():,} exceptions, {dict(found.statuses)}")
    print(f"{found.median_ms:.2f} ms of CPU time in the median, {found.slowest_s:.2f} s at most; ", end="")
    print(f"{found.largest_mb:.0f} MB at most")
    for text, times in found.raised.most_common(10):
        print(f"{times:,} x {text}")
    return int(bool(found.raised) or found.largest_mb > MOST_MB)


if __name__ == "__main__":
    raise SystemExit(main())
