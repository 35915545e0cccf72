"""The configuration: one model per section, whose defaults are full size; validated before any job starts.

A field's description states its meaning and where its default comes from. `[authors' code]`,
`[dataset card]` and `[abstract]` mark facts about the paper; every other default is ours. The files in
`config/` and the JSON schema are generated from these models or tested against them.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import model_validator

from d3.config.adopt import Adopt, Pregrade
from d3.config.data import (
    Contamination,
    Corpus,
    Dataset,
    Diffs,
    Grades,
    JudgeHealth,
    Labels,
    NearDuplicates,
    Pairs,
    Source,
    Topics,
)
from d3.config.evaluation import Benchmark, Execute, Generate, Scores
from d3.config.fields import Count, Name, Neutral, Section
from d3.config.training import Arm, Format, Midtrain, Model, Optimizer, Sft, Tokens
from d3.core.paths import REPOSITORY

PROMPTS = REPOSITORY / "config" / "prompts"


class Config(Section):
    """The whole configuration of a run."""

    run: Name = "d3"
    """Name of the run; its report is written to `results/runs/NAME`."""
    seed: Count = 0
    """Seed from which every random number is derived."""
    source: Source = Source()
    corpus: Corpus = Corpus()
    contamination: Contamination = Contamination()
    near_duplicates: NearDuplicates = NearDuplicates()
    pairs: Pairs = Pairs()
    adopt: Adopt = Adopt()
    pregrade: Annotated[Pregrade, Neutral(Pregrade().model_dump(mode="json"))] = Pregrade()
    grades: Grades = Grades()
    judge_health: JudgeHealth = JudgeHealth()
    diffs: Diffs = Diffs()
    labels: Labels = Labels()
    topics: Topics = Topics()
    dataset: Dataset = Dataset()
    model: Model = Model()
    tokens: Tokens = Tokens()
    midtrain: Midtrain = Midtrain()
    sft: Sft = Sft(
        batch=1,
        optimizer=Optimizer(schedule="linear", final_ratio=0.0, warmup_ratio=0.01, weight_decay=0.01),
    )
    arms: dict[Name, Arm] = {"baseline": Arm(midtrain=False), "d3": Arm(midtrain=True)}
    """Training variants to compare, by name."""
    benchmarks: dict[Name, Benchmark] = {"humaneval": Benchmark()}
    """Sets of tasks to evaluate on, by name."""
    generate: Generate = Generate()
    execute: Execute = Execute()
    scores: Scores = Scores()

    def format_of(self, arm: str | None) -> Format:
        """Return the format in which benchmarks are asked of an arm; `diff` for a name that no arm has."""
        return self.arms[arm].format if arm in self.arms else "diff"

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if not self.generate.engine.reads_model:
            raise ValueError("generate.engine.api must be completions: a chat server cannot continue a prompt")
        if max(self.scores.k) > self.generate.samples:
            raise ValueError(
                f"scores.k asks for pass@{max(self.scores.k)} but generate.samples is {self.generate.samples}"
            )
        if self.corpus.min_lines > self.corpus.max_lines:
            raise ValueError("corpus.min_lines is larger than corpus.max_lines")
        return self


def prompt_path(name: str) -> Path:
    """Return the file of a prompt template: a path that exists, or else a name in `config/prompts`."""
    path = Path(name)
    return path if path.is_file() else PROMPTS / name
