"""What the report shows beside its counts: files, sequences and answers to look at, chosen by content and bounded.

Which rows are shown follows from the run's seed and their ids, so that neither shards nor their order decide it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import derive_seed
from d3.core.tables import Row
from d3.core.unified_diff import DiffError, apply_diff, programs_of
from d3.errors import InputError
from d3.evals.answer import read_answer
from d3.pipeline.job import Job
from d3.pipeline.registry import STAGES
from d3.provenance.statement import read_statement, statement_path

PER_SCORE = 2
"""Example files at each score."""
SEQUENCES = 12
TASKS_OPEN = 40
"""Tasks of a benchmark whose answers can be opened; those on which arms differ come first."""
MOST_TASKS = 20_000
MOST_FILES = 500
MOST_STEPS = 30
MOST_TEXT = 6_000
"""Characters of one text."""
BINS = 40
NOT_DRAWN = {"model", "hub_model", "hub_dataset", "benchmark", "topics", "topic_counts", "run_record"}
"""Stages that the lineage graph leaves out: they fetch what is given, or belong to another target."""
NUMBERED = re.compile(r"^ *\d+ ?", re.MULTILINE)
START = re.compile(r"\A<code>\n\[start of [^\n]*\]\n(.*?)\n\[end of ", re.DOTALL)


def bounded(text: str | None, most: int = MOST_TEXT) -> str | None:
    """Return a text, cut after so many characters with a note of how many are left out."""
    if text is None or len(text) <= most:
        return text
    return f"{text[:most]}\n… {len(text) - most:,} more characters"


def columns_of(job: Job, tables: Iterable[Path], schema: pa.Schema, *columns: str) -> Iterator[Row]:
    """Read some columns of several tables."""
    part = pa.schema([schema.field(column) for column in columns])
    for path in tables:
        yield from job.side_rows(path, part)


def scored_files(config: Config, job: Job, grades: Sequence[Path], corpus: Sequence[Path]) -> list[Row]:
    """Return some files at each score with the judge's rationale, the highest score first."""
    chosen: dict[int, list[tuple[int, Row]]] = {}
    for row in columns_of(job, grades, schemas.GRADES, "id", "score", "expected_score", "rationale"):
        if row["score"] is not None:
            rank = derive_seed(config.seed, "report-score", row["id"])
            ranked = sorted([*chosen.get(row["score"], ()), (rank, row)], key=lambda item: item[0])
            chosen[row["score"]] = ranked[:PER_SCORE]
    rows = [row for score in sorted(chosen, reverse=True) for _, row in chosen[score]]
    wanted = {row["id"] for row in rows}
    texts = {}
    for row in columns_of(job, corpus if wanted else (), schemas.CORPUS, "id", "text"):
        if row["id"] in wanted:
            texts[row["id"]] = bounded(row["text"])
    return [
        {**row, "rationale": bounded(row["rationale"], 1_500), "text": texts[row["id"]]}
        for row in rows
        if row["id"] in texts
    ]


def shown_sequences(config: Config, job: Job, diffs: Sequence[Path], labels: Sequence[Path]) -> list[Row]:
    """Return some diff sequences with the label of their whole program, those of several diffs first."""
    chosen: list[tuple[bool, int, Row]] = []
    for row in columns_of(job, diffs, schemas.DIFFS, "id", "sample", "status", "diffs"):
        steps = row["diffs"] or []
        if row["status"] != "ok" or not 0 < len(steps) <= MOST_STEPS or sum(map(len, steps)) > MOST_TEXT:
            continue
        rank = derive_seed(config.seed, "report-sequence", row["id"], row["sample"])
        shown = {"id": row["id"], "sample": row["sample"], "label": None, "diffs": steps}
        chosen = sorted([*chosen, (len(steps) < 2, rank, shown)], key=lambda item: item[:2])[:SEQUENCES]
    rows = {(row["id"], row["sample"]): row for _, _, row in chosen}
    for row in columns_of(job, labels if rows else (), schemas.LABELS, "id", "sample", "part", "label"):
        key = (row["id"], row["sample"])
        if row["part"] == 0 and key in rows:
            rows[key]["label"] = bounded(row["label"], 1_500)
    return [row for row in rows.values() if _applies(row["diffs"])]


def _applies(diffs: Sequence[str]) -> bool:
    try:
        return bool(programs_of(diffs))
    except DiffError:
        return False


def token_lengths(job: Job, manifests: Sequence[Path]) -> list[Row]:
    """Return how many documents are how long, in bins of equal width, from the bounds beside the token shards."""
    import numpy
    import pandas

    lengths: list[Any] = []
    for manifest in manifests:
        bounds = manifest.with_suffix(".csv.gz")
        if not bounds.is_file():
            continue
        try:
            table = pandas.read_csv(job.input(bounds, declared=False), header=None, usecols=[0, 1], dtype="int64")
        except pandas.errors.EmptyDataError:
            continue
        except (ValueError, OSError) as error:
            reason = f"has no bounds of documents ({error})"
            raise InputError(reason, where=str(bounds), remedy="make it again") from None
        lengths.append((table[1] - table[0]).to_numpy())
    return binned(numpy.concatenate(lengths) if lengths else ())


