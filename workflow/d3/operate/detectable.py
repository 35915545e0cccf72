"""What the evaluation of a configuration can show, before it runs: the smallest difference of two arms it finds."""

from dataclasses import dataclass

from d3.evals.statistics import smallest_detectable
from d3.operate.cost_defaults import tasks_of
from d3.pipeline.pipeline import Chain

DISCORDANT = (0.05, 0.1, 0.2)
"""Shares of tasks that only one of two arms solves; which one it will be is known after the run alone. Our default."""
POWER = 0.8


@dataclass(kw_only=True, slots=True)
class Detectable:
    """The smallest difference of two arms that a benchmark finds."""

    benchmark: str
    tasks: int
    samples: int
    """Per task. The differences are for one; several make them smaller, unless tasks are solved always or never."""
    confidence: float
    power: float
    differences: dict[str, float | None]
    """By the share of tasks that only one arm solves; None: even if all of these are one arm's, it is not found."""

    def __str__(self) -> str:
        """Return the figures as one line."""
        parts = [
            f"{'none' if found is None else f'{found:.1%}'} if only one solves {float(share):.0%}"
            for share, found in self.differences.items()
        ]
        several = f"; less with {self.samples} samples a task" if self.samples > 1 else ""
        return (
            f"{self.benchmark}: of {self.tasks} tasks, the smallest difference of two arms that is found "
            f"({self.confidence:.0%} level, power {self.power:.0%}): {', '.join(parts)}{several}"
        )


def detectable(chain: Chain) -> list[Detectable]:
    """Return what each benchmark of a configuration finds; nothing where there is only one arm."""
    if len(chain.config.arms) < 2:
        return []
    found = []
    for name, benchmark in chain.config.benchmarks.items():
        tasks, confidence = tasks_of(chain, benchmark), chain.config.scores.confidence
        smallest = {share: smallest_detectable(tasks, share, confidence, POWER) for share in DISCORDANT}
        found.append(
            Detectable(
                benchmark=name,
                tasks=tasks,
                samples=chain.config.generate.samples,
                confidence=confidence,
                power=POWER,
                differences={str(share): value if value <= share else None for share, value in smallest.items()},
            )
        )
    return found
