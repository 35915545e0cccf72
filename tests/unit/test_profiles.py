"""Profiles for SLURM keep the settings that the executor plugin's bugs ask for."""

from typing import Any

import pytest
import yaml

from helpers.paths import PROFILES

ON_SLURM = sorted(path.parent.name for path in PROFILES.glob("*/partitions.yaml"))


def read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((PROFILES / name / "config.yaml").read_text())
    return values


def test_two_sites_stand_beside_the_profile() -> None:
    assert ON_SLURM == ["site-gres", "site-types", "slurm"]


@pytest.mark.parametrize("name", ON_SLURM)
def test_settings_that_a_site_must_not_change(name: str) -> None:
    profile = read(name)
    assert profile["executor"] == "slurm"
    assert profile["slurm-status-command"] == "squeue"
    assert profile["slurm-jobname-prefix"] == "d3"
    assert profile["slurm-status-attempts"] >= 30
    assert profile["retries"] >= 1
    assert profile["rerun-incomplete"] is True
    assert not any("array" in key or "group" in key for key in profile)
    assert profile["slurm-partition-config"] == "partitions.yaml"
    assert "cores" not in profile  # it would cap the threads of jobs


@pytest.mark.parametrize("name", ON_SLURM)
def test_images_are_entered_as_on_one_machine(name: str) -> None:
    keys = ("software-deployment-method", "apptainer-args")
    assert {key: read(name)[key] for key in keys} == {key: read("apptainer")[key] for key in keys}


@pytest.mark.parametrize("name", ON_SLURM)
def test_training_on_several_nodes_has_all_it_needs(name: str) -> None:
    for rule, given in read(name).get("set-resources", {}).items():
        if given.get("nodes", 1) > 1:
            assert rule in ("midtrain", "sft")
            assert (given["tasks"], given["tasks_per_gpu"], given["mpi"]) == (given["nodes"], 0, "srun"), rule
            assert given["gres"].startswith("gpu:"), rule


@pytest.mark.parametrize("name", ON_SLURM)
def test_jobs_fit_the_partitions(name: str) -> None:
    partitions = yaml.safe_load((PROFILES / name / "partitions.yaml").read_text())["partitions"].values()
    with_gpus = [limits for limits in partitions if limits.get("max_gpu")]
    longest = max(limits["max_runtime"] for limits in with_gpus)
    most = max(limits["max_threads"] for limits in partitions)
    profile = read(name)
    assert all(threads <= most for threads in profile["set-threads"].values())
    assert all(given.get("runtime", 0) <= longest for given in profile.get("set-resources", {}).values())


def test_no_profile_knows_what_decides_a_result() -> None:
    for path in PROFILES.glob("*/config.yaml"):
        assert not {"config", "configfile", "configfiles"} & set(yaml.safe_load(path.read_text())), path
