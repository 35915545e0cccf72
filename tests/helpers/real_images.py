"""Real images, built once and kept outside of the repository by their keys."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from d3.core.paths import REPOSITORY
from d3.provenance.images import record

STORE = Path(os.environ.get("D3_IMAGE_STORE", Path.home() / ".cache" / "d3-images"))
Enter = Callable[..., subprocess.CompletedProcess[str]]


def require_apptainer() -> None:
    """Skip without Apptainer; in continuous integration (D3_CI=1) that is a failure."""
    if shutil.which("apptainer"):
        return
    if os.environ.get("D3_CI") == "1":
        pytest.fail("Apptainer is not installed")
    pytest.skip("Apptainer is not installed on this machine")


def build(*names: str) -> subprocess.CompletedProcess[str]:
    """Build what is missing of the named images (without names of all), from a base made on this machine."""
    line = [sys.executable, "-m", "d3", "images", *names, "--variant", "cpu", "--base", "local"]
    line += ["--compression", "zstd", "--store", str(STORE)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    return subprocess.run(
        line, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1800, check=False
    )


def standard_libraries(image: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return version and standard library of the interpreters in an image and outside."""
    line = [sys.executable, str(REPOSITORY / "containers" / "manifest.py")]
    outside = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)
    inside = record(image)
    assert inside is not None
    inside, outside = ({name: said[name] for name in ("python", "standard_library")} for said in (inside, outside))
    return inside, outside


def entrance(images: dict[str, Path]) -> Enter:
    """Return a function that runs a command in an image, with the arguments of `profiles/apptainer`."""
    profile = yaml.safe_load((REPOSITORY / "profiles" / "apptainer" / "config.yaml").read_text())

    def run(
        name: str, *command: str | Path, folder: Path, more: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        bind = f"--bind {REPOSITORY}/workflow:{REPOSITORY}/workflow:ro --bind {folder}"
        words = shlex.join(map(str, command))
        line = (
            f"apptainer --silent exec --home {folder} {profile['apptainer-args']} {bind} {more} {images[name]} {words}"
        )
        environment = os.environ | {"D3_BIN": f"{REPOSITORY}/workflow/bin"} | variables
        return subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run
