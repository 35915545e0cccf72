"""Where a job runs: environment, git commit, SLURM job and node, GPUs.

What a job cannot know cheaply (the git commit) the workflow tells once for all jobs as JSON in the
environment variable `D3_RUN`.
"""

import json
import os
import platform
import re
import socket
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from d3.provenance import environments

RUN = "D3_RUN"
"""`{invocation, git: {commit, dirty}, images: {path: sha256}}`."""
GPUS = Path("/proc/driver/nvidia/gpus")


@cache
def run_facts() -> dict[str, Any]:
    """Return what the workflow told its jobs; empty outside of a workflow."""
    try:
        facts = json.loads(os.environ.get(RUN, "{}"))
    except json.JSONDecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}


@cache
def environment(also: tuple[str, ...] = ()) -> environments.Environment:
    """Return the environment of this process; `also` names packages that decide besides those of its lock."""
    return environments.here(run_facts().get("images", {}), also)


def interpreter() -> dict[str, str]:
    """Return the interpreter and the platform."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def slurm() -> dict[str, str] | None:
    """Return job, task of an array, node and partition of the SLURM job, or None outside of one."""
    names = {
        "job": "SLURM_JOB_ID",
        "array_task": "SLURM_ARRAY_TASK_ID",
        "node": "SLURMD_NODENAME",
        "partition": "SLURM_JOB_PARTITION",
        "restarts": "SLURM_RESTART_COUNT",
    }
    found = {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}
    return found if "job" in found else None


def gpu() -> dict[str, Any] | None:
    """Return the NVIDIA GPUs of this machine and those that the job was given, or None without any."""
    models = []
    for path in sorted(GPUS.glob("*/information")) if GPUS.is_dir() else []:
        found = re.search(r"^Model:\s*(.+)$", path.read_text(), re.MULTILINE)
        models.append(found[1].strip() if found else "unknown")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"visible": visible, "models": models} if models or visible else None


def host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def git(root: Path) -> dict[str, Any]:
    """Return `{commit, dirty}` of a checkout, both None when it is none or git is missing.

    Dirty: a tracked file below workflow/, config/, envs/ or containers/ differs from the commit.
    """

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    places = ("workflow", "config", "envs", "containers")
    status = ask("status", "--porcelain", "--untracked-files=no", "--", *places)
    return {"commit": commit, "dirty": None if status is None else bool(status)}
