"""Profiles for SLURM: example sites differ from the profile where sites differ, and fit their own partitions."""

import re
from typing import Any

import pytest
import yaml

from helpers.paths import PROFILES, ROOT

ON_SLURM = sorted(path.parent.name for path in PROFILES.glob("*/partitions.yaml"))


SITE_KEYS = {
    *("default-resources", "set-resources", "set-threads", "jobs", "latency-wait", "slurm-requeue"),
    "slurm-init-seconds-before-status-checks",
}


def read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((PROFILES / name / "config.yaml").read_text())
    return values


@pytest.mark.parametrize("name", [name for name in ON_SLURM if name != "slurm"])
def test_a_site_changes_nothing_but_what_differs_between_sites(name: str) -> None:
    base, site = read("slurm"), read(name)
    changed = {key for key in base.keys() | site.keys() if base.get(key) != site.get(key)}
    assert changed <= SITE_KEYS
    assert base["set-threads"].keys() == site["set-threads"].keys()


@pytest.mark.parametrize("name", ON_SLURM)
def test_no_profile_uses_what_the_executor_breaks_on(name: str) -> None:
    profile = read(name)
    assert not [key for key in profile if "array" in key or "group" in key]
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


def test_rules_that_take_all_cores_have_a_number_of_threads_on_a_cluster() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    rules = re.split(r"^ *rule (\w+):\n", text, flags=re.MULTILINE)
    taking = {name for name, body in zip(rules[1::2], rules[2::2], strict=True) if "threads: ALL_CORES" in body}
    assert len(taking) > 8
    assert read("slurm")["set-threads"].keys() == taking
