"""The stages as commands: each one is the function of its stage, called with the configuration of the run."""

from d3.commands.heads import fields

STAGE_COMMANDS = {
    "source": "d3.embedded:source",
    "model": "d3.embedded:model",
    "hub-model": "d3.hub:hub_model",
    "benchmark": "d3.embedded:benchmark",
    "corpus": "d3.corpus.stage:run",
    "duplicates": "d3.corpus.duplicates:run",
    "grades": "d3.grade:run",
    "diffs": "d3.lintseq.stage:run",
    "labels": "d3.label:run",
    "dataset": "d3.dataset:run",
    "tokens": "d3.tokens:run",
    "midtrain": "d3.train.run:midtrain",
    "pairs": "d3.pairs:run",
    "pair-duplicates": "d3.corpus.duplicates:pair_duplicates",
    "pair-diffs": "d3.lintseq.stage:pair_diffs",
    "sft-data": "d3.pairs:sft_data",
    "sft": "d3.train.run:sft",
    "generate": "d3.evals.generate:run",
    "execute": "d3.evals.execute:run",
    "scores": "d3.evals.score:run",
    "topics": "d3.topics:run",
    "topic-counts": "d3.topics:topic_counts",
    "report": "d3.report.page:run",
}
"""The function of each stage."""

SECTIONS = {"diffs": "diffs", "pair-diffs": "diffs"}
"""Commands whose settings are flags too, since they are used without a configuration: their section of it."""


def setting_flags(section: str) -> dict[str, str]:
    """Return the settings of a section and the run's seed by their path, with their help."""
    texts = {f"{section}.{name}": text for name, text in fields("d3.config", section.capitalize()).items()}
    return texts | {"seed": "seed of the run"}
