"""A paired comparison of two arms from their per-sample files, whoever wrote them.

A file has one JSON object per line: which task it is about, and how a sample of it came out. Lines of `d3 execute`
(`task_id`, `verdict`), of `lm_eval --log_samples` (`doc_id` and the metrics that `metrics` names) and plain ones
(`task_id`, `passed`) are read; any other pair of fields can be named. A task counts with the mean of its samples.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from d3.core.printable import printable
from d3.core.tables import open_lines
from d3.errors import InputError, raise_system_error
from d3.evals.statistics import Interval, difference_interval, in_steps, mean_interval, sign_flip_test

TASK = ("task_id", "doc_id", "question_id", "id")
OUTCOME = ("passed", "verdict", "correct", "pass@1", "exact_match", "acc")
"""Fields of tasks and outcomes; the first one that the first line has is taken."""


class Comparison(NamedTuple):
    """Two arms on the tasks that both files have; shares and intervals are of those."""

    tasks: int
    left_out: tuple[int, int]
    """Tasks of each file that the other one does not have."""
    means: tuple[float, float]
    intervals: tuple[Interval, Interval]
    difference: float
    interval: Interval
    p_value: float
    better: int
    worse: int


def read_outcomes(path: Path, outcome: str = "", task: str = "") -> dict[str, list[float]]:
    """Return the outcomes in [0, 1] of every task of a JSONL file. Raise InputError for a file that has none."""
    found: dict[str, list[float]] = {}
    filters: set[str] = set()
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}:{number}"
        if number == 1:
            task, outcome = task or _field(line, TASK, where), outcome or _metric(line, where)
        try:
            name, value = line[task], _value(line[outcome])
        except KeyError as error:
            fields = ", ".join(printable(name) for name in list(line)[:20])
            raise InputError(f"has no field {error} (it has {fields})", where=where, remedy="name one") from None
        if value is None:
            reason = f"{outcome} must be true, false, a verdict or a number from 0 to 1"
            raise InputError(reason, where=where, remedy="name another field with --outcome")
        found.setdefault(str(name), []).append(value)
        if "doc_id" in line:
            filters.add(json.dumps(line.get("filter")))
        if len(filters) > 1:  # lm_eval scores each answer once per filter: their mean is no score
            names = printable(" and ".join(sorted(filters)))[:200]
            remedy = "keep the lines of one filter in a file of their own"
            raise InputError(f"has lines of several filters ({names})", where=where, remedy=remedy)
    if not found:
        raise InputError("contains no samples", where=str(path), remedy="name a file with one JSON object per line")
    return found


def compare(one: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]) -> Comparison:
    """Compare two arms task by task. Raise InputError if they share no task."""
    shared = sorted(one.keys() & other.keys())
    if not shared:
        raise InputError("the files have no task in common", remedy="compare files of the same benchmark")
    pairs = [(math.fsum(one[name]) / len(one[name]), math.fsum(other[name]) / len(other[name])) for name in shared]
    samples = min(len(file[name]) for file in (one, other) for name in shared)
    differences = [second - first for first, second in pairs]
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Comparison(
        tasks=len(shared),
        left_out=(len(one) - len(shared), len(other) - len(shared)),
        means=(math.fsum(first) / len(shared), math.fsum(second) / len(shared)),
        intervals=(mean_interval(first, samples), mean_interval(second, samples)),
        difference=math.fsum(differences) / len(shared),
        interval=difference_interval(differences, samples),
        p_value=sign_flip_test(in_steps(differences)),
        better=sum(item > 0 for item in differences),
        worse=sum(item < 0 for item in differences),
    )


def text_of(found: Comparison, one: str, other: str) -> str:
    """Return a comparison as lines for a reader."""
    lines = []
    for name, mean, (low, high) in zip((one, other), found.means, found.intervals, strict=True):
        lines.append(f"{printable(name)}: {mean:.1%} (95 % interval {low:.1%} to {high:.1%}, {found.tasks} tasks)")
    low, high = found.interval
    lines.append(f"difference: {found.difference:+.1%} (95 % interval {low:+.1%} to {high:+.1%})")
    lines.append(
        f"better on {found.better} tasks, worse on {found.worse}; exact sign-flip test p = {found.p_value:.3g}"
    )
    if any(found.left_out):
        lines.append(f"left out, in one file only: {found.left_out[0]} and {found.left_out[1]} tasks")
    return "\n".join(lines)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open_lines(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _object(line.decode("utf-8-sig"), f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise_system_error(error, path)
        raise InputError(f"cannot be read ({error})", where=str(path), remedy="name a JSONL file") from None


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError("must be a JSON object", where=where, remedy="fix or remove the line")
    return value


def _field(line: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    found = next((name for name in names if name in line), None)
    if found is None:
        reason = f"has none of the fields {', '.join(names)}"
        raise InputError(reason, where=where, remedy="name the fields with --task and --outcome")
    return found


def _metric(line: Mapping[str, Any], where: str) -> str:
    named = line.get("metrics")
    listed = [name for name in named if isinstance(name, str) and name in line] if isinstance(named, list) else []
    return listed[0] if listed else _field(line, OUTCOME, where)


def _value(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value == "passed")
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    return None
