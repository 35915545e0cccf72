"""What a dry-run of a large workflow takes, and the jobs that it lists."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import yaml
from d3.chain import Chain
from d3.cluster.jobs import jobs
from d3.config_read import load_config

from helpers.paths import ROOT
from helpers.workflow_run import command


class Cost(NamedTuple):
    """What one call of Snakemake took."""

    output: str
    cpu_seconds: float
    peak_mb: float


MEASURED = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000]))
sys.exit(code)
"""
"""Run a command and write its CPU-seconds and MB: a child of pytest itself would be charged pytest's own memory."""


def paper_scale(folder: Path, shards: int, **source: int) -> Path:
    """Write the paper's configuration for some empty shards; return its path."""
    data = folder / "shards"
    data.mkdir(parents=True)
    for number in range(shards):
        (data / f"data_{number:05d}.parquet").touch()
    (folder / "tasks.jsonl").touch()
    values = yaml.safe_load((ROOT / "config" / "d3.yaml").read_text())
    values["source"] |= {"shards": ["shards/*.parquet"], **source}
    for benchmark in values["benchmarks"].values():
        benchmark["path"] = "tasks.jsonl"
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    return config


def dry_run(folder: Path, config: Path, *targets: str, **environment: str) -> Cost:
    """Dry-run the workflow; CPU time and memory are those of Snakemake and all that it starts."""
    usage = folder / "usage.json"
    line = command(folder, config, "--dry-run", "--quiet", "rules", "--", *targets)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(usage), *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return Cost(done.stdout, *json.loads(usage.read_text()))


def job_counts(output: str) -> dict[str, int]:
    """Return the table of jobs that a dry-run prints."""
    lines = output.split("Job stats:\n")[1].splitlines()[2:] if "Job stats:" in output else []
    counts = {}
    for line in lines:
        parts = line.split()
        if len(parts) != 2:
            break
        counts[parts[0]] = int(parts[1])
    return counts


def planned(config: Path, *, topics: bool = False) -> dict[str, int]:
    """Return the number of jobs of every rule as `d3 status` and `d3 plan` count them."""
    return dict(Counter(work.rule for work in jobs(Chain(load_config(config)), topics=topics)))
