"""Attrition: what becomes of every source file, from the shards to the rows of the dataset, in one unit.

One table of files for all stages: how many enter a stage, how many leave for each reason, how many go on. Statements
count what each stage reads, in its own unit; here each file counts once, by the tables that the stages wrote. A file
leaves at the first stage that it does not pass, for the reason of its first row there. Sums are checked: what goes on
from a stage is what enters the next one, and no file is in a table of a stage that it did not enter.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from d3.config.data import Grades
from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import Row
from d3.errors import InputError
from d3.pipeline.checks import Faults, FinishedJob, select
from d3.pipeline.job import Job
from d3.stages.adopted import NOT_ADOPTED
from d3.stages.duplicates import ids_elsewhere
from d3.stages.threshold import GRADE_COLUMNS, reason_below

COUNTED_STAGES = ("corpus", "duplicates", "held_out", "grades", "diffs", "labels", "dataset")
"""`held_out` is where the files of the pairs part from those of mid-training."""
FILE_COLUMNS = ("stage", "reason", "files_in", "removed", "kept")


class _Count:
    """Files that enter the stages, and the reasons for which they leave."""

    def __init__(self) -> None:
        self.entered: Counter[str] = Counter()
        self.removed: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def stage(self, stage: str, entered: Iterable[str], left: dict[str, str]) -> set[str]:
        """Count the files that enter a stage, and those that leave for a reason; return what goes on."""
        files = set(entered)
        self.entered[stage] += len(files)
        self.removed[stage].update(left[name] for name in files & left.keys())
        return files - left.keys()

    def rows(self) -> list[Row]:
        """Return a row for each stage and reason, the most frequent first; one without a reason if no file left."""
        found: list[Row] = []
        for stage in COUNTED_STAGES:
            entered, removed = self.entered[stage], self.removed[stage]
            kept = entered - removed.total()
            for reason, files in sorted(removed.items(), key=lambda item: (-item[1], item[0])) or [("", 0)]:
                values = (stage, reason, entered, files, kept)
                found.append(dict(zip(FILE_COLUMNS, values, strict=True)))
        return found


def run(
    config: Config,
    corpus: Sequence[Path],
    rejected: Sequence[Path],
    duplicates: Sequence[Path],
    grades: Sequence[Path] | None,
    diffs: Sequence[Path] | None,
    labels: Sequence[Path] | None,
    row_ids: Sequence[Path],
    unused_labels: Sequence[Path],
    out: Path,
    table: Path,
) -> None:
    """Count the files that enter each stage from the shards to the dataset, and why others left.

    Write rows of stage, reason, files_in, removed and kept as JSON to `out` and tab-separated to `table`. The lists
    name the tables of the same batches in the same order; with an adopted dataset there are no `grades`, `diffs` and
    `labels`. Raise InputError if a stage has a file that the one before
    did not pass on.

    Example: d3 file-counts --corpus a.parquet --rejected r.parquet --duplicates a.txt --grades g.parquet \
