"""What is pinned from outside: `config/versions.tsv`, one line a thing, with version and SHA-256."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

from d3.core.ids import file_digest
from d3.core.paths import REPOSITORY
from d3.core.tables import damage_named
from d3.errors import ConfigError, InputError

VERSIONS = REPOSITORY / "config" / "versions.tsv"
COMMIT = re.compile(r"[0-9a-f]{40}")


class Pin(NamedTuple):
    """One line of `config/versions.tsv`."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str
    source: str


def pins() -> dict[str, Pin]:
    """Read `config/versions.tsv`: every external thing by name."""
    with VERSIONS.open(encoding="utf-8", newline="") as file:
        return {line["name"]: Pin(**line) for line in csv.DictReader(file, delimiter="\t")}


def check_pin(path: Path, pin: Pin) -> None:
    """Raise InputError if a file is not the pinned one, or not there."""
    with damage_named(path):
        found = file_digest(path)
    if found != pin.sha256:
        remedy = f"delete it and run again; config/versions.tsv pins {pin.name} {pin.version}"
        raise InputError(f"has SHA-256 {found[:12]}..., not {pin.sha256[:12]}...", where=str(path), remedy=remedy)


def check_commit(model: str, revision: str | None) -> None:
    """Raise ConfigError unless a model of the hub is pinned by a commit: a branch or a tag may name others tomorrow."""
    if revision is not None and COMMIT.fullmatch(revision):
        return
    found = (
        "is not a folder here, and has no revision as a Hugging Face id"
        if revision is None
        else f"has the revision {revision!r}, which is not a commit"
    )
    remedy = f"pin its commit: `git ls-remote https://huggingface.co/{model}` lists 40 digits for each branch"
    raise ConfigError(f"model {model!r} {found}", remedy=remedy)
