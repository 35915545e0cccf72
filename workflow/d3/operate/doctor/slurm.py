"""Checks of a SLURM cluster: it answers, it keeps accounts, its partitions fit the jobs."""

import contextlib
import re
from pathlib import Path
from typing import Any

import yaml

from d3.core.programs import last_line
from d3.operate import slurm
from d3.operate.doctor.findings import Finding, Level, Place
from d3.operate.slurm import Partition, read_partitions
from d3.pipeline.registry import STAGES
from d3.pipeline.resources import needs
from d3.pipeline.stage import Resources, Stage

POLLS = 3
"""The executor plugin asks squeue only if jobs are remembered for so many times its first wait."""

SHOWN = 3
"""Stages without a partition that are named."""


def controller(place: Place) -> Finding:
    """Check that SLURM is there and answers."""
    level: Level = "fail" if place.slurm else "ok"
    for program in slurm.PROGRAMS:
        status, text = slurm.version(program)
        if status is None:
            return Finding(level, f"no SLURM here: {text}", "go to a login node of the cluster" if place.slurm else "")
    version = last_line(text)
    status, text = slurm.ping()
    if status != 0 or "UP" not in text:
        remedy = "wait until slurmctld is up again: scontrol ping"
        return Finding("fail" if place.slurm else "warn", f"SLURM does not answer: {last_line(text)}", remedy)
    return Finding("ok", f"{version} answers")


def accounting(place: Place) -> Finding:
    """Check what SLURM remembers of ended jobs: the profile's way to ask needs the one or the other."""
    command = str(place.profile.get("slurm-status-command", "sacct"))
    keeps = slurm.accounting().status == 0
    if command == "sacct" and place.slurm and not keeps:
        remedy = "set slurm-status-command: squeue in the profile, else ended jobs are never noticed"
        return Finding("fail", "the profile asks sacct, but accounts are off or their daemon is down", remedy)
    status, text = slurm.configuration()
    if status != 0:
        return Finding("ok" if not place.slurm else "warn", "SLURM's settings cannot be read: " + last_line(text))
    found = re.search(r"^MinJobAge\s*=\s*(\d+)", text, re.MULTILINE)
    remembered = int(found[1]) if found else 300
    wait = int(place.profile.get("slurm-init-seconds-before-status-checks", 40))
    if place.slurm and remembered < POLLS * wait:
        remedy = f"set slurm-init-seconds-before-status-checks to {max(remembered // POLLS, 1)} or less"
        return Finding("fail", f"SLURM forgets ended jobs after {remembered} s (MinJobAge)", remedy)
    kept = "accounts are kept" if keeps else "no accounts (none are needed)"
    return Finding("ok", f"ended jobs are remembered for {remembered} s; {kept}")


def partitions(place: Place) -> Finding:
    """Check that every stage's job fits into a partition: time, memory, GPUs."""
    status, text = slurm.partitions()
    if status != 0:
        return Finding("fail" if place.slurm else "ok", f"no partitions: {last_line(text)}")
    there = read_partitions(text)
    named = wanted_names(place)
    lost = sorted(named - {partition.name for partition in there})
    if place.slurm and lost:
        names = ", ".join(partition.name for partition in there)
        remedy = f"name those of `sinfo` in the profile: {names}"
        return Finding("fail", f"the profile names no partition of this cluster: {', '.join(lost)}", remedy)
    usable = [partition for partition in there if partition.up and (not named or partition.name in named)]
    submitted = {stage: needs(place.chain, stage.name) for stage in STAGES.values() if not stage.local}
    misfits = [text for stage, need in submitted.items() if (text := misfit(stage, need, place.profile, usable))]
    if misfits:
        remedy = "set runtime, mem_mb or gres in set-resources, or cores in set-threads of the profile"
        more = [f"{len(misfits) - SHOWN} more stages"] if len(misfits) > SHOWN else []
        return Finding("fail" if place.slurm else "warn", "; ".join([*misfits[:SHOWN], *more]), remedy)
    longest = max((partition.minutes or float("inf") for partition in usable), default=0)
    limit = "no limit" if longest == float("inf") else f"{longest / 60:,.0f} h"
    return Finding("ok", f"{len(usable)} partitions fit every stage; longest time limit: {limit}")


def wanted_names(place: Place) -> set[str]:
    """Return the partitions that a profile names, itself or in its table."""
    names = {resources.get("slurm_partition") for resources in _resources(place.profile)}
    table = place.profile.get("slurm-partition-config")
    if table and place.folder:
        path = Path(table) if Path(table).is_absolute() else place.folder / Path(table).name
        with contextlib.suppress(OSError):
            names |= set((yaml.safe_load(path.read_text()) or {}).get("partitions", {}))
    return {str(name) for name in names if name}


def _resources(profile: dict[str, Any]) -> list[dict[str, Any]]:
    default = profile.get("default-resources") or {}
    rules = profile.get("set-resources") or {}
    return [item for item in [default, *rules.values()] if isinstance(item, dict)]


def misfit(stage: Stage, need: Resources, profile: dict[str, Any], there: list[Partition]) -> str:
    """Say why no partition takes a stage's job, or nothing; lines of the profile go before the stage's own."""
    rules = profile.get("set-resources") or {}
    own = rules.get(stage.rule)
    own = own if isinstance(own, dict) else {}
    minutes = _value(own.get("runtime"), need.minutes)
    gres = re.search(r"(\d+)$", str(own.get("gres", need.gpus)))
    gpus = int(gres[1]) if gres else need.gpus
    threads = int((profile.get("set-threads") or {}).get(stage.rule, 1))
    memory = _value(own.get("mem_mb"), need.memory_mb + need.memory_mb_per_thread * threads)
    fits = [item for item in there if item.gpus >= gpus and item.memory_mb >= memory and item.cpus >= threads]
    if not fits:
        return f"{stage.name}: no partition has {gpus} GPUs, {memory:,.0f} MB and {threads} cores on a node"
    longest = max(item.minutes if item.minutes is not None else float("inf") for item in fits)
    return (
        f"{stage.name}: takes up to {minutes:,.0f} min, its partitions allow {longest:,.0f}"
        if longest < minutes
        else ""
    )


def _value(given: Any, else_: float) -> float:
    """Return a number of the profile; an expression in `attempt` counts for the first attempt."""
    found = re.match(r"\s*(\d+)", str(given)) if given is not None else None
    return float(found[1]) if found else float(else_)
