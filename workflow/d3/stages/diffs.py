"""The diffs stage: corpus files that were graded well enough become sequences of diffs.

Reads tables with at least `id` and `text`, writes `schemas.DIFFS`: one row for every sample of every
file that goes on, in the order of (id, sample), with a status instead of a sequence where there is
none. Not sampled, and counted as dropped, are held-out files (`held_out`, tables with a `split`) and
with grades those below the threshold (`below_threshold`) or without a score (`ungraded`). With
`grades.mode: none` every file goes on, but for those of `duplicates` (`duplicate_elsewhere`, `near_duplicate`).
"""

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3.config.data import Grades
from d3.config.identity import deciding_part
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import derive_seed, digest_of, normalise
from d3.core.journal import Journal
from d3.core.progress import Progress
from d3.core.tables import Row, format_of, open_lines, open_parquet
from d3.errors import InputError
from d3.lintseq.import_sandbox import environment_key
from d3.lintseq.pool import Pool, Task
from d3.lintseq.worker import Answer
from d3.pipeline.checks import Faults, FinishedJob, rows_by_key, select
from d3.pipeline.job import Job
from d3.provenance import resource_usage
from d3.provenance.code_digest import code_digest
from d3.stages.contamination import CONTAMINATED, read_matches
from d3.stages.duplicates import ids_elsewhere
from d3.stages.threshold import GRADE_COLUMNS, reason_below

STAGE = "lintseq"
FLUSH_SECONDS = 20.0
"""How much work a killed job may lose."""
IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+([A-Za-z_][\w.]*)", re.MULTILINE)
COLUMNS = pa.schema([("id", pa.string()), ("text", pa.string())])
SPLIT = pa.field("split", pa.string())


def run(
    config: Config,
    in_: Sequence[Path],
    out: Path,
    *,
    grades: Path | None = None,
    duplicates: Path | None = None,
    workers: int = 1,
    journal: Path | None = None,
) -> None:
    """Refactor files into sequences of error-free diffs with LintSeq.

    `config.diffs.samples` sequences are sampled per file; see the module's text.

    Texts are normalised first (LF line ends, no white space around them). Finished sequences are
    kept in the folder `journal`, and a later run takes them from there when nothing that decides
    them has changed. Raises InputError for malformed inputs, ToolError when sampling cannot work.

    Example: d3 diffs --in files.jsonl --out diffs.parquet --workers 8 --samples 2 --seed 1
    """
    _write_sequences("diffs", config, in_, out, grades, duplicates, None, workers, journal)


def pair_diffs(
    config: Config,
    in_: Sequence[Path],
    out: Path,
    *,
    duplicates: Path | None = None,
    contamination: Path | None = None,
    workers: int = 1,
    journal: Path | None = None,
) -> None:
    """Refactor the functions of pairs into sequences of error-free diffs with LintSeq.

    See `run`.

    Example: d3 pair-diffs --in pairs.parquet --out pair_diffs.parquet --workers 8
    """
    _write_sequences("pair_diffs", config, in_, out, None, duplicates, contamination, workers, journal)


def _write_sequences(
    stage: str,
    config: Config,
    files: Sequence[Path],
    out: Path,
    grades: Path | None,
    duplicates: Path | None,
    contamination: Path | None,
    workers: int,
    journal: Path | None,
) -> None:
    with Job(stage, config=config) as job:
        table = job.table(out, schemas.DIFFS)
        if grades is not None:
            job.input(grades)  # also where nobody is graded: the statement names all inputs of the rule
        graded = None if grades is None or config.grades.mode == "none" else dict(_grades(job, grades))
        elsewhere = ids_elsewhere(job, duplicates)
        contaminated = read_matches(job, contamination)
        texts: dict[str, str] = {}
        for row in _files(job, files):
            reason = _reason(row, elsewhere, graded, config.grades)
            if (row["id"],) in contaminated:
                reason = CONTAMINATED
            if reason is None and row["id"] in texts:
                reason = "duplicate"
            if reason is not None:
                job.drop(reason)
                continue
            job.keep()
            texts[row["id"]] = normalise(row["text"])
        answers = sample_all(config, texts, workers=workers, journal=journal)
        for identifier in sorted(texts):
            for sample in range(config.diffs.samples):
                table.write({"id": identifier, "sample": sample, **answers[identifier, sample]})


