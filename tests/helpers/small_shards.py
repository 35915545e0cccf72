"""Two small shards in the schema of The Stack, made of functions of the standard library."""

import ast
import base64
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3 import records
from d3.embedded import stack_row
from d3.identity import content_id, unit_interval
from d3.tables import Row

MANY, FEW = 100, 4
SEED, HELD_OUT = 0, 0.25


def programs() -> Iterator[str]:
    """Yield short, different programs, none of them held out: functions that stand for themselves."""
    seen = set()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            code = ast.get_source_segment(text, node) if isinstance(node, ast.FunctionDef) else None
            if code and 5 <= code.count("\n") <= 9 and code.isascii() and code not in seen and not held_out(code):
                seen.add(code)
                yield code


def held_out(code: str) -> bool:
    return unit_interval(SEED, "held-out", content_id(code)) < HELD_OUT


def large_program() -> str:
    """Give a program of more than a megabyte that compression does not shrink, among those held out."""
    import random

    for number in range(1000):
        draw = random.Random(number)
        lines = [base64.b85encode(draw.randbytes(700)).decode() for _ in range(1600)]
        code = "\n".join(f"A{index} = {line!r}" for index, line in enumerate(lines))
        if held_out(code):
            return code
    raise AssertionError("no draw is held out")


def rows_of(codes: list[str], name: str) -> list[Row]:
    return [
        stack_row(f"{name}/{number}.py", code, repository=f"{name}-owner/{number}", revision="0" * 40, licences=["MIT"])
        for number, code in enumerate(codes)
    ]


def write_shard(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=records.STACK), path)
    return path


def write_shards(folder: Path) -> None:
    """Write many.parquet (100 programs), few.parquet (4 and a large one), and beside the folder later.parquet."""
    source = programs()
    many, few, later = ([next(source) for _ in range(count)] for count in (MANY, FEW, FEW))
    write_shard(folder / "many.parquet", rows_of(many, "many"))
    write_shard(folder / "few.parquet", [*rows_of(few, "few"), *rows_of([large_program()], "large")])
    write_shard(folder.parent / "later.parquet", rows_of([*later, few[0]], "zlater"))


def small_config(model: str) -> dict[str, Any]:
    """Give a configuration that takes all programs of the shards and asks the tiny model little about each."""
    engine = {"model": model, "max_length": 2048, "batch": 16}
    training = {"sequence_length": 128, "batch": 2, "micro_batch": 1, "max_steps": 1, "epochs": 1, "save_steps": 1}
    return {
        "run": "small",
        "seed": SEED,
        "source": {"shards": ["shards/*.parquet"], "name": "small", "opt_out": "opt-out.txt"},
        "corpus": {
            "sample": None,
            "min_lines": 1,
            "max_lines": 60,
            "max_line_length": 2000,
            "max_mean_line_length": 2000,
            "held_out": HELD_OUT,
        },
        "pairs": {"sample": 2},
        "grades": {"engine": engine, "sampling": {"max_tokens": 2}, "threshold": 0},
        "labels": {
            "engine": engine,
            "sampling": {"temperature": 1.0, "top_p": 0.5, "max_tokens": 4},
            "sub_trajectories": 1,
        },
        "model": {"path": model},
        "tokens": {"tokenizer": model},
        "midtrain": training,
        "sft": training,
        "benchmarks": {"humaneval": {"tasks": 1}},
        "generate": {"engine": {"max_length": 2048, "batch": 2}, "max_tokens": 4},
    }
