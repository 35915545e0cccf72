"""Checks of one machine: Python, containers, sandbox, GPUs, space, models."""

import os
import re
import shutil
import sys
from pathlib import Path

from d3.config.engine_kinds import ENGINE_KINDS
from d3.core.paths import REPOSITORY
from d3.core.programs import ask, last_line
from d3.errors import D3Error
from d3.operate.cost_defaults import on_gpus
from d3.operate.doctor.findings import Finding, Level, Place, has_id_range, owner
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.pipeline.resources import model_mb
from d3.provenance.images import RECIPES

PYTHONS = ((3, 11), (3, 12))
"""Versions that the locks in `envs/` were compiled for."""
SET_UP = (".venv", ".venv-dolma")
"""Environments that `make setup` installs; each of the others has a target of its own."""
DRIVER = 580
"""Oldest NVIDIA driver of the CUDA 13 wheels in the locks (NVIDIA's table of CUDA releases and drivers)."""
GIGABYTE = 10**9
SPACE = 20 * GIGABYTE
"""Free space below which a run is warned of, when nobody knows what it will need."""
INODES = 100_000
ROOM = 1.15
"""Memory that weights need on a GPU beside themselves; what is left after it holds the cache of the requests."""
COMPILERS = ("gcc", "clang", os.environ.get("CC", "gcc"))
"""What Triton, on which vLLM's kernels for GPUs rest, compiles their launchers with; the image has gcc."""
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def python(place: Place) -> Finding:
    """Check the interpreter."""
    version = sys.version.split()[0]
    if sys.version_info[:2] not in PYTHONS:
        remedy = f"install Python {PYTHONS[0][0]}.{PYTHONS[0][1]} and run: make setup PYTHON=/path/to/it"
        return Finding("fail", f"Python {version} is none that the locks were made for", remedy)
    return Finding("ok", f"Python {version}")


def environments(place: Place) -> Finding:
    """Check the environments on the bare machine, which rules use when they run in no image."""
    folders = dict.fromkeys(RECIPES[name].venv for name in RECIPES if name in environments_of(place.chain))
    wanted = {name: "make setup" if name in SET_UP else f"make {name}/.installed" for name in folders}
    missing = [name for name in wanted if not (REPOSITORY / name / "bin" / "python").exists()]
    if not missing:
        if ".venv-vllm" in wanted and not place.images and not any(map(shutil.which, COMPILERS)):
            return Finding("warn", "no C compiler, which vLLM on GPUs needs", "install gcc, or run in images")
        return Finding("ok", f"environments {', '.join(wanted)}")
    remedy = "run: " + " && ".join(dict.fromkeys(wanted[name] for name in missing))
    return Finding("ok" if place.images else "fail", f"no environment {', '.join(missing)}", remedy)


def environments_of(chain: Chain) -> set[str]:
    """Return the environments, all of them with an image, that the stages of a configuration need."""
    return {chain.environment(stage) for stage in STAGES} - {"main"}


def apptainer(place: Place) -> Finding:
    """Check Apptainer: there, and new enough for Snakemake (1.0)."""
    level: Level = "fail" if place.images else "warn"
    status, text = ask(["apptainer", "--version"])
    found = re.search(r"(\d+)\.(\d+)[\w.-]*", text)
    if status != 0 or not found:
        remedy = "install Apptainer 1.1 or newer (or load its module); without it rules run in the environments"
        return Finding(level, text if status is None else f"apptainer: {last_line(text)}", remedy)
    if int(found[1]) < 1:
        return Finding(level, f"Apptainer {found[0]} is too old", "install Apptainer 1.1 or newer")
    return Finding("ok", f"Apptainer {found[0]}")


