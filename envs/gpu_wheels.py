"""Gather the wheels that `make gpu-check` needs on a machine with torch and transformers but without a network.

    python envs/gpu_wheels.py build/gpu-wheels --python 3.12

Versions are those of the locks. What torch and transformers bring along is left out, and so is what no test of
`tests/gpu` imports; the rest must fit `--most` MiB. pyarrow and pandas are 64 MiB of 74: `--has FILE` leaves out what
the machine has, FILE being what `pip list --format=freeze` printed there. Copy the folder to the machine and run

    make gpu-check PYTHON=python3 WHEELS=build/gpu-wheels
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NEEDED = (
    "accelerate",
    "annotated-types",
    "anyio",
    "datasets",
    "deepspeed",
    "dill",
    "einops",
    "h11",
    "hjson",
    "httpcore2",
    "httpx2",
    "idna",
    "iniconfig",
    "msgpack",
    "multiprocess",
    "pandas",
    "pluggy",
    "protobuf",
    "psutil",
    "py-cpuinfo",
    "pyarrow",
    "pydantic",
    "pydantic-core",
    "pygments",
    "pytest",
    "pytest-timeout",
    "python-dateutil",
    "tensorboardx",
    "truststore",
    "typing-extensions",
    "typing-inspection",
    "xxhash",
)
"""Packages with compiled parts or without, as of the locks of training and of the tests."""
FROM_SOURCE = ("deepspeed",)
"""Published as source alone: built here, without a compiler's help, for any Python."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64",
             "manylinux_2_12_x86_64", "manylinux2010_x86_64", "manylinux_2_5_x86_64", "manylinux1_x86_64")  # fmt: skip


def locked_versions() -> dict[str, str]:
    """Return the version of each package in the locks; of several, the last one, which is for the newest Python."""
    found: dict[str, str] = {}
    for name in ("main.lock", "train.lock"):
        found |= dict(re.findall(r"^([a-z0-9-]+)==([^ \\;]+)", (HERE / name).read_text(encoding="utf-8"), re.MULTILINE))
    return found


def installed(listing: str) -> set[str]:
    """Return the names of packages of a listing, normalized, whatever their versions."""
    names = (line.split("==")[0].split(" @ ")[0].strip() for line in listing.splitlines())
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names if name}


def main() -> int:
    """Download and build; return 1 if a package is in no lock or the folder is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="version of Python on the machine with the GPU")
    parser.add_argument("--has", type=Path, help="output of `pip list --format=freeze` on that machine")
    parser.add_argument("--most", type=float, default=60, help="largest size of the folder in MiB")
    options = parser.parse_args()
    versions = locked_versions()
    if lacking := sorted(set(NEEDED) - versions.keys()):
        print(f"error: {', '.join(lacking)} must be in a lock; run make locks", file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    target = [f"--python-version={options.python}", "--implementation=cp", *(f"--platform={p}" for p in PLATFORMS)]
    there = installed(options.has.read_text(encoding="utf-8")) if options.has else set()
    pinned = {name: f"{name}=={versions[name]}" for name in NEEDED if name not in there}
    wheels = [pin for name, pin in pinned.items() if name not in FROM_SOURCE]
    download = ["download", "--no-deps", "--only-binary=:all:", "-d", str(options.folder), *target, *wheels]
    if wheels:
        subprocess.run([*pip, *download], check=True)
    if sources := [pin for name, pin in pinned.items() if name in FROM_SOURCE]:
        build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(options.folder), *sources]
        subprocess.run([*pip, *build], check=True)
    files = list(options.folder.glob("*.whl"))
    size = sum(path.stat().st_size for path in files) / 2**20
    print(f"{options.folder}: {len(files)} wheels, {size:.1f} MiB")
    if size > options.most:
        remedy = "name what the machine has with --has"
        print(f"error: {options.folder} must have at most {options.most:g} MiB; {remedy}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
