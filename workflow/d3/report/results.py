"""What training and evaluation came to: loss curves, scores, verdicts and how arms differ."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3.core import schemas
from d3.core.tables import Row
from d3.errors import InputError, raise_system_error
from d3.evals.statistics import difference_interval, in_steps, sign_flip_test
from d3.pipeline.job import Job
from d3.report.evidence import answers, opened_tasks, per_task

STEP = ("step", "loss", "learning_rate", "tokens", "loss_tokens")
"""What every step of a training record has."""
STEP_MORE = ("grad_norm", "held_out_loss")
"""What a step may have beside it."""
VERDICTS = ("passed", "failed", "error", "timeout", "memory", "crashed", "no_program")
"""Verdicts in the order in which figures show them; others follow."""


def read_json(path: Path) -> Any:
    """Read a JSON file; raises InputError for one that is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the path") from None
    except (ValueError, OSError) as error:
        raise_system_error(error, path)
        raise InputError(f"is no JSON ({error})", where=str(path), remedy="make it again") from None


def finite(value: Any) -> Any:
    """Return a JSON value with null in place of floats that JSON has no way to write."""
    if isinstance(value, dict):
        return {str(name): finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def training(job: Job, midtrain: Path | None, sft: Mapping[str, Path]) -> Iterator[Row]:
    """Yield one row for each training run out of the `training.json` in its model folder."""
    runs = [("midtrain", "mid-training", midtrain)] if midtrain is not None else []
    for stage, name, folder in [*runs, *(("sft", arm, folder) for arm, folder in sft.items())]:
        path = folder / "training.json"
        record = read_json(job.input(path))
        try:
            history = [
                {name: step[name] for name in STEP} | {name: step[name] for name in STEP_MORE if name in step}
                for step in record["record"]
            ]
            yield {
                "stage": stage,
                "name": name,
                "rows": record["rows"],
                "packing": record["packing"],
                "steps": record["steps"],
                "tokens": record["tokens"],
                "loss_tokens": record["loss_tokens"],
                "first_loss": history[0]["loss"] if history else None,
                "last_loss": history[-1]["loss"] if history else None,
                "peak_learning_rate": max((step["learning_rate"] for step in history), default=None),
                "history": history,
            }
        except (KeyError, TypeError) as error:
            reason = f"is no record of a training run ({error})"
            raise InputError(reason, where=str(path), remedy="make it again") from None


def benchmarks(
    job: Job,
    samples: Mapping[tuple[str, str], Path],
    verdicts: Mapping[tuple[str, str], Path],
    scores: Sequence[Path],
) -> Iterator[Row]:
    """Yield one row for each benchmark: its arms with their scores, how the arms differ, and its tasks."""
    scored = _scored(job, scores)
    lines = list(dict.fromkeys([*samples, *verdicts, *scored]))
    for benchmark in dict.fromkeys(name for name, _ in lines):
        arms: list[Row] = []
        solved: dict[str, dict[str, float]] = {}
        passed: dict[str, dict[str, tuple[int, int]]] = {}
        for arm in [arm for name, arm in lines if name == benchmark]:
            statuses = _column(job, samples.get((benchmark, arm)), schemas.SAMPLES, "status")
            judged = _column(job, verdicts.get((benchmark, arm)), schemas.VERDICTS, "verdict")
            counts = Counter(verdict for _, verdict in judged)
            rates = solve_rates(judged)
            solved[arm] = rates
            samples_of, passed_of = Counter(task for task, _ in judged), Counter(t for t, v in judged if v == "passed")
            passed[arm] = {task: (passed_of[task], count) for task, count in samples_of.items()}
            score = scored.get((benchmark, arm))
            if score and judged and score["verdicts"] != dict(counts):
                where = str(verdicts[benchmark, arm])
                reason = f"has other verdicts than the scores of {benchmark}, arm {arm}: {dict(counts)}"
                raise InputError(reason, where=where, remedy="give verdicts and scores of the same run")
            arms.append(
                {
                    "arm": arm,
                    "tasks": score["tasks"] if score else len(rates),
                    "samples": len(statuses),
                    "confidence": score["confidence"] if score else None,
                    "built": score["built"] if score else None,
                    "decontaminated": score["decontaminated"] if score else None,
                    "format": score["format"] if score else None,
                    "pass": _passes(score) if score else [],
                    "verdicts": {name: counts[name] for name in _in_order(counts)},
                    "statuses": dict(sorted(Counter(status for _, status in statuses).items())),
                }
            )
        kinds = Counter(name for arm in arms for name in arm["verdicts"])
        statuses_seen = {name for arm in arms for name in arm["statuses"]}
        tasks = max((arm["tasks"] for arm in arms), default=0)
        level = next((arm["confidence"] for arm in arms if arm["confidence"]), 0.95)
        listed = per_task(passed)
        each = min((count for counts in passed.values() for _, count in counts.values()), default=1)
        of = {
            name: {arm: path for (other, arm), path in paths.items() if other == benchmark}
            for name, paths in (("samples", samples), ("verdicts", verdicts))
        }
        yield {
            "benchmark": benchmark,
            "tasks": tasks,
            "arms": arms,
            "verdict_kinds": _in_order(kinds),
            "status_kinds": sorted(statuses_seen, key=lambda name: (name != "ok", name)),
            **resolution(tasks),
            "differences": [
                {
                    **difference(*pair, *(solved[arm] for arm in pair)),
                    **paired_interval([solved[arm] for arm in pair], each, level),
                }
                for pair in combinations(solved, 2)
            ],
            "per_task": listed,
            "answers": answers(job, opened_tasks(listed), of["samples"], of["verdicts"]),
        }


def _scored(job: Job, scores: Sequence[Path]) -> dict[tuple[str, str], Row]:
    """Read the score files, by (benchmark, arm)."""
    found: dict[tuple[str, str], Row] = {}
    for path in scores:
        score = read_json(job.input(path))
        try:
            _passes(score)
            found[score["benchmark"], score["arm"]] = {
                **{
                    name: score[name] for name in ("tasks", "samples", "confidence", "pass_at_k", "lenient", "verdicts")
                },
                "built": score["built"]["share"],
                "decontaminated": score["decontaminated"],
                "format": score["format"],
            }
        except (KeyError, TypeError) as error:
            raise InputError(f"is no score file ({error})", where=str(path), remedy="make it again") from None
    return found


def _column(job: Job, path: Path | None, schema: pa.Schema, column: str) -> list[tuple[str, str]]:
    """Return (task, value of a column) for every row of a table."""
    if path is None:
        return []
    part = pa.schema([schema.field("task_id"), schema.field(column)])
    return [(row["task_id"], str(row[column])) for row in job.side_rows(path, part)]


def _in_order(names: Mapping[str, Any]) -> list[str]:
    return [name for name in VERDICTS if name in names] + sorted(set(names) - set(VERDICTS))


def _passes(score: Row) -> list[Row]:
    lenient = score["lenient"]["pass_at_k"]
    return [
        {"k": int(k), **{name: value[name] for name in ("value", "low", "high")}, "lenient": lenient[k]["value"]}
        for k, value in sorted(score["pass_at_k"].items(), key=lambda item: int(item[0]))
    ]


def solve_rates(judged: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return the share of passed samples of every task."""
    import pandas

    table = pandas.DataFrame(judged, columns=["task", "verdict"])
    rates = (table["verdict"] == "passed").groupby(table["task"]).mean()
    return {str(task): float(rate) for task, rate in rates.items()}


def resolution(tasks: int) -> Row:
    """Say what so many tasks can show at the 95 % level, as shares.

    `one_task` is the smallest step of pass@1 with one sample, `half_width` the normal
    approximation's half interval where it is widest (a rate of one half), `unseen` the largest
    rate at which no task at all is solved with a chance of 5 %.
    """
    if not tasks:
        return {"one_task": None, "half_width": None, "unseen": None}
    return {"one_task": 1 / tasks, "half_width": 1.96 * math.sqrt(0.25 / tasks), "unseen": 1 - 0.05 ** (1 / tasks)}


def difference(one: str, other: str, before: Mapping[str, float], after: Mapping[str, float]) -> Row:
    """Compare two arms task by task; `difference` is the mean of `other` minus `one` in solve rates.

    `p_value` is that of the exact sign-flip test: the chance of a difference at least this large between arms that
    are equally good.
    """
    shared = sorted(set(before) & set(after))
    better = sum(after[task] > before[task] for task in shared)
    worse = sum(after[task] < before[task] for task in shared)
    differences = [after[task] - before[task] for task in shared]
    return {
        "one": one,
        "other": other,
        "tasks": len(shared),
        "better": better,
        "worse": worse,
        "tied": len(shared) - better - worse,
        "difference": math.fsum(differences) / len(shared) if shared else None,
        "p_value": sign_flip_test(in_steps(differences)),
    }


def paired_interval(rates: Sequence[Mapping[str, float]], samples: int, level: float) -> Row:
    """Return the interval of the difference of two arms over the tasks that both have; null without such a task."""
    before, after = rates
    steps = [after[task] - before[task] for task in sorted(set(before) & set(after))]
    low, high = difference_interval(steps, samples, level) if steps else (None, None)
    return {"low": low, "high": high, "confidence": level}
