"""The whole chain on a real SLURM with two nodes: the same files as on one machine, GPUs where they were asked for.

Start the cluster with tests/slurm/start-cluster.sh (root; Debian's SLURM packages).
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from drive import drive
from running import digests, run, tiny_config, write_config
from sandbox import TWO_NODES, require_cluster, slurm, write_site

IMAGES = os.environ.get("D3_SLURM_IMAGES") == "1"
"""Every job in its image (`make slurm-images`)."""
GPU_RULES = ("grades", "labels", "midtrain", "sft", "generate")


def settings(model: Path) -> dict[str, Any]:
    """Give the tiny configuration with one shard, one arm, and two processes of mid-training."""
    values = tiny_config(model)
    values["source"] = {"embedded_shards": 1}
    values["arms"] = {"d3": {"midtrain": True}}
    values["midtrain"] = values["midtrain"] | {"processes": 2}
    return values


@pytest.fixture(scope="module")
def on_slurm(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Give the folder of a run on the cluster, and what the driver printed."""
    require_cluster()
    folder = tmp_path_factory.mktemp("slurm")
    write_config(folder, settings(tiny_model))
    site = write_site(folder, rules={"midtrain": TWO_NODES}, images=IMAGES)
    return folder, drive(folder, site, timeout=1500)


def results(folder: Path) -> dict[str, str]:
    """Give the digests of all results; what the lineage keeps of machines is not among them."""
    return {path: sha for path, sha in digests(folder / "results").items() if not path.startswith("lineage/")}


def statements(folder: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"results/{stage}/**/*.prov.json"))]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_chain_runs_to_its_end(on_slurm: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = on_slurm
    assert done.returncode == 0, done.stdout[-6000:]
    assert (folder / "results/runs/tiny/report.html").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_files_are_those_of_a_local_run(
    on_slurm: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, tiny_model: Path
) -> None:
    """Training on two nodes included: two processes give the same bytes on one node and on two."""
    folder, _ = on_slurm
    local = run(tmp_path, write_config(tmp_path, settings(tiny_model)))
    assert local.returncode == 0, local.stdout[-6000:]
    assert results(folder) == results(tmp_path)


def test_gpu_rules_had_the_gpus_that_they_asked_for(
    on_slurm: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = on_slurm
    for stage in GPU_RULES:
        for statement in statements(folder, stage):
            inside = statement["predicate"]["buildDefinition"]["internalParameters"]
            assert inside["slurm"]["job"], stage
            assert inside["gpu"]["visible"], (stage, inside)
    corpus = statements(folder, "corpus")[0]["predicate"]["buildDefinition"]["internalParameters"]
    assert not (corpus.get("gpu") or {}).get("visible")


def test_jobs_were_in_their_images_or_not(on_slurm: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = on_slurm
    for stage in ("corpus", "grades", "diffs", "tokens", "midtrain", "sft", "generate", "execute"):
        for statement in statements(folder, stage):
            kind = statement["predicate"]["buildDefinition"]["internalParameters"]["environment"]["kind"]
            assert kind == ("image" if IMAGES else "venv"), stage


def test_midtraining_was_on_two_nodes(on_slurm: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = on_slurm
    statement = statements(folder, "midtrain")[0]
    job = statement["predicate"]["buildDefinition"]["internalParameters"]["slurm"]["job"]
    nodes = slurm("squeue", "-h", "--states=all", f"--jobs={job}", "--format=%D %N")
    assert nodes == "2 n[1-2]"
    assert "node 1 of 2 waits for the plan" in (folder / "logs/midtrain.log").read_text()


@pytest.mark.timeout(600)
def test_a_wave_that_changes_nothing_stops_in_the_same_run(
    on_slurm: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """A job that runs again and writes the same bytes is followed by no other, under SLURM as elsewhere."""
    folder, _ = on_slurm
    before = results(folder)
    (lost,) = folder.glob("results/corpus/*/*.prov.json")
    lost.unlink()
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("results/*/**/*.prov.json")}
    again = drive(folder, folder / "site", timeout=500)
    assert again.returncode == 0, again.stdout[-6000:]
    assert lost.exists()
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert results(folder) == before


def test_no_job_of_the_run_is_left(on_slurm: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = on_slurm
    assert str(folder) not in slurm("squeue", "-h", "--format=%Z")
