"""CPU-seconds of `d3 tokens` against the library's `encode_batch` call alone, on the same rows; the ids must be equal.

    python benchmarks/tokens.py --model FOLDER --megabytes 100

Rows are examples of the format made of the standard library's files, repeated with other names until there are so many
bytes. Start-up of the stage is in its figure; the call has a tokenizer that is loaded already.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from d3.core import schemas  # noqa: E402
from d3.core.example_format import example_completion, example_prompt  # noqa: E402
from d3.core.tables import TableWriter, read_rows  # noqa: E402
from d3.core.tokenizer_file import Vocabulary, plain_settings  # noqa: E402
from d3.core.unified_diff import make_diff  # noqa: E402

BOUND = 1.25
"""The stage may take so many times the CPU-seconds of the call."""


def rows(megabytes: float) -> Iterator[dict[str, object]]:
    """Yield dataset rows of files of the standard library."""
    texts = []
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        if 500 < len(text) < 20_000 and "\r" not in text and "\f" not in text:
            texts.append(text)
    size = number = 0
    while size < megabytes * 1e6:
        text = texts[number % len(texts)]
        lines = text.split("\n")
        start = "\n".join(lines[: number * 7 % len(lines)])
        prompt = example_prompt(f"f{number}.py", start, f"Write part {number} of the module.")
        completion = example_completion(prompt, [make_diff(start, text)])
        size += len(completion.encode())
        number += 1
        yield dict.fromkeys(schemas.DATASET.names) | {"prompt": prompt, "completion": completion}


def cpu_of_children() -> float:
    """Return the CPU-seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measure both, compare their ids, print a table; exit with 1 beyond the bound."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=100)
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = TableWriter(folder / "data.parquet", schemas.DATASET)
        for row in rows(arguments.megabytes):
            writer.write(row)
        writer.finish()
        writer.publish()
        before, begin = cpu_of_children(), time.monotonic()
        command = [str(ROOT / "workflow" / "bin" / "d3"), "tokens", "--dataset", "data.parquet"]
        command += ["--tokenizer", str(arguments.model.absolute()), "--out", "out.npy"]
        subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
        stage, wall = cpu_of_children() - before, time.monotonic() - begin
        column = pa.schema([schemas.DATASET.field("completion")])
        texts = [row["completion"] for row in read_rows(folder / "data.parquet", column)]
        tokenizer = Tokenizer.from_str(json.dumps(plain_settings(Vocabulary.read(arguments.model).settings)))
        tokenizer.encode_special_tokens = True
        start = time.process_time()
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
        call = time.process_time() - start
        notes = json.loads((folder / "out.json").read_bytes())
        ids = np.memmap(folder / "out.npy", dtype=notes["dtype"], mode="r")
        expected = np.concatenate([[*notes["begin_ids"], *item.ids, notes["eos_id"]] for item in encodings])
        equal = len(ids) == len(expected) and bool((ids == expected).all())
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts):,} rows, {size:.1f} MB, {len(ids):,} tokens")
    print(f"encode_batch  {call:7.1f} CPU-s")
    print(f"d3 tokens     {stage:7.1f} CPU-s ({wall:.1f} s), {stage / call:.2f} times the call (at most {BOUND})")
    print(f"ids equal: {equal}")
    return int(not equal or stage > BOUND * call)


if __name__ == "__main__":
    sys.exit(main())
