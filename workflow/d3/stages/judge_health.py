"""The certificate of a judge: does it know, does it repeat itself, does it agree, and does it read the text?

Measured from the grades of a run, without a model: how sure the read-out is, how many rationales were cut, whether all
files get one score, how alike the grades of `grade_repeats` are, how they agree with a reference, and how well the
grade is told by what is not in the text (source, repository, license, length, age). Each figure has an interval and a
bound of `judge_health`. A bound is broken (`failed`) if the whole interval is beyond it, `unclear` if only the figure
is: a few files break no bound by chance.

What it does not show: that grades are right. A judge that is sure, consistent and wrong in a way that no property of
a file tells is found by a reference alone.
"""

import heapq
import json
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa

from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import derive_seed
from d3.core.printable import printable
from d3.core.tables import Row
from d3.errors import D3Error, InputError
from d3.pipeline.checks import Faults, FinishedJob, select
from d3.pipeline.job import Job
from d3.stages.judge_statistics import (
    FOLDS,
    Figure,
    agreement,
    better_half,
    confounds,
    mean_figure,
    median_figure,
    share_figure,
)

MOST_FILES = 20_000
"""Files that the confounds are computed from, chosen by the seed and their ids: our default."""
REFERENCE = pa.schema([("id", pa.string()), ("score", pa.float64())])
GRADED = select(schemas.GRADES, "id", "score", "expected_score", "entropy", "margin", "finish_reason", "prompt_tokens")
ALL_OF_THESE = {"together": "all of these"}
EVENTS = tuple(f"max_{event}_repo_{event}_event_min_datetime" for event in ("stars", "issues", "forks"))


def run(
    config: Config,
    corpus: Sequence[Path],
    grades: Sequence[Path],
    out: Path,
    *,
    repeats: Annotated[Path | None, "table of `grade-repeats`"] = None,
    reference: Annotated[Sequence[Path], "tables of `id` and `score` to compare with"] = (),
) -> None:
    """Compare figures about the judge of a run with the bounds of the configuration.

    `repeats` are the grades of some files again, `reference` tables of `id` and `score` of another judge or by hand.
    Write the figures as JSON to `out`. A broken bound is a warning in the log, and with `judge_health.action: stop` a
    D3Error that names all of them.

    Example: d3 judge-health --corpus kept.parquet --grades grades.parquet --repeats repeats.parquet --out health.json
    """
    with Job("judge_health", config=config) as job:
        written = job.file(out)
        found = measure(config, job, corpus, grades, repeats, reference)
        written.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        broken = [sentence(check) for check in found["checks"] if check["status"] == "failed"]
        for text in broken:
            print(printable(f"judge_health: warning: {text}"), file=sys.stderr)
        if broken and config.judge_health.action == "stop":
            remedy = "read the rationales, change model, prompt or max_tokens of grades, or the bounds of judge_health"
            raise D3Error(f"the judge breaks {len(broken)} bounds: {'; '.join(broken)}", remedy=remedy)


def sentence(check: Mapping[str, Any]) -> str:
    """Return a figure beside its bound as text."""
    interval = f" ({check['low']:g} to {check['high']:g})" if check["low"] is not None else ""
    side = "at most" if check["at_most"] else "at least"
    return f"{check['title']} is {check['value']:g}{interval}, must be {side} {check['bound']:g}"


@dataclass(slots=True)
class _Graded:
    """What is kept of the grades while they are read: some bytes a file."""

    scores: Counter[int] = field(default_factory=Counter)
    entropies: "array[float]" = field(default_factory=lambda: array("f"))
    margins: "array[float]" = field(default_factory=lambda: array("f"))
    cut: int = 0
    by_id: dict[str, float] = field(default_factory=dict)
    """Grade of the files of the sample, and of those with a reference."""
    lengths: dict[str, int | None] = field(default_factory=dict)
    """Prompt tokens of the files of the sample."""

    def read(self, rows: Iterator[Row], seed: int, wanted: set[str]) -> None:
        """Read all grades."""
        self.by_id = {}

        def ranked() -> Iterator[tuple[int, str, float, int | None]]:
            for row in rows:
                if row["score"] is None:
                    continue
                self.scores[row["score"]] += 1
                self.cut += row["finish_reason"] == "length"
                for values, name in ((self.entropies, "entropy"), (self.margins, "margin")):
                    if row[name] is not None:
                        values.append(row[name])
                grade = float(row["score"] if row["expected_score"] is None else row["expected_score"])
                if row["id"] in wanted:
                    self.by_id[row["id"]] = grade
                yield derive_seed(seed, "judge_health", row["id"]), row["id"], grade, row["prompt_tokens"]

        for _, identifier, grade, length in heapq.nsmallest(MOST_FILES, ranked()):
            self.by_id[identifier], self.lengths[identifier] = grade, length


