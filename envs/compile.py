"""Compile `envs/*.in` into complete, hashed locks. Run by `make locks`; needs `uv` on PATH.

`main.in` becomes three files, because one torch version has two builds with different needs:

* `torch.lock`  torch by version alone, without a hash: a machine whose package index offers
  a CPU build takes that one, a GPU machine takes the CUDA build;
* `cuda.lock`   what only the CUDA build needs (installed when the build that came asks for it);
* `main.lock`   everything else, with hashes.

`data.lock`, `train.lock` and `eval.lock` are for images: parts of the same environment, so they take
their versions from the three. Every lock of an image is whole and has hashes throughout. `NAME-cpu.lock`
is for machines without a GPU: it names torch's CPU build by its hash, and leaves out what only a GPU or
the CUDA build uses; torchvision of the CUDA build does not even load there.
`NAME.override` beside `NAME.in` holds versions that win over what packages ask for.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = Path(__file__).parent
CUDA_ONLY = re.compile(r"(nvidia|cuda)-|triton$")
NOT_ON_CPU = re.compile(rf"{CUDA_ONLY.pattern}|torch(vision|audio|codec)?$")
TORCH_CPU = "torch=={version} \\\n    --hash=sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b\n"
"""PyTorch's own CPU build of this version for Python 3.11 on x86-64 Linux, from its own index."""
PARTS = ("data", "eval", "train")
"""Parts of the main environment, in images of their own."""
HEADER = "# Made by `make locks` from {source}; install with `pip install --no-deps`.\n"


def compile_lock(source: Path, constraints: Path | None = None) -> list[str]:
    """Resolve `source` for Python >= 3.11 on Linux; give the entries, a package may have several."""
    command = ["uv", "pip", "compile", str(source), "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
    override = source.with_suffix(".override")
    command += ["--override", str(override)] if override.exists() else []
    command += ["--constraint", str(constraints)] if constraints else []
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.findall(r"^[a-zA-Z0-9].*?(?=^[a-zA-Z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)


def write(name: str, source: Path, entries: list[str]) -> None:
    """Write the lock `name` with its header."""
    (ENVS / f"{name}.lock").write_text(HEADER.format(source=f"envs/{source.name}") + "".join(entries))


def on_cpu(entries: list[str]) -> list[str]:
    """Give the entries of a machine without a GPU: torch's CPU build, and nothing that needs CUDA."""
    torch = next(entry for entry in entries if entry.startswith("torch=="))
    kept = [entry for entry in entries if not NOT_ON_CPU.match(entry.split("==")[0])]
    return sorted([*kept, TORCH_CPU.format(version=torch.split()[0].removeprefix("torch=="))])


def compile_parts() -> None:
    """Write the locks of the main environment's parts, with the main environment's versions."""
    pins = "".join((ENVS / f"{name}.lock").read_text() for name in ("main", "torch", "cuda"))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("".join(line.removesuffix("\\") + "\n" for line in pins.splitlines() if "==" in line[:80]))
        constraints.flush()
        for name in PARTS:
            entries = compile_lock(ENVS / f"{name}.in", Path(constraints.name))
            write(name, ENVS / f"{name}.in", entries)
            if name == "train":
                write("train-cpu", ENVS / "train.in", on_cpu(entries))


def main() -> int:
    """Compile every `.in` file; return the exit code. With `parts`, only those of the main environment."""
    wanted = [] if sys.argv[1:] == ["parts"] else sorted(ENVS.glob("*.in"))
    for source in wanted:
        if source.stem in PARTS:
            continue
        entries = compile_lock(source)
        entries = on_cpu(entries) if source.stem == "vllm-cpu" else entries
        torch = [entry for entry in entries if source.stem == "main" and entry.startswith("torch==")]
        cuda = [entry for entry in entries if torch and CUDA_ONLY.match(entry.split("==")[0])]
        write(source.stem, source, [entry for entry in entries if entry not in torch + cuda])
        if torch:
            write("torch", source, [torch[0].split()[0] + "\n"])
            write("cuda", source, cuda)
    compile_parts()
    return 0


if __name__ == "__main__":
    sys.exit(main())
