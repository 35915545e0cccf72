"""Dataset rows that were made outside of the pipeline become rows of the dataset, each of them checked first."""

from d3.core.example_format import CODE_END, DIFF, unescape
from d3.core.ids import program_number
from d3.core.tables import Row
from d3.core.unified_diff import DiffError, apply_diffs, lines_changed


def steps_of(row: Row) -> list[str] | None:
    """Return the diffs of a row's completion, None if it is not prompt, diffs and end as in the released D3."""
    prompt, completion = row["prompt"], row["completion"]
    body = completion.removeprefix(prompt).strip("\n")
    if not prompt or not body.startswith(DIFF) or not body.endswith(CODE_END):
        return None
    return [unescape(step.removesuffix("\n")) for step in body.removesuffix(CODE_END).split(DIFF)[1:]]


def adopted_row(row: Row, file: Row) -> Row | str:
    """Return the `schemas.DATASET` row of a row of `schemas.ADOPTED_ROWS`, or the reason why there is none.

    Number, metadata and source are those of the file of the corpus. Reasons: `null_column`, `malformed_row` (not in the
    format of the released D3), `not_replayed` (the diffs do not fit `program_start`).
    """
    if any(row[name] is None for name in ("prompt", "completion", "program_start")):
        return "null_column"
    steps = steps_of(row)
    if steps is None:
        return "malformed_row"
    try:
        apply_diffs(row["program_start"], steps)
    except DiffError:
        return "not_replayed"
    whole = row["completion"].startswith(row["prompt"])
    return {
        "prompt": row["prompt"],
        "completion": row["completion"] if whole else row["prompt"] + row["completion"],
        "program_start": row["program_start"],
        "lines_changed": lines_changed(steps),
        "source_program_id": program_number(row["id"]),
        "metadata": file["metadata"],
        "source": file["source"],
    }
