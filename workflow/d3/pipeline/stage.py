"""What a record of the registry holds: everything that the pipeline knows of a stage besides its code.

The records themselves are in `d3.pipeline.registry`; rules, commands, jobs, costs, checks and exports
are derived from them. A stage's name is also that of its rule, its command, its log and its folder.
"""

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from d3.config.models import Config

Over = Literal["once", "shard", "model", "file", "arm", "benchmark", "evaluation"]
"""What one job of a stage covers: everything, a batch of source shards, a model, a file of the hub, an arm, a
benchmark, or a benchmark and arm."""
Ids = Literal["", "file", "sequence", "example", "corpus", "rejected", "rows", "pairs"]
"""How the index of the lineage finds the rows of a table by content id: not at all; by the columns `id`, `sample`,
`part` as far as they go (`file`, `sequence`, `example`); or in the way of the one table that is named."""
Unit = Literal["row", "sequence", "asked token", "trained token"]
"""What the time of a stage's jobs grows with."""

TARGETS = ("all", "attrition", "dataset", "topics", "models", "evals")
"""Targets of the Snakefile. A stage of the same name has the rule NAME_shard."""
RESULTS = "{results}/{stage}/{key}"


class Output(NamedTuple):
    """A file that a job writes, or a folder where the path ends in `/`.

    The path is relative to the stage's folder. `{name}` is the job's name; in a stage that runs once,
    `{shard}` and `{source_shard}` stand for one file per batch or per source shard.
    """

    path: str
    schema: str = ""
    """Name of the table's columns in `d3.core.schemas`."""
    ids: Ids = ""

    @property
    def is_folder(self) -> bool:
        """Whether a folder is written."""
        return self.path.endswith("/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What the first attempt of a job requests, on each of its nodes."""

    gpus: int = 0
    memory_mb: int = 2500
    """Memory of the host; about 260 MB of it are those of Snakemake inside of the job."""
    memory_mb_per_thread: int = 0
    """More for every thread that the profile sets."""
    minutes: int = 60

    def of_rule(self) -> dict[str, Any]:
        """Return the resources of a Snakemake rule; a second attempt gets twice the memory and twice the time."""
        values: dict[str, Any] = {
            "mem_mb": lambda wildcards, threads, attempt: (
                attempt * (self.memory_mb + self.memory_mb_per_thread * min(threads, 256))
            ),
            "runtime": lambda wildcards, attempt: self.minutes * min(attempt, 2),
        }
        return values | ({"gres": f"gpu:{self.gpus}"} if self.gpus else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a job is assumed to take where no earlier run was measured.

    CPU figures and sizes are those of the demo on two cores of a 2.x GHz x86 server.
    """

    start: float = 1.0
    """CPU seconds before the first row, most of them for imports."""
    cpu_per_row: float = 0.0
    """CPU seconds per row read; engines and training are computed from the size of their model instead."""
    kept: float = 1.0
    """Share of the rows read that go on."""
    bytes_per_row: float = 100.0
    """Bytes of all outputs per row of the first one, as compressed Parquet."""
    unit: Unit = "row"
    same_as: str = ""
    """Stage that does the same work, whose measured rates are used where this one has none."""
    prompt_tokens: float = 250.0
    """Tokens of the prompt template of a stage that asks a language model."""
    program_share: "float | Callable[[Config], float]" = 0.0
    """Tokens that are filled into the template, as a share of those of a source file."""
    answer_tokens: float = 100.0
    """Tokens of an answer that no limit cuts off."""


def _always(config: "Config") -> bool:
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage. Names of settings are paths in the configuration, such as `grades.prompt`."""

    name: str
    module: str
    """Python module that does the work; its digest and that of its imports is the stage's code."""
    settings: tuple[str, ...] = ()
    """Settings that the stage reads."""
    upstream: tuple[str, ...] = ()
    """Stages whose keys are part of this one's."""
    prompts: tuple[str, ...] = ()
    """Settings that name prompt templates."""
    imports: tuple[str, ...] = ()
    """Settings that name code of the user's by import strings."""
    scripts: tuple[str, ...] = ("d3",)
    """Scripts of `workflow/bin` that the rule starts."""
    environment: str = "data"
    """Environment of `d3.provenance.images.RECIPES`, or `main`, that of the workflow itself. Where an engine runs the
    language model in the job's own process, that engine's environment is used instead."""
    over: Over = "shard"
    outputs: tuple[Output, ...]
    """The first one names the job: its statement is beside it."""
    within: str = RESULTS
    """Folder of the outputs."""
    linked: str = ""
    """Folder of results/runs/NAME that links the outputs; empty: they are not linked."""
    rows_of: str = ""
    """Stage whose rows it reads: the first output of the job of the same name."""
    looks_up: tuple[str, ...] = ()
    """Further stages whose files it reads, beside that and those in `upstream`."""
    asks: bool = False
    """Whether it asks a language model through the engine of its section, `SECTION.engine`."""
    engine_of: str = ""
    """The section whose engine it asks; empty: the one with its own name."""
    trains: bool = False
    """Whether it trains a model with the settings of its section, a `Training`."""
    model: str = ""
    """Setting that names the model which it asks, trains, or tokenizes for; `revision` is beside it."""
    when: "Callable[[Config], bool]" = _always
    """Whether a configuration has jobs of this stage."""
    target: str = "all"
    """Target that requests it: `all` is the report, anything else is made on request only."""
    local: bool = False
    """Whether its jobs run beside Snakemake and are never submitted."""
    journal: bool = False
    """Whether its jobs keep a journal of finished work."""
    record: str = ""
    """JSON file that holds the number of tokens of a job as `tokens`: its name in the folder that is the first
    output, else its suffix beside the first output."""
    resources: "Resources | Callable[[Config], Resources]" = Resources()
    """For stages that train, or whose engine runs a model, memory and GPUs of the model are added."""
    cost: Cost = Cost()
    must_keep_of: int = 0
    """A job that reads at least so many rows and drops each of them fails, unless `source.allow_empty` is set; 0: none
    does. Of a few rows that an earlier stage kept, all may be dropped without a fault."""
    one_row_each: bool = False
    """Whether the first output has exactly one row for each row that was kept."""
    shown: tuple[str, ...] = ()
    """Columns that `d3 trace` shows of a row; by default the first ones."""

    @property
    def section(self) -> str:
        """Name of the section of the configuration that has its engine or its training."""
        return self.engine_of or self.name

    @property
    def rule(self) -> str:
        """Name of the Snakemake rule."""
        return f"{self.name}_shard" if self.name in TARGETS else self.name

    @property
    def command(self) -> str:
        """Name of the command that the rule calls."""
        return self.name.replace("_", "-")

    @property
    def reads(self) -> set[str]:
        """Stages of which every job reads files; a stage that starts from source shards may read the user's."""
        return {name for name in (*self.upstream, self.rows_of, *self.looks_up) if name not in ("", "source")}

    @property
    def has_key(self) -> bool:
        """Whether the folder's name holds the key of the settings."""
        return "{key}" in self.within

    @property
    def results_folder(self) -> str:
        """Name of the folder below `results`; empty for what is not a result."""
        root, name, *_ = self.within.format(
            results="results", resources="resources", stage=self.name, key="KEY", run="RUN"
        ).split("/")
        return name if root == "results" else ""

    def check(self) -> Callable[[Any], Iterator[tuple[str, str]]] | None:
        """Return what `d3 verify` calls for the stage's jobs: `check_NAME` of its module, or `check`."""
        module = importlib.import_module(self.module)
        return getattr(module, f"check_{self.name}", None) or getattr(module, "check", None)

    def output_of(self, path: str) -> Output | None:
        """Return which output a path relative to the stage's folder is; None for anything else."""
        name = {"evaluation": "[^/]+/[^/]+", "file": ".+"}.get(self.over, "[^/]+")
        for output in self.outputs:
            pattern = re.escape(output.path.rstrip("/")).replace(r"\{name\}", name)
            if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", pattern), path):
                return output
        return None
