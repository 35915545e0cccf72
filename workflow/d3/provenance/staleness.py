"""Why a file must be made again, in words, or that it need not: wishes against statements.

    judge = Judge()
    judge.reasons(Wanted(stage="grades", config=..., ...))   # [] or ["setting grades.threshold was 2, is 3"]

The statement beside a file tells what made it. A job is stale when it would be made otherwise today:
another setting, prompt, module, package or input. Inputs and outputs are compared by content (see
`d3.provenance.digest_cache` for what is not read again). An input that another job makes is what that
job's statement says: if its file is missing or damaged, that job is stale, and this one only follows.
Nothing here knows Snakemake.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from d3.core.ids import canonical_path, file_digest
from d3.errors import InputError
from d3.provenance.code_digest import IMPORTS
from d3.provenance.digest_cache import Cache, Stamp, stamp
from d3.provenance.environments import Environment, image_packages
from d3.provenance.redact import scrub
from d3.provenance.statement import SUFFIX, read_statement, settings_digest, shared_facts, statement_path

SHOWN = 4
"""How many packages or inputs one reason names."""
UNMADE = "is not made yet"
MISSING = "is missing"
Found = Literal["missing", "changed", "unread", "read", "recorded"]
"""How a file compares with what was recorded of it; see `SAME`."""
SAME: dict[Found, str] = {
    "unread": "has the size, times and inode that it had",
    "read": "was read and has the same content",
    "recorded": "is recorded with the same content by the job that makes it",
}
"""What proves that a file has the same content, in words."""


@dataclass(kw_only=True)
class Wanted:
    """What a job would be today."""

    stage: str
    config: Mapping[str, Any] | None
    """The part of the configuration that the stage reads; None: the job is told none."""
    prompts: Mapping[str, str]
    modules: Mapping[str, str]
    """Digests of the code's modules."""
    code: str
    """Digest of `modules`."""
    environment: Environment | None = None
    """The environment it would run in; None: that of its statement, as it is today."""
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Every input, with the outputs of the job that makes it (none for a source file)."""
    outputs: Sequence[str] = ()
    opt_out: Path | None = None
    """The opt-out list; only for jobs of the corpus."""


class Judge:
    """Compares jobs with their statements; what was read is kept until `forget`."""

    def __init__(self, cache: Cache | None = None) -> None:
        self.cache = cache or Cache.of_head()
        self.mixed: dict[str, str] = {}
        """First outputs whose statement tells of the other kind of environment, and that kind."""
        self._stamps: dict[str, Stamp | None] = {}
        self._digests: dict[str, str] = {}
        self._sound: dict[str, bool] = {}
        self._scrubbed: dict[int, tuple[Mapping[str, Any], str]] = {}
        self._statements: dict[str, dict[str, Any] | InputError | None] = {}

    def forget(self, outputs: Sequence[str]) -> None:
        """Drop what is known about some files, because a job has just written them."""
        for output in outputs:
            for path in [known for known in self._stamps if known == output or known.startswith(f"{output}/")]:
                del self._stamps[path]
                self._digests.pop(path, None)
            self._statements.pop(output, None)
            self._sound.pop(output, None)

    def reasons(self, wanted: Wanted) -> list[str]:
        """Return every reason why a job must run again; an empty list when it need not."""
        missing = [name for name in wanted.outputs if self._stamp(name) is None]
        statement = self.statement(wanted.outputs)
        if missing:
            return [f"output {name} {UNMADE if statement is None else MISSING}" for name in missing]
        if statement is None:
            return ["no statement: never finished"]
        if isinstance(statement, InputError):
            return [f"the file beside it {statement.reason}"]
        build = statement["predicate"]["buildDefinition"]
        outer, inner = build["externalParameters"], build["internalParameters"]
        return [
            *self._outputs(wanted, statement),
            *self._settings(outer["config"], statement, wanted.config),
            *_prompts(outer["prompts"], wanted.prompts),
            *_modules(inner["code"], statement, wanted),
            *self._environment(inner["environment"], statement, wanted),
            *self._inputs(build["resolvedDependencies"], wanted),
        ]

    def statement(self, outputs: Sequence[str]) -> dict[str, Any] | InputError | None:
        """Return the statement about some outputs, what is wrong with it, or None if there is none."""
        for output in outputs:
            if output not in self._statements:
                path = statement_path(Path(output))
                try:
                    self._statements[output] = read_statement(path) if path.is_file() else None
                except InputError as error:
                    self._statements[output] = error
            if self._statements[output] is not None:
                return self._statements[output]
        return None

    def _settings(self, before: str, statement: Mapping[str, Any], config: Mapping[str, Any] | None) -> Iterator[str]:
        if config is None:
            return
        if id(config) not in self._scrubbed:  # jobs of one stage share the object, which is kept: its id stays its own
            self._scrubbed[id(config)] = (config, settings_digest(scrub(config)))
        if before == self._scrubbed[id(config)][1]:
            return
        facts = shared_facts(statement)
        if "config" in facts:
            yield from changed_settings(facts["config"], config)
        else:
            yield "the settings changed"

    # --- files --------------------------------------------------------------------------------------

    def compare(self, item: Mapping[str, Any], makers: Sequence[str] = ()) -> Found:
        """Compare a file with its descriptor in a statement; `makers` are the outputs of the job that makes it."""
        name, recorded = item["name"], item["digest"]["sha256"]
        maker = self.statement(makers)
        for subject in maker["subject"] if isinstance(maker, dict) else ():
            if subject["name"] == name:
                return "recorded" if subject["digest"]["sha256"] == recorded else "changed"
        now = self._stamp(name)
        if now is None:
            return "missing"
        if now.state == item.get("annotations", {}).get("state") and not self.cache.paranoid:
            return "unread"
        return "read" if self._digest(name, now) == recorded else "changed"

    def _stamp(self, name: str) -> Stamp | None:
        if name not in self._stamps:
            try:
                self._stamps[name] = stamp(Path(name))
            except OSError:
                self._stamps[name] = None
        return self._stamps[name]

    def _digest(self, name: str, seen: Stamp) -> str:
        if name not in self._digests:
            self._digests[name] = self.cache.digest(Path(name), seen)
        return self._digests[name]

    def _finished(self, outputs: Sequence[str]) -> bool:
        """Return whether the outputs of a job are what it wrote."""
        first = outputs[0]
        if first not in self._sound:
            statement = self.statement(outputs)
            named = {_name(output) for output in outputs}
            subjects = statement["subject"] if isinstance(statement, dict) else []
            same = [item["name"] for item in subjects if item["name"] in named and self.compare(item) in SAME]
            self._sound[first] = len(same) == len(named)
        return self._sound[first]

    def _outputs(self, wanted: Wanted, statement: Mapping[str, Any]) -> Iterator[str]:
        subjects = {subject["name"]: subject for subject in statement["subject"]}
        for output in wanted.outputs:
            subject = subjects.get(_name(output))
            if subject is None:
                yield f"output {output} is not in the statement"
            elif self.compare(subject) == "changed":
                yield f"output {output} is not what the job wrote"

    def _inputs(self, recorded: Sequence[Mapping[str, Any]], wanted: Wanted) -> Iterator[str]:
        declared = {_name(name): outputs for name, outputs in wanted.inputs.items()}
        met: set[str] = set()
        found: dict[str, list[str]] = {"gone": [], "missing": [], "changed": []}
        for item in recorded:
            name, notes = item["name"], item.get("annotations", {})
            if notes.get("role") == "opt_out":
                continue
            owner = next((part for part in _ancestors(name) if part in declared), None)
            if owner is None and notes.get("declared", True):
                found["gone"].append(name)
                continue
            met.update([owner] if owner else [])
            makers = declared.get(owner or "", ())
            if makers and not self._finished(makers):
                continue
            state = self.compare(item, makers)
            elsewhere = state == "missing" and owner is None  # a package's file, in another environment
            if state in found and not elsewhere:
                found[state].append(name)
        yield from _listed(found["changed"], "has other content", "have other content")
        yield from _listed(found["missing"], MISSING, "are missing")
        yield from _listed(found["gone"], "is no longer read", "are no longer read")
        yield from _listed([name for name in declared if name not in met], "is new", "are new")
        yield from self._opted_out(recorded, wanted)

    def _opted_out(self, recorded: Sequence[Mapping[str, Any]], wanted: Wanted) -> Iterator[str]:
        from d3.core.opt_out import NOBODY, read_opt_out, touches

        lists = [item["digest"]["sha256"] for item in recorded if item.get("annotations", {}).get("role") == "opt_out"]
        list_stamp = self._stamp(str(wanted.opt_out)) if wanted.opt_out else None
        now = [self._digest(str(wanted.opt_out), list_stamp)] if list_stamp else []
        if lists == now:
            return
        files = [Path(name) for name in wanted.outputs[:2]]
        state = f"{now} {[self._stamp(str(path)) for path in files]}"
        entries = read_opt_out(wanted.opt_out) if wanted.opt_out else NOBODY
        noted = self.cache.notes(f"opt-out {files}", state, lambda: {"touches": touches(entries, *files)})
        if noted["touches"]:
            yield "the opt-out list names other rows of these files than before"

    # --- environments -------------------------------------------------------------------------------

    def _environment(self, told: Mapping[str, Any], statement: Mapping[str, Any], wanted: Wanted) -> Iterator[str]:
        now = wanted.environment
        if now is None:
            return
        if told["kind"] != now.kind:
            self.mixed[wanted.outputs[0]] = str(told["kind"])
            return
        what = f"{'image' if now.kind == 'image' else 'environment'} {now.name}"
        if now.identity is None or told["identity"] is None:
            if now.kind == "image" and told.get("path") != now.path:
                yield f"{what}: was {told.get('path')}, is {now.path}"
            return
        if told["identity"] == now.identity:
            return
        before = shared_facts(statement).get("packages", {})
        packages = image_packages(Path(now.path)) if now.path else now.packages
        lines = [
            f"{name} {before.get(name, 'absent')} -> {packages.get(name, 'absent')}"
            for name in sorted(before.keys() | packages.keys())
            if before.get(name) != packages.get(name)
        ]
        words = f"package {_some(lines)}" if before and packages and lines else "has other content"
        yield f"{what}: {words}"


# --- differences in words ---------------------------------------------------------------------------


def _name(path: str) -> str:
    return canonical_path(path) if path.startswith(("/", ".")) else path


def _ancestors(name: str) -> Iterator[str]:
    yield name
    while "/" in name.strip("/"):
        name = name.rpartition("/")[0]
        yield name


def _some(items: Sequence[str]) -> str:
    shown = ", ".join(items[:SHOWN])
    return shown if len(items) <= SHOWN else f"{shown} and {len(items) - SHOWN} more"


def _listed(names: Sequence[str], one: str, many: str) -> Iterator[str]:
    if names:
        yield f"input {names[0]} {one}" if len(names) == 1 else f"inputs {_some(names)} {many}"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def changed_settings(before: Any, now: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield which settings differ between two identities (see `d3.config.identity`)."""
    if now is None:
        return
    old, new = dict(_leaves(before)), dict(_leaves(scrub(now)))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        if name not in new:
            yield f"setting {name} is gone, was {_value(old[name])}"
        elif name not in old:
            yield f"setting {name} is new: {_value(new[name])}"
        else:
            yield f"setting {name} was {_value(old[name])}, is {_value(new[name])}"


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _prompts(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"{'prompt' if name.endswith('prompt') else 'code of'} {name} changed"


def _modules(before: str, statement: Mapping[str, Any], wanted: Wanted) -> Iterator[str]:
    if wanted.code.startswith(before):
        return
    old = shared_facts(statement).get("code")
    if not old:
        yield "the code changed"
        return
    now = wanted.modules
    same = set(old.values()) & set(now.values())  # a renamed module is the same under another name
    differ = sorted(name for name in old.keys() | now.keys() if old.get(name) != now.get(name))
    named = [name for name in differ if name != IMPORTS and {old.get(name), now.get(name)} - same - {None}]
    for name in named:
        change = "changed" if name in old and name in now else "is new" if name not in old else "is gone"
        yield f"{_kind(name)} {change}"
    if not named:
        yield "modules import other things of each other"


def _kind(name: str) -> str:
    """Return the name of a piece of code with what it is."""
    if name.startswith("rule "):
        return f"the shell text of {name}"
    if name.startswith("workflow/bin/"):
        return f"script {name}"
    return f"{'template' if '/' in name else 'module'} {name}"


# --- one file ---------------------------------------------------------------------------------------


def statement_holds(folder: Path, name: str) -> bool:
    """Return whether a file is finished: a statement names it with the digest that it has, read again.

    `name` is relative to the working folder `folder`, or absolute.
    """
    path = folder / name
    if not path.exists():
        return False
    stem = path.name.partition(".")[0]
    near = [path.parent, path.parent.parent, *(item for item in path.parent.parent.glob("*") if item.is_dir())]
    candidates = [statement_path(path), *(found for place in near for found in place.glob(f"*{SUFFIX}"))]
    for candidate in sorted(set(candidates), key=lambda found: not found.name.startswith(stem)):
        try:
            subjects = read_statement(candidate)["subject"]
        except InputError:
            continue
        for subject in subjects:
            if folder / subject["name"] == path:
                return bool(file_digest(path) == subject["digest"]["sha256"])
    return False
