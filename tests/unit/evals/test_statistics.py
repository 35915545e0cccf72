"""Intervals hold the truth as often as they promise, and tests are exact."""

import itertools

import numpy as np
import pytest

from benchmarks.coverage import covered, covered_difference
from d3.evals.statistics import (
    difference_interval,
    mean_interval,
    sign_flip_test,
    smallest_detectable,
    wilson_interval,
)

SPREAD = 0.024
"""Three standard errors of a coverage of .95 in 750 runs."""


@pytest.mark.parametrize("measure", [covered, covered_difference])
@pytest.mark.parametrize(
    ("kind", "mean", "tasks", "samples"),
    [("binary", 0.02, 8, 1), ("0.5", 0.2, 20, 10), ("same", 0.7, 20, 1), ("0.1", 0.01, 20, 10), ("same", 0.7, 378, 10)],
)
def test_an_interval_holds_the_truth_as_often_as_it_promises(
    measure: type, kind: str, mean: float, tasks: int, samples: int
) -> None:
    assert measure(kind, mean, tasks, samples, 750, np.random.default_rng(0)) >= 0.95 - SPREAD


def test_tasks_that_all_agree_still_leave_doubt() -> None:
    low, high = mean_interval([0.0] * 8)
    assert (low, round(high, 3)) == (0.0, 0.369)  # 1 - 0.025 ** (1 / 8): Clopper and Pearson
    assert mean_interval([1.0] * 8) == pytest.approx((1 - high, 1))
    assert mean_interval([0.0] * 8, samples=10) == (0, high)
    assert mean_interval([0.5] * 20, samples=10).low < 0.5


def test_solved_and_unsolved_tasks_have_the_interval_of_clopper_and_pearson() -> None:
    from scipy.stats import binomtest

    exact = binomtest(7, 20).proportion_ci()
    assert mean_interval([1.0] * 7 + [0.0] * 13) == pytest.approx((exact.low, exact.high))


def test_samples_of_tasks_that_resemble_each_other_narrow_the_interval() -> None:
    alike, apart = [0.4, 0.5, 0.6] * 20, [0.0, 0.5, 1.0] * 20
    widths = [high - low for low, high in (mean_interval(values, 10) for values in (alike, apart))]
    assert widths[0] < widths[1] / 1.5
    assert mean_interval(alike, 10).low > mean_interval(alike, 1).low


@pytest.mark.parametrize("values", [[], [0.5, 1.5], [-0.1]])
def test_values_that_are_no_shares_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="one value"):
        mean_interval(values)


def test_wilson_is_that_of_the_formula() -> None:
    assert wilson_interval(16, 16) == pytest.approx((0.8064, 1.0), abs=1e-4)
    assert wilson_interval(0, 0) == (0, 1)


def test_the_sign_flip_test_counts_all_ways() -> None:
    for differences in ([1, 1, 1, -1], [3, -1, 2, 0, -1], [0, 0], [5]):
        ways = list(itertools.product((1, -1), repeat=len(differences)))
        sums = [sum(sign * item for sign, item in zip(signs, differences, strict=True)) for signs in ways]
        expected = sum(abs(total) >= abs(sum(differences)) for total in sums) / len(ways)
        assert sign_flip_test(differences) == expected


def test_a_clear_difference_is_found_and_a_tie_is_not() -> None:
    assert sign_flip_test([10] * 8) == 2 / 2**8
    assert sign_flip_test([1, -1] * 80) == 1
    assert sign_flip_test([1] * 8 + [-1] * 2) == pytest.approx(2 * (45 + 10 + 1) / 1024)
    assert 0 < sign_flip_test([1] * 2000 + [-1] * 1800) < 0.01
    low, high = difference_interval([1.0] * 40 + [0.0] * 60)
    assert 0 < low < 0.4 < high
    low, high = difference_interval([0.0] * 164)
    assert low == -high
    assert 0 < high < 0.05


def test_smaller_differences_are_found_with_more_tasks() -> None:
    few, many = smallest_detectable(40, 0.2), smallest_detectable(640, 0.2)
    assert few > 3 * many
    assert smallest_detectable(164, 0.1) == pytest.approx(0.069, abs=0.002)
