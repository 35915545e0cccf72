"""The dataset: one row for every label, in the seven columns of the released D3.

A label says which steps of a diff sequence it describes; the row holds the program before them,
the instruction and the steps. Every sequence is replayed first and must give its file exactly.
"""

from collections.abc import Sequence
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
from d3.errors import InputError
from d3.pipeline.checks import Faults, FinishedJob, read_columns, rows_by_key, select
from d3.pipeline.job import Job
from d3.stages.contamination import read_matches
from d3.stages.label_duplicates import DUPLICATE, read_repeated


def run(
    config: Config,
    corpus: Path,
    diffs: Path,
    labels: Path,
    out: Path,
    rows: Path,
    unused: Path,
    *,
    contamination: Path | None = None,
    label_duplicates: Annotated[Path | None, "list of `label-duplicates`"] = None,
) -> None:
    """Assemble the dataset rows of a shard from its corpus, diffs and labels.

    Write `schemas.DATASET` with its sidecar `schemas.ROW_IDS`, and `schemas.UNUSED`, ordered by (file id,
    sample, part). `contamination` lists labels that contain tasks of benchmarks, `label_duplicates` those that
    repeat a sentence of another file.

    Example: d3 dataset --corpus kept.parquet --diffs diffs.parquet --labels labels.parquet
        --out data.parquet --rows rows.parquet --unused unused.parquet
    """
    with Job("dataset", config=config) as job:
        table, ids = job.table(out, schemas.DATASET), job.table(rows, schemas.ROW_IDS)
        left_out = job.table(unused, schemas.UNUSED)
        files = {row["id"]: row for row in job.side_rows(corpus, schemas.CORPUS)}
        sequences = {(row["id"], row["sample"]): row for row in job.side_rows(diffs, schemas.DIFFS)}
        contaminated = read_matches(job, contamination)
        repeated = read_repeated(job, label_duplicates)
        ordered = sorted(job.rows(labels, schemas.LABELS), key=lambda row: (row["id"], row["sample"], row["part"]))
        for label in track(ordered, f"dataset {labels.name}", count_rows(labels)):
            file, sequence = files.get(label["id"]), sequences.get((label["id"], label["sample"]))
            if file is None or sequence is None:
                lacking = corpus if file is None else diffs
                reason = f"labels of {label['id']}#{label['sample']}, which is not in {lacking}"
                raise InputError(reason, where=str(labels), remedy="give the three tables of one shard")
            key = (label["id"], label["sample"], label["part"])
            if match := contaminated.get(key):
                built: Row | str = match.reason
            elif key in repeated:
                built = DUPLICATE
            else:
                built = build_row(config, label, file, sequence["diffs"] or [])
            if isinstance(built, str):
                left_out.write({**{name: label[name] for name in ("id", "sample", "part")}, "reason": built})
                job.drop(built.partition(":")[0])
                continue
            ids.write({"row": table.rows, **{name: label[name] for name in ("id", "sample", "part", "start", "end")}})
            table.write(built)
            job.keep()


def build_row(config: Config, label: Row, file: Row, diffs: list[str]) -> Row | str:
    """Give the `schemas.DATASET` row of a label, or the reason why there is none."""
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
    key_of = itemgetter("id", "sample", "part")
    places = list(read_rows(job.path(1), schemas.ROW_IDS))
    if [row["row"] for row in places] != list(range(count_rows(job.path()))):
        yield ids, "its row numbers are not those of the dataset file"
        return
    used = {key_of(row) for row in places}
    left = [key_of(row) for row in read_rows(job.path(2), schemas.UNUSED)]
    labeled = set(map(key_of, read_columns(job.inputs_of("labels"), schemas.LABELS, "id", "sample", "part")))
    if used | set(left) != labeled or used & set(left) or len(left) + len(places) != len(labeled):
        yield unused, "used and unused labels together are not the labels of its input"
    for row, place in zip(read_columns([job.path()], schemas.DATASET, "source_program_id"), places, strict=True):
        if row["source_program_id"] != program_number(place["id"]):
            yield data, f"row {place['row']} is of another file than its id {place['id'][:16]}"
    if job.config:  # lost facts are a finding of their own
        yield from _check_sample(job, job.draw.sample(places, min(job.sample, len(places))))


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
