"""Where the processes of a training run start: on this machine, or spread over the nodes of a SLURM job.

`workflow/bin/d3-train` starts the same command once on every node and says in the environment which
node it is. Node 0 prepares the run and writes the plan; the others wait for it and join. The number
of processes in all is `processes` of the configuration, which alone decides the result: on CPUs the
bytes are the same on one node and on several, since the sums run over processes and know no nodes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from d3.core.paths import IMPORT_ROOT
from d3.core.processes import die_with_parent
from d3.errors import ConfigError, ToolError
from d3.train.stops import SIGNALS, StopRequestedError, requested, signals_stop

VARIABLES = ("D3_NODES", "D3_NODE_RANK", "D3_MASTER_ADDR", "D3_MASTER_PORT", "D3_LAUNCH")
"""What the launcher sets for every node."""
WAIT_SECONDS = 4 * 3600
"""Longest wait of the other nodes for the plan. Node 0 tokenizes all rows first; if it fails, the
launcher ends the others at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """The nodes of a training run, as this one sees them."""

    count: int = 1
    """Nodes in all."""
    rank: int = 0
    """Number of this node."""
    address: str = "127.0.0.1"
    """Address of node 0."""
    port: int = 0
    """Port of node 0 that the processes meet at."""
    launch: str = ""
    """Name of this launch: the plan of another one is not taken for its own."""

    @classmethod
    def here(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the launcher's variables; without them there is one node. Raises ToolError for half of them."""
        if environ.get("D3_NODES", "1") == "1":
            return cls()
        try:
            count, rank, address, port, launch = (environ[name] for name in VARIABLES)
            return cls(count=int(count), rank=int(rank), address=address, port=int(port), launch=launch)
        except (KeyError, ValueError) as error:
            raise ToolError(
                f"the launcher's variables are incomplete ({error})", remedy="start with workflow/bin/d3-train"
            ) from None

    def local_processes(self, processes: int, stage: str) -> int:
        """Return the processes of one node; raises ConfigError when the nodes cannot share them evenly."""
        if processes % self.count:
            raise ConfigError(
                f"{stage}.processes {processes} is no multiple of {self.count} nodes",
                remedy=f"give rule {stage} other `nodes` in the profile",
            )
        return processes // self.count

    def launcher(self, processes: int, stage: str) -> list[str]:
        """Return the arguments of Python that start this node's processes."""
        local = self.local_processes(processes, stage)
        line = ["-m", "torch.distributed.run", f"--nnodes={self.count}", f"--nproc-per-node={local}"]
        line += ["--signals-to-handle=SIGINT,SIGHUP,SIGQUIT"]
        if self.count == 1:
            return [*line, "--standalone"]
        return [
            *line,
            f"--node-rank={self.rank}",
            f"--master-addr={self.address}",
            f"--master-port={self.port}",
        ]


def start(nodes: Nodes, plan: Path, processes: int, stage: str) -> None:
    """Run this node's share of the processes of a plan; raise ToolError when one of them fails or a signal stops them.

    torchrun would end its processes half a minute after a signal, wherever they are. So it ignores those of
    `d3.train.stops`, which the processes look after themselves.
    """
    work = plan.parent
    search = os.pathsep.join(filter(None, [str(IMPORT_ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, *nodes.launcher(processes, stage), "-m", "d3.train.worker", str(plan)],
        env=os.environ | {"PYTHONPATH": search, "TORCH_CPP_LOG_LEVEL": "ERROR"},
        preexec_fn=_before_launch,
    )
    try:
        with signals_stop(work):
            code = process.wait()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()
    if code and requested(work):
        raise StopRequestedError(stage, work)
    if code:
        where = f"node {nodes.rank} ({socket.gethostname()})" if nodes.count > 1 else ""
        raise ToolError(f"{stage}: a training process ended with {code}", where=where, remedy="see its lines above")


def _before_launch() -> None:
    die_with_parent()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def join(nodes: Nodes, work: Path, processes: int, stage: str, *, poll: float = 1.0) -> None:
    """On every node but the first: wait until node 0 has written this launch's plan, then take part."""
    path = work / "plan.json"
    print(f"{stage}: node {nodes.rank} of {nodes.count} waits for the plan", file=sys.stderr, flush=True)
    deadline = time.monotonic() + WAIT_SECONDS
    while _launch_of(path) != nodes.launch:
        if time.monotonic() > deadline:
            raise ToolError("node 0 wrote no plan", where=str(path), remedy="see the log of node 0")
        time.sleep(poll)
    start(nodes, path, processes, stage)


def _launch_of(path: Path) -> str | None:
    """Return the launch that a plan belongs to, or None while there is none."""
    try:
        plan: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return str(plan.get("launch", ""))
