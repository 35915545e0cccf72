"""Every option of the installed Snakemake that only reads ends with 0 in a folder that holds results."""

import subprocess
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

from d3.operate.snakemake_arguments import runs_nothing
from helpers.paths import ROOT, SNAKEMAKE

READS = (
    *("--dry-run", "--dag", "--rulegraph", "--filegraph", "--d3dag", "--summary", "--detailed-summary", "--lint"),
    *("--list-rules", "--list-target-rules", "--list-changes=code", "--list-changes=input", "--list-changes=params"),
    *("--list-input-changes", "--list-params-changes", "--list-untracked", "--list-conda-envs"),
    *("--print-compilation", "--containerize", "--version", "--help"),
)
WRITES = {
    *("--archive", "--cleanup-metadata", "--cleanup-shadow", "--delete-all-output", "--delete-temp-output"),
    *("--drop-metadata", "--export-cwl", "--generate-unit-tests", "--keep-incomplete", "--skip-script-cleanup"),
    "--unlock",
}
"""The other options of the group: they change files, or modify how jobs run."""


def test_every_utility_of_this_snakemake_is_known() -> None:
    groups = {group.title: group for group in get_argument_parser()._action_groups}
    options = {action.option_strings[0] for action in groups["UTILITIES"]._group_actions}
    assert options <= {option.partition("=")[0] for option in READS} | WRITES


@pytest.mark.parametrize("option", READS)
def test_the_driver_knows_that_an_option_runs_nothing(option: str) -> None:
    assert runs_nothing([option])
    assert runs_nothing(option.split("="))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one result."""
    place = tmp_path_factory.mktemp("run")
    snakemake(place, "--cores", "1", "--", "results/runs/d3/run.json")
    return place


def snakemake(folder: Path, *words: str) -> str:
    line = [str(SNAKEMAKE), "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--workflow-profile"]
    line += [str(ROOT / "profiles" / "default"), *words]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.mark.snakemake
@pytest.mark.parametrize("option", READS)
def test_a_read_only_option_ends_with_0(folder: Path, option: str) -> None:
    snakemake(folder, *option.split("="))


@pytest.mark.snakemake
def test_the_summary_shows_what_is_there(folder: Path) -> None:
    line = next(line for line in snakemake(folder, "--summary").splitlines() if "runs/d3/run.json" in line)
    assert line.endswith("\tok\tno update")
