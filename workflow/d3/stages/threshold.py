"""The threshold on grades: the one place that decides whether a graded file goes on to the diffs."""

from d3.config.data import Grades
from d3.core import schemas
from d3.core.tables import Row
from d3.pipeline.checks import select

GRADE_COLUMNS = select(schemas.GRADES, "id", "score", "expected_score", "status")
"""What the threshold reads of a grade."""
UNGRADED, BELOW = "ungraded", "below_threshold"
NOT_ASKED = ("pregrade", "not_adopted")
"""Statuses of rows without a score that are reasons of their own: no judge was to be asked."""


def grade_of(row: Row, settings: Grades) -> float | None:
    """Return the grade, 0 to 4, that is compared with the threshold; None for a row without a score.

    It is `expected_score` where `threshold_on` asks for it and the read-out has probabilities, else `score`.
    """
    if row["score"] is None:
        return None
    if settings.threshold_on == "expected_score" and row.get("expected_score") is not None:
        return float(row["expected_score"])
    return float(row["score"])


def reason_below(row: Row | None, settings: Grades) -> str | None:
    """Return why a file does not go on, `ungraded`, `below_threshold` or one of `NOT_ASKED`; None if it does.

    `row` has the column `score` and may have `expected_score` and `status`; None stands for a file without a row.
    """
    grade = None if row is None else grade_of(row, settings)
    if row is None or grade is None:
        return row["status"] if row and row.get("status") in NOT_ASKED else UNGRADED
    return BELOW if grade < settings.threshold else None
