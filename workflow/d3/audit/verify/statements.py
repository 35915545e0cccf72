"""Checks of statements against themselves, against each other, and against the files on disk."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from d3.audit.job_graph import Finding, Run
from d3.audit.statements import FOLDERS, Statement, stage_of
from d3.config.engine_kinds import ENGINE_KINDS
from d3.config.models import Config
from d3.core.file_tree import walk
from d3.core.ids import FOREIGN, digest_of, file_digest, folder_files
from d3.core.opt_out import REASON
from d3.pipeline.pipeline import key_of, own_settings
from d3.pipeline.registry import LISTS_OF_MATCHES, STAGES, stage_of_folder
from d3.pipeline.stage import Stage
from d3.provenance.code_digest import digest_of_modules
from d3.provenance.statement import FACTS, SHORT, SUFFIX, settings_digest

DAY = 86400
OPT_OUT = "opt_out"
"""Role of the opt-out list, which grows without making results wrong that hold none of its rows."""
RUNS = "results/runs/"
UNCLAIMED = ("results/lineage/", "resources/wheels/")
"""Folders whose files no statement has to name."""


# --- a statement by itself ----------------------------------------------------------------------------


def check_statement(run: Run, statement: Statement) -> Iterator[Finding]:
    """Yield what is wrong with one statement, without a look at the files."""

    def wrong(what: str) -> Finding:
        return Finding(path=statement.path, what=what, jobs=(statement.path,))

    if statement.path != statement.outputs[0].path + SUFFIX:
        yield wrong(f"is the statement of {statement.outputs[0].path}: it lies at another's place")
    for item in statement.outputs:
        if ".." in Path(item.path).parts or Path(item.path).parts[0] not in FOLDERS:
            yield wrong(
                f"says that it made {item.path}, which is outside of the working folder's {' and '.join(FOLDERS)}"
            )
    counts = statement.counts
    if counts and counts["read"] != counts["kept"] + sum(counts["dropped"].values()):
        yield wrong(f"rows are not conserved: {counts}")
    if counts and counts.get("stage") != statement.stage:
        yield wrong(f"counts the rows of {counts.get('stage')}, not of {statement.stage}")
    try:
        if statement.started > statement.ended or statement.ended > time.time() + DAY:
            yield wrong(f"names impossible times: from {statement.started_on} to {statement.finished_on}")
    except ValueError:
        yield wrong("names no time at which it ran")
    seed = statement.config.get("seed")
    if seed is not None and statement.seed != seed:
        yield wrong(f"seed {statement.seed} is not that of its configuration, {seed}")
    if statement.facts:  # else `check_facts` says that they are lost
        yield from (wrong(what) for what in _facts_differ(statement))
        yield from (wrong(what) for what in _key_differs(statement))
        yield from (wrong(what) for what in _inputs_missing(run, statement))
    elif "shared" in statement.internal:
        yield wrong("its shared facts are no facts")


def _facts_differ(statement: Statement) -> Iterator[str]:
    facts = statement.facts
    if _is_short_of(statement.internal.get("facts"), digest_of(facts)) and isinstance(facts.get("code"), dict):
        if not _is_short_of(statement.code, digest_of_modules(facts["code"])):
            yield "names another digest of the code than the modules in its facts have"
        if statement.settings != settings_digest(facts.get("config")):
            yield "names another digest of the settings than those in its facts have"
    elif "shared" in statement.internal:
        yield "its shared facts do not have the digest that it names"


def _is_short_of(said: object, digest: str) -> bool:
    """Return whether a statement's short digest is the beginning of a whole one."""
    return said == digest[:SHORT]


