"""How often the intervals of scores hold the truth: simulated benchmarks, with tasks of many kinds.

Tasks have chances of their own, all alike (`same`), all or nothing (`binary`), or drawn from a beta distribution
that is named by the sum of its parameters. Prints the lowest coverage and the mean width for each size.

    make bench-coverage ARGS="--runs 2000"
"""

import argparse
import random
from collections.abc import Callable, Iterator

from d3.evals.statistics import difference_interval, mean_interval

MEANS = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 1)
KINDS = ("same", "binary", "0.1", "0.5", "2", "10")
SIZES = (8, 20, 164, 378)


def chances(kind: str, mean: float, tasks: int, draw: random.Random) -> Iterator[float]:
    """Yield the chance of every task to be solved."""
    for _ in range(tasks):
        if kind == "same" or mean in (0, 1):
            yield mean
        elif kind == "binary":
            yield float(draw.random() < mean)
        else:
            yield draw.betavariate(float(kind) * mean, float(kind) * (1 - mean))


def share(chance: float, samples: int, draw: random.Random) -> float:
    """Return the share of samples that pass."""
    return sum(draw.random() < chance for _ in range(samples)) / samples


def covered(kind: str, mean: float, tasks: int, samples: int, runs: int, draw: random.Random) -> float:
    """Return how often the interval of a mean holds it."""
    hits = 0
    for _ in range(runs):
        values = [share(chance, samples, draw) for chance in chances(kind, mean, tasks, draw)]
        low, high = mean_interval(values, samples)
        hits += low - 1e-12 <= mean <= high + 1e-12
    return hits / runs


def covered_difference(kind: str, mean: float, tasks: int, samples: int, runs: int, draw: random.Random) -> float:
    """Return how often the interval of the difference of two equally good arms holds 0."""
    hits = 0
    for _ in range(runs):
        found = [
            share(chance, samples, draw) - share(chance, samples, draw) for chance in chances(kind, mean, tasks, draw)
        ]
        low, high = difference_interval(found, samples)
        hits += low <= 0 <= high
    return hits / runs


def lowest(measure: Callable[..., float], tasks: int, samples: int, runs: int) -> tuple[float, str, float]:
    """Return the lowest coverage over all kinds and means, with its kind and mean."""
    found = []
    for kind in KINDS:
        for mean in MEANS:
            draw = random.Random(f"{kind} {mean} {tasks} {samples}")
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


if __name__ == "__main__":
    main()
