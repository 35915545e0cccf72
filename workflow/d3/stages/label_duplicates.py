"""Labels that say what a label of another file says: which file keeps the sentence follows from the ids alone.

Reads the labels of all batches and writes for every batch those that repeat a sentence: a text file, one
`ID SAMPLE PART` a line, in the order of the table. Of the files that share a sentence, in any case and punctuation,
the one with the smallest id keeps it, whatever the batches. Runs with `dataset.duplicate_labels: drop` alone.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import Row, damage_named, table_name
from d3.errors import InputError
from d3.pipeline.checks import Faults, FinishedJob, read_columns, select
from d3.pipeline.job import Job
from d3.stages.label_metrics import duplicate_key, repeats_other_file

LABELED = select(schemas.LABELS, "id", "sample", "part", "label")
LABEL_LINE = re.compile(r"([0-9a-f]{64}) (\d{1,9}) (\d{1,9})")
DUPLICATE = "label_duplicate"

LabelKey = tuple[str, int, int]


def run(config: Config, labels: Sequence[Path], out: Path) -> None:
    """List for each batch the labels that repeat a sentence of another file.

    Write `out/NAME.txt` for every table NAME. Takes 33 bytes of memory for each label, and as much to sort. Raise
    InputError if a table cannot be read or two share a name.

    Example: d3 label-duplicates --labels a.parquet b.parquet --out label_duplicates
    """
    names = [table_name(path) for path in labels]
    if len(set(names)) < len(names):
        raise InputError("two tables share a name", where=str(out), remedy="rename one")
    with Job("label_duplicates", config=config) as job:
        lists = [job.file(out / f"{name}.txt") for name in names]
        rows = (row for path in labels for row in job.rows(path, LABELED))
        repeated = iter(_repeated(rows))
        for path, written in zip(labels, lists, strict=True):
            with written.open("w", encoding="ascii", newline="\n") as lines:
                for row in job.side_rows(path, LABELED):
                    if next(repeated):
                        lines.write(_line(row))
                        job.drop(DUPLICATE)
        job.keep(job.read - sum(job.dropped.values()))


def _repeated(rows: Iterator[Row]) -> list[bool]:
    """Return for each row whether it repeats a sentence of another file; rows without a label do not."""
    keys, owners, places = array("Q"), array("Q"), array("Q")
    count = 0
    for row in rows:
        if row["label"]:
            keys.append(duplicate_key(row["label"]))
            owners.append(int(row["id"][:16], 16))
            places.append(count)
        count += 1
    found = [False] * count
    for place, repeats in zip(places, repeats_other_file(keys, owners), strict=True):
        found[place] = bool(repeats)
    return found


def _line(row: Row) -> str:
    return f"{row['id']} {row['sample']} {row['part']}\n"


def read_repeated(job: Job, path: Path | None) -> set[LabelKey]:
    """Return the labels of a list, none without one; raise InputError for a line that names no label."""
    if path is None:
        return set()
    with damage_named(job.input(path)):
        lines = path.read_text(encoding="ascii").split("\n")
    found: set[LabelKey] = set()
    for number, line in enumerate(lines[:-1], start=1):
        if not (match := LABEL_LINE.fullmatch(line)):
            raise InputError(f"line {number} names no label", where=str(path), remedy="make the list again")
        found.add((match[1], int(match[2]), int(match[3])))
    if lines[-1]:
        raise InputError("ends in the middle of a line", where=str(path), remedy="make the list again")
    return found


def check(job: FinishedJob) -> Faults:
    """List the labels again, and compare."""
    tables = {table_name(path): path for path in job.inputs_of("labels")}
    repeated = iter(_repeated(read_columns(tables.values(), schemas.LABELS, *LABELED.names)))
    found = {
        name: "".join(_line(row) for row in read_columns([path], schemas.LABELS, *LABELED.names) if next(repeated))
        for name, path in tables.items()
    }
    for name in job.outputs:
        if (job.root / name).read_text(encoding="ascii") != found.get(Path(name).stem):
            yield name, "does not list the labels that repeat a sentence of another file"
