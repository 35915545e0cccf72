"""The pre-grader: a linear model spares the judge files that are unlikely to reach the threshold.

`pregrader` learns from grades of a sample of the corpus: half of the sample, drawn by a hash of its ids, is
learned from, the other half sets the score below which files are left out, so that of files that would reach
`grades.threshold` at most the share `pregrade.max_wrong_drops` is left out, with the probability `pregrade.confidence`
over the draw of the sample (`d3.stages.linear_judge.rank_of_bound`). `pregrade` scores the files of a batch. The bound
holds as far as the sample is drawn like the files that are judged: at random from the same corpus, by the same judge.
Files of the sample always go on: their grade is known.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3.config.adopt import Adopted
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import file_digest, unit_interval
from d3.core.progress import track
from d3.core.tables import Row, count_rows, read_rows
from d3.errors import ConfigError, InputError
from d3.pipeline.checks import Faults, FinishedJob, select
from d3.pipeline.job import Job
from d3.sources.adopted_table import Column, check_digest, key_column, origin, read_adopted
from d3.stages import linear_judge
from d3.stages.duplicates import ids_elsewhere

PREGRADE = "pregrade"
SETTING = "pregrade.graded"
SCORES = (Column("score", float),)
TEXTS = select(schemas.CORPUS, "id", "text", "split")
CHUNK = 500
"""Files whose features are in memory at the same time."""


def pregrader(
    config: Config, corpus: Sequence[Path], graded: Sequence[Path], out: Path, weights: Path, sample: Path
) -> None:
    """Train the pre-grader on the graded files of a sample.

    Write its facts (sample, digest of the model, threshold, bound) as JSON to `out`, its weights to `weights` and
    which file was used for what to `sample`. Raise InputError for a sample of one class, for one that is too small
    for the bound, and for tables that cannot be read.

    Example: d3 pregrader --corpus a.parquet b.parquet --graded grades.parquet --out pregrader.json \