def namespaces(place: Place) -> Finding:
    """Check that this user may make user namespaces: the sandbox and images without a setuid helper need them."""
    status, text = ask(["unshare", "--user", "--map-root-user", "true"])
    if status == 0:
        return Finding("ok", "user namespaces work")
    remedy = "ask the administrator for user.max_user_namespaces > 0"
    for setting, bad in (("user/max_user_namespaces", "0"), ("kernel/unprivileged_userns_clone", "0"),
                         ("kernel/apparmor_restrict_unprivileged_userns", "1")):  # fmt: skip
        path = Path("/proc/sys", setting)
        if path.exists() and path.read_text().strip() == bad:
            remedy = f"ask the administrator to change {setting.replace('/', '.')}, which is {bad}"
    return Finding("fail", f"no user namespaces: {last_line(text)}", remedy)


def subuids(place: Place, etc: Path = Path("/etc")) -> Finding:
    """Check the ranges of user ids that building an image takes; running one needs none."""
    missing = [name for name in ("subuid", "subgid") if not has_id_range(etc / name)]
    missing += [name for name in ("newuidmap", "newgidmap") if shutil.which(name) is None]
    if not missing:
        return Finding("ok", "ranges of subordinate ids: images can be built here")
    name = owner()[0]
    remedy = f"usermod --add-subuids 200000-265535 --add-subgids 200000-265535 {name}, and install uidmap; or build "
    return Finding("warn", f"images cannot be built here: no {', '.join(missing)}", remedy + "them elsewhere")


def images(place: Place) -> Finding:
    """Check that the images of this configuration are there."""
    from d3.provenance.images import image_path

    names = sorted(environments_of(place.chain))
    try:
        missing = [path.name for path in map(image_path, names) if not path.exists()]
    except (D3Error, OSError) as error:
        return Finding("fail", str(error), "check out the repository again")
    if not missing:
        return Finding("ok", f"images {', '.join(names)}")
    return Finding("fail" if place.images else "warn", f"not built: {', '.join(missing)}", "run: make images")


def sandbox(place: Place) -> Finding:
    """Check bubblewrap by starting the sandbox and trying its walls."""
    from d3.evals.sandbox import Sandbox, SandboxError

    try:
        with Sandbox():
            return Finding("ok", "bubblewrap holds: model-written code can be run")
    except SandboxError as error:
        return Finding("fail", error.reason, error.remedy)


