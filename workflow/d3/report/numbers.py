"""Every number of the report, counted from the result files; the page is made of these alone.

Counts of rows read, kept and dropped come from the footers that the jobs left in their tables,
everything else from the rows themselves. Tables are read row by row and only in the columns that
are needed, so that a full-size run fits in memory.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from d3.config.limits import Limit, limits_in_effect
from d3.config.models import Config
from d3.core.printable import printable
from d3.core.tables import Row, read_notes
from d3.core.terminal import table_text
from d3.errors import InputError
from d3.pipeline.job import Job
from d3.report import data, evidence
from d3.report.costs import costs
from d3.report.data import Files
from d3.report.execution import execution, models_of
from d3.report.learning import learning
from d3.report.results import benchmarks as evaluated
from d3.report.results import finite, read_json, training
from d3.stages.judge_health import read_health

Numbers = dict[str, Any]

UNITS = {
    "corpus": "files",
    "grades": "files",
    "diffs": "files",
    "labels": "sequences",
    "dataset": "labels",
    "tokens": "documents",
}
"""What a stage's rows read are."""


def collect(config: Config, job: Job, files: Files) -> Numbers:
    """Return all numbers of a run as JSON values; raises InputError for a file that is not what it must be."""
    numbers: Numbers = {"run": config.run, "seed": config.seed}
    numbers["training"] = list(training(job, files.midtrain, files.sft))
    numbers["attrition"] = list(_attrition(job, files, numbers["training"]))
    numbers["corpus"] = data.count_corpus(job, files)
    numbers["rejected"] = {"reasons": data.count_rejected(job, files)}
    numbers["contamination"] = data.count_contamination(config, job, files)
    numbers["grades"] = data.count_grades(config, job, files)
    numbers["judge"] = read_health(job.input(files.judge_health)) if files.judge_health else None
    numbers["diffs"] = data.count_diffs(job, files)
    numbers["labels"] = data.count_labels(config, job, files)
    numbers["topics"] = data.count_topics(job, files.topics)
    numbers["answers"] = [
        data.count_answers("grades", numbers["grades"]),
        data.count_answers("labels", numbers["labels"]),
    ]
    numbers["dataset"] = data.count_dataset(job, files)
    numbers["tokens"] = data.count_tokens(job, files)
    numbers["benchmarks"] = list(evaluated(job, files.samples, files.verdicts, files.scores))
    numbers["learning"] = learning(job, files.losses, files.samples)
    limits = limits_of_run(config, numbers["benchmarks"])
    numbers["limits"] = [
        {"key": limit.key, "value": limit.value, "full": limit.full, "stand_in": limit.stand_in} for limit in limits
    ]
    numbers["demo"] = [str(limit) for limit in limits]
    numbers["funnel"] = list(_funnel(numbers, adopted=not files.labels))
    numbers["sequences"] = evidence.shown_sequences(config, job, files.diffs, files.labels)
    numbers["lineage"] = evidence.lineage(config)
    numbers["files"] = list(evidence.file_list(_tables(files)))
    numbers["models"] = models_of(config)
    numbers["execution"] = execution(_first_outputs(files), files.metrics)
    numbers["costs"] = list(costs(_tables(files)))
    numbers["key"] = list(_key(numbers))
    numbers["config"] = config.model_dump(mode="json")
    cleaned: Numbers = finite(numbers)
    return cleaned


# --- rows through the stages ---------------------------------------------------------------------


def _attrition(job: Job, files: Files, runs: Iterable[Row]) -> Iterator[Row]:
    """Yield rows read, kept and dropped by reason for every stage, in the chain's order."""
    for stage in ("corpus", "grades", "diffs", "labels", "dataset"):
        yield _noted(stage, UNITS[stage], getattr(files, stage))
    manifests = data.read_manifests(job, files.tokens)
    dropped = Counter(str(row["reason"]) for manifest in manifests for row in manifest["dropped"])
    documents = sum(manifest["documents"] for manifest in manifests)
    yield _stage("tokens", UNITS["tokens"], documents + sum(dropped.values()), documents, dropped)
    for run in runs:
        name = run["stage"] if run["stage"] == "midtrain" else f"{run['stage']}/{run['name']}"
        unit = "documents" if run["stage"] == "midtrain" else "examples"
        yield _stage(name, unit, run["rows"]["read"], run["rows"]["kept"], run["rows"]["dropped"])
    for stage, tables in (("generate", files.samples), ("execute", files.verdicts)):
        for (benchmark, arm), path in tables.items():
            yield _noted(f"{stage}/{benchmark}/{arm}", "samples", [path])