def binned(values: Sequence[int] | Any, bins: int = BINS) -> list[Row]:
    """Return counts of whole numbers in at most so many bins of equal width: `low` to `high`, both included."""
    import numpy

    if not len(values):
        return []
    data = numpy.asarray(values)
    low, high = int(data.min()), int(data.max())
    width = -(-(high - low + 1) // bins)
    counts = numpy.bincount((data - low) // width)
    return [
        {"low": low + place * width, "high": low + (place + 1) * width - 1, "count": int(count)}
        for place, count in enumerate(counts)
    ]


def spread_bins(counts: Mapping[str, int]) -> list[Row]:
    """Return bins of a table of value -> count."""
    values = {int(value): count for value, count in counts.items()}
    if not values:
        return []
    low, high = min(values), max(values)
    width = -(-(high - low + 1) // BINS)
    bins = [0] * ((high - low) // width + 1)
    for value, count in values.items():
        bins[(value - low) // width] += count
    return [
        {"low": low + place * width, "high": low + (place + 1) * width - 1, "count": count}
        for place, count in enumerate(bins)
    ]


# --- answers to benchmarks ------------------------------------------------------------------------


def per_task(solved: Mapping[str, Mapping[str, tuple[int, int]]]) -> list[Row]:
    """Return a row a task: passed and all samples of every arm."""
    tasks = sorted({task for rates in solved.values() for task in rates}, key=_natural)
    return [
        {"task": task, "arms": {arm: list(rates[task]) for arm, rates in solved.items() if task in rates}}
        for task in tasks[:MOST_TASKS]
    ]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts HumanEval/9 before HumanEval/10."""
    return [
        (int(part) if part.isdigit() and part.isascii() and len(part) < 12 else -1, part)
        for part in re.split(r"(\d+)", name)
    ]


def opened_tasks(tasks: Sequence[Row]) -> list[str]:
    """Return the names of the tasks whose answers are shown: first where arms differ, then where some sample passed."""

    def order(task: Row) -> tuple[bool, bool]:
        rates = {passed / samples if samples else 0.0 for passed, samples in task["arms"].values()}
        return len(rates) < 2, not any(rates)

    return [task["task"] for task in sorted(tasks, key=order)[:TASKS_OPEN]]


def answers(
    job: Job, tasks: Sequence[str], samples: Mapping[str, Path], verdicts: Mapping[str, Path]
) -> dict[str, list[Row]]:
    """Return task -> the first sample of every arm: prompt, text, diffs, program, verdict and test output."""
    found: dict[str, list[Row]] = {task: [] for task in tasks}
    for arm, path in samples.items():
        said: dict[str, Row] = {}
        if arm in verdicts:
            for row in columns_of(job, [verdicts[arm]], schemas.VERDICTS, "task_id", "sample", "verdict", "detail"):
                if row["sample"] == 0 and row["task_id"] in found:
                    said[row["task_id"]] = row
        names = ("task_id", "sample", "prompt", "raw", "program", "status", "detail")
        for row in columns_of(job, [path], schemas.SAMPLES, *names):
            if row["sample"] != 0 or row["task_id"] not in found:
                continue
            verdict = said.get(row["task_id"], {})
            found[row["task_id"]].append(
                {
                    "arm": arm,
                    "status": row["status"],
                    "detail": bounded(row["detail"], 1_500),
                    "verdict": verdict.get("verdict"),
                    "output": bounded(verdict.get("detail"), 1_500),
                    "prompt": bounded(row["prompt"]),
                    "raw": bounded(row["raw"]),
                    "program": bounded(row["program"]),
                    **written_steps(row["prompt"] or "", row["raw"] or ""),
                }
            )
    return {task: rows for task, rows in found.items() if rows}


def written_steps(prompt: str, raw: str) -> Row:
    """Return the start program of a prompt and those first diffs of an answer that apply to it."""
    if len(raw) > 2 * MOST_TEXT:
        return {"start": "", "diffs": []}
    found = START.match(prompt)
    start = NUMBERED.sub("", found[1]) if found else ""
    diffs: list[str] = []
    for diff in read_answer(raw).diffs[:MOST_STEPS]:
        try:
            steps_of(start, [*diffs, diff])
        except DiffError:
            break
        diffs.append(diff)
    return {"start": start, "diffs": diffs}


def steps_of(start: str, diffs: Sequence[str]) -> list[str]:
    """Return the programs from `start` through all diffs; raise DiffError if one does not apply."""
    programs = [start]
    for diff in diffs:
        programs.append(apply_diff(programs[-1], diff))
    return programs


# --- where it comes from --------------------------------------------------------------------------


def lineage(config: Config) -> list[Row]:
    """Return the stages of this run and those that each reads from."""
    drawn = [stage for stage in STAGES.values() if stage.name not in NOT_DRAWN and stage.when(config)]
    names = {stage.name for stage in drawn}
    edges = {stage.name: [*stage.upstream, *([stage.rows_of] if stage.rows_of else [])] for stage in drawn}
    if "midtrain" in names:
        edges["sft"].append("midtrain")
    return [
        {"stage": stage.name, "after": sorted({name for name in edges[stage.name] if name in names} - {stage.name})}
        for stage in drawn
    ]


def file_list(tables: Mapping[str, Iterable[Path]]) -> Iterator[Row]:
    """Yield name, rows, size and digest of result files, as the statements of their jobs tell; see `d3 trace`."""
    left = MOST_FILES
    for stage, paths in tables.items():
        for path in paths:
            if left <= 0:
                return
            left -= 1
            yield {"stage": stage, **_stated(path)}


def _stated(path: Path) -> Row:
    try:
        outputs = read_statement(statement_path(path))["subject"]
        found = next(row for row in outputs if row["name"].rpartition("/")[2] == path.name)
        notes = found.get("annotations", {})
        return {"name": found["name"], "bytes": notes.get("bytes"), "sha256": found["digest"]["sha256"]}
    except (InputError, StopIteration, KeyError, TypeError):
        size = path.stat().st_size if path.is_file() else None
        return {"name": path.name, "bytes": size, "sha256": None}


def most_frequent(words: Counter[str], most: int = 15) -> dict[str, int]:
    """Return the most frequent words, the most frequent first."""
    return dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:most])
