"""What the models learned of the dataset: the loss of held-out rows, and whether answers are diffs that apply.

An answer applies if it has at least one diff and all of them fit strictly; all samples count. Arms are compared
sample by sample, since they are given the same prompts and seeds: the exact test of McNemar, by flipping the signs
of the samples that only one of the two arms got right. Samples of one task resemble each other, so with several per
task the intervals and p-values are too sure of themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3.core import schemas
from d3.core.example_format import DIFF
from d3.core.tables import Row
from d3.errors import InputError
from d3.evals.statistics import sign_flip_test, wilson_interval
from d3.pipeline.job import Job
from d3.report.results import read_json

ANSWERS = pa.schema([schemas.SAMPLES.field(name) for name in ("task_id", "sample", "status", "raw")])


def learning(job: Job, losses: Path | None, samples: Mapping[tuple[str, str], Path]) -> Row:
    """Return `held_out` (the file of the stage `losses` without its documents, or None) and `applies` by benchmark."""
    return {"held_out": _held_out(job, losses), "applies": list(applies(job, samples))}


def _held_out(job: Job, path: Path | None) -> Row | None:
    if path is None:
        return None
    found = read_json(job.input(path))
    try:
        return {name: found[name] for name in ("held_out", "models", "differences")}
    except (KeyError, TypeError) as error:
        raise InputError(f"is no file of held-out losses ({error})", where=str(path), remedy="make it again") from None


def applies(job: Job, samples: Mapping[tuple[str, str], Path]) -> Iterator[Row]:
    """Yield one row for each benchmark: the share of answers of every arm that apply, and how arms differ."""
    for benchmark in dict.fromkeys(name for name, _ in samples):
        answers = {
            arm: {
                (row["task_id"], row["sample"]): row["status"] == "ok" and DIFF in (row["raw"] or "")
                for row in job.side_rows(path, ANSWERS)
            }
            for (name, arm), path in samples.items()
            if name == benchmark
        }
        yield {
            "benchmark": benchmark,
            "arms": [{"arm": arm, **share(list(found.values()))} for arm, found in answers.items()],
            "differences": [paired(*pair, *(answers[arm] for arm in pair)) for pair in combinations(answers, 2)],
        }


def share(verdicts: Sequence[bool]) -> dict[str, Any]:
    """Return how many of some samples apply, with Wilson's 95 % interval of the share."""
    low, high = wilson_interval(sum(verdicts), len(verdicts)) if verdicts else (None, None)
    value = sum(verdicts) / len(verdicts) if verdicts else None
    return {"samples": len(verdicts), "applied": sum(verdicts), "value": value, "low": low, "high": high}


def paired(one: str, other: str, before: Mapping[Any, bool], after: Mapping[Any, bool]) -> dict[str, Any]:
    """Compare two arms on the samples that both have."""
    both = sorted(set(before) & set(after))
    better = sum(after[name] and not before[name] for name in both)
    worse = sum(before[name] and not after[name] for name in both)
    return {
        "one": one,
        "other": other,
        "samples": len(both),
        "better": better,
        "worse": worse,
        "difference": (better - worse) / len(both) if both else None,
        "p_value": sign_flip_test([1] * better + [-1] * worse),
    }
