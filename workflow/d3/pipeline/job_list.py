"""The jobs of a configuration, as the rules make them: what each writes first, where it logs.

Status and plan take them from here, so that neither starts Snakemake. A test holds this list against
the jobs that Snakemake itself finds.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from d3.pipeline.pipeline import MODEL_NAME, Chain
from d3.pipeline.registry import STAGES
from d3.pipeline.stage import Stage

LOGS = Path("logs")


class Work(NamedTuple):
    """One job: `name` is its batch of shards, model, arm, or BENCHMARK/ARM, and empty where a stage has one job."""

    stage: str
    name: str
    output: Path

    @property
    def rule(self) -> str:
        """Return the name of the job's rule."""
        return STAGES[self.stage].rule

    @property
    def log(self) -> Path:
        """Return the job's log."""
        return LOGS / self.stage / f"{self.name}.log" if self.name else LOGS / f"{self.stage}.log"

    @property
    def statement(self) -> Path:
        """Return where the job's statement lies; it is written last, so a job that has one is finished."""
        return self.output.parent / f"{self.output.name}.prov.json"

    @property
    def comment(self) -> str:
        """Return the comment that the job carries in SLURM, as the executor plugin writes it."""
        name = self.name.replace("/", "_")
        return f"rule_{self.rule}_wildcards_{name}" if name else f"rule_{self.rule}"

    def __str__(self) -> str:
        """Return the job's name for a reader."""
        return f"{self.stage} {self.name}".rstrip()


def jobs(chain: Chain, *, topics: bool = False) -> Iterator[Work]:
    """Yield every job of the report, in the pipeline's order; `topics` adds those of the target `topics`.

    Paths are relative to the run's folder. Raises ConfigError as the chain does.
    """
    stages = requested(chain, topics=topics)
    for stage in stages:
        folder = Path(chain.folder(stage.name))
        for name in _names(chain, stage, stages):
            yield Work(stage.name, name, folder / first_output(chain, stage, name))


def requested(chain: Chain, *, topics: bool = False) -> list[Stage]:
    """Return the stages of the report, and those of the target `topics` too if it is requested."""
    targets = {"all", "topics"} if topics else {"all"}
    return [stage for stage in STAGES.values() if stage.target in targets and stage.when(chain.config)]


def first_output(chain: Chain, stage: Stage, name: str) -> str:
    """Return the first output of a job, relative to the stage's folder."""
    shard, source_shard = next(iter(chain.batches)), next(iter(chain.shards))
    return stage.outputs[0].path.format(name=name, shard=shard, source_shard=source_shard)


def count_outputs(chain: Chain, stage: Stage) -> int:
    """Return how many outputs one job of a stage declares."""
    once = stage.over == "once"
    several = {"{source_shard}": len(chain.shards) if once else 1, "{shard}": len(chain.batches) if once else 1}
    return sum(next((count for field, count in several.items() if field in output.path), 1) for output in stage.outputs)


def _names(chain: Chain, stage: Stage, stages: Sequence[Stage]) -> list[str]:
    """Return the names of a stage's jobs."""
    if stage.over == "shard":
        return list(chain.batches)
    if stage.over == "arm":
        return list(chain.arms)
    if stage.over == "benchmark":
        return list(chain.benchmarks)
    if stage.over == "evaluation":
        return [f"{benchmark}/{arm}" for benchmark in chain.benchmarks for arm in chain.arms]
    if stage.over == "model":
        return [name for name in _models(chain, stages) if _made_by(name) == stage.name]
    return [""]


def _models(chain: Chain, stages: Sequence[Stage]) -> list[str]:
    """Return the names of the folders of models that rules make or fetch; a user's own folders need no job."""
    paths = [Path(path) for stage in stages if (path := chain.answering(stage.name)) is not None]
    return [path.name for path in dict.fromkeys(paths) if path.parent == Path(chain.models)]


def _made_by(name: str) -> str:
    """Return the stage that makes the folder NAME@REVISION of a model."""
    return "model" if name.partition("@")[0] == MODEL_NAME else "hub_model"
