"""Figures about a judge: agreement of two lists of scores, and what can be told of a grade without the text.

**Agreement.** Cohen's kappa with quadratic weights (Psychological Bulletin 70, 1968): 1 minus the mean squared
difference of the two scores, over the one that their distributions have if they are independent. Spearman's rank
correlation is scipy's. Intervals are percentiles of a bootstrap over files (Efron 1979) with a fixed seed.

**Confounds.** How well a property of a file that is not its text predicts whether its grade is in the better half:
the area under the ROC curve, as the chance that a file of the better half is ranked above one of the other. Files are
ranked by a fold that holds them out: the share of the better half among the files of their group in the other folds,
drawn towards the share of all by `PRIOR` files. Groups are the values of a name, and `BINS` quantiles of a number, so
that an effect in any shape is found. Several properties are combined as if they were independent (naive Bayes). Each
fold's area is counted by itself, since shares of different folds are not comparable; the interval is that of Hanley
and McNeil (Radiology 143, 1982).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

FOLDS = 5
BINS = 10
PRIOR = 2.0
"""As many files with the share of all are added to each group; our default."""
RESAMPLES = 1000
FIGURE_DIGITS = 4


class Figure(NamedTuple):
    """A figure with its 95 % interval; None where nothing can be computed."""

    value: float | None
    low: float | None
    high: float | None
    files: int
    """Files that it was computed from."""


def mean_figure(values: Any) -> Figure:
    """Return the mean of an array of numbers with its normal interval."""
    import numpy

    if not len(values):
        return Figure(None, None, None, 0)
    mean = float(numpy.mean(values))
    half = 1.96 * float(numpy.std(values)) / math.sqrt(len(values))
    return _rounded(mean, mean - half, mean + half, len(values))


def median_figure(values: Any) -> Figure:
    """Return the median of an array of numbers; its interval are the two order statistics of the binomial test."""
    import numpy

    count = len(values)
    if not count:
        return Figure(None, None, None, 0)
    ordered = numpy.sort(values)
    half = 0.98 * math.sqrt(count)
    low, high = max(math.floor(count / 2 - half), 0), min(math.ceil(count / 2 + half), count - 1)
    return _rounded(float(numpy.median(ordered)), float(ordered[low]), float(ordered[high]), count)


def share_figure(found: int, count: int) -> Figure:
    """Return a share of files with Wilson's interval."""
    from d3.evals.statistics import wilson_interval

    if not count:
        return Figure(None, None, None, 0)
    low, high = wilson_interval(found, count)
    return _rounded(found / count, low, high, count)


def kappa(one: Any, other: Any) -> float:
    """Return the quadratically weighted kappa of two arrays of scores; nan where neither varies.

    The expected squared difference of independent scores is the sum of both variances and of the squared difference
    of the means, so that no table of scores is needed, and that scores may be fractions.
    """
    import numpy

    observed = numpy.mean((one - other) ** 2)
    expected = numpy.var(one) + numpy.var(other)
    expected = expected + (numpy.mean(one) - numpy.mean(other)) ** 2
    with numpy.errstate(invalid="ignore", divide="ignore"):
        return 1 - observed / expected  # type: ignore[no-any-return]


def spearman(one: Any, other: Any) -> float:
    """Return Spearman's rank correlation of two arrays of scores; nan where one does not vary."""
    import warnings

    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return stats.spearmanr(one, other).statistic  # type: ignore[no-any-return]


def agreement(one: Sequence[float], other: Sequence[float], seed: int) -> dict[str, Figure]:
    """Return kappa and Spearman's correlation of two lists of scores of the same files; `seed` draws the bootstrap."""
    import numpy

    first, second = numpy.asarray(one, dtype=float), numpy.asarray(other, dtype=float)
    draws = numpy.random.default_rng(seed)
    places = [draws.integers(0, len(first), len(first)) for _ in range(RESAMPLES)] if len(first) > 1 else []
    found = {}
    for name, measure in (("kappa", kappa), ("spearman", spearman)):
        value = float(measure(first, second)) if places else math.nan
        again = [float(measure(first[place], second[place])) for place in places] if not math.isnan(value) else []
        known = [number for number in again if not math.isnan(number)]
        if len(known) < RESAMPLES / 2:
            found[name] = Figure(None, None, None, len(first))
        else:
            low, high = numpy.percentile(known, (2.5, 97.5))
            found[name] = _rounded(value, float(low), float(high), len(first))
    return found


