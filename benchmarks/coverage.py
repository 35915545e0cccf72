"""How often the intervals of scores hold the truth: simulated benchmarks, with tasks of many kinds.

Tasks have chances of their own, all alike (`same`), all or nothing (`binary`), or drawn from a beta distribution
that is named by the sum of its parameters. Prints the lowest coverage of all kinds and means for each size. The
lowest of `CELLS` estimates is itself an estimate, and lies below the lowest true coverage: by about 2.5 standard
errors, which the last line states.

    make bench-coverage ARGS="--runs 2000"
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from d3.core.ids import derive_seed
from d3.evals.statistics import difference_interval, mean_interval

MEANS = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 1)
KINDS = ("same", "binary", "0.1", "0.5", "2", "10")
CELLS = len(MEANS) * len(KINDS)
SIZES = (8, 20, 164, 378)

Shares = NDArray[np.float64]


def chances(kind: str, mean: float, shape: tuple[int, int], draw: np.random.Generator) -> Shares:
    """Return the chance of every task of every simulated benchmark to be solved."""
    if kind == "same" or mean in (0, 1):
        return np.full(shape, float(mean))
    if kind == "binary":
        return (draw.random(shape) < mean).astype(float)
    return draw.beta(float(kind) * mean, float(kind) * (1 - mean), shape)


def solved(chance: Shares, samples: int, draw: np.random.Generator) -> Shares:
    """Return the share of samples that pass."""
    return draw.binomial(samples, chance) / samples


def covered(kind: str, mean: float, tasks: int, samples: int, runs: int, draw: np.random.Generator) -> float:
    """Return how often the interval of a mean holds it."""
    hits = 0
    for values in solved(chances(kind, mean, (runs, tasks), draw), samples, draw).tolist():
        low, high = mean_interval(values, samples)
        hits += low - 1e-12 <= mean <= high + 1e-12
    return hits / runs


def covered_difference(kind: str, mean: float, tasks: int, samples: int, runs: int, draw: np.random.Generator) -> float:
    """Return how often the interval of the difference of two equally good arms holds 0."""
    hits = 0
    chance = chances(kind, mean, (runs, tasks), draw)
    for values in (solved(chance, samples, draw) - solved(chance, samples, draw)).tolist():
        low, high = difference_interval(values, samples)
        hits += low <= 0 <= high
    return hits / runs


def lowest(measure: Callable[..., float], tasks: int, samples: int, runs: int) -> tuple[float, str, float]:
    """Return the lowest coverage over all kinds and means, with its kind and mean."""
    found = []
    for kind in KINDS:
        for mean in MEANS:
            draw = np.random.default_rng(derive_seed(0, "coverage", kind, str(mean), tasks, samples))
            found.append((measure(kind, mean, tasks, samples, runs, draw), kind, mean))
    return min(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="simulated benchmarks of each kind and mean")
    runs = parser.parse_args().runs
    print("| tasks | samples | lowest coverage of a mean | at | lowest coverage of a difference | at |")
    print("|---|---|---|---|---|---|")
    for tasks in SIZES:
        for samples in (1, 10):
            mean, difference = (lowest(measure, tasks, samples, runs) for measure in (covered, covered_difference))
            cells = [f"{value:.3f} | {kind}, {at}" for value, kind, at in (mean, difference)]
            print(f"| {tasks} | {samples} | {' | '.join(cells)} |", flush=True)
    error = math.sqrt(0.95 * 0.05 / runs)
    print(f"\n{CELLS} kinds and means in each cell, {runs} simulated benchmarks each: standard error {error:.4f}")


if __name__ == "__main__":
    main()
