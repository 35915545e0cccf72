"""Statements of finished jobs, `NAME.prov.json` beside the first output, as everything that audits a run reads them.

All paths in statements are relative to the working folder, the parent of the folder of results.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from d3.core.file_tree import walk
from d3.core.ids import file_digest
from d3.errors import InputError
from d3.provenance import statement as in_toto
from d3.provenance.statement import SUFFIX, facts_of

FOLDERS = ("results", "resources")
"""Folders below the working folder that contain statements."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artefact:
    """A file or folder as a statement names it."""

    path: str
    """Relative to the working folder; absolute outside of it."""
    sha256: str
    bytes: int | None = None
    rows: int | None = None
    role: str | None = None
    """What an input is for, such as `model`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One finished job: what it wrote, what it read, and everything that decided it."""

    root: Path
    """The working folder."""
    path: str
    """The statement's own file, relative to the working folder."""
    digest: str
    """SHA-256 of the statement's bytes."""
    stage: str
    """The stage as the job named itself."""
    outputs: tuple[Artefact, ...]
    inputs: tuple[Artefact, ...]
    settings: str
    """Digest of the settings."""
    prompts: dict[str, str]
    """SHA-256 of each prompt template by the name of its setting."""
    internal: dict[str, Any]
    """All internal parameters: code, facts, seed, environment, attempts, GPU, SLURM job."""
    started_on: str
    """RFC 3339; empty in a statement without times."""
    finished_on: str
    counts: dict[str, Any]
    """Rows read, kept and dropped by reason; empty for a job that counted none."""
    usage: dict[str, float]
    """CPU seconds, answers and tokens (`d3.provenance.resource_usage`); empty where nothing was counted."""

    # --- what decided the job -----------------------------------------------------------------------

    @property
    def facts(self) -> dict[str, Any]:
        """Return what several jobs share: settings, code, packages, git commit; empty when the file is lost."""
        return facts_of(self.internal, self.root)

    @property
    def config(self) -> dict[str, Any]:
        """Return the settings of the job; empty when its facts are lost."""
        return _mapping(self.facts.get("config"))

    @property
    def code(self) -> str:
        """Return the digest of the code that ran."""
        return str(self.internal.get("code") or "")

    @property
    def seed(self) -> Any:
        """Return the seed; None for a job without one."""
        return self.internal.get("seed")

    @property
    def environment(self) -> dict[str, Any]:
        """Return the environment: kind, name, identity, path, sha256."""
        return _mapping(self.internal.get("environment"))

    @property
    def attempts(self) -> int:
        """Return how often the job was started."""
        return int(self.internal.get("attempts") or 1)

    @property
    def gpu(self) -> bool:
        """Return whether the job saw a GPU."""
        return bool(self.internal.get("gpu"))

    # --- its figures --------------------------------------------------------------------------------

    @property
    def read(self) -> int:
        """Return the rows that were read."""
        return int(self.counts.get("read", 0))

    @property
    def kept(self) -> int:
        """Return the rows that went on."""
        return int(self.counts.get("kept", 0))

    @property
    def dropped(self) -> dict[str, int]:
        """Return the rows that did not go on, by reason."""
        return dict(self.counts.get("dropped", {}))

    @property
    def rows(self) -> int:
        """Return the rows of the first output."""
        return self.outputs[0].rows or 0

    @property
    def bytes(self) -> int:
        """Return the size of all outputs; 0 for one without a size in the statement that is lost, too."""
        return sum(_size(self.root / item.path) if item.bytes is None else item.bytes for item in self.outputs)

    @property
    def files(self) -> int:
        """Return the number of outputs."""
        return len(self.outputs)

    @property
    def started(self) -> float:
        """Return the start in seconds since the epoch; raises ValueError without a time."""
        return seconds_of(self.started_on)

    @property
    def ended(self) -> float:
        """Return the end in seconds since the epoch; raises ValueError without a time."""
        return seconds_of(self.finished_on)

    @property
    def seconds(self) -> float:
        """Return the wall time."""
        return max(self.ended - self.started, 0.0)

    @property
    def cpu(self) -> float:
        """Return the CPU seconds of the job and its child processes, or the wall time where they are unknown."""
        return float(self.usage.get("cpu_seconds", self.seconds))


# --- reading ------------------------------------------------------------------------------------------


def find_statements(root: Path) -> Iterator[Path]:
    """Yield the statements below a working folder, sorted, as paths that begin with `root`."""
    for folder in FOLDERS:
        for place, _, files in walk(root / folder):
            yield from (place / name for name in files if name.endswith(SUFFIX))