def _stage(stage: str, unit: str, read: int, kept: int, dropped: Mapping[str, int]) -> Row:
    ordered = dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0])))
    return {"stage": stage, "unit": unit, "read": read, "kept": kept, "dropped": ordered}


def _noted(stage: str, unit: str, tables: Iterable[Path]) -> Row:
    """Add up what the jobs noted in the footers of their tables."""
    read = kept = 0
    dropped: Counter[str] = Counter()
    for path in tables:
        notes = read_notes(path)
        if not {"read", "kept", "dropped"} <= set(notes):
            raise InputError("has no row counts of its job in its footer", where=str(path), remedy="make it again")
        read, kept = read + notes["read"], kept + notes["kept"]
        dropped.update(notes["dropped"])
    return _stage(stage, unit, read, kept, dropped)


# --- what the page says first --------------------------------------------------------------------


def limits_of_run(config: Config, benchmarks: Iterable[Row]) -> list[Limit]:
    """Return what makes these numbers smaller than a result of full size; an empty list if nothing does.

    A benchmark with fewer tasks than `tasks` ran whole, and is not limited by it.
    """
    whole = {
        f"benchmarks.{row['benchmark']}.tasks"
        for row in benchmarks
        if (item := config.benchmarks.get(row["benchmark"])) and item.tasks and row["tasks"] < item.tasks
    }
    return [limit for limit in limits_in_effect(config) if limit.key not in whole]


def _funnel(numbers: Numbers, *, adopted: bool) -> Iterator[Row]:
    """Yield the files that are left after every step: one unit from first to last, in which no file counts twice.

    An adopted dataset has no grades, sequences and labels.
    """
    corpus = next(stage for stage in numbers["attrition"] if stage["stage"] == "corpus")
    grades, kept = numbers["grades"], numbers["corpus"]
    yield {"step": "read", "files": corpus["read"]}
    yield {"step": "kept", "files": kept["rows"]}
    if not adopted:
        yield {"step": "for mid-training", "files": grades["rows"]}
        if grades["mode"] != "none":
            grade = "expected score" if grades["threshold_on"] == "expected_score" else "score"
            yield {"step": f"{grade} of {grades['threshold']} or more", "files": grades["at_threshold"]}
        yield {"step": "with a diff sequence", "files": numbers["diffs"]["files"]}
        yield {"step": "with a label", "files": numbers["labels"]["files"]}
    yield {"step": "in the dataset", "files": numbers["dataset"]["programs"]}


def _tables(files: Files) -> dict[str, Sequence[Path]]:
    """Return the first output of every job that the report reads, by stage."""
    return {
        "corpus": files.corpus,
        "grades": files.grades,
        "diffs": files.diffs,
        "labels": files.labels,
        "dataset": files.dataset,
        "tokens": [path.with_suffix(".npy") for path in files.tokens],
        "midtrain": [files.midtrain] if files.midtrain else [],
        "sft": list(files.sft.values()),
        "generate": list(files.samples.values()),
        "execute": list(files.verdicts.values()),
        "scores": files.scores,
    }


def _first_outputs(files: Files) -> list[Path]:
    """Return the first output of every job that the report reads; its statement lies beside it."""
    tables = [path for paths in _tables(files).values() for path in paths]
    return [*files.contamination, *tables, *([files.losses] if files.losses else [])]


