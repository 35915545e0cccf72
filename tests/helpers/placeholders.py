"""A large run that never ran: empty shards, empty outputs, and statements that fit them.

The workflow itself says which jobs there are (`D3_REASONS`); each gets outputs and a statement that
today's settings, code, environment and inputs agree with, so that the rule of what runs again has to
look at all of them.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from d3.chain import Chain, code_of
from d3.cluster.jobs import jobs
from d3.config_read import load_config
from d3.contents import stamp
from d3.environments import venv
from d3.identity import canonical_json
from d3.provenance import digest_of_modules
from d3.statement import settings_digest, statement_path
from helpers.paths import ROOT
from helpers.workflow_run import command

EMPTY = hashlib.sha256(b"").hexdigest()
MODELS = {"midtrain", "sft", "model", "hub_model"}


class Cost(NamedTuple):
    """What one call of Snakemake took."""

    output: str
    cpu_seconds: float
    peak_mb: float


def paper_scale(folder: Path, shards: int, **source: int) -> Path:
    """Write the paper's configuration for some empty shards; give its file."""
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


MEASURED = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000]))
sys.exit(code)
"""
"""Runs a command and writes its CPU-seconds and MB: a child of pytest itself would be charged pytest's own memory."""


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
    """Read the table of jobs that a dry-run prints."""
    lines = output.split("Job stats:\n")[1].splitlines()[2:] if "Job stats:" in output else []
    counts = {}
    for line in lines:
        parts = line.split()
        if len(parts) != 2:
            break
        counts[parts[0]] = int(parts[1])
    return counts


def finish_everything(folder: Path, config: Path, states: Iterable[Mapping[str, Any]]) -> int:
    """Leave outputs and statements of all jobs of a dry-run (what `D3_REASONS` told); give their number."""
    chain = Chain(load_config(config))
    more = _more_settings(chain)
    states = list(states)
    for state in states:  # all outputs first: a statement tells sizes and times of its inputs
        for name in state["outputs"]:
            path = folder / name
            if state["stage"] in MODELS:
                path.mkdir(parents=True)
                (path / "config.json").touch()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    for state in states:
        _leave_statement(folder, chain, state, more)
    return len(states)


def _more_settings(chain: Chain) -> dict[str, str]:
    """Give, by the part of a path that carries it, the setting that an arm's or a benchmark's jobs read besides."""
    found = {name: f"arms.{item[0]}" for name, item in chain.arms.items()}
    return found | {name: f"benchmarks.{item[0]}" for name, item in chain.benchmarks.items()}


def _leave_statement(folder: Path, chain: Chain, state: Mapping[str, Any], more: Mapping[str, str]) -> None:
    stage, first = str(state["stage"]), Path(state["outputs"][0])
    part = {"sft": first.name, "generate": first.parent.name, "execute": first.parent.name, "scores": first.parent.name}
    names = [more[part[stage]]] if stage in part else []
    if stage == "report":
        names = list(chain.values)
    modules = code_of(stage, chain.settings(stage, *names))
    environment = venv(chain.environment(stage))
    now = "2026-01-01T00:00:00.000Z"
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [_descriptor(folder, name) for name in state["outputs"]],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "externalParameters": {
                    "stage": stage,
                    "config": settings_digest(chain.deciding(stage, *names)),
                    "prompts": chain.prompts(stage),
                },
                "internalParameters": {
                    "code": digest_of_modules(modules),
                    "environment": {"kind": "venv", "name": environment.name, "identity": environment.identity},
                },
                "resolvedDependencies": [_descriptor(folder, name) for name in state["inputs"]],
            },
            "runDetails": {
                "metadata": {"startedOn": now, "finishedOn": now},
                "byproducts": [{"name": "rows", "content": {"stage": stage, "read": 0, "kept": 0, "dropped": {}}}],
            },
        },
    }
    statement_path(folder / first).write_text(canonical_json(statement))


def _descriptor(folder: Path, name: str) -> dict[str, Any]:
    now = stamp(folder / name)
    return {"name": name, "digest": {"sha256": EMPTY}, "annotations": {"bytes": now.bytes, "mtime_ns": now.mtime_ns}}


def planned(config: Path, *, topics: bool = False) -> dict[str, int]:
    """Give the number of jobs of every rule as `d3 status` and `d3 plan` count them."""
    return dict(Counter(work.rule for work in jobs(Chain(load_config(config)), topics=topics)))
