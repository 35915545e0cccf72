"""The statement that a job leaves: what came in, what came out, and everything that decided it.

A statement is an in-toto Statement v1 whose predicate has the shape of SLSA provenance v1. It lies
next to the job's first output as `NAME.prov.json` and is never an input of another rule, since it
holds times and host names. What many jobs share (the settings, the modules of the code, package
versions, the git commit, the interpreter, the engine) is kept once as
`results/lineage/facts/DIGEST.json` inside a workflow; a command that runs alone keeps it in the
statement, as `internalParameters.shared`. `externalParameters.config` is the digest of the settings.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from d3.core.ids import canonical_json, canonical_path, digest_of
from d3.core.tables import written_whole
from d3.errors import InputError
from d3.provenance import resource_usage, runtime
from d3.provenance.attempts import count_attempts, moment
from d3.provenance.code_digest import digest_of_modules
from d3.provenance.redact import scrub

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:d3:stage:v1"
BUILDER = "urn:d3"
SHORT = 32
"""Hexadecimal digits of the digests of settings, code and facts; files have all 64."""
SUFFIX = ".prov.json"
FACTS = Path("results/lineage/facts")


def statement_path(output: Path) -> Path:
    """Return the path of the statement of the job whose first output this is."""
    return output.parent / f"{output.name}{SUFFIX}"


def descriptor(path: Path, sha256: str, **annotations: Any) -> dict[str, Any]:
    """Return an in-toto resource descriptor; annotations that are None are left out."""
    kept = {name: value for name, value in annotations.items() if value is not None}
    return {"name": canonical_path(path), "digest": {"sha256": sha256}, "annotations": kept}


@dataclass(kw_only=True)
class Told:
    """What a job says about itself."""

    stage: str
    config: Any
    prompts: dict[str, str]
    modules: dict[str, str]
    """Digests of the code's modules; see `d3.provenance.code_digest.code_modules`."""
    outputs: Sequence[Mapping[str, Any]]
    inputs: Sequence[Mapping[str, Any]]
    counts: Mapping[str, Any]
    """Rows read, kept and dropped by reason."""
    seed: int | None
    started: float
    """Seconds since the epoch."""
    ended: float
    engine: Any = None
    """What answers: kind, model, types, versions."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further internal parameters of the stage."""


def more_packages(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the packages that a job's settings name: what its linter may resolve decides the diffs."""
    return tuple(settings.get("diffs", {}).get("packages", ()))


def settings_digest(scrubbed: Any) -> str:
    """Return the digest by which a statement names the settings of its job, which are free of secrets."""
    return digest_of(scrubbed)[:SHORT]


def write_statement(path: Path, told: Told) -> None:
    """Write a job's statement, and the facts that it shares with others unless they are there."""
    run = runtime.run_facts()
    environment = runtime.environment(more_packages(told.config))
    shared = scrub(
        {
            "config": told.config,
            "code": told.modules,
            "packages": environment.packages,
            "interpreter": runtime.interpreter(),
            "git": run.get("git"),
            "engine": told.engine,
        }
    )
    facts = digest_of(shared)[:SHORT]
    internal = {
        "code": digest_of_modules(told.modules)[:SHORT],
        "facts": facts,
        "environment": environment.told(),
        "attempts": count_attempts(Path(str(told.outputs[0]["name"]))) if told.outputs else 1,
        "seed": told.seed,
        **told.more,
    }
    places = {"slurm": runtime.slurm(), "gpu": runtime.gpu()}
    internal |= {name: place for name, place in places.items() if place is not None}
    if runtime.RUN in os.environ:
        _keep(FACTS / f"{facts}.json", shared)
    else:
        internal["shared"] = shared
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": list(told.outputs),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "stage": told.stage,
                    "config": settings_digest(shared["config"]),
                    "prompts": told.prompts,
                },
                "internalParameters": internal,
                "resolvedDependencies": list(told.inputs),
            },
            "runDetails": {
                "builder": {"id": BUILDER},
                "metadata": {
                    "host": runtime.host(),
                    "invocationId": run.get("invocation"),
                    "startedOn": moment(told.started),
                    "finishedOn": moment(told.ended),
                },
                "byproducts": [
                    {"name": "rows", "content": told.counts},
                    {"name": "usage", "content": resource_usage.used()},
                ],
            },
        },
    }
    with written_whole(path) as part:
        part.write_text(canonical_json(statement) + "\n", encoding="utf-8")


def _keep(path: Path, facts: dict[str, Any]) -> None:
    if not path.exists():
        with written_whole(path) as part:
            part.write_text(json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_statement(path: Path) -> dict[str, Any]:
    """Read a statement; raises InputError for a missing file or one that is none."""
    try:
        statement = json.loads(path.read_bytes())
        build = statement["predicate"]["buildDefinition"] if statement["_type"] == STATEMENT_TYPE else {}
        if {"config", "prompts"} <= build.get("externalParameters", {}).keys():
            return dict(statement)
        reason = "is no statement of this version of the pipeline"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = "is no statement: damaged"
    raise InputError(reason, where=str(path), remedy="run the job again")


def shared_facts(statement: Mapping[str, Any], root: Path = Path()) -> dict[str, Any]:
    """Return the facts that a statement names, or an empty dict when their file is lost.

    `root` is the working folder.
    """
    return facts_of(statement["predicate"]["buildDefinition"]["internalParameters"], root)


def facts_of(internal: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return the facts that the internal parameters of a job name; an empty dict when their file is lost."""
    if "shared" in internal:
        shared = internal["shared"]
        return shared if isinstance(shared, dict) else {}
    path = root / FACTS / f"{internal.get('facts')}.json"
    try:
        return _read_facts(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return {}


@lru_cache(maxsize=256)
def _read_facts(path: Path, mtime_ns: int) -> dict[str, Any]:
    facts = json.loads(path.read_bytes())
    return facts if isinstance(facts, dict) else {}
