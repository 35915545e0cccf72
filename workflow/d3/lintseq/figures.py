"""Two figures about our own sampling, beside the comparison with pylintseq.

`imports`: what `unresolved_imports` does to the sequences of real files. `memory`: how much memory a
worker holds while it samples many sequences.
"""

from collections.abc import Sequence
from itertools import islice
from statistics import median
from typing import Literal

from d3.config import Diffs
from d3.identity import content_id, derive_seed
from d3.lintseq.pool import Pool, Task
from d3.lintseq.stage import imported_modules

SETTINGS: tuple[Literal["error", "ignore"], ...] = ("error", "ignore")
CURVE_POINTS = 5


def tasks_of(texts: Sequence[str], seed: int, *, samples: int = 1) -> list[Task]:
    """Give the tasks of some programs, file by file."""
    names = {content_id(text): text for text in texts}
    return [
        Task(id=f"{name}#{sample}", sample=sample, text=text, seed=derive_seed(seed, "lintseq", name, sample, bits=32))
        for sample in range(samples)
        for name, text in names.items()
    ]


def imports(texts: Sequence[str], seed: int, *, workers: int) -> None:
    """Print, for both settings, how large the first edit is and how many diffs a file has."""
    row = "{:<22}{:>7}{:>36}{:>18}"
    print(row.format("unresolved_imports", "files", "first edit is more than half of it", "diffs, median"), flush=True)
    for setting in SETTINGS:
        large, diffs = 0, []
        with Pool(Diffs(unresolved_imports=setting), workers, imported_modules(texts)) as pool:
            for task, answer in pool.run(tasks_of(texts, seed)):
                if answer["status"] == "ok":
                    large += len(answer["edits"][0]) > (task.text.count("\n") + 1) / 2
                    diffs.append(len(answer["diffs"]))
        share = f"{large / len(diffs):.1%}" if diffs else "-"
        print(row.format(setting, len(diffs), share, f"{median(diffs or [0]):g}"), flush=True)


def memory(texts: Sequence[str], seed: int, *, sequences: int) -> None:
    """Print the resident memory of one worker along so many sequences, and of how many imported modules it
    holds the trees. The files are taken again if need be.
    """
    samples = -(-sequences // max(1, len(texts)))
    tasks = islice(tasks_of(texts, seed, samples=samples), sequences)
    step = max(1, sequences // CURVE_POINTS)
    print(f"{'sequences':>10}{'resident':>12}{'modules':>10}", flush=True)
    with Pool(Diffs(), 1, imported_modules(texts)) as pool:
        for number, _ in enumerate(pool.run(tasks)):
            if number in (1, *range(step, sequences, step), sequences - 1):
                print(f"{number:>10}{pool.resident_mb:>9} MB{pool.modules:>10}", flush=True)
