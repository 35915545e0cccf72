"""Intervals and tests for the means of tasks: one value in [0, 1] for each, from one or several samples.

Tasks stand for all tasks of their kind, so an interval answers how another draw of tasks would come out.

**Interval of a mean.** Clopper and Pearson's interval of a share (Biometrika 26, 1934), with as many trials as the
variance between tasks leaves: the effective sample size of Korn and Graubard (Survey Methodology 24, 1998), which is
the number of tasks where each is either solved or not, and grows to the number of samples where tasks resemble each
other. Few tasks between 0 and 1, or below 1, say little about that variance, so it is drawn towards that of tasks
that are solved or not; if all tasks agree, it is that one. `benchmarks/coverage.py` measures how often the interval
holds the truth.

**Difference of two arms on the same tasks.** The interval combines those of the shares won and lost (MOVER: Donner
and Zou, Statistical Methods in Medical Research 21, 2012), with the correlation that wins and losses have. The test
flips the signs of the tasks' differences, all ways that there are, which is exact if the arms are equally good.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

NEUTRAL_TASKS = 2.0
"""Tasks of which the variance is assumed to be that of solved or unsolved ones: our default, from measured coverage."""


class Interval(NamedTuple):
    """Lower and upper bound."""

    low: float
    high: float


def mean_interval(values: Sequence[float], samples: int = 1, confidence: float = 0.95) -> Interval:
    """Return the interval of the mean of one value in [0, 1] per task, each from `samples` independent samples.

    Raise ValueError for no values, values outside of [0, 1], or no samples.
    """
    if not values or samples < 1 or not all(0 <= value <= 1 for value in values):
        raise ValueError("one value in [0, 1] for at least one task, and at least one sample of each")
    mean = math.fsum(values) / len(values)
    trials = _effective(values, mean, samples, confidence)
    tail = (1 - confidence) / 2
    low, high = _share_interval(mean * trials, trials, tail)
    return Interval(min(low, mean), max(high, mean))


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share of independent trials (JASA 22, 1927); (0, 1) of no trials."""
    from scipy.stats import binomtest

    if not total:
        return Interval(0.0, 1.0)
    found = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def difference_interval(differences: Sequence[float], samples: int = 1, confidence: float = 0.95) -> Interval:
    """Return the interval of the mean of paired differences in [-1, 1], one per task."""
    won, lost = [max(item, 0.0) for item in differences], [max(-item, 0.0) for item in differences]
    better, worse = math.fsum(won) / len(won), math.fsum(lost) / len(lost)
    wins, losses = mean_interval(won, samples, confidence), mean_interval(lost, samples, confidence)
    # A task is won or lost, never both, so that the covariance is the product of the means.
    spread = math.sqrt(_variance(won, better) * _variance(lost, worse))
    together = -min(1.0, better * worse / spread) if spread > 0 else 0.0
    mean = better - worse

    def width(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 + other**2 - 2 * together * one * other))

    low = mean - width(better - wins.low, losses.high - worse)
    high = mean + width(wins.high - better, worse - losses.low)
    return Interval(max(-1.0, low), min(1.0, high))


def sign_flip_test(differences: Sequence[int]) -> float:
    """Return the two-sided p-value of the exact sign-flip test of paired differences, in whole steps.

    The statistic is the sum. All 2^n ways to flip signs are counted by the sums that they come to, so the cost grows
    with the sum of the steps and the number of their sizes, not with the number of ways.
    """
    sizes = [abs(item) for item in differences if item]
    observed, whole = abs(sum(differences)), sum(sizes)
    counts = reduce(_with_steps, Counter(sizes).items(), {0: 1})
    extreme = sum(count for total, count in counts.items() if abs(whole - 2 * total) >= observed)
    return extreme / (1 << len(sizes))


def in_steps(differences: Sequence[float], steps: int = 1000) -> list[int]:
    """Return differences as whole numbers of the coarsest step that holds them all; at most 1/`steps` is lost."""
    for count in range(1, steps):
        if all(abs(item * count - round(item * count)) < 1e-9 * count for item in differences):
            return [round(item * count) for item in differences]
    return [round(item * steps) for item in differences]


def smallest_detectable(tasks: int, discordant: float, confidence: float = 0.95, power: float = 0.8) -> float:
    """Return about the smallest true difference between two arms that a paired test of so many tasks finds.

    `discordant` is the share of tasks that only one arm solves. Normal approximation of McNemar's test (Connor,
    Biometrics 43, 1987); at most `discordant`, which is the largest difference there can be.
    """
    from statistics import NormalDist

    normal = NormalDist()
    found = 0.0
    for _ in range(60):  # the variance depends on the difference itself
        spread = normal.inv_cdf((1 + confidence) / 2) * math.sqrt(discordant)
        spread += normal.inv_cdf(power) * math.sqrt(max(0.0, discordant - found**2))
        found = spread / math.sqrt(tasks)
    return found


def _with_steps(counts: dict[int, int], steps: tuple[int, int]) -> dict[int, int]:
    """Return how many ways lead to each sum of the flipped steps, with several steps of one size more."""
    size, number = steps
    ways = [math.comb(number, flipped) for flipped in range(number + 1)]
    found: dict[int, int] = defaultdict(int)
    for total, count in counts.items():
        for flipped, way in enumerate(ways):
            found[total + size * flipped] += count * way
    return found


def _effective(values: Sequence[float], mean: float, samples: int, confidence: float) -> float:
    """Return the number of independent trials that a mean of tasks is worth."""
    from scipy.special import stdtrit  # of a thousand intervals, scipy.stats would take most of the time

    tasks = len(values)
    if tasks == 1 or not 0 < mean < 1:
        return float(tasks)
    binary = mean * (1 - mean)
    variance = _variance(values, mean)
    telling = min(sum(value > 0 for value in values), sum(value < 1 for value in values))
    weight = telling / (telling + NEUTRAL_TASKS)
    variance = weight * variance + (1 - weight) * binary
    most = tasks * samples
    upper = (1 + confidence) / 2
    freedom = float(stdtrit(max(most - 1, 1), upper) / stdtrit(tasks - 1, upper)) ** 2
    return min(mean * (1 - mean) * tasks / variance * freedom, float(most))


def _variance(values: Sequence[float], mean: float) -> float:
    return math.fsum((value - mean) ** 2 for value in values) / len(values)


def _share_interval(successes: float, trials: float, tail: float) -> Interval:
    from scipy.special import betaincinv

    low = 0.0 if successes <= 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes >= trials else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    return Interval(low, high)
