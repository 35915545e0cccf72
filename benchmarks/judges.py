"""Which bounds three judges by rule break on 300 real files: one draws, one reads the length, one reads the code.

    make bench-judges ARGS="--seeds 20"

Prints a table for each judge: the mean of each figure over the seeds, and how many of the seeds broke its bound.
"""

import argparse
import sys
import tempfile
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from d3.config.models import Config
from d3.core import schemas
from d3.stages import judge_health
from helpers.corpus_tables import write_rows
from helpers.planted_judges import Judge, corpus_of, real_files

KINDS = ("random", "length", "honest")


def main() -> None:
    """Measure every judge with every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = range(parser.parse_args().seeds)
    files = real_files()
    means: dict[str, dict[str, list[float]]] = {}
    broken: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpus = write_rows(folder / "corpus.parquet", schemas.CORPUS, corpus_of(files))
        for kind in KINDS:
            for seed in seeds:
                judge = Judge(kind, files, seed)
                grades = write_rows(folder / "grades.parquet", schemas.GRADES, judge.rows(files))
                repeats = write_rows(folder / "repeats.parquet", schemas.REPEATS, judge.repeats(files))
                out = folder / "health.json"
                with redirect_stderr(StringIO()):
                    judge_health.run(Config(seed=seed), [corpus], [grades], out, repeats=repeats)
                for check in judge_health.read_health(out)["checks"]:
                    if check["value"] is not None:
                        means.setdefault(check["title"], {}).setdefault(kind, []).append(check["value"])
                        counts = broken.setdefault(check["title"], {})
                        counts[kind] = counts.get(kind, 0) + (check["status"] == "failed")
    print(f"| figure | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}")
    for title, values in means.items():
        cells = []
        for kind in KINDS:
            cell = f"{sum(values[kind]) / len(values[kind]):.2f}"
            count = broken[title][kind]
            cells.append(f"{cell}, broken {count} of {len(seeds)}" if count else cell)
        print(f"| {title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
