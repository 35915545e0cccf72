"""What a job of each stage needs of a machine, worked out of the configuration: GPUs, memory, time.

These are first guesses that a profile overrides (`set-resources`); local runs ignore them. GPUs follow
from what the configuration must say anyway, since it decides the result (`tensor_parallel`,
`processes`); memory follows from the size of the model. All other values are our defaults. A second
attempt gets twice the memory and twice the time.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from d3.chain import Chain
from d3.config import EMBEDDED, Engine
from d3.engine_kinds import ENGINE_KINDS

EMBEDDED_BYTES = 269_000_000
"""The embedded model as a folder."""
UNKNOWN_BYTES = 4_000_000_000
"""A model that lies nowhere yet and whose name tells no size."""
BYTES_PER_PARAMETER = 2
"""Published weights are bfloat16 almost without exception."""
BILLIONS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)
MEGABYTE = 1_000_000


class Needs(NamedTuple):
    """What the first attempt of a job asks for, on each of its nodes."""

    gpus: int
    memory_mb: int
    """Memory of the host; about 260 MB of it are those of Snakemake inside of the job."""
    memory_mb_per_thread: int
    """More for every thread that the profile gives."""
    minutes: int

    def resources(self) -> dict[str, Any]:
        """Give the resources of a rule; memory and time are functions of the attempt."""
        values: dict[str, Any] = {
            "mem_mb": lambda wildcards, threads, attempt: (
                attempt * (self.memory_mb + self.memory_mb_per_thread * min(threads, 256))
            ),
            "runtime": lambda wildcards, attempt: self.minutes * min(attempt, 2),
        }
        return values | ({"gres": f"gpu:{self.gpus}"} if self.gpus else {})


FIXED = {
    "corpus": Needs(0, 4000, 0, 240),
    "duplicates": Needs(0, 4000, 0, 240),
    "pair_duplicates": Needs(0, 4000, 0, 240),
    "pairs": Needs(0, 2500, 0, 60),
    "dataset": Needs(0, 2500, 0, 60),
    "sft_data": Needs(0, 2500, 0, 60),
    "tokens": Needs(0, 4000, 0, 120),
}
"""Stages whose needs do not depend on the configuration: Snakemake, pandas-size libraries, one shard."""


def needs(chain: Chain, stage: str) -> Needs:
    """Give the needs of a stage's job."""
    config = chain.config
    if stage in FIXED:
        return FIXED[stage]
    if stage in ("diffs", "pair_diffs"):
        # A worker holds the linter and the syntax trees of one file; its cap is `diffs.max_memory_mb`.
        return Needs(0, 2000, min(config.diffs.max_memory_mb, 1000), 720)
    if stage == "execute":
        return Needs(0, 1500, config.execute.memory_mb, 120)
    if stage in ("midtrain", "sft"):
        settings = getattr(config, stage)
        weights = weights_mb(chain, config.model.path, config.model.revision)
        # Every process loads the weights, and gathers or saves them in float32: four times bfloat16's bytes.
        return Needs(settings.processes, 2000 + settings.processes * (1500 + 4 * weights), 0, 1440)
    if stage == "generate":
        engine, model = config.generate.engine, (config.model.path, config.model.revision)
    else:
        engine = getattr(config, stage).engine
        model = (engine.model, engine.revision)
    if stage != "generate" and chain.answering(stage) is None:
        return Needs(0, 3000, 0, 720)
    kind = ENGINE_KINDS[engine.kind]
    if kind.environment is None:
        return Needs(0, kind.memory_mb, 0, 720)
    return _asking(engine, weights_mb(chain, *model))


def _asking(engine: Engine, weights: int) -> Needs:
    """Give the needs of an engine: weights pass through the host's memory once on their way to the GPUs."""
    return Needs(engine.tensor_parallel, ENGINE_KINDS[engine.kind].memory_mb + weights * 3 // 2, 0, 720)


def weights_mb(chain: Chain, name: str, revision: str | None) -> int:
    """Give the size of a model's weights in MB: from its folder, from its name (`...-70B-...`), or a guess."""
    folder = Path(chain.model_path(name, revision))
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder.is_dir() else 0
    if not size and name == EMBEDDED:
        size = EMBEDDED_BYTES
    found = BILLIONS.search(Path(name).name) if not size else None
    if found:
        unit = 1e9 if found[2].lower() == "b" else 1e6
        size = int(float(found[1]) * unit * BYTES_PER_PARAMETER)
    return max((size or UNKNOWN_BYTES) // MEGABYTE, 1)
