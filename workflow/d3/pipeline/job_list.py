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
            yield Work(stage.name, name, folder / next(outputs(chain, stage, name)))


def requested(chain: Chain, *, topics: bool = False) -> list[Stage]:
    """Return the stages of the report, and those of the target `topics` too if it is requested."""
    targets = {"all", "topics"} if topics or chain.config.topics.in_report else {"all"}
    return [stage for stage in STAGES.values() if stage.target in targets and stage.when(chain.config)]


def outputs(chain: Chain, stage: Stage, name: str) -> Iterator[str]:
    """Yield the outputs of a job, relative to the stage's folder."""
    for output in stage.outputs:
        for shard in chain.batches if "{shard}" in output.path else [""]:
            for source_shard in chain.shards if "{source_shard}" in output.path else [""]:
                yield output.path.format(name=name, shard=shard, source_shard=source_shard).rstrip("/")


def links(chain: Chain) -> dict[str, str]:
    """Return what the folder of the run links: the file or folder of a result by the path of its link in the folder.

    Arms and benchmarks bear the names that they have in the configuration.
    """
    found: dict[str, str] = {}
    stages = requested(chain)
    for stage in filter(lambda stage: stage.linked, stages):
        folder = chain.folder(stage.name)
        for name in _names(chain, stage, stages):
            pairs = zip(outputs(chain, stage, _plain(chain, stage, name)), outputs(chain, stage, name), strict=True)
            found |= {f"{stage.linked}/{link}": f"{folder}/{path}" for link, path in pairs}
    return found


def _plain(chain: Chain, stage: Stage, name: str) -> str:
    """Return a job's name without the digests of its arm and its benchmark."""
    *benchmark, last = name.split("/")
    arm = chain.arms[last][0] if stage.over in ("arm", "evaluation") else last
    return "/".join([*(chain.benchmarks[part][0] for part in benchmark), arm])


def _names(chain: Chain, stage: Stage, stages: Sequence[Stage]) -> list[str]:
    """Return the names of a stage's jobs."""
    if stage.over == "shard":
        return list(chain.batches)
    if stage.over == "arm":
        return list(chain.trained)
    if stage.over == "benchmark":
        return list(chain.benchmarks)
    if stage.over == "evaluation":
        return [f"{benchmark}/{arm}" for benchmark in chain.benchmarks for arm in chain.arms]
    if stage.over == "file":
        folder = f"{chain.folder(stage.name)}/"
        paths = [*chain.shards.values(), *map(chain.tasks_path, chain.config.benchmarks.values())]
        return [path.removeprefix(folder) for path in dict.fromkeys(paths) if path.startswith(folder)]
    if stage.over == "model":
        return [name for name in _models(chain, stages) if _made_by(name) == stage.name]
    return [""]


def _models(chain: Chain, stages: Sequence[Stage]) -> list[str]:
    """Return the names of the folders of models that rules make or fetch; a user's own folders need no job."""
    asked = chain.untrained if any(stage.name == "generate" for stage in stages) else []
    paths = [Path(path) for path in (*(chain.answering(stage.name) for stage in stages), *asked) if path is not None]
    return [path.name for path in dict.fromkeys(paths) if path.parent == Path(chain.models)]


def _made_by(name: str) -> str:
    """Return the stage that makes the folder NAME@REVISION of a model."""
    return "model" if name.partition("@")[0] == MODEL_NAME else "hub_model"
