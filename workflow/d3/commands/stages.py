"""The stages as commands: each one is the function of its stage, called with the configuration of the run."""

from d3.commands.heads import fields, functions
from d3.pipeline.registry import STAGES
from d3.pipeline.stage import Stage

SECTIONS = {"diffs": "diffs", "pair-diffs": "diffs"}
"""Commands whose settings are flags too, since they are used without a configuration: their section of it."""

SECTION_MODULES = ("d3.config.data", "d3.config.training", "d3.config.evaluation")


def stage_commands() -> dict[str, str]:
    """Return `module:function` of every stage by the name of its command."""
    return {stage.command: f"{stage.module}:{_function(stage)}" for stage in STAGES.values()}


def _function(stage: Stage) -> str:
    """Return the stage's function: `run`, or one of the stage's name in a module of several stages."""
    alone = sum(other.module == stage.module for other in STAGES.values()) == 1
    return "run" if alone or stage.name not in functions(stage.module) else stage.name


def setting_flags(section: str) -> dict[str, str]:
    """Return the settings of a section and the run's seed by their path, with their help."""
    texts = {f"{section}.{name}": text for name, text in fields(SECTION_MODULES, section.capitalize()).items()}
    return texts | {"seed": "seed of the run"}
