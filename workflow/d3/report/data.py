"""Counts of the data: files, scores, diff sequences, labels, dataset rows and tokens, from the result files of a run.

Tables are read row by row and only in the columns that are needed, so that a full-size run fits in memory.
"""

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import derive_seed
from d3.core.tables import Row, count_rows, read_notes
from d3.core.unified_diff import DiffError, programs_of
from d3.errors import InputError
from d3.pipeline.job import Job
from d3.report import evidence
from d3.report.evidence import columns_of
from d3.report.results import read_json
from d3.stages.contamination import matches
from d3.stages.label_metrics import duplicate_key, duplicate_share, duplicates_across
from d3.stages.threshold import reason_below

SCORES = range(5)
EXAMPLE_KINDS = ("whole program", "from the empty program", "from a started program")
COUNTED = ("topics", "libraries", "difficulty", "task_type")
RENAMED = {"libraries": "topic_libraries"}
"""Columns of the stage `topics`, and those with another name here: `libraries` are those that files import."""
MOST_TOPICS = 20
LONGEST_NAME = 40
IMPORT = re.compile(
    r"^\+[ \t]*(?:from[ \t]+([A-Za-z_]\w*)[\w.]*[ \t]+import\b|import[ \t]+([A-Za-z_][\w., \t]*))", re.MULTILINE
)
"""An import that a diff adds: the package of `from`, or the names of `import`."""


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
    judge_health: Path | None = None
    """Figures about the judge; None if no model graded."""
    topics: Path | None = None
    """Counts of topics and libraries; None if no model was asked for them."""
    metrics: Mapping[str, Path] = field(default_factory=dict)
    """`metrics.jsonl` of every training run: `midtrain`, or the name of an arm. Those that are missing are left out."""


def _counts(job: Job, tables: Iterable[Path], schema: pa.Schema, column: str) -> dict[str, int]:
    """Count the values of a column, the most frequent first."""
    counts = Counter(str(row[column]) for row in columns_of(job, tables, schema, column))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def count_rejected(job: Job, files: Files) -> dict[str, int]:
    """Count rejected rows by reason, the most frequent first; all tasks of benchmarks together."""
    counts: Counter[str] = Counter()
    for reason, rows in _counts(job, files.rejected, schemas.REJECTED, "reason").items():
        counts[reason.partition(":")[0]] += rows
    return dict(counts.most_common())


def _spread(values: Counter[int]) -> Row:
    """Return the counts of some whole numbers with their smallest, median, mean and largest."""
    ordered = sorted(values.elements())
    return {
        "counts": {str(value): values[value] for value in sorted(values)},
        "lowest": ordered[0] if ordered else None,
        "median": median(ordered) if ordered else None,
        "mean": sum(ordered) / len(ordered) if ordered else None,
        "highest": ordered[-1] if ordered else None,
    }


def count_corpus(job: Job, files: Files) -> Row:
    """Return rows by split and by shard; raise InputError for a table that does not have the rows of its footer."""
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


def count_contamination(config: Config, job: Job, files: Files) -> Row:
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


def count_grades(config: Config, job: Job, files: Files) -> Row:
    """Return files by score and by status of the answer, and some files at each score."""
    scores: Counter[int] = Counter()
    passing: Counter[int] = Counter()
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
            passing[row["score"]] += reason_below(row, config.grades) is None
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
        "threshold_on": config.grades.threshold_on if expected else "score",
        "at_threshold": passing.total(),
        "passing": {str(score): passing[score] for score in sorted({*SCORES, *scores})},
        "statuses": dict(sorted(statuses.items())),
        "examples": evidence.scored_files(config, job, files.grades, files.corpus),
    }


