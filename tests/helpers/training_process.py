"""Training stages in processes of their own, with code that runs before them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d3.core import schemas
from helpers.corpus_tables import write_rows
from helpers.paths import ROOT

CODE = """
import json, sys
from pathlib import Path
from d3.config.load import parse_config
from d3.errors import D3Error
from importlib import import_module
stage, data, output, model, work, config = sys.argv[1:]
{before}
if __name__ == "__main__":
    try:
        import_module(f"d3.train.{{stage}}").run(
            parse_config(json.loads(config)), [Path(data)], Path(output), model=model, work=Path(work)
        )
    except D3Error as error:
        sys.exit(f"error: {{error}}")
"""


def command_of(
    stage: str, data: Path, output: Path, model: Path, work: Path, config: dict[str, Any], *, before: str = ""
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of a stage in a process of its own."""
    arguments = [stage, str(data), str(output), str(model), str(work), json.dumps(config)]
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")},
        "PYTHONPATH": str(ROOT / "workflow"),
        "OMP_NUM_THREADS": "1",
        "TORCH_EXTENSIONS_DIR": str(work.parent / "extensions"),
        "CXX": "/nowhere/c++",  # nothing may be compiled
    }
    return [sys.executable, "-c", CODE.format(before=before), *arguments], environment


def train(*arguments: Any, before: str = "") -> "subprocess.CompletedProcess[str]":
    command, environment = command_of(*arguments, before=before)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def write_examples(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    examples = [
        {"id": f"row{number}", "sample": 0, "prompt": prompt, "completion": completion}
        for number, (prompt, completion) in enumerate(rows)
    ]
    return write_rows(path, schemas.SFT, examples)
