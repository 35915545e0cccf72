"""What differs between two runs, and which cause explains which result.

A run is the report of a run and all jobs before it. Stages are compared in the order in which they
follow each other. A stage whose outputs differ has causes of its own (a setting, a prompt, a module of
the code, a package, an image, an input from outside), or it only follows a stage before it. Each
number of the report is then explained by the stages with causes of their own that lie upstream of it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from d3.audit.job_graph import Run, load
from d3.audit.statements import Statement, stage_of
from d3.audit.trace.trace import NUMBERS, STAGE_OF_NUMBER
from d3.core.printable import printable
from d3.errors import InputError
from d3.pipeline.registry import STAGES, position
from d3.provenance.statement import SUFFIX


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that differs."""

    what: str
    """setting, prompt, code, package, environment, input, rows, or output."""
    name: str
    one: Any
    other: Any

    def __str__(self) -> str:
        return f"{self.what} {self.name}: {_short(self.one)} -> {_short(self.other)}"


@dataclass(kw_only=True)
class StageDifference:
    """How a stage differs between two runs."""

    stage: str
    causes: list[Change] = field(default_factory=list)
    """What differs that is not an output of another stage."""
    rows: list[Change] = field(default_factory=list)
    """Rows read, kept and dropped, where they differ."""
    outputs: tuple[int, int, int] = (0, 0, 0)
    """Outputs that are equal, that differ, that only one run has."""
    upstream: list[str] = field(default_factory=list)
    """Stages right before it whose outputs differ."""

    @property
    def differs(self) -> bool:
        """Whether any output differs."""
        return any(self.outputs[1:])


@dataclass(kw_only=True)
class Comparison:
    """Everything that differs between two runs."""

    one: str
    other: str
    stages: dict[str, StageDifference]
    """Only stages with a cause or with other outputs, in their order."""
    numbers: list[tuple[Change, list[str]]]
    """Key numbers that differ, and the stages with causes of their own that explain them."""
    equal_numbers: int

    def as_json(self) -> str:
        """Return the comparison as JSON."""
        return json.dumps(asdict(self), indent=1)


@dataclass(kw_only=True)
class Side:
    """One of the two runs."""

    name: str
    root: Path
    run: Run
    numbers: dict[str, Any]
    stages: dict[str, list[Statement]]
    """Jobs by stage."""


def read_side(text: str, results: Path) -> Side:
    """Read a run: its name, or a folder of results (with `:NAME` if it holds several); raises InputError."""
    folder, _, name = text.rpartition(":") if ":" in text else (text, "", "")
    root = Path(folder).absolute().parent if Path(folder).is_dir() else results.absolute().parent
    name = name or ("" if Path(folder).is_dir() else text)
    found = sorted((root / "results" / "runs").glob(f"{name or '*'}/{NUMBERS}"))
    if Path(folder).is_dir() and Path(folder).name != "results":
        raise InputError("is no folder of results", where=folder, remedy="give .../results")
    if len(found) != 1:
        several = ", ".join(sorted(path.parent.name for path in (root / "results" / "runs").glob("*"))) or "no run"
        raise InputError("names no single run", where=text, remedy=f"there is {several}; write RESULTS:NAME")
    whole = load(root)
    relative = found[0].relative_to(root).as_posix()
    made = whole.producer(relative)
    if made is None:
        raise InputError("no statement says how this run was made", where=relative, remedy="run the workflow again")
    record = relative.replace(NUMBERS, STAGES["run_record"].outputs[0].path)
    linked = [record, *json.loads((root / record).read_bytes())["files"].values()] if (root / record).is_file() else []
    run = whole.upstream([made[0], *(found[0] for found in map(whole.producer, linked) if found)])
    stages: dict[str, list[Statement]] = {}
    for path in sorted(run.statements):
        stages.setdefault(_stage(run.statements[path]), []).append(run.statements[path])
    numbers = json.loads(found[0].read_text(encoding="utf-8"))
    return Side(name=text, root=root, run=run, numbers=numbers, stages=stages)


def compare(one: Side, other: Side) -> Comparison:
    """Compare two runs."""
    stages: dict[str, StageDifference] = {}
    for stage in sorted({*one.stages, *other.stages}, key=lambda name: (position(name), name)):
        stages[stage] = _stage_difference(stage, one, other)
    parents = _parents(one) | {k: v for k, v in _parents(other).items() if k not in _parents(one)}
    for stage, difference in stages.items():
        before = parents.get(stage, set()) | _parents(other).get(stage, set())
        difference.upstream = sorted((s for s in before if s in stages and stages[s].differs), key=position)
    numbers, equal = [], 0
    for change in _numbers(one, other):
        if change.one == change.other:
            equal += 1
        else:
            numbers.append((change, _explained(change.name, stages, one, other)))
    shown = {name: item for name, item in stages.items() if item.causes or item.differs}
    return Comparison(one=one.name, other=other.name, stages=shown, numbers=numbers, equal_numbers=equal)


def as_text(found: Comparison) -> str:
    """Return a comparison as lines: causes and rows by stage, then numbers with what explains them."""
    lines = [f"{found.one}  ->  {found.other}", ""]
    if not found.stages:
        lines.append("No stage differs.")
    for stage, item in found.stages.items():
        same, differ, single = item.outputs
        said = [f"{differ} of {same + differ} outputs differ"] if differ else [f"all {same} outputs are equal"]
        said += [f"{single} only in one run"] if single else []
        lines.append(f"{stage}: {', '.join(said)}" + ("" if item.causes else f"; follows {', '.join(item.upstream)}"))
        lines += [f"   {change}" for change in (*item.causes, *item.rows)]
    lines.append("")
    for change, stages in found.numbers:
        why = ", ".join(stages) or "nothing that the statements name"
        lines.append(f"{change.name}: {_short(change.one)} -> {_short(change.other)}   because of {why}")
    lines.append(f"{found.equal_numbers} other numbers are equal." if found.numbers else "All key numbers are equal.")
    return "\n".join(map(printable, lines))


