"""Every number of the report, counted from the result files; the page is made of these alone.

Counts of rows read, kept and dropped come from the footers that the jobs left in their tables,
everything else from the rows themselves. Tables are read row by row and only in the columns that
are needed, so that a full-size run fits in memory.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from d3.config.limits import Limit, limits_in_effect
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import derive_seed
from d3.core.printable import printable
from d3.core.tables import Row, count_rows, read_notes
from d3.core.unified_diff import DiffError, programs_of
from d3.errors import InputError
from d3.pipeline.job import Job
from d3.report import evidence
from d3.report.evidence import columns_of
from d3.report.learning import learning
from d3.report.results import benchmarks as evaluated
from d3.report.results import finite, read_json, training
from d3.stages.contamination import matches
from d3.stages.label_metrics import duplicate_key, duplicate_share

Numbers = dict[str, Any]

SCORES = range(5)
EXAMPLE_KINDS = ("whole program", "from the empty program", "from a started program")
UNITS = {
    "corpus": "files",
    "grades": "files",
    "diffs": "files",
    "labels": "sequences",
    "dataset": "labels",
    "tokens": "documents",
}
"""What a stage's rows read are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The result files of one run."""

    contamination: Sequence[Path]
    """Lists of texts that contain tasks of benchmarks: files, pairs and labels."""
    corpus: Sequence[Path]
    rejected: Sequence[Path]
    grades: Sequence[Path]
    diffs: Sequence[Path]
    labels: Sequence[Path]
    dataset: Sequence[Path]
    tokens: Sequence[Path]
    """Manifests of the token shards."""
    midtrain: Path | None
    """Folder of the mid-trained model; None if no arm has one."""
    sft: Mapping[str, Path]
    """Arm -> folder of its model."""
    samples: Mapping[tuple[str, str], Path]
    """(benchmark, arm) -> what the model wrote."""
    verdicts: Mapping[tuple[str, str], Path]
    """(benchmark, arm) -> what the tests said."""
    scores: Sequence[Path]
    """One file for each benchmark and arm."""
    losses: Path | None = None
    """Losses of held-out rows; None if nothing is held out."""


def collect(config: Config, job: Job, files: Files) -> Numbers:
    """Give all numbers of a run as JSON values; raises InputError for a file that is not what it must be."""
    numbers: Numbers = {"run": config.run, "seed": config.seed}
    numbers["training"] = list(training(job, files.midtrain, files.sft))
    numbers["attrition"] = list(_attrition(job, files, numbers["training"]))
    numbers["corpus"] = _corpus(job, files)
    numbers["rejected"] = {"reasons": _reasons(job, files)}
    numbers["contamination"] = _contamination(config, job, files)
    numbers["grades"] = _grades(config, job, files)
    numbers["diffs"] = _diffs(job, files)
    numbers["labels"] = _labels(config, job, files)
    numbers["answers"] = [_answers("grades", numbers["grades"]), _answers("labels", numbers["labels"])]
    numbers["dataset"] = _dataset(job, files)
    numbers["tokens"] = _tokens(job, files)
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
    numbers["key"] = list(_key(numbers))
    numbers["config"] = config.model_dump(mode="json")
    cleaned: Numbers = finite(numbers)
    return cleaned


# --- rows through the stages ---------------------------------------------------------------------


def _attrition(job: Job, files: Files, runs: Iterable[Row]) -> Iterator[Row]:
    """Yield rows read, kept and dropped by reason for every stage, in the chain's order."""
    for stage in ("corpus", "grades", "diffs", "labels", "dataset"):
        yield _noted(stage, UNITS[stage], getattr(files, stage))
    manifests = _manifests(job, files.tokens)
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


def _counts(job: Job, tables: Iterable[Path], schema: pa.Schema, column: str) -> dict[str, int]:
    """Count the values of a column, the most frequent first."""
    counts = Counter(str(row[column]) for row in columns_of(job, tables, schema, column))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _reasons(job: Job, files: Files) -> dict[str, int]:
    """Count rejected rows by reason, the most frequent first; all tasks of benchmarks together."""
    counts: Counter[str] = Counter()
    for reason, rows in _counts(job, files.rejected, schemas.REJECTED, "reason").items():
        counts[reason.partition(":")[0]] += rows
    return dict(counts.most_common())


def _spread(values: Counter[int]) -> Row:
    """Give the counts of some whole numbers with their smallest, median, mean and largest."""
    ordered = sorted(values.elements())
    return {
        "counts": {str(value): values[value] for value in sorted(values)},
        "lowest": ordered[0] if ordered else None,
        "median": median(ordered) if ordered else None,
        "mean": sum(ordered) / len(ordered) if ordered else None,
        "highest": ordered[-1] if ordered else None,
    }


