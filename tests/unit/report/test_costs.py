"""What the answers of a run cost, from the statements of its jobs."""

from pathlib import Path

from d3.core import schemas
from d3.pipeline.job import Job
from d3.provenance import resource_usage
from d3.provenance.statement import statement_path
from d3.report.costs import costs


def job_of(path: Path, **usage: int) -> Path:
    resource_usage._COUNTS.clear()
    resource_usage.count(**usage)
    with Job("grades", config=None) as job:
        job.table(path, schemas.GRADES)
    resource_usage._COUNTS.clear()
    return path


def test_costs_are_summed_by_stage_and_jobs_without_prices_count_nothing(tmp_path: Path) -> None:
    first = job_of(
        tmp_path / "a.parquet",
        **{"asked": 8, "journal": 2, "prompt_tokens": 80, "answer_tokens": 16},
        **{"cost_millionths": 4_000_000, "cost_at_most_millionths": 9_000_000},
    )
    second = job_of(
        tmp_path / "b.parquet", asked=2, journal=0, cost_millionths=1_000_000, cost_at_most_millionths=2_500_000
    )
    free = job_of(tmp_path / "c.parquet", asked=5, journal=1)
    (row,) = costs({"grades": [first, second, free], "labels": [free]})
    assert row == {
        **{"stage": "grades", "jobs": 2, "asked": 10, "journal": 2, "prompt_tokens": 80, "answer_tokens": 16},
        **{"spent": 5.0, "expected": 6.0, "at_most": 11.5},
    }


def test_a_statement_that_is_lost_or_torn_costs_nothing(tmp_path: Path) -> None:
    path = job_of(tmp_path / "a.parquet", asked=1, cost_millionths=7)
    assert len(list(costs({"grades": [path]}))) == 1
    statement_path(path).write_text("{")
    assert list(costs({"grades": [path]})) == []
    statement_path(path).unlink()
    assert list(costs({"grades": [path]})) == []
