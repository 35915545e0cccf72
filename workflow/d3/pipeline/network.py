"""Cuts a job off from the network where the profile sets `D3_OFFLINE=1` and its stage does not need it."""

import os

from d3.core.network import leave_network
from d3.pipeline.registry import STAGES


def needs_network(command: str, environment: str, nodes: int) -> bool:
    """Return whether a command needs the network: to ask a server, to fetch something, to train over nodes.

    A stage that asks a language model asks a server if it runs in an environment without an engine of its own.
    """
    if nodes > 1:
        return True
    stage = next((stage for stage in STAGES.values() if stage.command == command), None)
    if stage is None or stage.environment == "main":
        return environment == "main"
    return stage.asks and environment in (stage.environment, "main")


def enforce(command: str) -> None:
    """Cut this process off if the machine's profile requests it and the command does not need the network.

    Raises ToolError where the kernel refuses.
    """
    if os.environ.get("D3_OFFLINE") != "1":
        return
    nodes = os.environ.get("D3_NODES", "1")
    if not needs_network(command, os.environ.get("D3_ENVIRONMENT", "main"), int(nodes) if nodes.isdigit() else 1):
        leave_network()
