"""What a run would do and why, in plain words: Snakemake's dry run with the reasons of `d3.provenance.staleness`.

`job_states` asks for all jobs at once, `explain` puts the answer about one file into words.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from d3.config.models import Config
from d3.core.ids import canonical_path
from d3.core.paths import REPOSITORY, SNAKEFILE
from d3.errors import InputError, ToolError
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.provenance.staleness import MISSING, SAME, UNMADE, Judge, changed_settings
from d3.provenance.statement import SUFFIX, shared_facts

NO_RULE = ("MissingRuleException", "MissingInputException", "No rule to produce")


class JobState(NamedTuple):
    """What would happen to one job."""

    rule: str
    stage: str
    outputs: list[str]
    state: str
    """`fresh`; `stale` for reasons of its own; `follows`: only since a job before it runs, and not at all
    when that one comes out the same; `forced` on the command line."""
    reasons: list[str]
    after: list[str]
    """First outputs of the jobs before it that run."""
    inputs: list[str]


def job_states(
    targets: Sequence[str] = (), config: Config | None = None, *, folder: Path | None = None, more: Sequence[str] = ()
) -> list[JobState]:
    """Return the state of every job that leads to some targets (files or rules; none: the report).

    `config` None takes the workflow's own; `folder` is the working folder, `more` further options of
    Snakemake. Raises ToolError with what Snakemake says when there is no way to a target.
    """
    snakemake = shutil.which(Path(sys.executable).with_name("snakemake")) or shutil.which("snakemake")
    if snakemake is None:
        raise ToolError("Snakemake is not installed here", remedy="run `make setup`")
    with tempfile.TemporaryDirectory() as scratch:
        reasons, settings = Path(scratch, "reasons.json"), Path(scratch, "config.yaml")
        line = [snakemake, "--snakefile", str(SNAKEFILE), "--dry-run", "--nolock", "--quiet=all"]
        line += [
            "--workflow-profile",
            str(REPOSITORY / "profiles" / "default"),
            "--directory",
            str(folder or Path.cwd()),
        ]
        if config is not None:
            settings.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
            line += ["--configfile", str(settings)]
        environment = os.environ | {"D3_REASONS": str(reasons)}
        line += [*more, "--", *targets]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=folder, check=False)
        if not reasons.is_file():
            said = [text.strip() for text in (done.stdout + done.stderr).splitlines() if text.strip()]
            if any(name in text for name in NO_RULE for text in said):
                raise InputError("no job makes it", where=", ".join(targets), remedy="name a file below results/")
            reason = f"Snakemake cannot plan it ({(said or ['no message'])[-1]})"
            raise ToolError(reason, remedy="check the configuration")
        return [JobState(**state) for state in json.loads(reasons.read_bytes())]


def explain(states: Sequence[JobState], target: str) -> list[str]:
    """Say of one file whether it would be made again and why, in lines; raises InputError for a foreign file."""
    name = canonical_path(target.removesuffix(SUFFIX))
    by_output = {output: state for state in states for output in state.outputs}
    state = next((by_output[part] for part in [name, *map(str, Path(name).parents)] if part in by_output), None)
    if state is None:
        raise InputError("no job of this configuration makes it", where=target, remedy="name a file below results/")
    if state.state == "fresh":
        return [f"{name}: up to date", *_grounds(state, by_output)]
    if state.state == "forced":
        return [f"{name}: would be made again because that was asked for"]
    if state.reasons:
        return [f"{name}: {_verdict(state)}", *(f"    {reason}" for reason in state.reasons)]
    lines = [f"{name}: is made again if what it reads comes out otherwise:"]
    for cause in _causes(state, by_output):
        lines.append(f"    {cause.outputs[0]}: {_verdict(cause)}")
        lines += [f"        {reason}" for reason in cause.reasons]
    return lines


def _verdict(state: JobState) -> str:
    """Return what the reasons of a job come to in one word or two."""
    absent = [reason for reason in state.reasons if reason.endswith((MISSING, UNMADE))]
    return "stale" if len(absent) < len(state.reasons) else "missing" if absent[0].endswith(MISSING) else "not made yet"


def _causes(state: JobState, by_output: dict[str, JobState]) -> list[JobState]:
    """Return the jobs with reasons of their own that a job follows, the nearest first."""
    found: list[JobState] = []
    seen: set[str] = set()
    waiting = list(state.after)
    while waiting:
        output = waiting.pop(0)
        before = by_output.get(output)
        if before is None or before.outputs[0] in seen:
            continue
        seen.add(before.outputs[0])
        if before.reasons:
            found.append(before)
        waiting += before.after
    return found


def _grounds(state: JobState, by_output: Mapping[str, JobState]) -> list[str]:
    """Return what proves that a fresh file is up to date, in lines."""
    judge = Judge()
    statement = judge.statement(state.outputs)
    if not isinstance(statement, dict):
        return []
    build, details = (statement["predicate"][part] for part in ("buildDefinition", "runDetails"))
    inner = build["internalParameters"]
    environment = inner["environment"]
    return [
        f"    made {details['metadata']['finishedOn']} by the stage {state.stage}; settings, prompts, code "
        f"({inner['code'][:12]}) and {environment['kind']} {environment['name']} are the same today",
        *(
            f"    input {item['name']} {SAME.get(found, f'is {found}, which decides nothing here')}"
            for item in build["resolvedDependencies"]
            if (found := judge.compare(item, by_output[item["name"]].outputs if item["name"] in by_output else ()))
        ),
    ]


def elsewhere(config: Config, target: str) -> list[str] | None:
    """Say which settings put a file's stage into another folder today, in lines; None: they do not.

    A file whose settings, or those of a stage before it, are not those of `config` belongs to another
    configuration: it stays as it is, beside the new one.
    """
    name = canonical_path(target.removesuffix(SUFFIX))
    chain = Chain(config)
    parts = Path(name).parts
    if len(parts) < 3 or parts[0] != chain.results or parts[1] not in STAGES:
        return None
    folder = chain.folder(parts[1])
    if "/".join(parts[:3]) == folder:
        return None
    lines = [f"{name}: belongs to other settings; with these the files lie in {folder}"]
    judge, seen, waiting = Judge(), {name}, [name]
    while waiting:
        file = waiting.pop(0)
        statement = judge.statement([file])
        if not isinstance(statement, dict):
            continue
        build = statement["predicate"]["buildDefinition"]
        stage = Path(file).parts[1]
        if stage in STAGES:
            found = list(changed_settings(shared_facts(statement).get("config"), chain.deciding(stage)))
            lines += [f"    {words} (stage {stage})" for words in found]
        for item in build["resolvedDependencies"]:
            if item["name"].startswith(f"{chain.results}/") and item["name"] not in seen:
                seen.add(item["name"])
                waiting.append(item["name"])
    return list(dict.fromkeys(lines))
