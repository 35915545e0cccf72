"""Room on the disk for checkpoints and the model, looked at before a training starts."""

import json
import math
import shutil
from pathlib import Path

from d3.config.training import Training
from d3.errors import ToolError
from d3.train.checkpoints import MARK

KEPT_CHECKPOINTS = 3
"""Two that are kept, and one that is being written."""


def checkpoint_bytes(parameters: float, dtype: str) -> float:
    """Return the size of a checkpoint: weights, AdamW's moments in float32, and in bfloat16 the float32 weights."""
    return parameters * (14 if dtype == "bfloat16" else 12)


def parameters_of(folder: Path) -> int:
    """Return the number of parameters in the safetensors files of a folder; 0 if it has none, or broken ones."""
    found = 0
    for path in folder.glob("*.safetensors"):
        try:
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            found += sum(math.prod(item["shape"]) for name, item in header.items() if name != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError):
            return 0
    return found


def check_room(stage: str, settings: Training, steps: int, base: Path, work: Path) -> None:
    """Raise ToolError if the disk of `work` is too small for the checkpoints of a run of `steps`, and a model.

    Whole checkpoints that are there already count as room: they are replaced. Filling up the disk is not foreseen by
    this if others write to it as well.
    """
    parameters = parameters_of(base)
    written = min((steps - 1) // settings.save_steps, KEPT_CHECKPOINTS)
    there = len(list((work / "checkpoints").glob(f"*/{MARK}")))
    checkpoints = max(written - there, 0) * checkpoint_bytes(parameters, settings.dtype)
    needed = checkpoints + parameters * (2 if settings.dtype == "bfloat16" else 4)
    free = shutil.disk_usage(work).free
    if needed > free:
        raise ToolError(
            f"{stage} needs {needed / 1e9:.1f} GB for checkpoints and the model, but {free / 1e9:.1f} GB are free",
            where=str(work),
            remedy=f"free space there; a {stage}.save_steps of {steps} or more writes no checkpoint",
        )
