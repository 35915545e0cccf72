"""A process whose memory a test measures: write a corpus and a journal of fake files, or grade them.

    python -m helpers.replay_rows fill|grade FOLDER MODEL COUNT

`grade` goes through the replay engine and prints the peak in MB.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.journal import Journal
from d3.llm.engine import answer_key
from d3.llm.engine_log import record_engine
from d3.llm.open_engine import open_engine
from d3.llm.prompt import Prompt, find_template
from d3.stages import grades
from helpers.corpus_tables import corpus_row, write_rows
from helpers.demo import over_demo

IDENTITY = {"kind": "fake"}


def settings(folder: Path) -> Config:
    """Return the configuration: a short template, so that the time goes into rows and not into fixed words."""
    prompt = folder / "short.jinja"
    prompt.write_text("{{ code }}")
    grades = {"engine": {"kind": "replay"}, "prompt": str(prompt)}
    return parse_config(over_demo({"grades": grades}))


def files(count: int) -> Iterator[dict[str, Any]]:
    return (corpus_row(f"def value_{number}():\n    return {number}\n", number) for number in range(count))


def fill(folder: Path, model: str, count: int) -> None:
    """Write the files, and what an engine would have answered."""
    chosen = settings(folder)
    engine: Any = open_engine(chosen.grades.engine, model)
    prompt = Prompt(find_template(chosen.grades.prompt), engine.tokenizer, ("code",))
    write_rows(folder / "corpus.parquet", schemas.CORPUS, files(count))
    with Journal(folder / "journal") as journal:
        record_engine(IDENTITY, journal)
        questions = grades.grade_questions(chosen, files(count), engine, prompt)
        for row, question in zip(files(count), questions, strict=True):
            assert question.request is not None
            text = f"The file shows how to make number {row['row']}. " * 8
            entry = {"text": text, "finish_reason": "stop", "prompt_tokens": 300, "answer_tokens": 99}
            journal.put(answer_key(IDENTITY, question.request), {**entry, "choice_probabilities": [0.2] * 5})


def main(what: str, folder: Path, model: str, count: int) -> None:
    if what == "fill":
        fill(folder, model, count)
        return
    grades.run(
        settings(folder), folder / "corpus.parquet", folder / "grades.parquet", model=model, journal=folder / "journal"
    )
    # of this program alone: what getrusage says begins with the memory of the process that started it
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    print("PEAK", int(peak) // 1024)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