--diffs d.parquet --labels l.parquet --row-ids i.parquet --unused-labels u.parquet --out a.json --table a.tsv
    """
    none = [None] * len(corpus)
    lists = (corpus, rejected, duplicates, grades or none, diffs or none, labels or none, row_ids, unused_labels)
    with Job("file_counts", config=config) as job:
        numbers, lines = job.file(out), job.file(table)
        count = _Count()
        for files in zip(*lists, strict=True):
            _count_batch(job, count, *files, settings=config.grades)
        found = count.rows()
        _check_sums(found, out)
        numbers.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        lines.write_text(table_text(found), encoding="utf-8")


def table_text(rows: Iterable[Row]) -> str:
    """Return rows of attrition as tab-separated text."""
    lines = ["\t".join(FILE_COLUMNS), *("\t".join(str(row[name]) for name in FILE_COLUMNS) for row in rows)]
    return "".join(f"{line}\n" for line in lines)


def _count_batch(
    job: Job,
    count: _Count,
    corpus: Path,
    rejected: Path,
    duplicates: Path,
    grades: Path | None,
    diffs: Path | None,
    labels: Path | None,
    rows: Path,
    unused: Path,
    *,
    settings: Grades,
) -> None:
    splits = {row["id"]: row["split"] for row in job.side_rows(corpus, select(schemas.CORPUS, "id", "split"))}
    reasons = Counter(
        row["reason"].partition(":")[0] for row in job.side_rows(rejected, select(schemas.REJECTED, "reason"))
    )
    count.entered["corpus"] += len(splits) + reasons.total()
    count.removed["corpus"].update(reasons)
    going = count.stage("duplicates", splits, ids_elsewhere(job, duplicates))
    going = count.stage("held_out", going, {name: "held_out" for name in going if splits[name] != "midtrain"})
    if grades is None or diffs is None or labels is None:
        for stage in ("grades", "diffs", "labels"):
            count.stage(stage, going, {})
    else:
        going = _count_built(job, count, going, grades, diffs, labels, settings)
    kept = {row["id"] for row in job.side_rows(rows, select(schemas.ROW_IDS, "id"))}
    if not kept <= going:
        reason = f"has rows of {len(kept - going):,} files that have no label"
        raise InputError(reason, where=str(rows), remedy="run the stages before again")
    why: dict[str, str] = {}
    for row in job.side_rows(unused, select(schemas.UNUSED, "id", "reason")):
        why.setdefault(row["id"], row["reason"].partition(":")[0])
    without = NOT_ADOPTED if labels is None else "no_row"
    count.stage("dataset", going, {name: why.get(name, without) for name in going - kept})


def _count_built(
    job: Job, count: _Count, going: set[str], grades: Path, diffs: Path, labels: Path, settings: Grades
) -> set[str]:
    """Count the files that are graded, sampled and labeled; return those that have a label."""
    graded = {row["id"]: row for row in job.side_rows(grades, GRADE_COLUMNS)}
    sampled = _reasons(job, diffs, schemas.DIFFS, "status", going)
    left = {name: reason_below(graded.get(name), settings) or "not_sampled" for name in going - sampled.keys()}
    going = count.stage("grades", going, left)
    going = count.stage("diffs", going, {name: why for name, why in sampled.items() if why != "ok"})
    labelled = _reasons(job, labels, schemas.LABELS, "status", going)
    left = {name: labelled.get(name, "no_label") for name in going if labelled.get(name) != "ok"}
    return count.stage("labels", going, left)


def _reasons(job: Job, path: Path, schema: pa.Schema, column: str, entered: set[str]) -> dict[str, str]:
    """Return ok for each file with a row that is, the value of its first row for others.

    Raise InputError for a file that did not enter the stage.
    """
    found: dict[str, str] = {}
    for row in job.side_rows(path, select(schema, "id", column)):
        if row[column] == "ok" or row["id"] not in found:
            found[row["id"]] = row[column]
    if more := found.keys() - entered:
        reason = f"has {len(more):,} files that the stage before did not pass on"
        raise InputError(reason, where=str(path), remedy="run the stages before again")
    return found


def _check_sums(rows: Sequence[Row], where: Path) -> None:
    """Raise InputError unless every file that enters a stage leaves it for a reason or enters the next one."""
    before: Row | None = None
    for stage in COUNTED_STAGES:
        own = [row for row in rows if row["stage"] == stage]
        lost = own[0]["files_in"] - own[0]["kept"] - sum(row["removed"] for row in own)
        if lost or (before is not None and before["kept"] != own[0]["files_in"]):
            raise InputError(f"the files of {stage} do not add up", where=str(where), remedy="report this")
        before = own[0]


def check(job: FinishedJob) -> Faults:
    """Count again from the tables, and compare both forms of the result."""
    rows = json.loads(job.path().read_text(encoding="utf-8"))
    if job.path(1).read_text(encoding="utf-8") != table_text(rows):
        yield job.name(1), "is not the table of the numbers"
    corpus, dataset = job.inputs_of("corpus"), job.inputs_of("dataset")
    none: list[Path | None] = [None] * len(job.inputs_of("duplicates"))
    lists: tuple[Sequence[Path | None], ...] = (
        [path for path in corpus if path.parent.name != "rejected"],
        [path for path in corpus if path.parent.name == "rejected"],
        job.inputs_of("duplicates"),
        *(job.inputs_of(stage) or none for stage in ("grades", "diffs", "labels")),
        *([path for path in dataset if path.parent.name == name] for name in ("rows", "unused")),
    )
    if len({len(files) for files in lists}) > 1:
        yield job.name(), "its inputs are not the same batches of all stages"
        return
    config, count = Config.model_validate(job.config), _Count()
    try:
        for files in zip(*lists, strict=True):
            _count_batch(Job("file_counts", config=config), count, *files, settings=config.grades)
        _check_sums(rows, job.path())
    except InputError as error:
        yield job.name(), str(error)
        return
    if count.rows() != rows:
        yield job.name(), "its counts are not those of the tables"
