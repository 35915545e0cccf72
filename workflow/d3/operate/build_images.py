"""Builds the images of `containers/` with Apptainer, and says which of them are missing or damaged.

An image is built under a temporary name, looked into, and only then given its name, with a record
of what came out beside it: identity, SHA-256, base and the digest of the build's log. A killed
build leaves a part that the next one removes. Images that are there are left alone.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from d3 import __version__
from d3.core.ids import digest_of
from d3.core.paths import REPOSITORY
from d3.core.processes import exists
from d3.core.tables import written_whole
from d3.errors import ToolError
from d3.operate.doctor.findings import has_id_range
from d3.provenance.images import (
    IMAGES,
    RECIPES,
    VARIANTS,
    built_path,
    definition,
    file_sha256,
    image_key,
    lock_path,
    recipe,
    record,
    record_path,
)

MANIFEST = "/opt/d3/manifest.json"
CERTIFICATES = "/mnt/certificates.crt"
PIP_OPTIONS = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "timeout", "default-timeout")
"""What of a machine's pip configuration a build needs to reach the same packages."""
COMPRESSION = {"gzip": [], "zstd": ["--mksquashfs-args", "-comp zstd -Xcompression-level 3"]}
"""zstd takes a twelfth of gzip's time; some older installations cannot mount it."""


class State(NamedTuple):
    """What is known of one image: `ok`, `missing`, `damaged` or `unrecorded`, and one line about it."""

    name: str
    state: str
    text: str


# --- may this machine build? --------------------------------------------------------------------


def apptainer() -> str:
    """Return the path of Apptainer; raises ToolError when it is missing."""
    found = shutil.which("apptainer")
    if found is None:
        raise ToolError(
            "Apptainer is not installed", remedy="install version 1.2 or newer, or `module load` it, and try again"
        )
    return found


