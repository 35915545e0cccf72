"""Running the real workflow in a folder of its own, with a tiny random model."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from d3.report.execution import execution
from d3.report.page import render
from helpers.corpus_tables import HELD_OUT, SEED
from helpers.demo import over_demo
from helpers.paths import ROOT, SNAKEMAKE


def tiny_config(model: Path, **changes: Any) -> dict[str, Any]:
    """Return a configuration that runs every stage in seconds."""
    engine = {"model": str(model), "max_length": 2048, "batch": 4}
    training = {"sequence_length": 1024, "batch": 2, "micro_batch": 1, "max_steps": 2, "epochs": 1, "save_steps": 1}
    values: dict[str, Any] = {
        "run": "tiny",
        "corpus": {"sample": 3, "max_lines": 30},
        "pairs": {"sample": 2},
        "grades": {"engine": engine, "sampling": {"max_tokens": 4}},
        "labels": {"engine": engine, "sampling": {"temperature": 1.0, "max_tokens": 64}, "sub_trajectories": 2},
        "model": {"path": str(model)},
        "tokens": {"tokenizer": str(model)},
        "midtrain": training,
        "sft": training,
        "benchmarks": {"humaneval": {"tasks": 2}},
        "generate": {"engine": {"max_length": 2048, "batch": 2}, "max_tokens": 8},
    }
    return over_demo(values | changes)


def small_config(model: str) -> dict[str, Any]:
    """Return a configuration that takes all programs of the shards and asks the tiny model little about each."""
    engine = {"model": model, "max_length": 2048, "batch": 16}
    training = {"sequence_length": 1024, "batch": 2, "micro_batch": 1, "max_steps": 1, "epochs": 1, "save_steps": 1}
    values = {
        "run": "small",
        "seed": SEED,
        "source": {"shards": ["shards/*.parquet"], "name": "small", "opt_out": "opt-out.txt"},
        "corpus": {
            "sample": None,
            "min_lines": 1,
            "max_lines": 60,
            "max_line_length": 2000,
            "max_mean_line_length": 2000,
            "held_out": HELD_OUT,
            **{"max_encoded": 1.0, "max_data": 1.0},  # for a program that compression does not shrink
        },
        "pairs": {"sample": 2},
        "grades": {"engine": engine, "sampling": {"max_tokens": 2}, "threshold": 0},
        "labels": {
            "engine": engine,
            "sampling": {"temperature": 1.0, "top_p": 0.5, "max_tokens": 4},
            "sub_trajectories": 1,
        },
        "model": {"path": model},
        "tokens": {"tokenizer": model},
        "midtrain": training,
        "sft": training,
        "benchmarks": {"humaneval": {"tasks": 1}},
        "generate": {"engine": {"max_length": 2048, "batch": 2}, "max_tokens": 4},
    }
    return over_demo(values)


def write_config(folder: Path, values: dict[str, Any]) -> Path:
    """Write a configuration file."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def command(folder: Path, config: Path, *more: str) -> list[str]:
    """Return the command line of a run whose results lie in `folder`, as Snakemake takes it."""
    return [str(SNAKEMAKE), "--snakefile", str(ROOT / "workflow" / "Snakefile"), *_words(folder, config), *more]


def run_command(folder: Path, config: Path, *more: str) -> list[str]:
    """Return the command line of a run as a user types it."""
    return [sys.executable, "-m", "d3", "run", *_words(folder, config), *more]


def _words(folder: Path, config: Path) -> list[str]:
    profile = ROOT / "profiles" / "default"
    return ["--directory", str(folder), "--workflow-profile", str(profile), "--configfile", str(config)]


def run(folder: Path, config: Path, *more: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run the workflow; standard output and error come back as one text."""
    return subprocess.run(
        run_command(folder, config, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
    )


def d3(*arguments: str | Path, cwd: Path, environment: str = ".venv") -> subprocess.CompletedProcess[str]:
    """Run one command of the package."""
    python = ROOT / environment / "bin" / "python"
    return subprocess.run(
        [str(python), "-m", "d3", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
        check=False,
        timeout=300,
    )


def digests(folder: Path, *, ignore: Sequence[str] = (".prov.json",)) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder by its relative path; a report's without times and machines."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(_compared(path)).hexdigest()
        for path in files
        if not path.name.endswith(tuple(ignore))
    }


def _compared(path: Path) -> bytes:
    """Return what two runs of equal results have in common: all of a file, but for the execution in a report."""
    if path.name == "numbers.json":
        values = {name: value for name, value in json.loads(path.read_text()).items() if name != "execution"}
        return json.dumps(values).encode()
    if path.name == "report.html":
        values = json.loads(path.with_name("numbers.json").read_text())
        return render(values | {"execution": execution([], {})}).encode()
    if path.parent.name == "figures":
        return b""  # drawn from numbers.json alone, times included
    return path.read_bytes()
