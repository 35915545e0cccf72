"""The jobs of a configuration, as the rules make them: what each writes first, where it logs.

Status and plan take them from here, so that neither starts Snakemake. A test holds this list against
the jobs that Snakemake itself finds.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from d3.chain import MODEL_NAME, RULES, Chain
from d3.config import EMBEDDED

PER_SHARD = {
    "corpus": "{}.parquet",
    "grades": "{}.parquet",
    "diffs": "{}.parquet",
    "labels": "{}.parquet",
    "dataset": "data/{}.parquet",
    "tokens": "{}.npy",
    "pairs": "{}.parquet",
    "pair_diffs": "{}.parquet",
    "sft_data": "{}.parquet",
}
"""Stages with one job a batch of shards, in the chain's order, and where each job's first output lies."""

DUPLICATES = {"grades": "duplicates", "pair_diffs": "pair_duplicates"}
"""Stage -> the one job over all batches that its first job waits for."""

ROWS_OF = {
    "grades": "corpus",
    "diffs": "corpus",
    "labels": "diffs",
    "dataset": "labels",
    "tokens": "dataset",
    "pairs": "corpus",
    "pair_diffs": "pairs",
    "sft_data": "pair_diffs",
    "topics": "labels",
}
"""Stage -> the stage whose first output of the same shard holds the rows that it reads."""

ENDINGS = {"generate": "parquet", "execute": "parquet", "scores": "json"}


class Work(NamedTuple):
    """One job: `name` is its batch of shards, its arm, or BENCHMARK/ARM, and empty where a stage has one job."""

    stage: str
    name: str
    output: Path
    log: Path

    @property
    def rule(self) -> str:
        """Give the name of the job's rule."""
        return RULES.get(self.stage, self.stage)

    @property
    def statement(self) -> Path:
        """Give where the job's statement lies; it is written last, so a job that has one is finished."""
        return self.output.parent / f"{self.output.name}.prov.json"

    @property
    def comment(self) -> str:
        """Give the comment that the job carries in SLURM, as the executor plugin writes it."""
        name = self.name.replace("/", "_")
        return f"rule_{self.rule}_wildcards_{name}" if name else f"rule_{self.rule}"

    def __str__(self) -> str:
        """Give the job's name for a reader."""
        return f"{self.stage} {self.name}".rstrip()


def jobs(chain: Chain, *, topics: bool = False) -> Iterator[Work]:
    """Yield every job of the report, in the chain's order; `topics` adds those of the target `topics`.

    Paths are relative to the run's folder. Raises ConfigError as the chain does.
    """
    shards = list(chain.batches)
    arms, benchmarks = chain.arms, chain.benchmarks
    logs = Path("logs")
    if chain.embedded_source:
        first = next(iter(chain.shards.values()))
        yield Work("source", "", Path(first), logs / "source.log")
    yield from _models(chain, logs, topics=topics)
    if any(benchmark.path == EMBEDDED for _, benchmark in benchmarks.values()):
        path = Path(chain.tasks_path(next(item for _, item in benchmarks.values() if item.path == EMBEDDED)))
        yield Work("benchmark", "", path, logs / "benchmark.log")
    midtrain = any(arm.midtrain for _, arm in arms.values())
    for stage, pattern in PER_SHARD.items():
        folder = Path(chain.folder(stage))
        if stage in DUPLICATES:
            of = DUPLICATES[stage]
            output = Path(chain.folder(of)) / f"{shards[0]}.txt"
            yield Work(of, "", output, logs / f"{of}.log")
        if stage == "pairs" and midtrain:
            yield Work("midtrain", "", Path(chain.folder("midtrain")) / "model", logs / "midtrain.log")
        for shard in shards:
            yield Work(stage, shard, folder / pattern.format(shard), logs / stage / f"{shard}.log")
    for arm in arms:
        yield Work("sft", arm, Path(chain.folder("sft")) / arm, logs / "sft" / f"{arm}.log")
    for stage, ending in ENDINGS.items():
        for benchmark in benchmarks:
            for arm in arms:
                path = Path(chain.folder(stage)) / benchmark / f"{arm}.{ending}"
                yield Work(stage, f"{benchmark}/{arm}", path, logs / stage / benchmark / f"{arm}.log")
    if topics:
        folder = Path(chain.folder("topics"))
        for shard in shards:
            yield Work("topics", shard, folder / f"{shard}.parquet", logs / "topics" / f"{shard}.log")
        yield Work("topic_counts", "", folder / "counts.json", logs / "topic_counts.log")
    report = Path(chain.results) / "runs" / chain.config.run / "report.html"
    yield Work("report", "", report, logs / "report.log")


def _models(chain: Chain, logs: Path, *, topics: bool) -> Iterator[Work]:
    """Yield the jobs that make or fetch models; folders that a user names need none."""
    config = chain.config
    stages = ["grades", "labels"] + ["topics"] * topics
    wanted = [chain.answering(stage) for stage in stages]
    wanted += [chain.model_path(config.model.path, config.model.revision)]
    wanted += [chain.model_path(config.tokens.tokenizer, config.tokens.revision)]
    for path in dict.fromkeys(wanted):
        if path is None or Path(path).parent != Path(chain.models):
            continue
        name, _, revision = Path(path).name.partition("@")
        if name == MODEL_NAME:
            yield Work("model", revision, Path(path), logs / "model" / f"{revision}.log")
        else:
            owner, _, model = name.partition("--")
            log = logs / "model" / f"{owner}--{model}@{revision}.log"
            yield Work("hub_model", f"{owner}_{model}_{revision}", Path(path), log)