def gpus(place: Place) -> Finding:
    """Check the GPUs of this machine: driver against the wheels, memory against the models."""
    status, text = ask(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"])
    need, gpus_a_job = gpu_memory(place.chain)
    asked = f"the largest language model wants {gpus_a_job} with {need / 1000:.1f} GB"
    if status is None:
        level: Level = "warn" if wants_gpus(place.chain) and not place.slurm else "ok"
        return Finding(level, f"no GPU here: {text}; {asked}", "go on if only other nodes have GPUs")
    if status != 0:
        return Finding("fail", f"nvidia-smi: {last_line(text)}", "load the NVIDIA driver or reboot the node")
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    names = ", ".join(dict.fromkeys(row[0] for row in rows))
    driver = rows[0][2]
    if int(driver.split(".")[0]) < DRIVER:
        return Finding("fail", f"driver {driver} is too old for CUDA 13", f"install driver {DRIVER} or newer")
    memory = min(int(row[1]) for row in rows) * 1.048576  # MiB -> MB
    if memory < need:
        remedy = "raise tensor_parallel, or quantize the model"
        return Finding("warn", f"{len(rows)} x {names} with {memory / 1000:.0f} GB; {asked}", remedy)
    return Finding("ok", f"{len(rows)} x {names}, driver {driver}")


def wants_gpus(chain: Chain) -> bool:
    """Return whether a stage is meant for GPUs."""
    return any(on_gpus(chain, stage) for stage in STAGES)


def gpu_memory(chain: Chain) -> tuple[int, int]:
    """Return the memory in MB that the largest language model wants of each of its GPUs, and their number."""
    found = [(0, 1)]
    for stage in filter(chain.asks, STAGES):
        engine = chain.engine(stage)
        if ENGINE_KINDS[engine.kind].environment is not None:
            weights = model_mb(chain, stage) // (2 if engine.quantization == "fp8" else 1)
            found.append((round(ROOM * weights / engine.tensor_parallel), engine.tensor_parallel))
    return max(found)


def space(place: Place) -> Finding:
    """Check free space and inodes where results, work and temporary files go."""
    from d3.operate.plan import expected_room

    wanted, files = expected_room(place.chain) or (SPACE, INODES)
    scarce, seen = [], []
    for name in (".", os.environ.get("TMPDIR", "/tmp")):
        try:
            status = os.statvfs(name)
        except OSError as error:
            return Finding("fail", f"{name}: {error.strerror}", "make the folder, or set TMPDIR")
        free, inodes = status.f_bavail * status.f_frsize, status.f_favail
        seen.append(f"{name}: {free / GIGABYTE:,.0f} GB")
        if name == "." and free < wanted:
            scarce.append(f"{name} has {free / GIGABYTE:,.1f} GB free, the run wants {wanted / GIGABYTE:,.1f}")
        if name == "." and status.f_files and inodes < files:
            scarce.append(f"{name} has room for {inodes:,} more files, the run makes {files:,}")
        if name != "." and free < GIGABYTE:
            scarce.append(f"{name} has {free / GIGABYTE:,.1f} GB free")
        if not os.access(name, os.W_OK):
            scarce.append(f"{name} cannot be written")
    if scarce:
        return Finding("fail", "; ".join(scarce), "free some, or work on a larger file system (--directory, TMPDIR)")
    return Finding("ok", f"space: {', '.join(seen)}; the run wants {wanted / GIGABYTE:,.1f} GB in {files:,} files")


def token(place: Place) -> Finding:
    """Check whether there is a token of the hub where one may be needed; its value is never shown."""
    wanted = hub_models(place.chain)
    found = any(os.environ.get(name) for name in TOKENS) or _token_file().is_file()
    if found:
        return Finding("ok", "there is a token of the model hub")
    if not wanted:
        return Finding("ok", "no token of the model hub; this configuration needs none")
    remedy = "if they are gated: accept their terms on the hub and run `hf auth login`, or set HF_TOKEN"
    return Finding("warn", f"no token of the model hub, and {', '.join(wanted)} are to be fetched", remedy)


def _token_file() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(os.environ.get("HF_TOKEN_PATH") or Path(home, "token")).expanduser()


def hub_models(chain: Chain) -> list[str]:
    """Return the models and data sets of a configuration that still have to come from the hub."""
    missing = [Path(path).name for path in _models(chain) if "--" in Path(path).name and not Path(path).is_dir()]
    files = Path(chain.folder("hub_dataset"))
    paths = [*chain.shards.values(), *map(chain.tasks_path, chain.config.benchmarks.values())]
    fetched = [Path(path) for path in paths if Path(path).is_relative_to(files)]
    missing += dict.fromkeys(path.relative_to(files).parts[0] for path in fetched if not path.exists())
    return [name.replace("--", "/", 1) for name in missing]


def _models(chain: Chain) -> list[str]:
    return [path for path in dict.fromkeys([*map(chain.answering, STAGES), *chain.untrained]) if path]


def models(place: Place) -> Finding:
    """Check that models and benchmarks lie where jobs without a network find them."""
    missing = [path for path in _models(place.chain) if not Path(path).is_dir()]
    lost = [path for path in place.chain.own_task_files if not Path(path).is_file()]
    if lost:
        return Finding("fail", f"no benchmark {', '.join(lost)}", "put the files there or change benchmarks.*.path")
    if missing:
        text = f"to be fetched when the run starts: {', '.join(Path(path).name for path in missing)}"
        return Finding("warn", text, "start where there is a network; rules of this kind run beside Snakemake")
    return Finding("ok", "models and benchmarks are here: no job needs a network")