def read_statement(root: Path, path: Path) -> Statement:
    """Read one statement; raise InputError for a missing or damaged one."""
    name = (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
    body = in_toto.read_statement(path)
    try:
        build, details = (body["predicate"][part] for part in ("buildDefinition", "runDetails"))
        external, times = build["externalParameters"], _mapping(details.get("metadata"))
        products = {item["name"]: _mapping(item.get("content")) for item in details.get("byproducts") or ()}
        statement = Statement(
            root=root,
            path=name,
            digest=file_digest(path),
            stage=str(external.get("stage", "")),
            outputs=tuple(map(_artefact, body["subject"])),
            inputs=tuple(map(_artefact, build.get("resolvedDependencies") or ())),
            settings=str(external["config"]),
            prompts=_mapping(external["prompts"]),
            internal=_mapping(build.get("internalParameters")),
            started_on=str(times.get("startedOn", "")),
            finished_on=str(times.get("finishedOn", "")),
            counts=_counts(products.get("rows", {})),
            usage=_mapping(products.get("usage")),
        )
        if not statement.outputs or not statement.stage:
            raise ValueError("no subject or no stage")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"is no statement of a job ({type(error).__name__}: {error})"
        raise InputError(reason, where=name, remedy="run `d3 verify --rebuild`, then the workflow") from None
    return statement


def read_finished(path: Path, root: Path = Path()) -> Statement | None:
    """Read the statement of a finished job; None where it is missing or damaged: then the job is not finished."""
    try:
        statement = read_statement(root, path)
        return statement if statement.ended >= 0 and statement.started >= 0 else None
    except (InputError, ValueError):
        return None


def seconds_of(time: str | float) -> float:
    """Return seconds since the epoch for a time in RFC 3339, or for a number that is that already."""
    return float(time) if isinstance(time, int | float) else datetime.fromisoformat(time).timestamp()


def _artefact(item: dict[str, Any]) -> Artefact:
    notes = item.get("annotations") or {}
    name, digest = item["name"], item["digest"]["sha256"]
    if not isinstance(name, str) or not isinstance(digest, str):
        raise ValueError("a name or digest is not a text")
    if not all(isinstance(notes.get(key), int | None) for key in ("bytes", "rows")):
        raise ValueError("a size is not a number")
    return Artefact(path=name, sha256=digest, **{key: notes.get(key) for key in ("bytes", "rows", "role")})


def _counts(content: dict[str, Any]) -> dict[str, Any]:
    if content:
        sum((content["read"], content["kept"], *content["dropped"].values()))  # raises unless all are numbers
    return content


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _size(path: Path) -> int:
    try:
        files = path.rglob("*") if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:
        return 0


# --- paths in statements ------------------------------------------------------------------------------


def name_below(root: Path, path: str) -> str | None:
    """Return a file as statements name it; None for a path outside of the working folder.

    `path` is relative to the current folder or to the working folder, and may go through links, such as one
    from `results` to another disk. The file may be lost.
    """
    tops = {name: root / name for name in ("", *FOLDERS)}
    for place in (*(place for place in (Path(path), root / path) if place.exists()), root / path):
        for real in (os.path.abspath, os.path.realpath):
            found = Path(real(place))
            for name, top in tops.items():
                if found.is_relative_to(real(top)):
                    return (Path(name) / found.relative_to(real(top))).as_posix()
    return None


def enclosing(path: str) -> Iterator[str]:
    """Yield a path and the folders that it lies in."""
    yield path
    yield from (parent.as_posix() for parent in Path(path).parents if parent != Path())


def group_of(path: str) -> str:
    """Return what a file is shown together with: `results/STAGE/KEY`, a run's folder, or its own folder."""
    parts = path.split("/")
    if parts[0] == "results" and len(parts) > 3:
        return "/".join(parts[:3])
    return path if parts[0] == "resources" or len(parts) < 2 else "/".join(parts[:-1])


def stage_of(path: str) -> str:
    """Return the stage whose folder a file of the results lies in; empty for any other file."""
    parts = path.split("/")
    return parts[1] if parts[0] == "results" and len(parts) > 2 else ""


# --- what a job was made with -------------------------------------------------------------------------


def made_with(statement: Statement) -> Iterator[str]:
    """Yield lines about what decided a job besides its inputs: code, environment, seed, prompts, a server's model
    with how source code was kept apart from the prompt, license.
    """
    parts = [f"code {statement.code[:12]}"] if statement.code else []
    if environment := statement.environment:
        identity = environment.get("sha256") or environment.get("identity")
        kind = "image" if environment.get("kind") == "image" else "environment"
        parts.append(f"{kind} {environment.get('name')}" + (f" {str(identity)[:12]}" if identity else ""))
    if statement.seed is not None:
        parts.append(f"seed {statement.seed}")
    yield ", ".join(parts)
    if statement.prompts:
        prompts = (f"{name} {digest[:12]}" for name, digest in sorted(statement.prompts.items()))
        yield f"prompts: {', '.join(prompts)}"
    engine = _mapping(statement.facts.get("engine"))
    if served := engine.get("served_model"):
        yield f"model {served} of a server, prompts protected by {engine.get('protection') or 'token ids'}"
    if license_ := license_of(statement):
        yield license_


def _adopted_table(statement: Statement) -> dict[str, Any]:
    """Return the settings of the table that a job took in from outside of the pipeline; empty for any other job."""
    if statement.stage == "pregrader":
        return _mapping(_mapping(statement.config.get("pregrade")).get("graded"))
    if statement.stage.startswith("adopted_"):
        return _mapping(_mapping(statement.config.get("adopt")).get(statement.stage.removeprefix("adopted_")))
    return {}


def license_of(statement: Statement) -> str:
    """Return name, version and license of what a job took from outside, as `config/versions.tsv` pins it."""
    from d3.core.pinned_inputs import pins

    params = statement.config
    pin = pins().get(str(params.get("name")))
    if pin is not None and params.get("version") == pin.version:
        return f"{pin.name} {pin.version}, {pin.licence}: {pin.source}"
    if table := _adopted_table(statement):
        return f"{table.get('name')}@{table.get('version')}, {table.get('license')}: {table.get('path')}"
    if statement.stage == "hub_model":
        return f"hub model {params.get('name')}, revision {params.get('revision')}"
    if statement.stage == "hub_dataset":
        return f"hub data set {params.get('name')}, revision {params.get('revision')}"
    if statement.stage == "source":
        python = (statement.facts.get("interpreter") or {}).get("python", "")
        return f"standard library of Python {python}".rstrip() + f", {pins()['python-standard-library'].licence}"
    return ""
