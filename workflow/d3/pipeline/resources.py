"""What a job of each stage requests of a machine: GPUs, memory, time.

These are first guesses that a profile overrides (`set-resources`); local runs ignore them. They come
from the stage's record; where a job trains or runs a model, GPUs follow from what the configuration
must set anyway, since it decides the result (`tensor_parallel`, `processes`), and memory follows from
the size of the model.
"""

import re
from dataclasses import replace
from pathlib import Path

from d3.config.engine import Engine
from d3.config.engine_kinds import ENGINE_KINDS
from d3.config.fields import EMBEDDED
from d3.config.training import Training
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.pipeline.stage import Resources

EMBEDDED_BYTES = 269_000_000
"""The embedded model as a folder."""
UNKNOWN_BYTES = 4_000_000_000
"""A model that lies nowhere yet and whose name tells no size."""
BYTES_PER_PARAMETER = 2
"""Published weights are bfloat16 almost without exception."""
BILLIONS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)
MEGABYTE = 1_000_000


def needs(chain: Chain, stage: str) -> Resources:
    """Return what a job of a stage requests."""
    record = STAGES[stage]
    base = record.resources if isinstance(record.resources, Resources) else record.resources(chain.config)
    if record.trains:
        return _training(base, getattr(chain.config, stage), model_mb(chain, stage))
    if record.model and record.environment == "train":
        return _loading(base, chain.config.midtrain, model_mb(chain, stage))
    if chain.asks(stage):
        return _asking(base, chain.engine(stage), model_mb(chain, stage))
    return base


def _training(base: Resources, settings: Training, weights: int) -> Resources:
    """Add the model: every process loads the weights, and gathers or saves them in float32, four times bfloat16."""
    memory = base.memory_mb + settings.processes * (1500 + 4 * weights)
    return replace(base, gpus=settings.processes, memory_mb=memory)


def _loading(base: Resources, settings: Training, weights: int) -> Resources:
    """Add one copy of the model in float32, and a GPU where training has them."""
    return replace(base, gpus=int(settings.dtype == "bfloat16"), memory_mb=base.memory_mb + 2 * weights)


def _asking(base: Resources, engine: Engine, weights: int) -> Resources:
    """Add the model, if the engine runs one: weights pass through the host's memory once on their way to the GPUs."""
    kind = ENGINE_KINDS[engine.kind]
    if kind.environment is None:
        return base
    gpus = engine.tensor_parallel * engine.options.get("pipeline_parallel_size", 1)
    return replace(base, gpus=gpus, memory_mb=kind.memory_mb + weights * 3 // 2)


def model_mb(chain: Chain, stage: str) -> int:
    """Return the size in MB of the model that a stage asks or trains, 0 if it needs none."""
    found = chain.model_of(stage)
    if not found:
        return 0
    others = [(arm.model, arm.revision) for arm in chain.config.arms.values() if arm.model and stage == "generate"]
    return max(weights_mb(chain, *model) for model in (found, *others))


def weights_mb(chain: Chain, name: str, revision: str | None) -> int:
    """Return the size of a model's weights in MB: from its folder, from its name (`...-70B-...`), or a guess."""
    folder = Path(chain.model_path(name, revision))
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder.is_dir() else 0
    if not size and name == EMBEDDED:
        size = EMBEDDED_BYTES
    found = BILLIONS.search(Path(name).name) if not size else None
    if found:
        unit = 1e9 if found[2].lower() == "b" else 1e6
        size = int(float(found[1]) * unit * BYTES_PER_PARAMETER)
    return max((size or UNKNOWN_BYTES) // MEGABYTE, 1)
