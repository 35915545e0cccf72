"""The stages as commands: each one is the function of its stage, called with the configuration of the run."""

from d3.commands.heads import fields
from d3.pipeline.registry import STAGES

STAGE_COMMANDS = {stage.command: f"{stage.module}:{stage.function}" for stage in STAGES.values()}
"""The function of each stage."""

SECTIONS = {"diffs": "diffs", "pair-diffs": "diffs"}
"""Commands whose settings are flags too, since they are used without a configuration: their section of it."""


def setting_flags(section: str) -> dict[str, str]:
    """Return the settings of a section and the run's seed by their path, with their help."""
    texts = {f"{section}.{name}": text for name, text in fields("d3.config", section.capitalize()).items()}
    return texts | {"seed": "seed of the run"}
