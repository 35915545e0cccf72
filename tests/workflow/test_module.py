"""This workflow as a module of another one: our jobs run, and the host's rules keep their triggers and their prefix."""

import subprocess
from pathlib import Path

import pytest

from helpers.paths import ROOT, SNAKEMAKE

HOST = """
shell.prefix("export HOST=yes; ")
rule all:
    input: "host.txt", "ours.txt"
rule host:
    input: "in.txt"
    output: "host.txt"
    params: x=1
    shell: "echo $HOST {params.x} $(cat {input}) > {output}"
rule reads_ours:
    input: "results/runs/mine/run.json"
    output: "ours.txt"
    shell: "cp {input} {output}"
module d3:
    snakefile: "SNAKEFILE"
    config: {"run": "mine"}
use rule * from d3 as d3_*
"""

pytestmark = pytest.mark.snakemake


def snakemake(folder: Path, *words: str) -> str:
    line = [str(SNAKEMAKE), "--cores", "1", *words]
    done = subprocess.run(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host whose run is finished."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "in.txt").write_text("first")
    (folder / "Snakefile").write_text(HOST.replace("SNAKEFILE", str(ROOT / "workflow" / "Snakefile")))
    snakemake(folder)
    return folder


def test_jobs_run_and_prefixes_are_kept_apart(host: Path) -> None:
    assert (host / "host.txt").read_text() == "yes 1 first\n"
    assert '"run": "mine"' in (host / "ours.txt").read_text()
    assert "Nothing to be done" in snakemake(host)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("Snakefile", "x=1", "x=2"), ("Snakefile", "echo $HOST", "echo  $HOST"), ("in.txt", "first", "second")],
    ids=["params", "code", "input"],
)
def test_a_hosts_rule_keeps_its_triggers(host: Path, name: str, old: str, new: str) -> None:
    before = (host / name).read_text()
    (host / name).write_text(before.replace(old, new))
    try:
        said = snakemake(host, "--dry-run")
    finally:
        (host / name).write_text(before)
    assert "rule host:" in said
    assert "rule d3_run_record:" not in said


def test_our_rules_do_not_follow_times(host: Path) -> None:
    (host / "results" / "runs" / "mine" / "run.json").touch()
    assert "rule d3_run_record:" not in snakemake(host, "--dry-run")
