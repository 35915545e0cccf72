"""Run by the test of memory: `replay_rows.py MODEL JOURNAL COUNT` replays COUNT answers and prints the peak in MB."""

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from d3 import config
from d3.identity import derive_seed
from d3.journal import Journal
from d3.llm.ask import Question, answer_key, ask_all
from d3.llm.engine import Request, open_engine
from d3.llm.replay_engine import record

IDENTITY = {"kind": "fake"}


def questions(count: int) -> Iterator[Question[int]]:
    for number in range(count):
        seed = derive_seed(0, "ids", number)
        ids = (number // 500, number % 500, *(tuple((seed >> shift) % 500 for shift in range(30)) * 5))
        yield Question(row=number, request=Request(key=f"r{number}", ids=ids, max_tokens=8, seed=number))


def fill(journal: Journal, count: int) -> None:
    """Write what an engine would have answered."""
    record(IDENTITY, journal)
    for question in questions(count):
        assert question.request is not None
        text = f"The file shows how to use module number {question.row}. " * 8
        entry = {"text": text, "finish_reason": "stop", "prompt_tokens": 300, "answer_tokens": 99}
        journal.put(answer_key(IDENTITY, question.request), {**entry, "choice_probabilities": [0.2] * 5})
    journal.flush()


def main(model: str, folder: str, count: int) -> None:
    with Journal(Path(folder)) as journal:
        fill(journal, count)
    engine = open_engine(config.Engine(kind="replay"), model)
    found = 0
    for outcome in ask_all(engine, questions(count + 10), Journal(Path(folder)), what="replay", total=count + 10):
        found += outcome.status == "ok" and outcome.answer is not None and f" {outcome.row}." in outcome.answer.text
    print("PEAK", found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
