"""Scores of one arm on one benchmark: pass@k with an interval, and where samples were lost.

pass@k of a task with n samples, c of which pass, is `1 - C(n-c, k) / C(n, k)`: the chance that k
samples drawn without replacement hold one that passes. It is the unbiased estimator of M. Chen et
al., "Evaluating Large Language Models Trained on Code" (arXiv:2107.03374), section 2.1. A
benchmark's pass@k is the mean over its tasks.

`d3.evals.statistics` describes the interval.
"""

import json
from collections import Counter
from math import comb, fsum
from pathlib import Path
from typing import Any

from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import file_digest
from d3.errors import InputError
from d3.evals.sample_lines import sample_lines
from d3.evals.statistics import mean_interval
from d3.pipeline.checks import Faults, FinishedJob, read_columns
from d3.pipeline.job import Job


def run(
    config: Config,
    verdicts: Path,
    samples: Path,
    gate: Path,
    out: Path,
    *,
    benchmark: str,
    arm: str,
    lines: Path | None = None,
) -> None:
    """Compute pass@k with intervals from the verdicts of an arm.

    Write the scores as JSON, and `lines`, one JSON line a sample (`d3.evals.sample_lines` lists their keys); equal
    inputs give equal bytes.

    Tasks that the benchmark's gate leaves out count only with `scores.vacuous`.

    Keys: `benchmark`, `arm`, `format` in which the arm was asked; `gate` with the checksum of the gate's file and the
    interpreter; `tasks`, `samples`, `confidence`; `tasks_vacuous` (how many tasks the gate leaves out, counted or not),
    `skipped` (tasks that are not asked, with the reason), `solved_by_start` (tasks whose start program itself passes);
    `pass_at_k` by k with `value`, `low` and `high`; `built` with `share`, the part of the samples that are well formed
    and became a program, and `statuses`; `verdicts`, and of all samples how many are `unsupported`; `tokens` drawn
    `per_sample` and `per_solution` (for each sample that passes, null if none does); `decontaminated`, by which n-grams
    the training data was decontaminated against the benchmark, null if it was not; `per_task`, a list in the tasks'
    order with `task_id`, `samples`, `built` and `passed`. All of these are strict; `lenient` counts repaired answers
    too: `pass_at_k`, `share`, and `repairs`, the repaired samples by kind.

    Raises InputError when the tables or the gate do not belong together, the gate leaves out every task, or a task has
    fewer samples than the largest k.

    Example: d3 scores --benchmark humaneval --arm d3 --samples samples.parquet --verdicts verdicts.parquet
        --gate gate.json --out scores.json --lines samples.jsonl
    """
    with Job("scores", config=config) as job:
        statuses: dict[tuple[str, int], str] = {}
        tokens = 0
        repairs: Counter[str] = Counter()
        for row in job.side_rows(samples, schemas.SAMPLES):
            statuses[row["task_id"], row["sample"]] = row["status"]
            repairs.update(row["repairs"] or ())
            tokens += row["answer_tokens"] or 0
        counts: dict[str, Counter[str]] = {}
        found: Counter[str] = Counter()
        for row in job.rows(verdicts, schemas.VERDICTS):
            status = statuses.pop((row["task_id"], row["sample"]), None)
            if status is None or (status == "ok") != (row["verdict"] != "no_program"):
                reason = f"task {row['task_id']}, sample {row['sample']} is another or none in {samples.name}"
                raise InputError(reason, where=str(verdicts), remedy="execute the samples again")
            found[status] += 1
            task = counts.setdefault(row["task_id"], Counter())
            task.update(["samples", row["verdict"]] + ["built"] * (status == "ok"))
            task["lenient"] += row["lenient_verdict"] == "passed"
            job.keep()
        if statuses or not counts:
            reason = f"has no verdict for {len(statuses)} samples" if statuses else "holds no verdict"
            raise InputError(reason, where=str(verdicts), remedy="execute the samples again")
        examined = json.loads(job.input(gate).read_bytes())
        missing = set(counts) - set(examined["tasks"])
        if missing or examined["benchmark"] != benchmark:
            reason = f"examines another benchmark or not task {min(missing, default='')}"
            raise InputError(reason, where=str(gate), remedy="run `d3 gate` on the benchmark's file again")
        left_out = set(examined["left_out"]) & set(counts)
        counted = {name: task for name, task in counts.items() if config.scores.vacuous or name not in left_out}
        if not counted:
            reason = "leaves out every task: no reference passes, or constants pass"
            raise InputError(reason, where=str(gate), remedy="use other tests, or set scores.vacuous")
        everything, counts = counts, counted
        few = min(counts, key=lambda name: counts[name]["samples"])
        if counts[few]["samples"] < max(config.scores.k):
            reason = f"task {few} has {counts[few]['samples']} samples, pass@{max(config.scores.k)} needs more"
            raise InputError(reason, where=str(verdicts), remedy="raise generate.samples or lower scores.k")
        result = scores(config, counts)
        against = config.contamination
        decontaminated = {"ngram": against.ngram, "share": against.share} if against.share is not None else None
        result |= {
            "benchmark": benchmark,
            "arm": arm,
            "format": config.format_of(arm),
            "built": built(found),
            "tasks_vacuous": len(left_out),
            "solved_by_start": len(set(examined["starts"]) & set(counts)),
            "skipped": examined["skipped"],
            "tokens": tokens_used(tokens, found.total(), sum(task["passed"] for task in everything.values())),
            "unsupported": sum(task["unsupported"] for task in everything.values()),
            "decontaminated": decontaminated,
        }
        result["lenient"] |= {"share": (found["ok"] + found["repaired"]) / found.total(), "repairs": dict(repairs)}
        result["gate"] = {"sha256": file_digest(gate), "interpreter": examined["interpreter"]}
        text = json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        job.file(out).write_text(text, encoding="utf-8")
        if lines is not None:
            rows = job.side_rows(samples, schemas.SAMPLES), job.side_rows(verdicts, schemas.VERDICTS)
            about, form = {"benchmark": benchmark, "arm": arm}, config.format_of(arm)
            written = sample_lines(*rows, about=about, form=form, left_out=left_out, where=verdicts)
            with job.file(lines).open("w", encoding="utf-8") as file:
                file.writelines(written)