def measure(
    config: Config,
    job: Job,
    corpus: Sequence[Path],
    grades: Sequence[Path],
    repeats: Path | None,
    reference: Sequence[Path],
) -> dict[str, Any]:
    """Return the figures of a judge as JSON values; every row of the grades is kept, or dropped as `ungraded`."""
    import numpy

    settings = config.judge_health
    others: dict[str, float] = {}
    for path in reference:
        others |= {row["id"]: row["score"] for row in job.side_rows(path, REFERENCE) if row["score"] is not None}
    graded = _Graded()
    graded.read((row for path in grades for row in job.rows(path, GRADED)), config.seed, set(others))
    files = graded.scores.total()
    job.keep(files)
    job.drop("ungraded", job.read - files)
    pairs = _pairs(job, repeats)
    both = sorted(others.keys() & graded.by_id.keys())[:MOST_FILES]  # ids are hashes: any of them are a sample
    compared = [(graded.by_id[name], others[name]) for name in both]
    consistent = agreement(*_columns(pairs), seed=derive_seed(config.seed, "consistency", bits=32))
    agreed = agreement(*_columns(compared), seed=derive_seed(config.seed, "agreement", bits=32))
    told = _confounds(config, job, corpus, graded)
    most = max(graded.scores.values(), default=0)
    margins = numpy.asarray(graded.margins)
    checks = [
        _check("entropy", "mean entropy in bits", mean_figure(graded.entropies), settings.max_entropy, at_most=True),
        _check("margin", "median margin", median_figure(margins), settings.min_margin),
        _check("same_score", "share of the most frequent score", share_figure(most, files), settings.max_same, True),
        _check("cut", "share of cut rationales", share_figure(graded.cut, files), settings.max_cut, at_most=True),
        _check("consistency", "kappa of the repeats", consistent["kappa"], settings.min_consistency),
        _check("agreement", "kappa with the reference", agreed["kappa"], settings.min_agreement),
        *(
            _check(
                f"confound/{name}",
                f"AUC of {ALL_OF_THESE.get(name, name)}",
                figure,
                settings.max_confound,
                at_most=True,
            )
            for name, figure in told.items()
        ),
    ]
    return {
        "files": files,
        "scores": {str(score): graded.scores[score] for score in sorted(graded.scores)},
        "margins_below_0.05": float(numpy.mean(margins < 0.05)) if len(margins) else None,
        "spearman": {"consistency": consistent["spearman"]._asdict(), "agreement": agreed["spearman"]._asdict()},
        "action": settings.action,
        "checks": checks,
    }


def _check(name: str, title: str, figure: Figure, bound: float | None, at_most: bool = False) -> dict[str, Any]:
    """Return a figure with its bound and `status`: ok, failed, unclear, or unknown where there is none of both."""

    def beyond(value: float | None) -> bool:
        return value is not None and bound is not None and (value > bound if at_most else value < bound)

    status = "ok"
    if figure.value is None or bound is None:
        status = "unknown"
    elif beyond(figure.value):
        status = "failed" if beyond(figure.low) and beyond(figure.high) else "unclear"
    return {"name": name, "title": title, **figure._asdict(), "bound": bound, "at_most": at_most, "status": status}


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [one for one, _ in pairs], [other for _, other in pairs]


def _pairs(job: Job, repeats: Path | None) -> list[tuple[float, float]]:
    """Return both repeated grades of every file that has both."""
    found: dict[str, list[float]] = {}
    columns = select(schemas.REPEATS, "id", "repeat", "score", "expected_score")
    for row in job.side_rows(repeats, columns) if repeats else ():
        if row["score"] is not None:
            grade = row["score"] if row["expected_score"] is None else row["expected_score"]
            found.setdefault(row["id"], []).append(float(grade))
    return [(both[0], both[1]) for _, both in sorted(found.items()) if len(both) == 2]


def _confounds(config: Config, job: Job, corpus: Sequence[Path], graded: _Graded) -> dict[str, Figure]:
    """Return how well each property of the files of the sample tells the better half."""
    about: dict[str, tuple[Any, ...]] = {}
    for path in corpus:
        for row in job.side_rows(path, select(schemas.CORPUS, "id", "source", "metadata")):
            if row["id"] in graded.lengths and row["id"] not in about:
                about[row["id"]] = (row["source"], *_about(row["metadata"]), graded.lengths[row["id"]])
    names = sorted(about)
    columns = list(zip(*(about[name] for name in names), strict=True)) if names else [()] * 5
    properties = dict(zip(("source", "repository", "license", "age", "length"), columns, strict=True))
    folds = [derive_seed(config.seed, "folds", name) % FOLDS for name in names]
    return confounds(properties, better_half([graded.by_id[name] for name in names]), folds)


def _about(metadata: Row | None) -> tuple[str | None, str | None, int | None]:
    """Return repository, licenses and age of a file: months since year 0 at its earliest known event."""
    known = metadata or {}
    licenses = known.get("max_stars_repo_licenses")
    dates = [text for name in EVENTS if (text := known.get(name)) and text[:4].isdigit() and text[5:7].isdigit()]
    months = min((12 * int(text[:4]) + int(text[5:7]) for text in dates), default=None)
    return known.get("max_stars_repo_name"), None if licenses is None else " ".join(sorted(licenses)), months


def check(job: FinishedJob) -> Faults:
    """Measure again, and compare."""
    config = Config.model_validate(job.config)
    tables = [path for path in job.inputs_of("corpus") if path.parent.name != "rejected"]
    graded = job.inputs_of("grades")[: len(tables)]  # what follows are references
    repeats = next(iter(job.inputs_of("grade_repeats")), None)
    known = {*tables, *graded, repeats}
    others = [path for name in job.inputs if (path := job.root / name) not in known]
    found = measure(config, Job("judge_health", config=config), tables, graded, repeats, others)
    written = json.loads(job.path().read_text(encoding="utf-8"))
    for one in (*written["checks"], *found["checks"]):
        one.pop("title")  # words, which another version may choose anew
    if written != json.loads(json.dumps(found)):
        yield job.name(), "its figures are not those of the grades"


def read_health(path: Path) -> dict[str, Any]:
    """Return the figures of a judge from the file of this stage; raise InputError for another file."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        for one in found["checks"]:
            one["text"] = sentence(one) if one["value"] is not None and one["bound"] is not None else ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"is no certificate of a judge ({error})"
        raise InputError(reason, where=str(path), remedy="make it again") from None
    return dict(found)