--weights weights.npy --sample sample.parquet
    """
    adopted, settings = _graded(config), config.pregrade
    with Job("pregrader", config=config) as job:
        numbers, model, table = job.file(out), job.file(weights), job.table(sample, schemas.PREGRADE_SAMPLE)
        digest = check_digest(SETTING, adopted, graded)
        scores = _read_grades(job, adopted, graded)
        texts, rows = _sampled(config, job, corpus, scores, key_column(adopted))
        halves = {name: [row for row in rows if row["part"] == name] for name in ("training", "calibration")}
        good = {name: [row["score"] >= config.grades.threshold for row in half] for name, half in halves.items()}
        matrix = linear_judge.features(texts[row["id"]] for row in halves["training"])
        try:
            learned = linear_judge.fit(matrix, good["training"])
        except InputError as error:
            raise InputError(error.reason, where=adopted.path, remedy=error.remedy) from None
        passing = [row["id"] for row, fits in zip(halves["calibration"], good["calibration"], strict=True) if fits]
        rank = linear_judge.rank_of_bound(len(passing), settings.max_wrong_drops, settings.confidence)
        if not rank:
            fewest = linear_judge.fewest_for_bound(settings.max_wrong_drops, settings.confidence)
            raise InputError(
                f"has {len(passing)} files that reach the threshold to set the bound by (expected {fewest} or more "
                f"for max_wrong_drops {settings.max_wrong_drops:g} and confidence {settings.confidence:g})",
                where=adopted.path,
                remedy=f"grade a sample about {max(2.0, 1.3 * fewest / max(len(passing), 1)):.1f} times as large, "
                "or raise pregrade.max_wrong_drops",
            )
        values = linear_judge.scores(learned, linear_judge.features(texts[name] for name in passing))
        linear_judge.save(learned, model)
        facts = {
            "kind": "pregrader",
            "sample": {
                "name": origin(adopted),
                "license": adopted.license,
                "sha256": digest,
                "files": len(rows),
                "training": len(halves["training"]),
                "calibration": len(halves["calibration"]),
                "reach_threshold": sum(map(sum, good.values())),
            },
            "model_sha256": file_digest(model),
            "grades_threshold": config.grades.threshold,
            "threshold": sorted(values)[rank - 1],
            "bound": {
                "max_wrong_drops": settings.max_wrong_drops,
                "confidence": settings.confidence,
                "calibrated_on": len(passing),
                "rank": rank,
            },
        }
        job.engine = facts
        numbers.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        for row in rows:
            table.write(row)


def _graded(config: Config) -> Adopted:
    if config.pregrade.graded is None:
        raise ConfigError(
            "pregrade.graded: no graded sample is named",
            remedy="grade one with corpus.sample and name its grades, or remove pregrade",
        )
    return config.pregrade.graded


def _read_grades(job: Job, adopted: Adopted, files: Sequence[Path]) -> dict[str, float]:
    """Return the score of every graded file by id or hexsha; rows without a score are dropped."""
    scores: dict[str, float] = {}
    for path in files:
        job.input(path, role="adopted", origin=origin(adopted), license=adopted.license)
        for name, number, row in read_adopted(path, adopted, SCORES):
            job.read += 1
            if row["score"] is None:
                job.drop("ungraded")
            elif name in scores:
                reason = f"row {number}: {name[:16]} occurs twice"
                raise InputError(reason, where=str(path), remedy="keep one grade of each file")
            else:
                scores[name] = row["score"]
    return scores


def _sampled(
    config: Config, job: Job, corpus: Sequence[Path], scores: dict[str, float], key: str
) -> tuple[dict[str, str], list[Row]]:
    """Return the texts of the graded files by id, and their rows of `schemas.PREGRADE_SAMPLE` in the order of ids."""
    texts: dict[str, str] = {}
    rows: list[Row] = []
    found: set[str] = set()
    schema = TEXTS if key == "id" else pa.schema([*TEXTS, schemas.CORPUS.field("metadata")])
    for path in corpus:
        for row in job.side_rows(path, schema):
            name = row["id"] if key == "id" else row["metadata"]["hexsha"]
            if name in scores and row["split"] == "midtrain" and row["id"] not in texts:
                found.add(name)
                part = "training" if unit_interval(config.seed, PREGRADE, row["id"]) < 0.5 else "calibration"
                rows.append({"id": row["id"], "score": scores[name], "part": part})
                texts[row["id"]] = row["text"]
    job.keep(len(found))
    job.drop("not_in_corpus", len(scores) - len(found))
    if not rows:
        reason = f"grades none of the files of the corpus that may be used (got {len(scores):,} graded files)"
        raise InputError(reason, where=str(corpus[0]), remedy=f"check {SETTING}, or how its rows are matched")
    return texts, sorted(rows, key=lambda row: str(row["id"]))


def pregrade(
    config: Config, corpus: Path, out: Path, pregrader: Path, weights: Path, sample: Path, *, duplicates: Path | None
) -> None:
    """Score the files of a batch, and list which of them the judge does not see.

    Write a row of `schemas.PREGRADES` for every file for mid-training, in the order of ids, with the status `ask` or
    `pregrade`.

    Example: d3 pregrade --corpus a.parquet --pregrader pregrader.json --weights weights.npy --sample sample.parquet \
