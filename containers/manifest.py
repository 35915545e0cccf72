"""Print what an environment is made of, as JSON: interpreter, standard library, packages, system.

Two images with the same text do the same, whatever their files' times and the order of their bytes.
Of the standard library its sources count and the names of its extension modules; its own tests do
not (official images leave them out), nor the record of where it was compiled.
"""

import hashlib
import json
import platform
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

NOT_COUNTED = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


def library_digest() -> str:
    """Give the SHA-256 over the names and contents of the standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not NOT_COUNTED.intersection(name.parts) and not name.name.startswith("_sysconfigdata"):
            total.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name.as_posix()}\n".encode())
    modules = {path.name.split(".")[0] for path in (root / "lib-dynload").glob("*.so")}
    total.update("\n".join(sorted(modules - {"_tkinter"})).encode())
    return total.hexdigest()


def system_packages() -> dict[str, str]:
    """Give the version of every Debian package, or nothing where there is no dpkg."""
    try:
        lines = subprocess.run(
            ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return {}
    return dict(line.split(" ", 1) for line in lines)


def main() -> None:
    """Print the manifest."""
    packages = {item.metadata["Name"].lower().replace("_", "-"): item.version for item in distributions()}
    manifest = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "standard_library": library_digest(),
        "packages": dict(sorted(packages.items())),
        "system": dict(sorted(system_packages().items())),
    }
    json.dump(manifest, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
