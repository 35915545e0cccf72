"""What an evaluation can show is said before it runs."""

from pathlib import Path

import pytest

from d3.config.load import parse_config
from d3.evals.statistics import smallest_detectable
from d3.operate.detectable import detectable
from d3.operate.plan import plan
from d3.operate.plan_table import plan_table
from d3.pipeline.pipeline import Chain
from helpers.benchmark_files import PACK_ROW, written


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    rows = [{**PACK_ROW, "task_id": f"Python/{number}"} for number in range(40)]
    pack = {"kind": "humanevalsynth", "path": str(written(tmp_path / "pack.jsonl", *rows))}
    whole = {"kind": "mbpp", "path": "not/here.jsonl"}
    return Chain(parse_config({"benchmarks": {"pack": pack, "few": {**pack, "tasks": 8}, "mbpp": whole}}))


def test_the_smallest_difference_is_that_of_the_formula(chain: Chain) -> None:
    pack, few, whole = detectable(chain)
    assert (pack.benchmark, pack.tasks, few.tasks, whole.tasks) == ("pack", 40, 8, 974)
    assert whole.differences["0.1"] == smallest_detectable(974, 0.1, 0.95, 0.8)
    assert whole.differences["0.1"] == pytest.approx(0.0283, abs=0.0005)
    assert pack.differences == {"0.05": None, "0.1": None, "0.2": pytest.approx(0.192, abs=0.001)}
    assert set(few.differences.values()) == {None}


def test_the_plan_prints_it(chain: Chain) -> None:
    found = plan(chain)
    lines = [line for line in plan_table(found).split("\n") if "smallest difference" in line]
    assert lines[1] == (
        "few: of 8 tasks, the smallest difference of two arms that is found (95% level, power 80%): "
        "none if only one solves 5%, none if only one solves 10%, none if only one solves 20%"
    )
    assert lines[2].startswith("mbpp: of 974 tasks, ")
    assert found.plain()["detectable"][0]["tasks"] == 40


def test_the_level_is_that_of_the_scores(chain: Chain) -> None:
    strict = chain.config.model_copy(update={"scores": chain.config.scores.model_copy(update={"confidence": 0.99})})
    whole = detectable(Chain(strict))[2].differences["0.2"]
    assert whole is not None
    assert whole > (detectable(chain)[2].differences["0.2"] or 1)


def test_one_arm_is_compared_with_none(chain: Chain) -> None:
    assert detectable(Chain(parse_config({"arms": {"d3": {"midtrain": True}}}))) == []
