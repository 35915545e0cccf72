"""The whole chain on a real SLURM with two nodes, every job in its image: the same files as on one machine without.

Start the cluster with tests/slurm/start-cluster.sh (root; Debian's SLURM packages).
"""

import json
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from d3.provenance.images import file_sha256
from helpers.real_images import standard_libraries
from helpers.slurm_cluster import TWO_NODES, require_cluster, slurm, write_site
from helpers.slurm_run import drive
from helpers.tiny_models import chat_model
from helpers.workflow_run import digests, run, tiny_config, write_config

GPU_RULES = ("grades", "labels", "midtrain", "sft", "generate")
IMAGE_OF = {
    **dict.fromkeys(("corpus", "diffs", "pairs", "pair_diffs", "dataset", "sft_data"), "data"),
    **dict.fromkeys(("labels", "midtrain", "sft", "generate"), "train"),
    "grades": "llm",
    "tokens": "dolma",
    "execute": "eval",
}
"""The image of each stage's jobs; `labels` and `generate` ask transformers here, `grades` asks vLLM."""
BEFORE_LINTSEQ = (
    "source",
    "corpus",
    "fingerprints",
    "near_duplicates",
    "duplicates",
    "pairs",
    "pair_duplicates",
    "grades",
)
"""Stages that do not depend on the standard library of an interpreter, in which the linter resolves imports."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Any]:
    """Return the tiny configuration with one shard, one arm, two processes of mid-training, and grades from vLLM.

    vLLM asks a model of its own: on CPUs it has no attention for heads as narrow as the tiny one's.
    """
    values = tiny_config(tiny_model)
    values["source"] = {"embedded_shards": 1}
    values["arms"] = {"d3": {"midtrain": True}}
    values["midtrain"] = values["midtrain"] | {"processes": 2}
    wide = chat_model(tmp_path_factory.mktemp("model") / "wide", hidden=128)
    values["grades"]["engine"] = values["grades"]["engine"] | {"kind": "vllm", "model": str(wide)}
    return values


@pytest.fixture(scope="module")
def on_slurm(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any], images: dict[str, Path]
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Return the folder of a run on the cluster, and what the driver printed."""
    require_cluster()
    folder = tmp_path_factory.mktemp("slurm")
    write_config(folder, config)
    site = write_site(folder, rules={"midtrain": TWO_NODES}, images=True)
    return folder, drive(folder, site, timeout=1500)


def results(folder: Path) -> dict[str, str]:
    """Return the digests of all results; what the lineage keeps of machines is not among them."""
    return {path: sha for path, sha in digests(folder / "results").items() if not path.startswith("lineage/")}


def statements(folder: Path, stage: str) -> list[dict[str, Any]]:
    """Return what the statements of a stage say of where their jobs ran."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob(f"results/{stage}/**/*.prov.json"))]
    assert found, stage
    return [statement["predicate"]["buildDefinition"]["internalParameters"] for statement in found]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_chain_runs_to_its_end(on_slurm: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = on_slurm
    assert done.returncode == 0, done.stdout[-6000:]
    assert (folder / "results/runs/tiny/report.html").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_files_are_those_of_a_local_run_without_containers(
    on_slurm: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    config: dict[str, Any],
    images: dict[str, Path],
) -> None:
    """Training on two nodes included: two processes of as many threads give the same bytes on one node and on two."""
    folder, _ = on_slurm
    threads = yaml.safe_load((folder / "site" / "config.yaml").read_text())["set-threads"]
    as_many = [f"{rule}={number}" for rule, number in threads.items()]
    local = run(tmp_path, write_config(tmp_path, config), "--set-threads", *as_many)
    assert local.returncode == 0, local.stdout[-6000:]
    on_cluster, here = results(folder), results(tmp_path)
    inside, outside = standard_libraries(images["data"])
    if inside != outside:
        warnings.warn(f"LintSeq resolves imports in {inside} in the image and in {outside} here", stacklevel=1)
        on_cluster, here = (
            {path: files[path] for path in files if path.split("/")[0] in BEFORE_LINTSEQ}
            for files in (on_cluster, here)
        )
    assert on_cluster == here
    assert len(here) > 8


def test_gpu_rules_had_the_gpus_that_they_asked_for(
    on_slurm: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = on_slurm
    for stage in GPU_RULES:
        for inside in statements(folder, stage):
            assert inside["slurm"]["job"], stage
            assert inside["gpu"]["visible"], (stage, inside)
    assert not (statements(folder, "corpus")[0].get("gpu") or {}).get("visible")


@pytest.mark.parametrize("stage", IMAGE_OF)
def test_jobs_were_in_the_image_of_their_stage(
    on_slurm: tuple[Path, subprocess.CompletedProcess[str]], images: dict[str, Path], stage: str
) -> None:
    folder, _ = on_slurm
    for inside in statements(folder, stage):
        environment = inside["environment"]
        assert (environment["kind"], environment["name"]) == ("image", IMAGE_OF[stage])
        assert environment["sha256"] == file_sha256(images[IMAGE_OF[stage]])


def test_midtraining_was_on_two_nodes(on_slurm: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = on_slurm
    job = statements(folder, "midtrain")[0]["slurm"]["job"]
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
