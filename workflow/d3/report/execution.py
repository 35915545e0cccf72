"""How a run was executed: times, machines, commits, cost and throughput, from the statements of its jobs.

These are the only numbers of the report that two runs of equal results do not share. They are a section of their own,
`execution`, so that whatever compares reports can leave it out.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from d3.config.fields import EMBEDDED
from d3.config.models import Config
from d3.core.tables import Row
from d3.errors import InputError
from d3.pipeline.pipeline import MODEL_NAME
from d3.pipeline.registry import STAGES
from d3.provenance.attempts import moment
from d3.provenance.statement import read_statement, shared_facts, statement_path

MOST_NAMES = 8
"""Hosts, commits and devices that are named."""
USED = ("cpu_seconds", "cost_millionths", "asked", "prompt_tokens", "answer_tokens")
"""What statements add up to; see `d3.provenance.resource_usage`."""


def execution(outputs: Iterable[Path], metrics: Mapping[str, Path]) -> Row:
    """Return how the jobs that wrote some first outputs were executed, and the throughput of training runs.

    `started` and `finished` are the earliest and the latest time (ISO 8601, UTC), None without a statement;
    `job_seconds` adds up the jobs' times; `cost` is money at `engine.price`, None without prices. `metrics` are
    `metrics.jsonl` files by training run (`midtrain` or the name of an arm); those that are missing are left out.
    """
    found = [statement for path in outputs if (statement := _statement(path)) is not None]
    times = [_times(statement) for statement in found]
    spans = [span for span in times if span is not None]
    used: Counter[str] = Counter()
    hosts, devices, commits, systems, stages = (Counter[str]() for _ in range(5))
    environments: dict[str, Row] = {}
    for statement, span in zip(found, times, strict=True):
        build, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
        internal, facts = build.get("internalParameters", {}), shared_facts(statement)
        usage: Row = next((item["content"] for item in details.get("byproducts", ()) if item["name"] == "usage"), {})
        used.update({name: usage[name] for name in USED if isinstance(usage.get(name), int | float)})
        hosts[str(details["metadata"].get("host"))] += 1
        devices.update(dict.fromkeys(map(str, (internal.get("gpu") or {}).get("models", ())), 1))
        git, system = facts.get("git") or {}, facts.get("interpreter") or {}
        if git.get("commit"):
            commits[f"{git['commit'][:12]}{' (modified)' if git.get('dirty') else ''}"] += 1
        if system:
            systems[f"{system.get('system')} {system.get('machine')}, Python {system.get('python')}"] += 1
        environment = internal.get("environment") or {}
        if environment.get("name") and len(environments) < MOST_NAMES:
            packages = dict(sorted((facts.get("packages") or {}).items()))
            said = {name: environment.get(name) for name in ("kind", "identity")}
            environments.setdefault(str(environment["name"]), {**said, "packages": packages})
        if span is not None:
            stages[str(build["externalParameters"].get("stage"))] += round(span[1] - span[0])
    return {
        "jobs": len(found),
        "started": moment(min(start for start, _ in spans)) if spans else None,
        "finished": moment(max(end for _, end in spans)) if spans else None,
        "seconds": round(max(end for _, end in spans) - min(start for start, _ in spans)) if spans else None,
        "job_seconds": round(math.fsum(end - start for start, end in spans)),
        "cpu_seconds": round(used["cpu_seconds"]),
        "cost": used["cost_millionths"] / 1e6 if "cost_millionths" in used else None,
        **{name: int(used[name]) for name in ("asked", "prompt_tokens", "answer_tokens")},
        "hosts": _names(hosts),
        "devices": _names(devices),
        "commits": _names(commits),
        "systems": _names(systems),
        "stage_seconds": {stage: stages[stage] for stage in sorted(stages, key=list(STAGES).index) if stage in STAGES},
        "environments": dict(sorted(environments.items())),
        "throughput": {name: _speed(path) for name, path in metrics.items() if path.is_file()},
    }


def _statement(path: Path) -> dict[str, Any] | None:
    """Return the statement beside an output; None for a file that came without one."""
    try:
        return read_statement(statement_path(path))
    except InputError:
        return None


def _times(statement: Mapping[str, Any]) -> tuple[float, float] | None:
    metadata = statement["predicate"]["runDetails"]["metadata"]
    try:
        start, end = (datetime.fromisoformat(metadata[name]).timestamp() for name in ("startedOn", "finishedOn"))
    except (KeyError, TypeError, ValueError):
        return None
    return start, end


def _names(counts: Counter[str]) -> list[str]:
    """Return the names with the most jobs, and how many others there are."""
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    more = len(ordered) - MOST_NAMES
    return ordered[:MOST_NAMES] + ([f"{more} more"] if more > 0 else [])


def _speed(path: Path) -> Row:
    """Return tokens per second of the steps of a training run, and their median; None without a step."""
    steps = list(_throughput(path))
    return {"median": median(step["tokens_per_second"] for step in steps) if steps else None, "steps": steps}


def _throughput(path: Path) -> Iterator[Row]:
    """Yield step and tokens per second of the lines of a metrics file; a line that a killed run tore is left out."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
            step, rate = values["step"], values["tokens_per_second"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(step, int) and isinstance(rate, int | float) and math.isfinite(rate):
            yield {"step": step, "tokens_per_second": rate}


# --- names -----------------------------------------------------------------------------------------


def models_of(config: Config) -> dict[str, str]:
    """Return the name of every model of a run by what it is used for, with its commit on the hub."""
    found = {"base": model_name(config.model.path, config.model.revision)}
    for stage in ("grades", "labels"):
        section = getattr(config, stage)
        if section.mode == "model":
            found[stage] = model_name(section.engine.model, section.engine.revision)
        else:
            found[stage] = f"none (mode: {section.mode})"
    return found


def model_name(model: str, revision: str | None) -> str:
    """Return the name of a model: its id on the hub with the commit, the name of its folder, or of the embedded one."""
    if model == EMBEDDED:
        return f"{MODEL_NAME} (embedded)"
    name = file_name(model)
    return f"{name} @ {revision[:12]}" if revision else name


def file_name(path: str) -> str:
    """Return the last part of a path; an id of the hub is whole."""
    return path.rstrip("/").rpartition("/")[2] if path.startswith(("/", ".", "~")) else path
