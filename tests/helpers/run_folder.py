"""A finished run in a folder and a checkout of its own, so that tests can change anything and look at what reran.

The record of the run is left out: it follows nearly every change and decides nothing.
"""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from helpers.paths import ROOT, SNAKEMAKE

CODE = ("workflow", "config", "profiles", "envs", "containers")
ENVIRONMENTS = (".venv", ".venv-dolma", ".venv-vllm")


def copy_checkout(target: Path, source: Path = ROOT) -> Path:
    """Copy the code, without images; environments are linked."""
    for name in CODE:
        ignored = shutil.ignore_patterns("__pycache__", "*.sif*", ".*")
        shutil.copytree(source / name, target / name, ignore=ignored)
    for name in ENVIRONMENTS:
        if (ROOT / name).exists():
            (target / name).symlink_to(ROOT / name)
    return target


CERTIFICATE = ("grade_repeats/grade_repeats", "judge_health/judge_health")
"""Jobs that look at the grades of all batches; `run` and `states` leave them out, a test of their own counts them."""


class Place:
    """A working folder, its configuration and the checkout that its runs use."""

    def __init__(self, folder: Path, config: dict[str, Any], checkout: Path = ROOT) -> None:
        self.folder, self.config, self.checkout = folder, config, checkout
        self.output = ""

    def copy(self, target: Path) -> "Place":
        """Copy folder and times; the copy has a checkout of its own only after `edit`."""
        shutil.copytree(self.folder, target, symlinks=True)
        return Place(target, json.loads(json.dumps(self.config)), self.checkout)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file of the code, in a copy of the checkout."""
        if not self.checkout.is_relative_to(self.folder.parent):
            self.checkout = copy_checkout(self.folder.parent / f"{self.folder.name}-code", self.checkout)
        path = self.checkout / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new, 1))

    # --- running --------------------------------------------------------------------------------

    def run(self, *words: str, ok: bool = True, env: dict[str, str] | None = None) -> Counter[str]:
        """Run the workflow with two cores; gives how often which job ran, as STAGE/NAME."""
        before = self.attempts()
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config))
        line = [
            str(SNAKEMAKE),
            "--snakefile",
            str(self.checkout / "workflow" / "Snakefile"),
            "--configfile",
            "config.yaml",
        ]
        line += ["--workflow-profile", str(self.checkout / "profiles" / "default"), "--cores", "2"]
        done = subprocess.run(
            [*line, *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=900,
            env={name: value for name, value in os.environ.items() if name != "D3_RUN"} | (env or {}),
        )
        self.output = done.stdout
        assert (done.returncode == 0) == ok, done.stdout[-5000:]
        return Counter({job: runs for job, runs in (self.attempts() - before).items() if job not in CERTIFICATE})

    def states(self, *words: str, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """Return what a run would do, by STAGE/NAME, without running anything."""
        reasons = self.folder.parent / f"{self.folder.name}.json"
        reasons.unlink(missing_ok=True)
        ran = self.run("--dry-run", *words, env={"D3_REASONS": str(reasons)} | (env or {}))
        assert not ran
        items = (item for item in json.loads(reasons.read_bytes()) if item["stage"] != "run_record")
        found = {job_name(item["outputs"][0]): item for item in items}
        return {name: item for name, item in found.items() if name not in CERTIFICATE}

    def would_run(self, *words: str, env: dict[str, str] | None = None) -> set[str]:
        """Return the jobs that are not up to date, as STAGE/NAME."""
        return {name for name, item in self.states(*words, env=env).items() if item["state"] != "fresh"}

    def attempts(self) -> Counter[str]:
        """Return how often every job was started."""
        counts: Counter[str] = Counter()
        for path in (self.folder / "work" / "attempts").rglob("*.jsonl"):
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                if entry["event"] == "start" and entry["command"] != "run-record":
                    counts[job_name(entry["output"])] += 1
        return counts

    # --- looking --------------------------------------------------------------------------------

    def find(self, stage: str, name: str) -> Path:
        """Return the one file of a stage with a name, whatever its key."""
        (path,) = self.folder.glob(f"results/{stage}/*/{name}")
        return path

    def statement(self, stage: str, name: str) -> dict[str, Any]:
        """Return the statement of a stage's file."""
        return dict(json.loads(self.find(stage, f"{name}.prov.json").read_bytes()))

    def usage(self, stage: str, name: str) -> dict[str, int]:
        """Return what the job that made a stage's file asked and what it took from the journal."""
        products = self.statement(stage, name)["predicate"]["runDetails"]["byproducts"]
        return next(item["content"] for item in products if item["name"] == "usage")


def job_name(output: str) -> str:
    """Return STAGE/NAME of a job's first output: `labels/a` of `results/labels/KEY/data/a.parquet`."""
    parts = Path(output).parts
    stage = parts[1] if parts[0] in {"results", "resources"} and len(parts) > 2 else parts[0]
    return stage if len(parts) == 3 else f"{stage}/{Path(output).name.partition('.')[0]}"