--out pregrades.parquet
    """
    with Job("pregrade", config=config) as job:
        table = job.table(out, schemas.PREGRADES)
        facts = read_facts(job.input(pregrader))
        learned = linear_judge.load(job.input(weights))
        known = {row["id"] for row in job.side_rows(sample, select(schemas.PREGRADE_SAMPLE, "id"))}
        elsewhere = ids_elsewhere(job, duplicates)
        found: dict[str, Row] = {}
        rows = track(job.rows(corpus, TEXTS), f"pregrade {corpus.name}", count_rows(corpus))
        for several in _chunks(row for row in rows if _counted(job, row, elsewhere, found)):
            for row, score in zip(several, scores_of(learned, several), strict=True):
                left_out = score < facts["threshold"] and row["id"] not in known
                found[row["id"]] = {"id": row["id"], "score": score, "status": PREGRADE if left_out else "ask"}
                job.drop(PREGRADE) if left_out else job.keep()
        for identifier in sorted(found):
            table.write(found[identifier])


def _counted(job: Job, row: Row, elsewhere: dict[str, str], found: dict[str, Row]) -> bool:
    """Return whether a row is to be scored; count it as dropped otherwise."""
    reason = "held_out" if row["split"] != "midtrain" else elsewhere.get(row["id"])
    reason = "repeated" if reason is None and row["id"] in found else reason
    if reason is not None:
        job.drop(reason)
        return False
    found[row["id"]] = {}
    return True


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while several := list(islice(rows, CHUNK)):
        yield several


def scores_of(weights: Any, rows: Sequence[Row]) -> list[float]:
    """Return the score of every row by its text."""
    return linear_judge.scores(weights, linear_judge.features(row["text"] for row in rows))


def read_facts(path: Path) -> dict[str, Any]:
    """Return the facts of a pre-grader; raise InputError for a file without a threshold."""
    try:
        facts = json.loads(path.read_bytes())
        if isinstance(facts["threshold"], float) and isinstance(facts["model_sha256"], str):
            return dict(facts)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError("contains no facts of a pre-grader", where=str(path), remedy="run `pregrader` again")


def left_out(job: Job, path: Path | None) -> dict[str, float]:
    """Return the score of each file that the pre-grader leaves out of a batch, none without a table."""
    rows = job.side_rows(path, schemas.PREGRADES) if path else ()
    return {row["id"]: row["score"] for row in rows if row["status"] == PREGRADE}


def check_pregrader(job: FinishedJob) -> Faults:
    """Check that the facts are those of the weights and of the sample."""
    facts = read_facts(job.path(1))
    if facts["model_sha256"] != job.outputs[job.name(2)]:
        yield job.name(1), "is of other weights than those beside it"
    parts = [row["part"] for row in read_rows(job.path(), schemas.PREGRADE_SAMPLE)]
    counted = {name: parts.count(name) for name in ("training", "calibration")}
    if any(facts["sample"][name] != rows for name, rows in counted.items()) or sum(counted.values()) != len(parts):
        yield job.name(), "does not have the files that the pre-grader counts"
    bound = facts["bound"]
    numbers = bound["calibrated_on"], bound["max_wrong_drops"], bound["confidence"]
    if linear_judge.rank_of_bound(*numbers) != bound["rank"]:
        yield job.name(1), "its rank is not that of its bound"


def check_pregrade(job: FinishedJob) -> Faults:
    """Score a sample of the files again, and compare every status with the threshold."""
    facts, weights, sample = (job.root / path for path in _of_pregrader(job))
    threshold, known = read_facts(facts)["threshold"], {row["id"] for row in read_rows(sample, schemas.PREGRADE_SAMPLE)}
    found = {row["id"]: row for row in read_rows(job.path(), schemas.PREGRADES)}
    for identifier, row in found.items():
        leave = row["score"] < threshold and identifier not in known
        if row["status"] != (PREGRADE if leave else "ask"):
            yield job.name(), f"{identifier[:16]} has the score {row['score']} and the status {row['status']}"
    learned = linear_judge.load(weights)
    for corpus in job.inputs_of("corpus"):
        drawn = job.sample_rows(corpus, TEXTS, lambda row: row["id"] in found)
        for row, score in zip(drawn, scores_of(learned, drawn), strict=True):
            if abs(score - found[row["id"]]["score"]) > 10**-linear_judge.DIGITS:
                yield job.name(), f"{row['id'][:16]} has another score than its text"


def _of_pregrader(job: FinishedJob) -> list[str]:
    """Return facts, weights and sample among the inputs."""
    names = [name for name in job.inputs if name.startswith("results/pregrader/")]
    return [next(name for name in names if name.endswith(end)) for end in (".json", ".npy", ".parquet")]