def _inputs_missing(run: Run, statement: Statement) -> Iterator[str]:
    """Yield inputs that a job of the stage cannot do without, and rows that were read out of none."""
    record = STAGES.get(stage_of(statement.outputs[0].path))
    if record is None:
        return
    for stage in sorted(_expected(record, statement) - {stage_of(item.path) for item in statement.inputs}):
        yield f"names no input of the stage {stage}"
    rows = sum(item.rows or 0 for item in statement.inputs)
    above = STAGES.get(record.rows_of)
    if above and above.name != "source" and above.outputs[0].schema and rows != statement.read:
        yield f"counts {statement.read:,} rows, but of its inputs it read {rows:,}"
    others = [item for item in statement.inputs if stage_of(item.path) not in record.reads]
    engine = statement.config.get(record.section, {}).get("engine", {}).get("kind")
    local = engine in ENGINE_KINDS and ENGINE_KINDS[engine].environment is not None
    tasks = record.over in ("benchmark", "evaluation") and record.name != "scores"
    compared = record.name in LISTS_OF_MATCHES and any(
        stage_of(other.outputs[0].path) == "gate" for other in run.statements.values()
    )
    named = not compared or any(item.role == "tasks" for item in others)
    if not named or (not others and (local or record.trains or tasks)):
        yield "names no model and no tasks that it read"
    if statement.dropped.get(REASON) and not any(item.role == OPT_OUT for item in others):
        yield f"dropped rows as {REASON}, but names no opt-out list"


def _expected(record: Stage, statement: Statement) -> set[str]:
    """Return the stages of which a job reads files under the settings that it ran with."""
    try:
        known = {name: value for name, value in statement.config.items() if name in Config.model_fields}
        config = Config.model_validate(known)
    except ValidationError:  # a secret was taken out
        config = Config()
    return {name for name in record.reads if STAGES[name].when(config)}


def check_facts(run: Run) -> Iterator[Finding]:
    """Yield facts that are missing, changed, or that no statement names."""
    used: dict[str, int] = {}
    for statement in run.statements.values():
        if "shared" not in statement.internal:
            digest = str(statement.internal.get("facts"))
            used[digest] = used.get(digest, 0) + 1
    for digest, jobs in sorted(used.items()):
        path = FACTS / f"{digest}.json"
        try:
            sound = _is_short_of(digest, digest_of(json.loads((run.root / path).read_bytes())))
            what = "does not hold what its name says: edited"
        except FileNotFoundError:
            sound, what = False, "is missing"
        except (OSError, ValueError):
            sound, what = False, "is damaged"
        if not sound:
            yield Finding(path=path.as_posix(), what=f"{what}; {jobs} statements name these facts (restore the file)")


def _key_differs(statement: Statement) -> Iterator[str]:
    """Work out the key of the stage's folder again from what the statement says of its settings."""
    path = statement.outputs[0].path
    stage, parts = stage_of(path), path.split("/")
    record = stage_of_folder(stage)
    if record and not record.has_key:
        return
    if record is None or statement.stage != stage:
        if stage:
            yield f"is of the stage {statement.stage}, but lies in the folder of {stage}"
        return
    read = {stage_of(item.path): item.path.split("/")[2] for item in statement.inputs if stage_of(item.path)}
    upstream = {name: read[name] for name in STAGES[stage].upstream if name in read}
    if stage == "contamination" and "source" in read:
        upstream["source"] = read["source"]
    settings = own_settings(stage, statement.config)
    key = key_of(stage, settings, statement.prompts, upstream)
    if key != parts[2]:
        yield f"its settings, prompts and inputs give the folder {stage}/{key}, not {stage}/{parts[2]}"
    yield from _names_differ(statement, stage, parts, read)


def _names_differ(statement: Statement, stage: str, parts: list[str], read: dict[str, str]) -> Iterator[str]:
    """Work out the names of arms and benchmarks again, which carry digests of their settings."""
    config = statement.config
    if STAGES[stage].over == "arm":
        for name, arm in (config.get("arms") or {}).items():
            history = read.get("midtrain", "") if arm.get("midtrain") or arm.get("same_tokens") else ""
            expected = f"{name}-{digest_of([arm, history])[:8]}"
            if parts[3] != expected:
                yield f"its settings are those of the arm {expected}, not of {parts[3]}"
    for name, benchmark in (config.get("benchmarks") or {}).items() if STAGES[stage].over == "evaluation" else ():
        if parts[3] != f"{name}-{digest_of(benchmark)[:8]}":
            yield f"its settings are those of the benchmark {name}-{digest_of(benchmark)[:8]}, not of {parts[3]}"


