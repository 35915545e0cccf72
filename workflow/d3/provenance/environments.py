"""What a stage runs in, known by its content: interpreter and packages, not paths, names or file times.

An image's definition writes what the image is made of to `/opt/d3/manifest.json`; two builds with
the same manifest are the same image. An image file without a manifest is known by its SHA-256. An
environment on the bare machine is known by its interpreter and the packages that are installed in it.
"""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from d3.core.ids import digest_of
from d3.core.paths import REPOSITORY
from d3.provenance import images

MANIFEST = "/opt/d3/manifest.json"
DISTRIBUTION = re.compile(r"^(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info$")
LOCKED = re.compile(r"^([A-Za-z0-9][\w.-]*) ?==", re.MULTILINE)
IMAGE_FILE = re.compile(r"-[0-9a-f]{12}$")


class Environment(NamedTuple):
    """What a stage runs in."""

    kind: str
    """`image`, or `venv` on the bare machine."""
    name: str
    identity: str | None
    """Digest of the content; equal ones give equal results. None: not known."""
    packages: dict[str, str]
    """Versions by normalized names, `python` among them. On the bare machine only those that decide."""
    path: str | None = None
    """Of an image."""
    sha256: str | None = None
    """Of an image's file."""

    def told(self) -> dict[str, Any]:
        """Return what a statement says about it."""
        values = {"kind": self.kind, "name": self.name, "identity": self.identity}
        return values | ({"path": self.path, "sha256": self.sha256} if self.kind == "image" else {})


def plain(name: str) -> str:
    """Return a package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


# --- the bare machine ---------------------------------------------------------------------------


def venv_folder(name: str) -> Path:
    """Return the folder of an environment of this checkout, as `workflow/bin/d3` does."""
    return REPOSITORY / (images.RECIPES[name].venv if name in images.RECIPES else ".venv")


@cache
def decisive_packages(name: str) -> frozenset[str]:
    """Return the packages that decide what an environment computes: those of its locks, by normalized names.

    An environment on the bare machine serves several stages and may hold what no stage needs: development
    tools, and whatever its owner installs.
    """
    recipe = images.RECIPES.get(name)
    locks = {"main"} if recipe is None else {recipe.lock, *([recipe.cpu_lock, "torch"] if recipe.cpu_lock else [])}
    texts = [
        path.read_text(encoding="utf-8") for lock in locks if (path := REPOSITORY / "envs" / f"{lock}.lock").is_file()
    ]
    return frozenset(plain(found) for text in texts for found in LOCKED.findall(text))


@cache
def venv(name: str, folder: Path | None = None, also: tuple[str, ...] = ()) -> Environment:
    """Return an environment on the bare machine; its identity is None when it is not there.

    `also` names packages that decide besides those of the locks.
    """
    folder = folder or venv_folder(name)
    decisive = decisive_packages(name) | set(map(plain, also))
    packages = {}
    for site in folder.glob("lib/python3*/site-packages"):
        packages["python"] = site.parent.name.removeprefix("python")
        for entry in os.listdir(site):
            match = DISTRIBUTION.match(entry)
            if match and plain(match["name"]) in decisive:
                packages[plain(match["name"])] = match["version"]
    settings = folder / "pyvenv.cfg"
    found = re.search(r"^version\s*=\s*(\S+)", settings.read_text(), re.MULTILINE) if settings.is_file() else None
    if found:
        packages["python"] = found[1]
    packages = dict(sorted(packages.items()))
    return Environment("venv", name, digest_of(packages) if packages else None, packages)


# --- images -------------------------------------------------------------------------------------


def of_manifest(manifest: dict[str, Any], name: str, path: str | None, sha256: str | None) -> Environment:
    """Return the environment that an image's manifest describes: `{python, packages: {name: version}, ...}`."""
    packages = {plain(package): str(version) for package, version in manifest.get("packages", {}).items()}
    packages |= {f"{name} (system)": str(version) for name, version in manifest.get("system", {}).items()}
    packages["python"] = str(manifest.get("python", "unknown"))
    return Environment("image", name, digest_of(manifest), packages, path, sha256)


def image(path: Path) -> Environment:
    """Return the environment in an image file; a file that is missing has no identity.

    What was recorded when it was built holds while the file has the SHA-256 recorded.
    """
    name = image_name(path)
    if not path.is_file():
        return Environment("image", name, None, {}, str(path))
    known = images.image_identity(path)
    return Environment("image", name, known["identity"], {}, str(path), known["sha256"])


def image_packages(path: Path) -> dict[str, str]:
    """Read the versions of the packages in an image, to say how two images differ; empty when that fails."""
    try:
        done = subprocess.run(
            ["apptainer", "exec", str(path), "cat", MANIFEST], capture_output=True, text=True, timeout=300, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    manifest = _manifest(done.stdout)
    return of_manifest(manifest, "", None, None).packages if manifest else {}


def image_name(path: Path) -> str:
    """Return the name of an image out of `NAME-KEY.sif`."""
    return IMAGE_FILE.sub("", path.stem).removesuffix("-cpu")


def _manifest(text: str) -> dict[str, Any] | None:
    try:
        manifest = json.loads(text)
    except json.JSONDecodeError:
        return None
    return manifest if isinstance(manifest, dict) else None


# --- this process -------------------------------------------------------------------------------


def here(hashes: dict[str, str], also: tuple[str, ...] = ()) -> Environment:
    """Return the environment of this process; `hashes` has the SHA-256 of image files by their paths."""
    path = os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER")
    if not path:
        folder = Path(sys.prefix)
        name = os.environ.get("D3_ENVIRONMENT") or folder.name.removeprefix(".venv").removeprefix("-") or "main"
        return venv(name, folder, also)
    name = image_name(Path(path))
    record = images.record(Path(path)) or {}
    sha256 = record.get("sha256") or hashes.get(path)
    try:
        manifest = _manifest(Path(MANIFEST).read_text(encoding="utf-8"))
    except OSError:
        manifest = None
    if manifest is None:
        packages = venv(name, Path(sys.prefix)).packages
        return Environment("image", name, record.get("identity", sha256), packages, path, sha256)
    return of_manifest(manifest, name, path, sha256)
