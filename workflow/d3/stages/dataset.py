"""The dataset: one row for every label, in the seven columns of the released D3.

A label says which steps of a diff sequence it describes; the row holds the program before them,
the instruction and the steps. Every sequence is replayed first and must give its file exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Annotated

from d3.config.models import Config
from d3.core import schemas
from d3.core.example_format import example_completion, example_prompt, holds_marker, random_name
from d3.core.ids import program_number
from d3.core.progress import track
from d3.core.tables import Row, count_rows, read_rows
from d3.core.unified_diff import DiffError, lines_changed, programs_of
from d3.errors import ConfigError, InputError
from d3.pipeline.checks import Faults, FinishedJob, read_columns, rows_by_key, select
from d3.pipeline.job import Job
from d3.stages.adopted_rows import adopted_row
from d3.stages.contamination import read_matches
from d3.stages.label_duplicates import DUPLICATE, read_repeated

KEY = ("id", "sample", "part")


def run(
    config: Config,
    corpus: Path,
    diffs: Path | None,
    labels: Path | None,
    out: Path,
    rows: Path,
    unused: Path,
    *,
    contamination: Path | None = None,
    label_duplicates: Annotated[Path | None, "list of `label-duplicates`"] = None,
    adopted: Path | None = None,
) -> None:
    """Assemble the dataset rows of a shard from its corpus, diffs and labels.

    Write `schemas.DATASET` with its sidecar `schemas.ROW_IDS`, and `schemas.UNUSED`, ordered by (file id,
    sample, part). `contamination` lists labels that contain tasks of benchmarks, `label_duplicates` those that
    repeat a sentence of another file. Rows of a table `adopted` are taken in place of labels and diffs. Raise
    InputError for tables that are not of one shard.

    Example: d3 dataset --corpus kept.parquet --diffs diffs.parquet --labels labels.parquet
        --out data.parquet --rows rows.parquet --unused unused.parquet
    """
    with Job("dataset", config=config) as job:
        table, ids = job.table(out, schemas.DATASET), job.table(rows, schemas.ROW_IDS)
        left_out = job.table(unused, schemas.UNUSED)
        files = {row["id"]: row for row in job.side_rows(corpus, schemas.CORPUS)}
        contaminated = read_matches(job, contamination)
        repeated = read_repeated(job, label_duplicates)
        for label, made in _made_rows(config, job, files, diffs, labels, adopted):
            key = (label["id"], label["sample"], label["part"])
            match = contaminated.get(key)
            built = match.reason if match else DUPLICATE if key in repeated else made
            if isinstance(built, str):
                left_out.write({**{name: label[name] for name in ("id", "sample", "part")}, "reason": built})
                job.drop(built.partition(":")[0])
                continue
            ids.write({"row": table.rows, **{name: label.get(name) for name in (*KEY, "start", "end")}})
            table.write(built)
            job.keep()


def _made_rows(
    config: Config,
    job: Job,
    files: Mapping[str, Row],
    diffs: Path | None,
    labels: Path | None,
    adopted: Path | None,
) -> Iterator[tuple[Row, Row | str]]:
    """Yield every label with its row or the reason why there is none; in place of labels those of an adopted table."""
    table = adopted or labels
    if table is None or (adopted is None and diffs is None):
        raise ConfigError("no table of rows", where="dataset", remedy="give --diffs and --labels, or --adopted")
    sequences = {(row["id"], row["sample"]): row for row in job.side_rows(diffs, schemas.DIFFS)} if diffs else {}
    schema = schemas.ADOPTED_ROWS if adopted else schemas.LABELS
    ordered = sorted(job.rows(table, schema), key=itemgetter(*KEY))
    for label in track(ordered, f"dataset {table.name}", count_rows(table)):
        file, sequence = files.get(label["id"]), sequences.get((label["id"], label["sample"]))
        if file is None or (sequence is None and not adopted):
            lacking = "the corpus" if file is None else str(diffs)
            reason = f"rows of {label['id']}#{label['sample']}, which is not in {lacking}"
            raise InputError(reason, where=str(table), remedy="give the three tables of one shard")
        steps = sequence["diffs"] if sequence else None
        yield label, adopted_row(label, file) if adopted else build_row(config, label, file, steps or [])


def build_row(config: Config, label: Row, file: Row, diffs: list[str]) -> Row | str:
    """Return the `schemas.DATASET` row of a label, or the reason why there is none."""
    if label["status"] != "ok":
        return f"label_{label['status']}"
    if holds_marker(label["label"]):
        return "format_marker"
    try:
        programs = programs_of(diffs)
    except DiffError:
        return "malformed_diff"
    if programs[-1] != file["text"]:
        return "not_replayed"
    if not 0 <= label["start"] < label["end"] <= len(diffs):
        return "part_outside_sequence"
    start, steps = programs[label["start"]], diffs[label["start"] : label["end"]]
    name = (file["metadata"]["max_stars_repo_path"] or "").rsplit("/", 1)[-1]
    if config.dataset.names == "random" or not name:
        name = random_name(config.seed, label["id"], label["sample"], label["part"])
    elif holds_marker(name) or not name.isprintable():
        return "format_marker"
    prompt = example_prompt(name, start, label["label"])
    return {
        "prompt": prompt,
        "completion": example_completion(prompt, steps),
        "program_start": start,
        "lines_changed": lines_changed(steps),
        "source_program_id": program_number(label["id"]),
        "metadata": file["metadata"],
        "source": file["source"],
    }


def check(job: FinishedJob) -> Faults:
    """Check row numbers and ids, that every label is used or not, and a sample of the rows by building them again."""
    data, ids, unused = (job.name(place) for place in range(3))
    key_of = itemgetter(*KEY)
    places = list(read_rows(job.path(1), schemas.ROW_IDS))
    if [row["row"] for row in places] != list(range(count_rows(job.path()))):
        yield ids, "its row numbers are not those of the dataset file"
        return
    used = {key_of(row) for row in places}
    left = [key_of(row) for row in read_rows(job.path(2), schemas.UNUSED)]
    adopted = job.inputs_of("adopted_dataset")
    schema = schemas.ADOPTED_ROWS if adopted else schemas.LABELS
    labeled = set(map(key_of, read_columns(adopted or job.inputs_of("labels"), schema, *KEY)))
    if used | set(left) != labeled or used & set(left) or len(left) + len(places) != len(labeled):
        yield unused, "used and unused labels together are not the labels of its input"
    for row, place in zip(read_columns([job.path()], schemas.DATASET, "source_program_id"), places, strict=True):
        if row["source_program_id"] != program_number(place["id"]):
            yield data, f"row {place['row']} is of another file than its id {place['id'][:16]}"
    if job.config:  # lost facts are a finding of their own
        drawn = job.draw.sample(places, min(job.sample, len(places)))
        yield from _check_adopted(job, drawn) if adopted else _check_sample(job, drawn)


def _check_adopted(job: FinishedJob, places: Sequence[Row]) -> Faults:
    """Build some rows again from the corpus and the adopted table."""
    keys = {place["row"]: tuple(place[name] for name in KEY) for place in places}
    given = rows_by_key(job.inputs_of("adopted_dataset"), schemas.ADOPTED_ROWS, set(keys.values()), *KEY)
    files = rows_by_key(job.inputs_of("corpus"), schemas.CORPUS, {key[0] for key in keys.values()}, "id")
    for number, row in enumerate(read_rows(job.path(), schemas.DATASET)):
        if number in keys and row != adopted_row(given[keys[number]], files[keys[number][0]]):
            yield job.name(), f"row {number} is not what its file and the adopted table build"


def _check_sample(job: FinishedJob, places: Sequence[Row]) -> Faults:
    """Build some rows again from the corpus, the diffs and the labels."""
    config = Config.model_validate({name: job.config[name] for name in ("seed", "dataset") if name in job.config})
    keys = {place["row"]: (place["id"], place["sample"], place["part"]) for place in places}
    labels = rows_by_key(job.inputs_of("labels"), schemas.LABELS, set(keys.values()), "id", "sample", "part")
    sequences = select(schemas.DIFFS, "id", "sample", "diffs")
    diffs = rows_by_key(job.inputs_of("diffs"), sequences, {key[:2] for key in keys.values()}, "id", "sample")
    files = rows_by_key(job.inputs_of("corpus"), schemas.CORPUS, {key[0] for key in keys.values()}, "id")
    steps = {place["row"]: (place["start"], place["end"]) for place in places}
    for number, row in enumerate(read_rows(job.path(), schemas.DATASET)):
        if number not in keys:
            continue
        key = keys[number]
        label = labels[key]
        if steps[number] != (label["start"], label["end"]):
            yield job.name(1), f"row {number} names other steps than its label"
        built = build_row(config, label, files[key[0]], diffs[key[:2]]["diffs"])
        if isinstance(built, str):
            yield job.name(), f"row {number} is of a label that is not used: {built}"
            continue
        for column in (name for name in built if row[name] != built[name]):
            yield job.name(), f"row {number}: {column} is not what its file, diffs and label build"
