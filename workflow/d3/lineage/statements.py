"""Reading what jobs left about themselves: one statement each, `NAME.prov.json` beside its first output.

All paths in statements are relative to the working folder, the parent of the folder of results.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d3.errors import InputError
from d3.statement import STATEMENT_TYPE, SUFFIX, facts_of

FOLDERS = ("results", "resources")
"""Where statements lie, below the working folder."""


class StatementError(InputError):
    """A file that is no statement of a job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artefact:
    """A file or folder as a statement names it."""

    path: str
    """Relative to the working folder; a model outside of it has its own path."""
    sha256: str
    bytes: int | None = None
    rows: int | None = None
    role: str | None = None
    """What an input is for, such as `model`."""
    revision: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One job: what it made, what it read, and everything else it said."""

    path: str
    """The statement's own file, relative to the working folder."""
    digest: str
    """SHA-256 of the statement's bytes."""
    outputs: tuple[Artefact, ...]
    inputs: tuple[Artefact, ...]
    definition: dict[str, Any]
    """`buildDefinition`, without the inputs."""
    details: dict[str, Any]
    """`runDetails`."""
    root: Path
    """The working folder."""

    @property
    def stage(self) -> str:
        """Give the stage as the job called itself."""
        return str(self.external.get("stage", ""))

    @property
    def external(self) -> dict[str, Any]:
        """Give what the user chose: stage, config, prompts."""
        found: dict[str, Any] = self.definition.get("externalParameters") or {}
        return found

    @property
    def internal(self) -> dict[str, Any]:
        """Give what else decided or surrounded the job: code, facts, environment, SLURM."""
        found: dict[str, Any] = self.definition.get("internalParameters") or {}
        return found

    @property
    def config(self) -> dict[str, Any]:
        """Give the part of the configuration that the job was given; empty when its facts are lost."""
        found = self.facts.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def facts(self) -> dict[str, Any]:
        """Give what many jobs share: settings, code digests, packages, git commit; empty when lost."""
        return facts_of(self.internal, self.root)

    @property
    def prompts(self) -> dict[str, str]:
        """Give the SHA-256 of each prompt template by the name of its setting."""
        found: dict[str, str] = self.external.get("prompts") or {}
        return found

    @property
    def metadata(self) -> dict[str, Any]:
        """Give when and in which invocation the job ran."""
        found: dict[str, Any] = self.details.get("metadata") or {}
        return found

    @property
    def counts(self) -> dict[str, Any]:
        """Give rows read, kept and dropped by reason; empty for a job that counted none."""
        for product in self.details.get("byproducts") or []:
            if product.get("name") == "rows":
                content: dict[str, Any] = product.get("content") or {}
                return content
        return {}

    @property
    def environment(self) -> dict[str, Any]:
        """Give the environment: kind, name, identity, path, sha256."""
        found = self.internal.get("environment")
        return found if isinstance(found, dict) else {}


def find_statements(root: Path) -> Iterator[Path]:
    """Yield the statements below a working folder, sorted, as paths with `root` in front."""
    for folder in FOLDERS:
        for place, folders, files in os.walk(root / folder):
            folders.sort()
            yield from (Path(place) / name for name in sorted(files) if name.endswith(SUFFIX))


def read_statement(root: Path, path: Path) -> Statement:
    """Read one statement; raises StatementError for what is none."""
    name = path.relative_to(root).as_posix()
    try:
        data = path.read_bytes()
        body = json.loads(data)
        if body["_type"] != STATEMENT_TYPE:
            raise ValueError(f"_type is {body['_type']!r}")
        predicate = body["predicate"]
        definition = dict(predicate["buildDefinition"])
        inputs = tuple(_artefact(item) for item in definition.pop("resolvedDependencies"))
        statement = Statement(
            path=name,
            digest=hashlib.sha256(data).hexdigest(),
            outputs=tuple(_artefact(item) for item in body["subject"]),
            inputs=inputs,
            definition=definition,
            details=dict(predicate["runDetails"]),
            root=root,
        )
        if not statement.outputs or not statement.stage or not isinstance(statement.counts.get("dropped", {}), dict):
            raise ValueError("no subject or no stage")
    except FileNotFoundError:
        raise StatementError("no such file", where=name, remedy="run the workflow again") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = f"is no statement of a job ({type(error).__name__}: {error})"
        raise StatementError(reason, where=name, remedy="run `d3 verify --rebuild`, then the workflow") from None
    return statement


def _artefact(item: dict[str, Any]) -> Artefact:
    notes = item.get("annotations") or {}
    digest = item["digest"]["sha256"]
    if not isinstance(item["name"], str) or not isinstance(digest, str):
        raise ValueError("a name or digest is no text")
    return Artefact(
        path=item["name"],
        sha256=digest,
        bytes=notes.get("bytes"),
        rows=notes.get("rows"),
        role=notes.get("role"),
        revision=notes.get("revision"),
    )


def group_of(path: str) -> str:
    """Give what a file is shown together with: `results/STAGE/KEY`, a run's folder, or its own folder."""
    parts = path.split("/")
    if parts[0] == "results" and len(parts) > 3:
        return "/".join(parts[:3])
    return path if parts[0] == "resources" or len(parts) < 2 else "/".join(parts[:-1])


def stage_of(path: str) -> str:
    """Give the stage whose folder a file of the results lies in; `` for any other file."""
    parts = path.split("/")
    return parts[1] if parts[0] == "results" and len(parts) > 2 else ""