def count_diffs(job: Job, files: Files) -> Row:
    """Return sequences by status and by number of diffs, and the packages that the files import."""
    statuses: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    libraries: Counter[str] = Counter()
    diffed: set[str] = set()
    for row in columns_of(job, files.diffs, schemas.DIFFS, "id", "status", "diffs"):
        statuses[row["status"]] += 1
        if row["status"] == "ok":
            if row["id"] not in diffed:
                libraries.update(imported(row["diffs"]))
            diffed.add(row["id"])
            lengths[len(row["diffs"])] += 1
    return {
        "rows": sum(statuses.values()),
        "files": len(diffed),
        "sequences": statuses["ok"],
        "statuses": dict(sorted(statuses.items())),
        "per_sequence": _spread(lengths),
        "libraries": evidence.most_frequent(libraries, MOST_TOPICS),
    }


def imported(diffs: Iterable[str]) -> set[str]:
    """Return the top-level packages that some diffs import; relative imports are of none."""
    found: set[str] = set()
    for diff in diffs:
        for package, names in IMPORT.findall(diff):
            found |= (
                {package}
                if package
                else {part.split()[0].partition(".")[0] for part in names.split(",") if part.strip()}
            )
    return {name[:LONGEST_NAME] for name in found if name}


def count_answers(stage: str, counted: Mapping[str, Any]) -> Row:
    """Return what became of the answers of a language model; `unparsable` is the share of those that came."""
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


def count_labels(config: Config, job: Job, files: Files) -> Row:
    """Return labels by kind and status, their words and first words, and an example of each kind."""
    truncated = verbs = begun_by_model = 0
    keys = array("Q")
    statuses: dict[str, Counter[str]] = {kind: Counter() for kind in EXAMPLE_KINDS}
    words: Counter[int] = Counter()
    first: Counter[str] = Counter()
    labelled: set[str] = set()
    chosen: dict[str, tuple[int, Row]] = {}
    faults: Counter[str] = Counter()
    owners = array("Q")
    columns = ("id", "sample", "part", "start", "end", "label", "verb_first", "faults", "status", "truncated")
    for row in columns_of(job, files.labels, schemas.LABELS, *columns):
        kind = EXAMPLE_KINDS[0 if row["part"] == 0 else 1 if not row["start"] else 2]
        statuses[kind][row["status"]] += 1
        truncated += row["truncated"]
        if row["label"]:
            begun_by_model += row["verb_first"] is not None
            verbs += bool(row["verb_first"])
            keys.append(duplicate_key(row["label"]))
            owners.append(int(row["id"][:16], 16))
            faults.update(row["faults"] or ())
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
        "faults": {**dict(sorted(faults.items())), "duplicate": duplicates_across(keys, owners)},
        "files": len(labelled),
        "words": _spread(words),
        "verbs": evidence.most_frequent(first),
        "statuses": dict(sorted(total.items())),
        "kinds": {kind: dict(sorted(counts.items())) for kind, counts in statuses.items()},
        "examples": list(_examples(job, files, {kind: row for kind, (_, row) in chosen.items()})),
    }


def count_topics(job: Job, path: Path | None) -> Row | None:
    """Return what the instructions are about, as the stage `topic_counts` counted it; None if it did not run."""
    if path is None:
        return None
    found = read_json(job.input(path))
    try:
        counts = {RENAMED.get(name, name): dict(islice(found[name].items(), MOST_TOPICS)) for name in COUNTED}
        return {"rows": found["rows"], **counts}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"is no file of topic counts ({error})", where=str(path), remedy="make it again") from None


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


def count_dataset(job: Job, files: Files) -> Row:
    """Return rows, source programs, and lines changed by a row."""
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


def read_manifests(job: Job, paths: Iterable[Path]) -> list[Row]:
    """Read the manifests of the token shards."""
    manifests = []
    for path in paths:
        manifest = read_json(job.input(path))
        if not isinstance(manifest, dict) or not {"documents", "tokens", "dtype", "dropped"} <= set(manifest):
            raise InputError("is no manifest of a token shard", where=str(path), remedy="make it again")
        manifests.append(manifest)
    return manifests


def count_tokens(job: Job, files: Files) -> Row:
    """Return documents and tokens of all shards."""
    manifests = read_manifests(job, files.tokens)
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
