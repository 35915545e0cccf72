"""The configuration that the command of this process was told, for the statement of its job.

It is what `--config` said, without defaults: the part of the run's configuration that the stage reads.
"""

from typing import Any

CONFIG: dict[str, Any] | None = None


def tell(config: dict[str, Any]) -> None:
    """Remember the configuration of this process."""
    global CONFIG
    CONFIG = config


def forget() -> None:
    """Forget it, when the command is done."""
    global CONFIG
    CONFIG = None