def _key(numbers: Numbers) -> Iterator[Row]:
    """Yield the key numbers: counts, and rates with their interval."""
    corpus = next(stage for stage in numbers["attrition"] if stage["stage"] == "corpus")
    grades, diffs, dataset = numbers["grades"], numbers["diffs"], numbers["dataset"]
    for name, label, value in (
        ("files_read", "Source files read", corpus["read"]),
        ("files_kept", "Source files kept", numbers["corpus"]["rows"]),
        ("files_graded", "Files graded", grades["graded"]),
        ("scores_missing", "Scores missing", grades["missing"]),
        ("files_diffed", "Files diffed", diffs["files"]),
        ("sequences", "Diff sequences", diffs["sequences"]),
        ("labels", "Labels written", numbers["labels"]["statuses"].get("ok", 0)),
        ("dataset_rows", "D3 rows", dataset["rows"]),
        ("tokens", "Tokens", numbers["tokens"]["tokens"]),
    ):
        if not (name in ("files_graded", "scores_missing") and grades["mode"] == "none"):
            yield {"name": name, "label": label, "value": value}
    if numbers["judge"]:
        broken = sum(one["status"] == "failed" for one in numbers["judge"]["checks"])
        yield {"name": "judge_bounds_broken", "label": "Bounds broken by the judge", "value": broken}
    held_out = numbers["learning"]["held_out"] or {"models": []}
    for model in held_out["models"]:
        value = {"value": model["loss"], **{name: model[name] for name in ("low", "high", "documents")}}
        yield {"name": f"held_out_loss/{model['model']}", "label": f"Held-out loss, {model['model']}", **value}
    for benchmark in numbers["learning"]["applies"]:
        for arm in benchmark["arms"]:
            yield {
                "name": f"applies/{benchmark['benchmark']}/{arm['arm']}",
                "label": f"{benchmark['benchmark']} answers that apply, arm {arm['arm']}",
                **{name: arm[name] for name in ("value", "low", "high", "samples")},
                "confidence": 0.95,
            }
    for benchmark in numbers["benchmarks"]:
        for arm in benchmark["arms"]:
            for score in arm["pass"]:
                yield {
                    "name": f"pass@{score['k']}/{benchmark['benchmark']}/{arm['arm']}",
                    "label": f"{benchmark['benchmark']} pass@{score['k']}, arm {arm['arm']}",
                    **{name: score[name] for name in ("value", "low", "high")},
                    "confidence": arm["confidence"],
                    "tasks": arm["tasks"],
                }


KEY_COLUMNS = ("number", "value", "interval")


def read_numbers(path: Path) -> Numbers:
    """Return the values of a `numbers.json`; raise InputError for another file."""
    values = read_json(path)
    if not isinstance(values, dict) or not {"key", "run", "seed", "demo"} <= set(values):
        remedy = "give results/runs/NAME/numbers.json"
        raise InputError("must be the numbers of a run", where=str(path), remedy=remedy)
    return values


def key_numbers(numbers: Path) -> str:
    """Return the key numbers of a `numbers.json` as an aligned table of plain text."""
    import pandas

    values = read_numbers(numbers)
    table = pandas.DataFrame([(str(row["label"]), *said(row)) for row in values["key"]], columns=list(KEY_COLUMNS))
    rows = table.astype(str).values.tolist()
    head = f"Run {values['run']}, seed {values['seed']}"
    warning = "A demo-size run: these numbers test the machinery, they are no result."
    lines = [head, *([warning] if values["demo"] else []), ""]
    return "\n".join([*map(printable, lines), table_text(rows, right={1}, head=False) if rows else ""])


def said(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return a key number and what is to be known about it as text."""
    if "documents" in row:  # a loss in nats a token
        interval = "" if row["low"] is None else f"95 % interval {row['low']:.3f} to {row['high']:.3f}, "
        return f"{row['value']:.3f} nats", f"{interval}{row['documents']:,} document{'s' * (row['documents'] != 1)}"
    unit = next((unit for unit in ("tasks", "samples") if unit in row), None)
    if unit is None:
        return f"{row['value']:,}", ""
    tasks = f"{row[unit]:,} {unit[:-1] if row[unit] == 1 else unit}"
    if row["value"] is None:
        return "none", tasks
    if row["low"] is None or row["high"] is None:
        return percent(row["value"]), tasks
    level = f"{100 * row['confidence']:g} % interval"
    return percent(row["value"]), f"{level} {percent(row['low'])} to {percent(row['high'])}, {tasks}"


def percent(share: float) -> str:
    """Write a share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"
