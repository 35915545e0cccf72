"""What jobs of each stage really took: measured on the statements of earlier runs, else documented defaults.

A job's cost is taken as `start + units x per_unit`. What a unit is stands in the stage's record: a row,
a token of a language model, or a token of training. Where jobs of different sizes were measured,
both terms are fitted; otherwise the start is the default's and the rest belongs to the units.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from d3.audit.statements import Statement as Finished
from d3.audit.statements import read_finished
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES, stage_of_folder
from d3.pipeline.stage import Stage
from d3.provenance.statement import SUFFIX

ANSWER_WEIGHT = 2.4
"""An answer's token costs so many prompt tokens: the prompt is computed at once, the answer token by token.
TensorRT-LLM 1.0's throughput tables, solved for (128, 2048) and (2048, 128) tokens of prompt and answer on H100 in
fp8, give 2.0 for Llama 3.3 70B and 2.8 for Llama 3.1 8B."""
MOST_FROM_JOURNAL = 0.05
"""A job that found more of its answers in the journal tells nothing of their cost."""
SPREAD = 1.5
"""The largest job must be so much larger than the smallest for a fit of both terms."""
NEWEST = 500
"""So many statements of a stage are read at most."""


class Observation(NamedTuple):
    """One finished job and the work that it did."""

    figures: Finished
    units: float
    tokens: tuple[int, int]
    """Tokens of prompts and answers, (0, 0) where no language model was asked; (tokens, 0) of tokenized or
    trained data."""
    whole: bool
    """Whether all of its work was done in this attempt, so that its times count."""
    machine: Mapping[str, Any] | None = None
    """Settings of the machine that a training run was made with."""
    row_tokens: float = 0
    """Tokens of a row that was trained on."""

    @property
    def asked(self) -> bool:
        """Whether a language model answered: a job of the mode `none` is no measure of one that asks."""
        return bool(self.figures.usage.get("asked", 0) or self.figures.usage.get("journal", 0))


class Seconds(NamedTuple):
    """Seconds of a job: `start + units x per_unit`."""

    start: float
    per_unit: float

    def of(self, jobs: float, units: float) -> float:
        """Return the seconds of some jobs together."""
        return self.start * jobs + self.per_unit * units


@dataclass(kw_only=True, slots=True)
class StageRates:
    """What was seen of a stage; sums over jobs."""

    observations: list[Observation] = field(default_factory=list)
    same_settings: bool = False
    """Whether they come from this configuration's own folder."""

    def total(self, name: str) -> float:
        """Return the sum of a figure over all jobs."""
        return float(sum(getattr(one.figures, name) for one in self.observations))

    def ratio(self, of: str, to: str = "read") -> float | None:
        """Return one figure as a share of another, or None if nothing was seen."""
        below = self.total(to)
        return self.total(of) / below if below else None

    def dropped(self, *reasons: str) -> float:
        """Return the number of rows that were dropped for these reasons."""
        return float(sum(one.figures.dropped.get(reason, 0) for one in self.observations for reason in reasons))

    def timed(self) -> list[Observation]:
        """Return the observations whose times count."""
        return [one for one in self.observations if one.whole]


def measured(chain: Chain, results: Path | None = None) -> dict[str, StageRates]:
    """Read the statements of all stages: of this configuration's folders, else of the newest others.

    `results` is the folder of the run that is measured; by default that of the chain.
    """
    root = Path(chain.results) if results is None else results
    found: dict[str, StageRates] = {}
    folders = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for name in folders:
        stage = stage_of_folder(name)
        if stage is None:
            continue
        own = Path(root, name, Path(chain.folder(stage.name)).name if stage.has_key else "")
        statements = list(own.rglob("*.prov.json"))
        same = bool(statements)
        statements = statements or list(Path(root, name).rglob("*.prov.json"))
        seen = StageRates(same_settings=same)
        for path in sorted(statements, key=lambda path: -path.stat().st_mtime)[:NEWEST]:
            figures = read_finished(path, root.parent)
            if figures:
                seen.observations.append(_observed(stage, path, figures))
        if seen.observations:
            found[stage.name] = seen
    return found


def _observed(stage: Stage, statement: Path, figures: Finished) -> Observation:
    usage = figures.usage
    asked, known = int(usage.get("asked", 0)), int(usage.get("journal", 0))
    tokens = (int(usage.get("prompt_tokens", 0)), int(usage.get("answer_tokens", 0)))
    units = float(figures.read)
    machine, row_tokens = None, 0.0
    if stage.record:
        record = _json(_record_of(statement, stage))
        tokens = (int(record.get("tokens", 0)), 0)
    if stage.trains:
        machine = record.get("machine", {})
        row_tokens = record.get("packing", {}).get("tokens", 0) / max(record.get("rows", {}).get("kept", 0), 1)
    if stage.cost.unit == "asked token" and any(tokens):
        units = tokens[0] + ANSWER_WEIGHT * tokens[1]
    elif stage.cost.unit == "trained token":
        units = float(tokens[0])
    elif stage.cost.unit == "sequence" and asked + known:
        units = float(asked)
    whole = known <= MOST_FROM_JOURNAL * (asked + known) and figures.attempts <= 1
    return Observation(figures, units, tokens, whole, machine, row_tokens)


def _record_of(statement: Path, stage: Stage) -> Path:
    """Return the file in which a job left its number of tokens."""
    output = Path(str(statement).removesuffix(SUFFIX))
    return output / stage.record if stage.outputs[0].is_folder else output.with_suffix(stage.record)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def fit(points: Sequence[tuple[float, float]], start: float) -> Seconds:
    """Fit seconds to (units, seconds) of jobs; `start` is believed where the jobs are all of one size.

    Neither term comes out negative.
    """
    jobs, units, seconds = len(points), sum(u for u, _ in points), sum(s for _, s in points)
    sizes = [u for u, _ in points if u > 0]
    if units == 0:
        return Seconds(seconds / jobs, 0.0)
    if len(sizes) > 1 and max(sizes) >= SPREAD * min(sizes):
        squares, products = sum(u * u for u, _ in points), sum(u * s for u, s in points)
        below = jobs * squares - units * units
        per_unit = (jobs * products - units * seconds) / below
        begin = (seconds - per_unit * units) / jobs
        if per_unit > 0 and begin >= 0:
            return Seconds(begin, per_unit)
        if begin < 0:
            return Seconds(0.0, products / squares)
    begin = min(start, 0.8 * seconds / jobs)
    return Seconds(begin, (seconds - begin * jobs) / units)


def costs(rates: StageRates, start: float) -> tuple[Seconds, Seconds] | None:
    """Return the (CPU, wall) cost of a stage's jobs, or None if no job's times count."""
    timed = rates.timed()
    if not timed:
        return None
    wall = fit([(one.units, one.figures.seconds) for one in timed], start)
    cpu = fit([(one.units, one.figures.cpu) for one in timed], start)
    return cpu, wall


def by_stage(rates: Mapping[str, StageRates], stage: str, comparable: Callable[[Observation], bool]) -> StageRates:
    """Return the timed jobs of a stage that can be compared, else those of one that does the same work, else none."""
    for name in (stage, STAGES[stage].cost.same_as):
        seen = rates.get(name, StageRates())
        if found := [one for one in seen.timed() if comparable(one)]:
            return StageRates(observations=found, same_settings=seen.same_settings and name == stage)
    return StageRates()
