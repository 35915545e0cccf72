"""Does this machine have what a run needs? Every check on one line: ok, or what to do."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from d3.errors import D3Error
from d3.operate.doctor import machine, slurm
from d3.operate.doctor.findings import Finding, Place
from d3.operate.snakemake_arguments import read_profile
from d3.pipeline.pipeline import Chain

Check = Callable[[Place], Finding]
CHECKS: dict[str, Check] = {
    "python": machine.python,
    "environments": machine.environments,
    "apptainer": machine.apptainer,
    "namespaces": machine.namespaces,
    "subuids": machine.subuids,
    "images": machine.images,
    "sandbox": machine.sandbox,
    "slurm": slurm.controller,
    "accounting": slurm.accounting,
    "partitions": slurm.partitions,
    "gpus": machine.gpus,
    "space": machine.space,
    "hub token": machine.token,
    "models": machine.models,
}
AT_ONCE = 4
"""Checks mostly wait for programs."""


def place_of(chain: Chain, profile: Path | None) -> Place:
    """Return what is to be checked; raise ConfigError for a profile that cannot be read."""
    if profile is None:
        return Place(chain, {})
    return Place(chain, read_profile(profile), profile if profile.is_dir() else profile.parent)


def examine(place: Place) -> Iterator[tuple[str, Finding]]:
    """Yield (check, finding) in the order of `CHECKS`; a check that cannot be made is a finding too."""

    def one(check: Check) -> Finding:
        try:
            return check(place)
        except D3Error as error:
            return Finding("fail", str(error))
        except Exception as error:  # what one machine has that no other does must not hide the other checks
            return Finding("warn", f"could not be checked ({type(error).__name__}: {error})", "check it by hand")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from zip(CHECKS, pool.map(one, CHECKS.values()), strict=True)


def line(check: str, finding: Finding) -> str:
    """Write a finding on one line."""
    remedy = f" -> {finding.remedy}" if finding.remedy and finding.level != "ok" else ""
    return " ".join(f"{finding.level:<4}  {check:<12}  {finding.text}{remedy}".splitlines())
