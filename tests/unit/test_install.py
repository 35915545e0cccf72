"""What `make` prints when an environment cannot be made: one line with the remedy that fits."""

import re
import subprocess
import sys
from importlib.metadata import distributions
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


@pytest.mark.parametrize(
    ("version", "environment", "fits"),
    [("3.13", ".venv", True), ("3.13", ".venv-dolma", False), ("3.14", ".venv", False), ("3.10", ".venv", False)],
)
def test_only_the_environment_of_dolma_needs_an_older_python(
    version: str, environment: str, fits: bool, tmp_path: Path
) -> None:
    for name in ("Makefile", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    python = tmp_path / "python"
    numbers = ", ".join(version.split("."))
    check = f"import sys; sys.version_info = ({numbers}, 0); exec(sys.argv[1])"
    python.write_text(f"""#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} -c '{check}' "$2"\nexit 1\n""")
    python.chmod(0o755)
    words = ["make", "-C", str(tmp_path), f"PYTHON={python}", f"DOLMA_PYTHON={python}", f"{environment}/.installed"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode
    text = done.stdout + done.stderr
    assert ("cannot make environments" in text) == fits, text
    variable = "DOLMA_PYTHON" if environment == ".venv-dolma" else "PYTHON"
    assert (f"is too old or too new for {environment}; name a Python 3.11 or 3.12: make {variable}=" in text) != fits


def test_every_package_under_a_copyleft_or_vendors_license_is_in_the_notice() -> None:
    notice = (ROOT / "NOTICE").read_text()
    found = {}
    for package in distributions():
        facts = package.metadata
        texts = [
            facts.get("License-Expression"),
            (facts.get("License") or "")[:80],
            *(facts.get_all("Classifier") or []),
        ]
        words = " ".join(text for text in texts if text)
        if re.search(r"GPL|MPL-|Mozilla Public|Proprietary|EULA|End User License", words):
            found[facts["Name"]] = words
    assert {"pylint", "astroid"} <= set(found)
    assert [name for name in found if not re.search(rf"\b{re.escape(name)}\b|{name.split('-')[0]}-\*", notice)] == []