def scores(config: Config, counts: dict[str, Counter[str]]) -> dict[str, Any]:
    """Compute pass@k, intervals and counts from what was counted of every task."""
    settings = config.scores

    def intervals(name: str) -> dict[str, dict[str, float]]:
        found = {}
        for k in sorted(set(settings.k)):
            values = [pass_at_k(task["samples"], task[name], k) for task in counts.values()]
            independent = min(task["samples"] for task in counts.values()) // k
            low, high = mean_interval(values, independent, settings.confidence)
            found[str(k)] = {"value": fsum(values) / len(values), "low": low, "high": high}
        return found

    verdicts: Counter[str] = Counter()
    for task in counts.values():
        verdicts.update({name: count for name, count in task.items() if name not in ("samples", "built", "lenient")})
    return {
        "tasks": len(counts),
        "samples": sum(task["samples"] for task in counts.values()),
        "confidence": settings.confidence,
        "pass_at_k": intervals("passed"),
        "lenient": {"pass_at_k": intervals("lenient")},
        "verdicts": dict(verdicts),
        "per_task": [
            {"task_id": name, "samples": task["samples"], "built": task["built"], "passed": task["passed"]}
            for name, task in counts.items()
        ],
    }


def tokens_used(tokens: int, samples: int, passed: int) -> dict[str, float | None]:
    """Return the mean number of drawn tokens of a sample, and how many were drawn for each that passes, if any does."""
    return {"per_sample": tokens / samples, "per_solution": tokens / passed if passed else None}


def built(statuses: Counter[str]) -> dict[str, Any]:
    """Return the share of samples that became a program, and the counts of all statuses."""
    return {"share": statuses["ok"] / statuses.total(), "statuses": {name: statuses[name] for name in statuses}}


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return the unbiased estimate for one task; raises ValueError for fewer samples than k."""
    if not 0 <= passed <= samples or not 0 < k <= samples:
        raise ValueError(f"pass@{k} of {passed} passes in {samples} samples")
    return 1 - comb(samples - passed, k) / comb(samples, k)


def check(job: FinishedJob) -> Faults:
    """Compute pass@k and all counts again from the verdicts."""
    score = json.loads(job.path().read_bytes())
    counted = {row["task_id"]: (row["samples"], row["passed"]) for row in score["per_task"]}
    left_out = {name for path in job.inputs_of("gate") for name in json.loads(path.read_bytes())["left_out"]}
    tasks: dict[str, Counter[str]] = {}
    lenient: dict[str, Counter[str]] = {}
    for row in read_columns(job.inputs_of("execute"), schemas.VERDICTS, "task_id", "verdict", "lenient_verdict"):
        if row["task_id"] in left_out - set(counted):
            continue
        tasks.setdefault(row["task_id"], Counter())[row["verdict"]] += 1
        lenient.setdefault(row["task_id"], Counter())[row["lenient_verdict"]] += 1
    for what, entries, verdicts in (
        ("pass", score["pass_at_k"], tasks),
        ("lenient pass", score["lenient"]["pass_at_k"], lenient),
    ):
        for k, entry in entries.items():
            mean = sum(pass_at_k(found.total(), found["passed"], int(k)) for found in verdicts.values()) / len(tasks)
            if abs(mean - entry["value"]) > 1e-12 or not entry["low"] <= entry["value"] <= entry["high"]:
                yield job.name(), f"{what}@{k} is {entry['value']}, computed from the verdicts it is {mean}"
    if counted != {name: (found.total(), found["passed"]) for name, found in tasks.items()}:
        yield job.name(), "its counts by task are not those of the verdicts"
    if score["verdicts"] != sum(tasks.values(), Counter()):
        yield job.name(), "its verdicts are not those of the verdict table"
    samples = read_columns(job.inputs_of("generate"), schemas.SAMPLES, "status")
    if score["built"] != built(Counter(row["status"] for row in samples)):
        yield job.name(), "its statuses are not those of the samples"
