"""The sections of the configuration about tables made outside of the pipeline, and the pre-grader that uses one."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from d3.config.fields import NAME, Decides, Neutral, Number, Section, UserPath

OpenShare = Annotated[float, Field(gt=0, lt=1), Number]


class Adopted(Section):
    """A table that was made outside of the pipeline: Parquet or JSON lines (`.jsonl`, `.json`, also `.gz` and `.zst`).

    Its rows are matched to the files of the corpus by `id` (the SHA-256 of the normalized text) or, where the table
    has none, by `hexsha`, that of The Stack.
    """

    path: Annotated[UserPath, Decides("path")]
    """The file, or a glob pattern of several."""
    columns: Annotated[dict[str, str], Neutral({})] = {}
    """Columns of the table by column of the pipeline, where the names differ: `score: quality`."""
    name: Annotated[str, Field(pattern=NAME)]
    """Name of what was made, such as that of a data set."""
    version: Annotated[str, Field(pattern=r"^\S+$")]
    """Its version or commit; `name@version` is in its statements and in `answered_by` of its rows."""
    license: Annotated[str, Field(pattern=r"^\S[^\n]*$")]
    """Its license, by the SPDX identifier where it has one."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the file (of several: of their digests in the order of the paths, one a line); another one is an
    error. null: whatever the file holds is taken and its digest recorded."""
    unmatched: Literal["error", "drop"] = "error"
    """Rows of files that the corpus neither kept nor rejected: `error`, or `drop` with a count."""


GRADE_COLUMNS = ("id", "hexsha", "score", "expected_score", "rationale")
LABEL_COLUMNS = ("id", "hexsha", "sample", "part", "label")
ROW_COLUMNS = ("id", "hexsha", "sample", "part", "prompt", "completion", "program_start")


def _with(allowed: tuple[str, ...]) -> AfterValidator:
    """Return a validator that rejects a map of columns with other names than these."""

    def check(adopted: Adopted | None) -> Adopted | None:
        if adopted is not None and (unknown := sorted(adopted.columns.keys() - set(allowed))):
            raise ValueError(f"columns: given {', '.join(map(repr, unknown))}, allowed is {', '.join(allowed)}")
        return adopted

    return AfterValidator(check)


class Adopt(Section):
    """Work that was done outside of the pipeline and enters it in place of a stage's own.

    `d3 trace`, `why`, `verify` and `forget` follow the rows across the seam. A corpus enters as `source.shards`.
    """

    grades: Annotated[Adopted | None, _with(GRADE_COLUMNS)] = None
    """Grades of files: columns `id` (or `hexsha`) and `score` (0 to 4), and `expected_score` and `rationale` if there
    are any. `grades.mode` then is `adopted` unless it is set. See [Adopted](#adopted)."""
    labels: Annotated[Adopted | None, _with(LABEL_COLUMNS)] = None
    """Instructions: columns `id` (or `hexsha`), `sample` (0 where it is missing), `part` (0 is the whole program) and
    `label`, for the sequences and parts of this run. `labels.mode` then is `adopted` unless it is set."""
    dataset: Annotated[Adopted | None, _with(ROW_COLUMNS)] = None
    """Dataset rows: columns `id` (or `hexsha`), `prompt`, `completion` and `program_start` of the released D3; `sample`
    and `part` if there are any. Nothing is graded, sampled or labeled then."""


class Pregrade(Section):
    """The pre-grader: a linear model of the text of a file that spares the judge files without a chance.

    It learns from `graded` and leaves out files that are unlikely to reach `grades.threshold`; these get a row with
    the status `pregrade` and no score.
    """

    graded: Annotated[Adopted | None, _with(GRADE_COLUMNS)] = None
    """Grades of a sample of the corpus: columns `id` (or `hexsha`) and `score`, such as those of an earlier run with
    `corpus.sample` (`results/grades/KEY/*.parquet`). The bound holds for a sample drawn at random. null: no pre-grader,
    the judge sees every file. See [Adopted](#adopted)."""
    max_wrong_drops: OpenShare = 0.05
    """Maximum share of the files that would reach the threshold that may be left out. Ours, not the paper's."""
    confidence: OpenShare = 0.95
    """Probability, over the draw of the sample, with which `max_wrong_drops` holds."""