# --- files and links ----------------------------------------------------------------------------------


def check_files(run: Run, statement: Statement) -> Iterator[Finding]:
    """Yield outputs that are missing or are not what the statement says, after reading all of them."""
    for item in statement.outputs:
        path = run.root / item.path
        what = ""
        if not path.exists():
            what = "is missing"
        elif file_digest(path) != item.sha256:
            size = _size(path)
            what = "does not hold what its statement says"
            if item.bytes is not None and size != item.bytes:
                what += f": {'cut off' if size < item.bytes else 'changed'}, {size:,} bytes instead of {item.bytes:,}"
        elif item.bytes is not None and _size(path) != item.bytes:
            what = f"its statement names {item.bytes:,} bytes, it has {_size(path):,}"
        if what:
            yield Finding(path=item.path, what=what, jobs=(statement.path,))


def _size(path: Path) -> int:
    return sum(child.stat().st_size for child in (folder_files(path) if path.is_dir() else [path]))


def check_links(run: Run) -> Iterator[Finding]:
    """Yield inputs that are not what their maker says it made, and inputs from outside that changed."""
    seen: dict[str, str | None] = {}
    for statement, item in run.consumers():
        made = run.producer(item.path)
        if made and made[1].path == item.path:
            producer, output = made
            if output.sha256 != item.sha256:
                what = f"read {item.path} when it had other content than {producer.path} says now"
                yield Finding(path=statement.path, what=what, jobs=(statement.path, producer.path))
            elif item.rows is not None and output.rows is not None and item.rows != output.rows:
                what = f"read {item.rows:,} rows of {item.path}, its maker says {output.rows:,}"
                yield Finding(path=statement.path, what=what, jobs=(statement.path, producer.path))
            continue
        if item.path not in seen:
            path = run.root / item.path
            seen[item.path] = file_digest(path) if path.exists() else None
        digest = seen[item.path]
        if digest is None:
            outside = made is None and stage_of(item.path) == ""
            what = f"read {item.path}, which is not there any more"
            yield Finding(path=statement.path, what=what, jobs=() if outside else (statement.path,), note=outside)
        elif digest != item.sha256 and item.role == OPT_OUT:
            what = f"read an older {item.path}; the workflow runs it again if the new one names its rows"
            yield Finding(path=statement.path, what=what, note=True)
        elif digest != item.sha256:
            jobs = (statement.path, *((made[0].path,) if made else ()))
            yield Finding(path=statement.path, what=f"read {item.path}, which has other content now", jobs=jobs)


def check_orphans(run: Run) -> Iterator[Finding]:
    """Yield files below the folders of results that no statement names, and links to folders of other results."""
    tops = [(run.root / folder).resolve() for folder in FOLDERS]
    for place, folders, files in (found for folder in FOLDERS for found in walk(run.root / folder)):
        relative = place.relative_to(run.root).as_posix()
        if run.producer(relative):
            continue
        links = {name: (place / name).resolve() for name in folders if (place / name).is_symlink()}
        inside = [name for name, real in links.items() if any(map(real.is_relative_to, tops))]
        for name in (*inside, *files):
            path = f"{relative}/{name}"
            if path.startswith(RUNS) and (place / name).is_symlink():
                continue  # another name of what a run made, beside its report
            if path.endswith(SUFFIX) or name in FOREIGN or path.startswith(UNCLAIMED) or path in run.made:
                continue
            if (place / name).is_symlink() and relative.startswith("results/runs/"):
                continue  # the check of `run_record` reads these
            if name.endswith(".part"):
                yield Finding(path=path, what="was left by a killed job; the next one removes it", note=True)
            else:
                yield Finding(path=path, what="no statement says who made this")


def check_journals(run: Run) -> Iterator[Finding]:
    """Yield chunks of journals that do not match their name; their entries are worked out again."""
    from d3.core.journal import verify

    for path in verify(run.root / "work" / "journal").damaged:
        yield Finding(path=path.relative_to(run.root).as_posix(), what="is a damaged part of a journal")
