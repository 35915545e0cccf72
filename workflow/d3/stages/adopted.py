"""Tables made outside of the pipeline enter it: their rows are matched to the files of the corpus, batch by batch.

A row belongs to the batch in which its file goes on; rows of files that are held out, rejected, opted out or kept in
another batch as a duplicate are dropped with that reason, so that what is forgotten leaves these tables too. Rows of
files that the corpus never saw are an error, or dropped as `no_such_file` (`unmatched`). The stages whose work the
table replaces (`grades`, `labels`, `dataset`) read these tables in place of asking a model.

The index of the corpus is in memory: about 250 bytes a file. One table a batch is open at the same time.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from d3.config.adopt import Adopted
from d3.config.models import Config
from d3.core import schemas
from d3.core.external_sort import Spill
from d3.core.tables import Row, read_rows, table_name
from d3.errors import ConfigError, InputError
from d3.pipeline.checks import Faults, FinishedJob, select
from d3.pipeline.job import Job
from d3.sources.adopted_table import Column, check_digest, key_column, origin, read_adopted
from d3.stages.duplicates import ids_elsewhere

GRADE = (Column("score", float), Column("expected_score", float, False), Column("rationale", str, False))
LABEL = (Column("sample", int, False), Column("part", int), Column("label", str))
ROW = (
    *(Column(name, int, False) for name in ("sample", "part")),
    *(Column(name, str) for name in ("prompt", "completion", "program_start")),
)
NOT_ADOPTED = "not_adopted"
"""Status of what an adopted table says nothing about."""
REJECTED = "rejected"

Place = tuple[int, str] | str
"""Number of the batch and id of a file that goes on, or the reason why it does not."""


def adopted_grades(
    config: Config,
    corpus: Sequence[Path],
    rejected: Sequence[Path],
    duplicates: Sequence[Path],
    adopted: Sequence[Path],
    out: Path,
) -> None:
    """Match grades that were made outside of the pipeline to the files of the corpus.

    Write `out/NAME.parquet` with the columns of `schemas.GRADES` for every table NAME of the corpus, in the order of
    ids. A score must be a whole number from 0 to 4, otherwise the row has the status `unparsable`. Raise InputError for
    an unknown column, a file that is graded twice or unknown, and a table whose digest is not the pinned one.

    Example: d3 adopted-grades --corpus a.parquet --rejected r.parquet --duplicates a.txt --adopted grades.jsonl \
--out adopted
    """
    given = section(config, "grades")
    made = (corpus, rejected, duplicates, adopted, out)
    _match("adopted_grades", config, given, *made, GRADE, (), schemas.GRADES, lambda row: adopted_grade(given, row))


def adopted_labels(
    config: Config,
    corpus: Sequence[Path],
    rejected: Sequence[Path],
    duplicates: Sequence[Path],
    adopted: Sequence[Path],
    out: Path,
) -> None:
    """Match labels that were made outside of the pipeline to the files of the corpus.

    Write `out/NAME.parquet` with the columns of `schemas.ADOPTED_LABELS`, in the order of (id, sample, part). See
    `adopted_grades`.

    Example: d3 adopted-labels --corpus a.parquet --rejected r.parquet --duplicates a.txt --adopted labels.jsonl \
--out adopted
    """
    made = (corpus, rejected, duplicates, adopted, out)
    parts = ("sample", "part")
    _match("adopted_labels", config, section(config, "labels"), *made, LABEL, parts, schemas.ADOPTED_LABELS, dict)


def adopted_dataset(
    config: Config,
    corpus: Sequence[Path],
    rejected: Sequence[Path],
    duplicates: Sequence[Path],
    adopted: Sequence[Path],
    out: Path,
) -> None:
    """Match dataset rows that were made outside of the pipeline to the files of the corpus.

    Write `out/NAME.parquet` with the columns of `schemas.ADOPTED_ROWS`, in the order of (id, sample, part). Without a
    column `part`, the rows of a file are numbered as they come. See `adopted_grades`.

    Example: d3 adopted-dataset --corpus a.parquet --rejected r.parquet --duplicates a.txt --adopted rows.parquet \
