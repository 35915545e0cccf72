"""What a training takes: memory of each GPU, and room for checkpoints.

| part | bytes |
|---|---|
| weights | of the type of the computation; shared by the processes under ZeRO 3 |
| gradients | float32 (they are summed in it); shared from ZeRO 2 on |
| states | AdamW's two moments in float32, and in bfloat16 the float32 weights; shared from ZeRO 1 on |
| activations | 34 bytes a token, layer and hidden unit in 16 bits, twice that in 32; recomputed: 2, and one layer |
| logits | of a micro batch, or of `loss_chunk` tokens: the type of the computation, and float32 for loss and gradient |
| buckets | DeepSpeed's two buffers of 50 million elements where processes share |

The figure of activations is that of Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer
Models", without the attention matrix, which neither flash attention nor sdpa keeps.

Estimates for planning: what allocators and kernels take beside is not in them.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d3.config.training import Training
from d3.errors import ConfigError
from d3.pipeline.pipeline import Chain
from d3.pipeline.resources import BYTES_PER_PARAMETER, MEGABYTE, model_mb
from d3.train.disk_room import KEPT_CHECKPOINTS, checkpoint_bytes
from d3.train.settings import BUCKET, sharding

SHAPES = (
    (2e8, (576, 30, 49_152)),
    (1.5e9, (2048, 16, 128_256)),
    (5e9, (3072, 28, 128_256)),
    (1e10, (4096, 32, 128_256)),
)
"""Parameters up to which a model whose config is not here is taken to have a hidden size, layers and a vocabulary:
those of SmolLM2-135M and of Llama 3.2 1B, 3.2 3B and 3.1 8B."""
LARGEST = (8192, 80, 128_256)
"""Of Llama 3.1 70B."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingMemory:
    """Bytes that one training takes."""

    stage: str
    gpus: int
    weights: float
    gradients: float
    states: float
    activations: float
    logits: float
    buckets: float
    checkpoint: float
    """One checkpoint on disk; up to `KEPT_CHECKPOINTS` are there at a time."""
    free_disk: int
    """Free bytes where checkpoints are written."""

    @property
    def each_gpu(self) -> float:
        """Bytes of each GPU."""
        return self.weights + self.gradients + self.states + self.activations + self.logits + self.buckets

    def plain(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        return {**asdict(self), "each_gpu": self.each_gpu, "checkpoints": KEPT_CHECKPOINTS * self.checkpoint}


def estimate(
    settings: Training, stage: str, *, parameters: float, hidden: int, layers: int, vocabulary: int, free_disk: int = 0
) -> TrainingMemory:
    """Return what a training of a model takes; see the module's text."""
    wide = 2 if settings.dtype == "bfloat16" else 4
    zero, share = sharding(settings), settings.processes
    states = parameters * (12 if wide == 2 else 8)
    tokens = settings.micro_batch * settings.sequence_length
    chunk = min(tokens, settings.loss_chunk or tokens)
    layer = 34.0 * tokens * hidden * wide / 2
    kept = layers * 2.0 * tokens * hidden * wide / 2 + layer if settings.gradient_checkpointing else layers * layer
    return TrainingMemory(
        stage=stage,
        gpus=share,
        weights=parameters * wide / (share if zero == 3 else 1),
        gradients=parameters * 4 / (share if zero >= 2 else 1),
        states=states / (share if zero >= 1 else 1),
        activations=kept,
        logits=float(chunk) * vocabulary * (wide + 4 + 4),
        buckets=2.0 * BUCKET * 4 if zero and share > 1 else 0.0,
        checkpoint=checkpoint_bytes(parameters, settings.dtype),
        free_disk=free_disk,
    )


def training_memory(chain: Chain, stage: str, work: Path = Path("work")) -> TrainingMemory:
    """Return what a stage of a configuration takes."""
    parameters = model_mb(chain, stage) * MEGABYTE / BYTES_PER_PARAMETER
    hidden, layers, vocabulary = _shape(chain, stage, parameters)
    place = next(path for path in (work.absolute(), *work.absolute().parents) if path.exists())
    return estimate(
        getattr(chain.config, stage),
        stage,
        parameters=parameters,
        hidden=hidden,
        layers=layers,
        vocabulary=vocabulary,
        free_disk=shutil.disk_usage(place).free,
    )


def _shape(chain: Chain, stage: str, parameters: float) -> tuple[int, int, int]:
    """Return hidden size, layers and vocabulary of a model: from its config, or those of a known one of its size."""
    try:
        values = json.loads((Path(chain.answering(stage) or "") / "config.json").read_bytes())
        return int(values["hidden_size"]), int(values["num_hidden_layers"]), int(values["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return next((shape for limit, shape in SHAPES if parameters <= limit), LARGEST)