# --- one stage ----------------------------------------------------------------------------------------


def _stage_difference(stage: str, one: Side, other: Side) -> StageDifference:
    sides = [_described(side, side.stages.get(stage, [])) for side in (one, other)]
    causes = [
        Change(what=what, name=name, one=sides[0][what].get(name), other=sides[1][what].get(name))
        for what in ("setting", "prompt", "code", "package", "environment", "input")
        for name in sorted({*sides[0][what], *sides[1][what]})
        if sides[0][what].get(name) != sides[1][what].get(name)
    ]
    rows = [
        Change(what="rows", name=name, one=sides[0]["rows"].get(name, 0), other=sides[1]["rows"].get(name, 0))
        for name in sorted({*sides[0]["rows"], *sides[1]["rows"]})
        if sides[0]["rows"].get(name, 0) != sides[1]["rows"].get(name, 0)
    ]
    first, second = sides[0]["output"], sides[1]["output"]
    both = set(first) & set(second)
    differing = sum(first[name] != second[name] for name in both)
    outputs = (len(both) - differing, differing, len(set(first) ^ set(second)))
    return StageDifference(stage=stage, causes=causes, rows=rows, outputs=outputs)


def _described(side: Side, statements: Sequence[Statement]) -> dict[str, dict[str, Any]]:
    """Return what decided the jobs of a stage, and what came out, by name."""
    found: dict[str, dict[str, Any]] = {
        name: {} for name in ("setting", "prompt", "code", "package", "environment", "input", "rows", "output")
    }
    for statement in statements:
        facts = statement.facts
        found["setting"] |= _flat(statement.config)
        found["prompt"] |= {name: digest[:12] for name, digest in statement.prompts.items()}
        code = facts.get("code") or {"(all)": statement.code}
        found["code"] |= {name: str(digest)[:12] for name, digest in code.items()}
        found["package"] |= facts.get("packages") or {}
        environment = statement.environment
        for name in ("kind", "name"):
            found["environment"][name] = environment.get(name)
        if environment.get("kind") == "image":
            found["environment"]["image"] = str(environment.get("identity") or environment.get("sha256"))[:12]
        found["input"] |= {_plain(item.path): item.sha256[:12] for item in statement.inputs
                           if side.run.producer(item.path) is None}  # fmt: skip
        dropped = {f"dropped as {reason}": count for reason, count in statement.dropped.items()}
        for label, count in {"read": statement.read, "kept": statement.kept, **dropped}.items():
            found["rows"][label] = found["rows"].get(label, 0) + count
        found["output"] |= {_plain(item.path): item.sha256 for item in statement.outputs}
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their path."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _plain(path: str) -> str:
    """Return a path without what differs between two runs of the same thing: keys of folders, names of runs."""
    parts = path.split("/")
    if parts[0] == "results" and len(parts) > 3:
        parts = [parts[1], *parts[3:]]
        if parts[0] in STAGES and STAGES[parts[0]].over in ("arm", "evaluation"):
            parts = [part.rsplit("-", 1)[0] + "".join(Path(part).suffixes[-1:]) if "-" in part else part
                     for part in parts]  # fmt: skip
        return "/".join(parts)
    return "/".join(parts[-2:]) if path.startswith("/") else path


# --- how stages follow each other ---------------------------------------------------------------------


def _stage(statement: Statement) -> str:
    path = statement.path.removesuffix(SUFFIX)
    return stage_of(path) or statement.stage


def _parents(side: Side) -> dict[str, set[str]]:
    """Return the stages right before each stage."""
    found: dict[str, set[str]] = {}
    for stage, statements in side.stages.items():
        found[stage] = {_stage(made) for item in statements for made in side.run.before(item)} - {stage}
    return found


def _numbers(one: Side, other: Side) -> Iterator[Change]:
    sides = [{str(row["name"]): row["value"] for row in side.numbers["key"]} for side in (one, other)]
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        yield Change(what="number", name=name, one=sides[0].get(name), other=sides[1].get(name))


def _explained(name: str, stages: Mapping[str, StageDifference], one: Side, other: Side) -> list[str]:
    """Return the stages with causes of their own at or above the files that a number was counted from."""
    waiting: list[str] = []
    seen: set[str] = set()
    for side in (one, other):
        wanted = {stage for stage in (STAGE_OF_NUMBER.get(name),) if stage}
        jobs = [job for stage in wanted for job in side.stages.get(stage, [])]
        if "/" in name:
            _, benchmark, arm = name.split("/")
            jobs = [job for job in side.stages.get("scores", []) if _is_line(job, benchmark, arm)]
        for job in side.run.upstream(jobs).statements.values():
            seen.add(_stage(job))
    waiting = [stage for stage in sorted(seen, key=position) if stage in stages]
    return [stage for stage in waiting if stages[stage].causes and stages[stage].differs]


def _is_line(job: Statement, benchmark: str, arm: str) -> bool:
    parts = job.outputs[0].path.split("/")
    names = (parts[-2].rsplit("-", 1)[0], parts[-1].removesuffix(".json").rsplit("-", 1)[0])
    return names == (benchmark, arm)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
