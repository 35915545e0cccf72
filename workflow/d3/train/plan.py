"""What the processes of a training run do: a JSON file that process 0 of the stage writes."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True, slots=True)
class Plan:
    """One training run."""

    stage: str
    """`midtrain` or `sft`: also the module of `d3.train` that opens the data."""
    settings: dict[str, Any]
    """The section of the configuration."""
    seed: int
    """The run's seed."""
    eos_id: int
    """The end token, with which sequences are padded."""
    decay_embeddings: bool
    """Whether weight decay is applied to embeddings: in fine-tuning alone [authors' code]."""
    data: list[str]
    """Files of rows."""
    digests: list[str]
    """Digests of their contents."""
    kept: dict[str, int] = field(default_factory=dict)
    """How many first tokens are trained on of the rows that are too long, by the number of the row."""
    added: dict[str, list[int]] = field(default_factory=dict)
    """Tokens whose embeddings the base model does not have, by id, and those whose mean they begin with."""
    model: str = ""
    """Folder of the base model."""
    output: str = ""
    """Folder that the trained model is written to."""
    work: str = ""
    """Folder of checkpoints."""
    metrics: str = ""
    """File of metrics, if they are wanted."""
    launch: str = ""
    """Name of the launch on several nodes."""