# --- the data ------------------------------------------------------------------------------------


def _corpus(job: Job, files: Files) -> Row:
    shards = []
    for path in files.corpus:
        notes = read_notes(path)
        if notes["kept"] != count_rows(path):
            raise InputError(
                f"has {count_rows(path)} rows but its footer says {notes['kept']}",
                where=str(path),
                remedy="make it again",
            )
        shards.append({"shard": path.name, "read": notes["read"], "kept": notes["kept"]})
    return {
        "rows": sum(shard["kept"] for shard in shards),
        "splits": _counts(job, files.corpus, schemas.CORPUS, "split"),
        "shards": shards,
    }


def _contamination(config: Config, job: Job, files: Files) -> Row:
    """Return what was removed for which task, different files, pairs and labels, and how many lists say so."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for path in files.contamination:
        for kind, _, match in matches(job.input(path)):
            found.setdefault((match.benchmark, match.task), Counter())[kind] += 1
    settings = config.contamination
    return {
        "ngram": settings.ngram,
        "share": settings.share,
        "against": [*config.benchmarks, *(Path(path).name for path in settings.files)],
        "lists": len(files.contamination),
        "removed": [
            {"benchmark": benchmark, "task": task, **{f"{kind}s": counts[kind] for kind in ("file", "pair", "label")}}
            for (benchmark, task), counts in sorted(found.items())
        ],
    }


def _grades(config: Config, job: Job, files: Files) -> Row:
    scores: Counter[int] = Counter()
    statuses: Counter[str] = Counter()
    expected: list[float] = []
    missing = 0
    truncated = 0
    for row in columns_of(job, files.grades, schemas.GRADES, "score", "expected_score", "status", "truncated"):
        statuses[row["status"]] += 1
        truncated += row["truncated"]
        if row["score"] is None:
            missing += 1
        else:
            scores[row["score"]] += 1
        if row["expected_score"] is not None:
            expected.append(row["expected_score"])
    graded, threshold = sum(scores.values()), config.grades.threshold
    return {
        "mode": config.grades.mode,
        "rows": graded + missing,
        "truncated": truncated,
        "graded": graded,
        "missing": missing,
        "scores": {str(score): scores[score] for score in sorted({*SCORES, *scores})},
        "mean": sum(score * count for score, count in scores.items()) / graded if graded else None,
        "mean_expected": math.fsum(expected) / len(expected) if expected else None,
        "threshold": threshold,
        "at_threshold": sum(count for score, count in scores.items() if score >= threshold),
        "statuses": dict(sorted(statuses.items())),
        "examples": evidence.scored_files(config, job, files.grades, files.corpus),
    }


def _diffs(job: Job, files: Files) -> Row:
    statuses: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    diffed: set[str] = set()
    for row in columns_of(job, files.diffs, schemas.DIFFS, "id", "status", "diffs"):
        statuses[row["status"]] += 1
        if row["status"] == "ok":
            diffed.add(row["id"])
            lengths[len(row["diffs"])] += 1
    return {
        "rows": sum(statuses.values()),
        "files": len(diffed),
        "sequences": statuses["ok"],
        "statuses": dict(sorted(statuses.items())),
        "per_sequence": _spread(lengths),
    }


def _answers(stage: str, counted: Mapping[str, Any]) -> Row:
    """Give what became of the answers of a language model; `unparsable` is the share of those that came."""
    statuses = counted["statuses"]
    asked = counted["mode"] == "model"
    came = statuses.get("ok", 0) + statuses.get("unparsable", 0) if asked else 0
    return {
        "stage": stage,
        "answers": came,
        "unparsable": statuses.get("unparsable", 0) / came if came else None,
        "too_long": statuses.get("too_long", 0),
        "engine_error": statuses.get("engine_error", 0),
        "truncated": counted["truncated"],
    }


def _labels(config: Config, job: Job, files: Files) -> Row:
    truncated = verbs = begun_by_model = 0
    keys = array("Q")
    statuses: dict[str, Counter[str]] = {kind: Counter() for kind in EXAMPLE_KINDS}
    words: Counter[int] = Counter()
    first: Counter[str] = Counter()
    labelled: set[str] = set()
    chosen: dict[str, tuple[int, Row]] = {}
    columns = ("id", "sample", "part", "start", "end", "label", "verb_first", "status", "truncated")
    for row in columns_of(job, files.labels, schemas.LABELS, *columns):
        kind = EXAMPLE_KINDS[0 if row["part"] == 0 else 1 if not row["start"] else 2]
        statuses[kind][row["status"]] += 1
        truncated += row["truncated"]
        if row["label"]:
            begun_by_model += row["verb_first"] is not None
            verbs += bool(row["verb_first"])
            keys.append(duplicate_key(row["label"]))
            written = row["label"].split()
            words[len(written)] += 1
            if row["verb_first"]:
                first[evidence.bounded(written[0].lower(), 30) or ""] += 1
        if row["status"] == "ok":
            labelled.add(row["id"])
        rank = derive_seed(config.seed, "report", row["id"], row["sample"], row["part"])
        if row["status"] == "ok" and (kind not in chosen or rank < chosen[kind][0]):
            chosen[kind] = (rank, row)
    total = sum(statuses.values(), Counter[str]())
    return {
        "mode": config.labels.mode,
        "rows": sum(total.values()),
        "truncated": truncated,
        "worded": len(keys),
        "begun_by_model": begun_by_model,
        "verb_first": verbs / begun_by_model if begun_by_model else None,
        "duplicates": duplicate_share(keys),
        "files": len(labelled),
        "words": _spread(words),
        "verbs": evidence.first_words(first),
        "statuses": dict(sorted(total.items())),
        "kinds": {kind: dict(sorted(counts.items())) for kind, counts in statuses.items()},
        "examples": list(_examples(job, files, {kind: row for kind, (_, row) in chosen.items()})),
    }


def _examples(job: Job, files: Files, chosen: Mapping[str, Row]) -> Iterator[Row]:
    """Yield some labels with the program before their diffs and the diffs themselves."""
    wanted = {(row["id"], row["sample"]) for row in chosen.values()}
    sequences = {}
    for row in columns_of(job, files.diffs if wanted else (), schemas.DIFFS, "id", "sample", "diffs"):
        if (row["id"], row["sample"]) in wanted:
            sequences[row["id"], row["sample"]] = row["diffs"] or []
    for kind, row in chosen.items():
        steps = sequences.get((row["id"], row["sample"]), [])
        try:
            start = programs_of(steps)[row["start"]]
        except (DiffError, IndexError):
            continue
        example = {"kind": kind, "label": row["label"], "start": start, "diffs": steps[row["start"] : row["end"]]}
        yield {**{name: row[name] for name in ("id", "sample", "part")}, **example}


def _dataset(job: Job, files: Files) -> Row:
    changed: Counter[int] = Counter()
    programs: set[int] = set()
    empty = 0
    for row in columns_of(job, files.dataset, schemas.DATASET, "lines_changed", "source_program_id", "program_start"):
        changed[row["lines_changed"]] += 1
        programs.add(row["source_program_id"])
        empty += not row["program_start"]
    return {
        "rows": sum(changed.values()),
        "programs": len(programs),
        "from_empty": empty,
        "lines_changed": _spread(changed),
    }


def _manifests(job: Job, paths: Iterable[Path]) -> list[Row]:
    """Read the manifests of the token shards."""
    manifests = []
    for path in paths:
        manifest = read_json(job.input(path))
        if not isinstance(manifest, dict) or not {"documents", "tokens", "dtype", "dropped"} <= set(manifest):
            raise InputError("is no manifest of a token shard", where=str(path), remedy="make it again")
        manifests.append(manifest)
    return manifests


def _tokens(job: Job, files: Files) -> Row:
    manifests = _manifests(job, files.tokens)
    documents = sum(manifest["documents"] for manifest in manifests)
    tokens = sum(manifest["tokens"] for manifest in manifests)
    return {
        "shards": len(manifests),
        "documents": documents,
        "tokens": tokens,
        "mean": tokens / documents if documents else None,
        "dtypes": sorted({str(manifest["dtype"]) for manifest in manifests}),
        "lengths": evidence.token_lengths(job, files.tokens),
    }


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
            yield {"step": f"score of {grades['threshold']} or more", "files": grades["at_threshold"]}
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
    """Give the key numbers of a `numbers.json` as an aligned table of plain text."""
    import pandas

    values = read_numbers(numbers)

    table = pandas.DataFrame([(str(row["label"]), *said(row)) for row in values["key"]], columns=list(KEY_COLUMNS))
    label, value, note = (table[column].astype(str) for column in KEY_COLUMNS)
    widths = [int(column.str.len().max()) if len(column) else 0 for column in (label, value)]
    lines = label.str.ljust(widths[0]) + "  " + value.str.rjust(widths[1]) + "  " + note
    head = f"Run {values['run']}, seed {values['seed']}"
    warning = "A demo-size run: these numbers test the machinery, they are no result."
    return "\n".join(map(printable, [head, *([warning] if values["demo"] else []), "", *lines.str.rstrip()]))


def said(row: Mapping[str, Any]) -> tuple[str, str]:
    """Give a key number and what is to be known about it as text."""
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