def better_half(grades: Sequence[float]) -> Any:
    """Return which files are in the better half, as an array of booleans: above the cut that halves them best."""
    import numpy

    values = numpy.asarray(grades, dtype=float)
    cuts = numpy.unique(values)[1:]
    if not len(cuts):
        return numpy.zeros(len(values), dtype=bool)
    ordered = numpy.sort(values)
    above = len(values) - numpy.searchsorted(ordered, cuts, side="left")
    return values >= cuts[numpy.argmin(numpy.abs(above - len(values) / 2))]


def confounds(properties: Mapping[str, Sequence[Any]], better: Any, folds: Sequence[int]) -> dict[str, Figure]:
    """Return the cross-validated AUC of each property of some files, and of all `together`.

    `properties` are lists of texts or numbers, None where a file has none; `better` says which files are in the
    better half, `folds` in which fold each one is. A property with one value alone tells nothing: it has no figure.
    """
    import numpy

    held = numpy.asarray(folds) % FOLDS
    found, total = {}, numpy.zeros(len(better))
    for name, values in properties.items():
        groups = _groups(values)
        if len(set(groups)) < 2:
            found[name] = Figure(None, None, None, 0)
            continue
        odds = _held_out_odds(groups, better, held)
        total += odds
        found[name] = _area(odds, better, held)
    shown = sum(figure.value is not None for figure in found.values())
    found["together"] = _area(total, better, held) if shown else Figure(None, None, None, 0)
    return found


def _groups(values: Sequence[Any]) -> list[Any]:
    """Return the group of each value: a name by itself, a number by its quantile."""
    import numpy

    numbers = [value for value in values if isinstance(value, int | float)]
    if not numbers:
        return list(values)
    edges = numpy.unique(numpy.quantile(numbers, numpy.arange(1, BINS) / BINS))
    return [None if value is None else int(numpy.searchsorted(edges, value, side="right")) for value in values]


def _held_out_odds(groups: Sequence[Any], better: Any, held: Any) -> Any:
    """Return the log-odds of the better half of each file's group in the other folds, over those of all files."""
    import numpy

    odds = numpy.zeros(len(better))
    for fold in range(FOLDS):
        count: Counter[Any] = Counter()
        good: Counter[Any] = Counter()
        for group, half, place in zip(groups, better, held, strict=True):
            if place != fold:
                count[group] += 1
                good[group] += bool(half)
        base = (good.total() + 1) / (count.total() + 2)
        for place in map(int, numpy.flatnonzero(held == fold)):
            share = (good[groups[place]] + PRIOR * base) / (count[groups[place]] + PRIOR)
            odds[place] = math.log(share / (1 - share)) - math.log(base / (1 - base))
    return odds


def _area(odds: Any, better: Any, held: Any) -> Figure:
    """Return the mean AUC of the folds, weighted by their pairs of files, with its interval."""
    from scipy.stats import rankdata

    pairs = wins = 0.0
    for fold in range(FOLDS):
        inside = held == fold
        half = better[inside]
        good, bad = int(half.sum()), int((~half).sum())
        if good and bad:
            wins += float(rankdata(odds[inside])[half].sum()) - good * (good + 1) / 2
            pairs += good * bad
    if not pairs:
        return Figure(None, None, None, 0)
    area, good, bad = wins / pairs, int(better.sum()), int((~better).sum())
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (good - 1) * (one - area**2) + (bad - 1) * (two - area**2)
    half_width = 1.96 * math.sqrt(max(variance, 0) / (good * bad))
    return _rounded(area, max(area - half_width, 0), min(area + half_width, 1), len(better))


def _rounded(value: float, low: float, high: float, files: int) -> Figure:
    return Figure(round(value, FIGURE_DIGITS), round(low, FIGURE_DIGITS), round(high, FIGURE_DIGITS), files)