def sample_all(
    config: Config, texts: dict[str, str], *, workers: int, journal: Path | None
) -> dict[tuple[str, int], Answer]:
    """Return the answer of every (id, sample), out of the journal or freshly sampled."""
    tasks = [
        Task(
            id=identifier,
            sample=sample,
            text=text,
            seed=derive_seed(config.seed, STAGE, identifier, sample, bits=32),
        )
        for identifier, text in sorted(texts.items())
        for sample in range(config.diffs.samples)
    ]
    answers: dict[tuple[str, int], Answer] = {}
    base = digest_of(
        {
            "code": code_digest("d3.lintseq.pool"),
            "environment": environment_key(config.diffs.packages),
            "settings": deciding_part(config.diffs, "samples"),
        }
    )
    store = None if journal is None else Journal(journal)
    try:
        keys = {(task.id, task.sample): digest_of([base, task.id, task.text, task.seed]) for task in tasks}
        for name, key in keys.items():
            found = store.get(key) if store is not None else None
            if found is not None:
                answers[name] = found
        progress = Progress(STAGE, len(tasks), "sequences")
        progress.advance(len(answers))
        flushed = time.monotonic()
        left = [task for task in tasks if (task.id, task.sample) not in answers]
        resource_usage.count(asked=len(left), journal=len(answers))
        with Pool(config.diffs, workers, imported_modules(task.text for task in left)) as pool:
            for task, answer in pool.run(left):
                answers[task.id, task.sample] = answer
                if store is not None:
                    store.put(keys[task.id, task.sample], answer, about=[task.id])
                    if time.monotonic() - flushed > FLUSH_SECONDS:
                        store.flush()
                        flushed = time.monotonic()
                progress.advance()
        progress.close()
    finally:
        if store is not None:
            store.close()
    return answers


def imported_modules(texts: Iterable[str]) -> set[str]:
    """Return the modules of the standard library that programs import, as far as a glance can tell."""
    names = {name for text in texts for name in IMPORT.findall(text)}
    return {name for name in names if name.split(".")[0] in sys.stdlib_module_names}


def _grades(job: Job, grades: Path) -> Iterator[tuple[str, Row]]:
    needed = ("id", "score")
    columns = [field for field in GRADE_COLUMNS if field.name in needed or _has_column(grades, field.name)]
    for row in job.side_rows(grades, pa.schema(columns)):
        yield row["id"], row


def _reason(row: Row, elsewhere: Mapping[str, str], graded: Mapping[str, Row] | None, settings: Grades) -> str | None:
    """Say why a file is not sampled, or None."""
    if row.get("split", "midtrain") != "midtrain":
        return "held_out"
    if row["id"] in elsewhere:
        return elsewhere[row["id"]]
    return None if graded is None else reason_below(graded.get(row["id"]), settings)


def _files(job: Job, inputs: Sequence[Path]) -> Iterator[Row]:
    for path in inputs:
        schema = COLUMNS.append(SPLIT) if _has_column(path, SPLIT.name) else COLUMNS
        for row in job.rows(path, schema):
            if not isinstance(row["id"], str) or not isinstance(row["text"], str):
                raise InputError(
                    "a row has no id or no text", where=str(path), remedy="give a file of the stage before"
                )
            yield row


def _has_column(path: Path, name: str) -> bool:
    """Return whether a table has a column that it may lack, as one from outside of the pipeline does."""
    if not path.exists():
        return False
    if format_of(path) == ".parquet":
        with open_parquet(path) as file:
            return name in file.schema_arrow.names
    with open_lines(path) as lines:
        first: Any = next(iter(lines), b"{}")
    try:
        return name in json.loads(first)
    except ValueError:
        return False


def check(job: FinishedJob) -> Faults:
    """Replay a sample of the sequences: their diffs must build the file, or the pair, that they are about."""
    from d3.core.unified_diff import DiffError, apply_diffs

    rows = job.sample_rows(job.path(), schemas.DIFFS, lambda row: row["status"] == "ok")
    wanted = {row["id"] for row in rows}
    files = rows_by_key(job.inputs_of("corpus"), select(schemas.CORPUS, "id", "text"), wanted, "id")
    files |= rows_by_key(job.inputs_of("pairs"), select(schemas.PAIRS, "id", "text"), wanted, "id")
    for row in rows:
        name = f"{row['id'][:16]}#{row['sample']}"
        if row["id"] not in files:
            yield job.name(), f"{name} is about no file of its inputs"
            continue
        try:
            replayed = apply_diffs("", row["diffs"]) == files[row["id"]]["text"]
        except DiffError:
            replayed = False
        if not replayed:
            yield job.name(), f"the diffs of {name} do not replay to its file"
