"""The dataset: one row for every label, in the seven columns of the released D3.

A label says which steps of a diff sequence it describes; the row holds the program before them,
the instruction and the steps. Every sequence is replayed first and must give its file exactly.
"""

from pathlib import Path

from d3 import records
from d3.config import Config
from d3.diffs import DiffError, lines_changed, programs_of
from d3.errors import InputError
from d3.identity import program_number
from d3.progress import track
from d3.stage import Job
from d3.tables import Row, count_rows
from d3.trajectory import example_completion, example_prompt, holds_marker, random_name


def run(config: Config, corpus: Path, diffs: Path, labels: Path, output: Path, row_ids: Path, unused: Path) -> None:
    """Write `records.DATASET` with its sidecar `records.ROW_IDS`, and `records.UNUSED`, for one shard.

    Rows are ordered by (file id, sample, part).
    """
    with Job("dataset", config=config) as job:
        rows, ids = job.table(output, records.DATASET), job.table(row_ids, records.ROW_IDS)
        left_out = job.table(unused, records.UNUSED)
        files = {row["id"]: row for row in job.side_rows(corpus, records.CORPUS)}
        sequences = {(row["id"], row["sample"]): row for row in job.side_rows(diffs, records.DIFFS)}
        ordered = sorted(job.rows(labels, records.LABELS), key=lambda row: (row["id"], row["sample"], row["part"]))
        for label in track(ordered, f"dataset {labels.name}", count_rows(labels)):
            file, sequence = files.get(label["id"]), sequences.get((label["id"], label["sample"]))
            if file is None or sequence is None:
                lacking = corpus if file is None else diffs
                reason = f"labels of {label['id']}#{label['sample']}, which is not in {lacking}"
                raise InputError(reason, where=str(labels), remedy="give the three tables of one shard")
            built = build_row(config, label, file, sequence["diffs"] or [])
            if isinstance(built, str):
                left_out.write({**{name: label[name] for name in ("id", "sample", "part")}, "reason": built})
                job.drop(built)
                continue
            ids.write({"row": rows.rows, **{name: label[name] for name in ("id", "sample", "part", "start", "end")}})
            rows.write(built)
            job.keep()


def build_row(config: Config, label: Row, file: Row, diffs: list[str]) -> Row | str:
    """Give the `records.DATASET` row of a label, or the reason why there is none."""
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
