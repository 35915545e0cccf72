"""The two-node cluster that `start-cluster.sh` makes of one machine, as a site of the SLURM profile."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from d3.pipeline.registry import STAGES
from helpers.paths import ROOT

PROFILE = ROOT / "profiles" / "slurm"
RULES = tuple(stage.rule for stage in STAGES.values() if not stage.local)
PARTITIONS = {
    "cpu": {"max_runtime": 120, "max_mem_mb": 10000, "max_threads": 4},
    "gpu": {"max_runtime": 120, "max_mem_mb": 10000, "max_threads": 4, "max_gpu": 2},
}
TWO_NODES = {"nodes": 2, "tasks": 2, "tasks_per_gpu": 0, "mpi": "srun", "gres": "gpu:1", "interface": "lo"}


def require_cluster() -> None:
    """Skip where no SLURM answers; in continuous integration (D3_CI=1) that is a failure."""
    problem = ""
    if shutil.which("sbatch") is None:
        problem = "there is no SLURM on this machine"
    else:
        answer = subprocess.run(["timeout", "20", "sinfo", "-h"], capture_output=True, text=True, check=False)
        if answer.returncode:
            problem = f"SLURM does not answer: {answer.stderr.strip()[-200:]}"
    if problem and os.environ.get("D3_CI") == "1":
        pytest.fail(f"{problem}; start it with tests/slurm/start-cluster.sh")
    if problem:
        pytest.skip(problem)


def write_site(
    folder: Path, *, rules: dict[str, dict[str, Any]] | None = None, images: bool = False, **changes: Any
) -> Path:
    """Write the profile of the sandbox: that of the repository with the lines that a site edits.

    `images` keeps its images, `rules` adds to `set-resources`, `changes` are options of the profile with `_` for `-`.
    """
    values = yaml.safe_load((PROFILE / "config.yaml").read_text())
    if not images:
        del values["software-deployment-method"], values["apptainer-args"]
    resources: dict[str, dict[str, Any]] = {rule: {"runtime": 10} for rule in RULES}
    for rule, more in (rules or {}).items():
        resources[rule] |= more
    values |= {
        "default-resources": {"slurm_account": "d3", "mem_mb": 1000, "runtime": 10, "disk_mb": 1000},
        "set-threads": dict.fromkeys(values["set-threads"], 1),
        "set-resources": resources,
        "latency-wait": 10,
        "slurm-init-seconds-before-status-checks": 2,
    }
    values |= {name.replace("_", "-"): value for name, value in changes.items()}
    site = folder / "site"
    site.mkdir(parents=True, exist_ok=True)
    (site / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (site / "partitions.yaml").write_text(yaml.safe_dump({"partitions": PARTITIONS}))
    return site


def slurm(*words: str, timeout: float = 60) -> str:
    """Run a command of SLURM and give what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()
