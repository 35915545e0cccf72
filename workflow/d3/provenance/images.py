"""What every environment is made of: its lock, its image's definition, and the image's file name.

    recipe("train").lock             -> envs/train.lock
    image_path("train")              -> containers/train-KEY.sif, or train-cpu-KEY.sif if only that was built

KEY is a hash of the definition and of every file that it copies in, the lock among them: a changed
lock names another image. The base image is not part of it; what came out is recorded
beside the file, in `NAME-KEY.sif.json` (see `d3.operate.build_images`).
"""

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from d3.core.paths import REPOSITORY
from d3.errors import ConfigError, ToolError
from d3.provenance.digest_cache import Cache

IMAGES = REPOSITORY / "containers"
COPIED = re.compile(r"^%files\n((?:[ \t]+\S.*\n)+)", re.MULTILINE)
VARIANTS = ("gpu", "cpu")


class Recipe(NamedTuple):
    """One environment; both builds of it are named where a CPU has one of its own."""

    lock: str
    """Stem of the lock in `envs/`; that of the GPU build where there are two."""
    venv: str
    """Folder of the environment on the bare machine that holds at least this lock's packages."""
    cpu_lock: str | None = None
    """Stem of the lock for machines without a GPU."""


RECIPES = {
    "data": Recipe("data", ".venv"),
    "train": Recipe("train", ".venv", "train-cpu"),
    "dolma": Recipe("dolma", ".venv-dolma"),
    "llm": Recipe("vllm", ".venv-vllm", "vllm-cpu"),
    "eval": Recipe("eval", ".venv"),
}
"""Environments by the names that `Chain.environment` gives."""


def recipe(name: str) -> Recipe:
    """Return the recipe of an environment; raises ConfigError for one that there is not."""
    if name not in RECIPES:
        raise ConfigError(f"no image {name!r}", remedy=f"one of {', '.join(RECIPES)}")
    return RECIPES[name]


def lock_path(name: str, variant: str = "gpu") -> Path:
    """Return the lock of an environment; with the variant `cpu` that for machines without a GPU, if it has one."""
    found = recipe(name)
    return REPOSITORY / "envs" / f"{found.cpu_lock if variant == 'cpu' and found.cpu_lock else found.lock}.lock"


def definition(name: str) -> Path:
    """Return the definition file of an image."""
    recipe(name)
    return IMAGES / f"{name}.def"


@cache
def image_key(name: str, variant: str = "gpu") -> str:
    """Return 12 hexadecimal digits for an image's definition and all that it copies in."""
    text = definition(name).read_text(encoding="utf-8")
    lines = "".join(COPIED.findall(text)).splitlines()
    sources = [line.split()[0] for line in lines if not line.split()[0].startswith("{{")]
    parts = [
        text.encode(),
        lock_path(name, variant).read_bytes(),
        *((REPOSITORY / path).read_bytes() for path in sources),
    ]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:12]


def built_path(name: str, variant: str) -> Path:
    """Return the file that a variant of an image is built into."""
    suffix = "-cpu" if variant == "cpu" and recipe(name).cpu_lock else ""
    return IMAGES / f"{name}{suffix}-{image_key(name, variant)}.sif"


def image_path(name: str) -> Path:
    """Return the file of an image, whether it is there or not: the CPU build only where it alone was built."""
    found = [built_path(name, variant) for variant in VARIANTS]
    return next((path for path in found if path.exists()), found[0])


# --- what was built -----------------------------------------------------------------------------


def record_path(image: Path) -> Path:
    """Return the file that holds what an image was when it was built."""
    return image.with_name(image.name + ".json")


def record(image: Path) -> dict[str, Any] | None:
    """Return `{identity, sha256, base, ...}` of an image as it was built, or None."""
    try:
        found = json.loads(record_path(image).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return found if isinstance(found, dict) and {"identity", "sha256"} <= found.keys() else None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_identity(image: Path) -> dict[str, str]:
    """Return `{identity, sha256}` of an image file, which is read only if it changed since the last time.

    The identity is the digest of its manifest: what is installed in it, not its file's bytes. A file
    without a record is known by its SHA-256. Raises ToolError for a file that is missing or damaged.
    """
    if not image.is_file():
        raise ToolError("no such image", where=str(image), remedy="build it: make images")
    known, sha256 = record(image), Cache.of_head().digest(image)
    if known and sha256 != known["sha256"]:
        raise ToolError("the image is not what was built", where=str(image), remedy="remove it and run: make images")
    return {"identity": str(known["identity"]) if known else sha256, "sha256": sha256}