--out adopted
    """
    made = (corpus, rejected, duplicates, adopted, out)
    parts = ("sample", "part")
    _match("adopted_dataset", config, section(config, "dataset"), *made, ROW, parts, schemas.ADOPTED_ROWS, dict)


def section(config: Config, kind: str) -> Adopted:
    """Return the section of a kind of table; raise ConfigError if it is null."""
    found = getattr(config.adopt, kind)
    if not isinstance(found, Adopted):
        raise ConfigError(f"adopt.{kind}: no table is named", remedy=f"set adopt.{kind}, or leave this stage out")
    return found


def _match(
    stage: str,
    config: Config,
    given: Adopted,
    corpus: Sequence[Path],
    rejected: Sequence[Path],
    duplicates: Sequence[Path],
    adopted: Sequence[Path],
    out: Path,
    columns: Sequence[Column],
    parts: Sequence[str],
    schema: pa.Schema,
    build: Callable[[Row], Row],
) -> None:
    """Write the rows of adopted tables that belong to each batch; `parts` tell rows of the same file apart."""
    setting = stage.replace("adopted_", "adopt.")
    with Job(stage, config=config) as job:
        places = _places(job, key_column(given), corpus, rejected, duplicates)
        check_digest(setting, given, adopted)
        tables = [job.table(out / f"{table_name(path)}.parquet", schema) for path in corpus]
        seen: set[bytes] = set()
        numbered: Counter[str] = Counter()
        with Spill(out, lambda row: (row["batch"], row["id"], *(row[name] for name in parts))) as rows:
            for path in adopted:
                job.input(path, role="adopted", origin=origin(given), license=given.license)
                job.read_from = str(path)
                for name, number, row in read_adopted(path, given, columns):
                    job.read += 1
                    place = places.get(name)
                    if (key := _key(place[1] if isinstance(place, tuple) else name, row, parts)) in seen:
                        reason = f"row {number}: {key_column(given)} {name[:80]} occurs twice"
                        raise InputError(reason, where=str(path), remedy="keep one of these rows")
                    seen.add(key)
                    if place is None and given.unmatched == "error":
                        reason = f"row {number}: {key_column(given)} {name[:80]} is not that of a file of the corpus"
                        remedy = f"set {setting}.unmatched: drop, or add its source to source.shards"
                        raise InputError(reason, where=str(path), remedy=remedy)
                    if not isinstance(place, tuple):
                        job.drop(place or "no_such_file")
                        continue
                    if parts:
                        row["sample"] = row["sample"] or 0
                        row["part"] = numbered[place[1]] if row["part"] is None else row["part"]
                        numbered[place[1]] += 1
                    rows.add({"batch": place[0], "id": place[1], **row})
                    job.keep()
            for row in rows.rows():
                tables[row.pop("batch")].write(build(row))


def _key(name: str, row: Row, parts: Sequence[str]) -> bytes:
    """Return what may occur once: the id, with sample and part or, in rows without a part, with the whole row."""
    told = sorted(row.items()) if "part" in parts and row["part"] is None else [row[part] or 0 for part in parts]
    return hashlib.sha256(repr((name, told)).encode("utf-8", "replace")).digest()[:16]


def _places(
    job: Job, key: str, corpus: Sequence[Path], rejected: Sequence[Path], duplicates: Sequence[Path]
) -> dict[str, Place]:
    """Return the place of every file by its id, and that before redaction; or by its hexsha."""
    places: dict[str, Place] = {}
    columns = ("id", "original") if key == "id" else ("hexsha",)
    for path in rejected:
        for row in job.side_rows(path, select(schemas.REJECTED, *columns)):
            for name in columns:
                if row[name] is not None:
                    places[row[name]] = REJECTED
    schema = select(schemas.CORPUS, "id", "original", "split", *(["metadata"] if key == "hexsha" else []))
    for batch, (path, others) in enumerate(zip(corpus, duplicates, strict=True)):
        elsewhere = ids_elsewhere(job, others)
        for row in job.side_rows(path, schema):
            reason = "held_out" if row["split"] != "midtrain" else elsewhere.get(row["id"])
            names = (row["original"], row["id"]) if key == "id" else (row["metadata"]["hexsha"],)
            for name in filter(None, names):
                if not isinstance(places.get(name), tuple):
                    places[name] = reason or (batch, row["id"])
    return places


def adopted_grade(given: Adopted, row: Row) -> Row:
    """Return the row of `schemas.GRADES` for an adopted grade; `answered_by` says which table it is from."""
    score, expected = row["score"], row["expected_score"]
    fits = score is not None and score in range(5)
    detail = None if fits else f"score {score} is not a whole number from 0 to 4" if score is not None else "no score"
    return {
        **dict.fromkeys(schemas.GRADES.names),
        "id": row["id"],
        "score": int(score) if fits else None,
        "expected_score": expected if fits and expected is not None and 0 <= expected <= 4 else None,
        "rationale": row["rationale"],
        "truncated": False,
        "status": "ok" if fits else "unparsable",
        "detail": detail,
        "answered_by": origin(given),
    }


def lacking(given: Adopted, what: str) -> tuple[str, str]:
    """Return status and detail of what an adopted table does not have."""
    return NOT_ADOPTED, f"{origin(given)} has no {what} of it"


def check(job: FinishedJob) -> Faults:
    """Check that every row is about a file for mid-training of the batch of the same name."""
    tables = {path.name: path for path in job.inputs_of("corpus") if path.parent.name != REJECTED}
    for place, name in enumerate(job.outputs):
        path, corpus = job.path(place), tables.get(Path(name).name)
        schema = select(schemas.CORPUS, "id", "split")
        ids = {row["id"] for row in read_rows(corpus, schema) if row["split"] == "midtrain"} if corpus else set()
        if strange := {row["id"] for row in read_rows(path, pa.schema([("id", pa.string())]))} - ids:
            yield name, f"has rows of {len(strange):,} files that its batch of the corpus does not have"