def check_builder() -> None:
    """Raise ToolError, with what to do, when this machine cannot build images."""
    apptainer()
    limit = Path("/proc/sys/user/max_user_namespaces")
    tried = subprocess.run(["unshare", "--user", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0 or (limit.is_file() and limit.read_text().strip() == "0"):
        raise ToolError(
            "user namespaces are switched off here",
            remedy="build on another machine and copy containers/*.sif*, or ask for `user.max_user_namespaces` > 0",
        )
    if os.getuid() == 0 and not has_id_range(Path("/etc/subuid")):  # others than root do without one
        raise ToolError(
            "/etc/subuid has no range for root",
            remedy="run: usermod --add-subuids 200000-265535 --add-subgids 200000-265535 root",
        )


# --- building -----------------------------------------------------------------------------------


def pip_configuration() -> dict[str, str]:
    """Return what pip is configured with here: names without their section, the environment winning."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[str, str] = {}
    for line in sorted(text.splitlines(), reverse=True):  # `:env:` sorts before `global`, and comes last
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    return found


@contextmanager
def pip_folder() -> Iterator[list[str]]:
    """Return the binds by which %post finds pip's configuration in /mnt; nothing of it stays in the image.

    Folders of wheels and the machine's certificates go along; indexes on the machine's disk do not.
    """
    found = pip_configuration()
    lines = ["[global]"]
    with tempfile.TemporaryDirectory(prefix="d3-images-") as name:
        folder = Path(name)
        binds = [f"{folder}:/mnt"]
        certificates = Path(found.get("cert", "/etc/ssl/certs/ca-certificates.crt"))
        if certificates.is_file():
            shutil.copy(certificates, folder / Path(CERTIFICATES).name)
            lines.append(f"cert = {CERTIFICATES}")
        for option in PIP_OPTIONS:
            values = []
            for value in found.get(option, "").split():
                if option == "find-links" and Path(value).is_dir():
                    place = f"links{len(binds)}"
                    (folder / place).mkdir()
                    binds.append(f"{value}:/mnt/{place}:ro")
                    values.append(f"/mnt/{place}")
                elif not value.startswith("file:"):
                    values.append(value)
            lines += [f"{option.removeprefix('default-')} = {' '.join(values)}"] if values else []
        (folder / "pip.conf").write_text("\n".join(lines) + "\n")
        yield [word for bind in binds for word in ("--bind", bind)]


def local_base(folder: Path) -> Path:
    """Return the base image made of this machine's Debian packages and Python, in `folder`; make it if it is missing.

    Raises ToolError when that fails.
    """
    script = IMAGES / "local-base.sh"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
    base = folder / f"base-{version}-{file_sha256(script)[:12]}"
    if not base.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([str(script), str(base), sys.executable], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            last = " | ".join(done.stderr.strip().splitlines()[-3:])
            raise ToolError(f"the base image failed: {last}", where=str(script), remedy="see the head of the script")
    return base


def base_arguments(base: str | None) -> list[str]:
    """Return the build arguments for a base: an image of a registry, or a folder or .sif on this disk."""
    if not base:
        return []
    local = Path(base).exists()
    values = {"BOOTSTRAP": "localimage" if local else "docker", "BASE": str(Path(base).resolve()) if local else base}
    return [word for name, value in values.items() for word in ("--build-arg", f"{name}={value}")]


def build(name: str, *, variant: str, base: str | None, compression: str, say: Any = print) -> Path:
    """Build one image unless it is there, sound and recorded; give its file.

    Raises ToolError, with the last lines of the log, when the build fails.
    """
    image = built_path(name, variant)
    if image.exists() and record(image) is None:
        write_record(image, name, variant, base=None, log=None)
        say(f"{image.name}: was there, and is recorded now")
    if image.exists():
        say(f"{image.name}: is there")
        return image
    check_builder()
    for left in IMAGES.glob(f".{image.name}.*.part"):
        if not exists(left.name.split(".")[-2]):
            left.unlink()
    part = image.with_name(f".{image.name}.{os.getpid()}.part")
    log = image.with_name(f"{image.name}.log")
    say(f"{image.name}: building, the log is {os.path.relpath(log)}")
    started = time.monotonic()
    with pip_folder() as binds, log.open("wb") as output:
        command = [apptainer(), "build", "--fakeroot", *binds, *COMPRESSION[compression], *base_arguments(base)]
        lock = lock_path(name, variant)
        values = {
            "LOCK": lock.relative_to(REPOSITORY),
            "LOCK_SHA256": file_sha256(lock),
            "REVISION": revision(),
            "VERSION": __version__,
        }
        command += [word for item in values.items() for word in ("--build-arg", "{}={}".format(*item))]
        command += [str(part), str(definition(name))]
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd=REPOSITORY, check=False)
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        last = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
        raise ToolError(f"the build failed: {last}", where=str(log), remedy="see the log; then run the command again")
    write_record(part, name, variant, base=base, log=log, named=image)
    part.rename(image)
    say(f"{image.name}: {image.stat().st_size / 2**20:,.0f} MiB in {time.monotonic() - started:.0f} s")
    return image


def revision() -> str:
    """Return the commit of this checkout, for a label."""
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def read_manifest(image: Path) -> dict[str, Any]:
    """Read what an image is made of; raises ToolError for one that cannot be entered."""
    command = [apptainer(), "--silent", "exec", "--containall", "--cleanenv", str(image), "cat", MANIFEST]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["it has no manifest"])[-1]
        raise ToolError(
            f"the image cannot be entered ({reason})", where=str(image), remedy="remove it and run: make images"
        ) from None


def write_record(
    image: Path, name: str, variant: str, *, base: str | None, log: Path | None, named: Path | None = None
) -> None:
    """Write the record of an image that was just built; `named` is the file's name to be."""
    manifest = read_manifest(image)
    values = {
        "name": name,
        "variant": variant if recipe(name).cpu_lock else "any",
        "key": image_key(name, variant),
        "identity": digest_of(manifest),
        "sha256": file_sha256(image),
        "base": base or "as in the definition",
        "python": manifest.get("python"),
        "standard_library": manifest.get("standard_library"),
        "log_sha256": file_sha256(log) if log else None,
    }
    with written_whole(record_path(named or image)) as part:
        part.write_text(json.dumps(values, indent=1) + "\n")


def link(image: Path, store: Path) -> None:
    """Let a store keep a built image and its record, or give back what it keeps of an image that is missing."""
    store.mkdir(parents=True, exist_ok=True)
    for path in (image, record_path(image)):
        kept = store / path.name
        source, target = (path, kept) if path.exists() else (kept, path)
        if source.exists() and not target.exists():
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)


def build_all(
    names: Sequence[str], *, variant: str, base: str | None, compression: str = "gzip", store: Path | None = None
) -> None:
    """Build what is missing of the named images, or of all; `store` keeps them for other checkouts.

    `local` as the base is one made on this machine, kept in the store too.
    """
    for name in names or RECIPES:
        image = built_path(name, variant)
        if store:
            link(image, store)
        if base == "local" and not image.exists():
            check_builder()
            base = str(local_base(store or Path.home() / ".cache" / "d3-images"))
        build(name, variant=variant, base=base, compression=compression)
        if store:
            link(image, store)


# --- checking -----------------------------------------------------------------------------------


def image_states(names: Sequence[str]) -> list[State]:
    """Tell the state of every named image, or of all, reading their files whole."""
    found = []
    for name in names or RECIPES:
        built = [built_path(name, variant) for variant in VARIANTS]
        there = [path for path in dict.fromkeys(built) if path.exists()]
        found += [State(name, *_state(path)) for path in there]
        if not there:
            old = [path.name for path in sorted(IMAGES.glob(f"{name}-*.sif"))]
            text = f"{built[0].name} is not built" + (f"; {', '.join(old)} is of another lock" if old else "")
            found.append(State(name, "missing", text))
    return found


def _state(image: Path) -> tuple[str, str]:
    known = record(image)
    if known is None:
        return "unrecorded", f"{image.name} has no record; `make images` writes it"
    if file_sha256(image) != known["sha256"]:
        return "damaged", f"{image.name} is not what was built; remove it and run `make images`"
    size = f"{image.stat().st_size / 2**20:,.0f} MiB"
    return "ok", f"{image.name}, {size}, identity {str(known['identity'])[:12]}, Python {known.get('python')}"


def leftovers() -> list[str]:
    """Return the names of image files that no definition and lock name any more."""
    current = {built_path(name, variant).name for name in RECIPES for variant in VARIANTS}
    return [path.name for path in sorted(IMAGES.glob("*.sif")) if path.name not in current]
