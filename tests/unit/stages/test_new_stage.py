"""A stage is a record, a module and a rule: a copy of the checkout with the example of CONTRIBUTING runs it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from helpers.corpus_tables import stack_row, write_shard
from helpers.paths import ROOT, SNAKEMAKE
from helpers.run_folder import copy_checkout

pytestmark = pytest.mark.slow

EXAMPLE = (ROOT / "CONTRIBUTING.md").read_text().partition("<!-- worked example: stage -->")[2].partition("\n## ")[0]
RECORD, MODULE, RULE = (
    re.sub(r"^\+", "", block, flags=re.MULTILINE)
    for block in re.findall(r"^```(?:python|diff)\n(.*?)^```$", EXAMPLE, re.DOTALL | re.MULTILINE)
)
BEFORE_REPORT = '    Stage(\n        name="report",'
TEXTS = [f"def times_{number}(value):\n    return value * {number}" for number in range(5)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout with the new stage."""
    tree = copy_checkout(tmp_path_factory.mktemp("tree") / "code")
    registry, rules = tree / "workflow/d3/pipeline/registry.py", tree / "workflow/rules/corpus.smk"
    assert registry.read_text().count(BEFORE_REPORT) == 1
    registry.write_text(registry.read_text().replace(BEFORE_REPORT, RECORD + BEFORE_REPORT))
    (tree / "workflow/d3/stages/line_counts.py").write_text(MODULE)
    rules.write_text(rules.read_text() + "\n\n" + RULE)
    return tree


def d3(checkout: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(checkout / "workflow")}
    line = [sys.executable, "-m", "d3", *words]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_new_stage_is_small() -> None:
    assert len((RECORD + MODULE + RULE).splitlines()) < 60


def test_a_new_stage_runs_and_is_checked_and_audited(checkout: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "few.parquet", [stack_row(text) for text in TEXTS])
    settings = {"source": {"shards": ["few.parquet"]}, "corpus": {"min_lines": 1, "sample": None, "held_out": 0.0}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**settings, "grades": {"mode": "none"}}))
    program = (
        "from d3.pipeline.pipeline import Chain; from d3.config.load import load_config; from pathlib import Path\n"
    )
    program += "print(Chain(load_config(Path('c.yaml'))).folder('line_counts'))"
    environment = os.environ | {"PYTHONPATH": str(checkout / "workflow")}
    line = [sys.executable, "-c", program]
    made = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    target = f"{made.stdout.strip()}/few.parquet"
    snakemake = [str(SNAKEMAKE), "--snakefile", str(checkout / "workflow" / "Snakefile"), "--configfile", "c.yaml"]
    snakemake += ["--workflow-profile", str(checkout / "profiles" / "default"), "--cores", "1", "--", target]
    done = subprocess.run(snakemake, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert pq.read_table(tmp_path / target).column("lines").to_pylist() == [2] * len(TEXTS)
    again = subprocess.run(snakemake, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Nothing to be done" in again.stderr + again.stdout

    assert "nothing wrong" in d3(checkout, tmp_path, "verify").stderr
    traced = d3(checkout, tmp_path, "trace", target, "--json")
    assert "line_counts" in traced.stdout
    assert "line-counts" in d3(checkout, tmp_path, "--help").stdout
    statement = json.loads((tmp_path / f"{target}.prov.json").read_bytes())
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["stage"] == "line_counts"
