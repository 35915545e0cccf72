"""What `make` prints when an environment cannot be made: one line with the remedy that fits."""

import subprocess
from pathlib import Path

import pytest

from helpers.paths import ROOT

SCRIPT = ROOT / "envs" / "pip_install.sh"


def install(folder: Path, said: str, code: int) -> subprocess.CompletedProcess[str]:
    """Run the script with a Python whose pip says something."""
    python = folder / "python"
    (folder / "said").write_text(said)
    python.write_text(f"#!/bin/sh\ncat {folder}/said >&2\nexit {code}\n")
    python.chmod(0o755)
    return subprocess.run([SCRIPT, python, "-r", "a.lock"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "free space"),
        ("ERROR: [Errno 122] Disk quota exceeded: '/x'", "free space"),
        ("ERROR: [Errno 13] Permission denied: '/x'", "check who owns this folder"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "another file than the lock"),
        ("/x/python: No module named pip", "remove the environment's folder"),
        ("ERROR: torch-2.0-cp311.whl is not a supported wheel on this platform.", "no such package"),
        (
            "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution",
            "check the connection",
        ),
        ("ERROR: No matching distribution found for x==1", "package index does not have it"),
        ("ERROR: Exception: something new", "see what pip says above"),
    ],
)
def test_the_remedy_fits_what_pip_says(tmp_path: Path, said: str, remedy: str) -> None:
    done = install(tmp_path, f"a\nb\nc\n{said}\n", 1)
    assert done.returncode == 1
    before, last = done.stderr.rstrip("\n").rsplit("\n", 1)
    assert before == f"b\nc\n{said}"
    assert last.startswith("error: could not install -r a.lock; ")
    assert remedy in last
    assert ("connection" in last) == (remedy == "check the connection")


def test_a_pip_that_succeeds_is_quiet(tmp_path: Path) -> None:
    done = install(tmp_path, "", 0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("Makefile", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    words = ["make", "-C", str(tmp_path), "PYTHON=no-such-python", ".venv-validators/.installed"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "error: no-such-python: no such program; name a Python 3.11 or 3.12" in done.stdout + done.stderr
    assert "python3-venv" not in done.stdout + done.stderr
