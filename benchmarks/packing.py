"""Padding and torn rows of both trainings by packing, on the rows of a run.

    python benchmarks/packing.py --model FOLDER --rows results/runs/NAME/dataset/data/*.parquet

Rows are read as fine-tuning reads them, and put into micro batches as the trainer does: the sequences of one are
padded to the longest of them. Rows that are longer than a sequence lose their last diffs, but for `wrap`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from d3.core.schemas import DATASET  # noqa: E402
from d3.core.tables import read_rows  # noqa: E402
from d3.core.tokenizer_file import Vocabulary  # noqa: E402
from d3.pipeline.checks import select  # noqa: E402
from d3.train.packing import Integers, Packing, pack  # noqa: E402
from d3.train.sft_data import Encoder  # noqa: E402


def lengths_of(rows: Sequence[Path], encoder: Encoder) -> Integers:
    """Return the tokens of each row that is not dropped."""
    columns = select(DATASET, "prompt", "completion")
    encoded = (encoder.encode(row["prompt"], row["completion"]) for path in rows for row in read_rows(path, columns))
    return np.array([len(row.tokens) for row in encoded if not isinstance(row, str)], np.int64)


def padding(tokens: Integers, micro_batch: int) -> float:
    """Return the share of padding where each micro batch is as wide as its longest sequence."""
    batches = np.array_split(tokens, np.arange(micro_batch, len(tokens), micro_batch))
    return 1 - float(tokens.sum()) / sum(int(batch.max()) * len(batch) for batch in batches)


def main() -> None:
    """Print one line for each packing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, nargs="+", required=True)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--micro-batch", type=int, default=4)
    options = parser.parse_args()
    vocabulary = Vocabulary.read(options.model)
    cut = lengths_of(options.rows, Encoder(vocabulary, sequence_length=options.length))
    whole = lengths_of(options.rows, Encoder(vocabulary, sequence_length=10**9))
    print(f"{len(whole)} rows of {whole.mean():.0f} tokens on average, sequences of {options.length}")
    print(f"packing    sequences  torn  tokens behind a tear  padding at micro batch {options.micro_batch}")
    packings: tuple[tuple[Packing, Integers], ...] = (("none", cut), ("best_fit", cut), ("wrap", whole))
    for packing, lengths in packings:
        order = np.random.default_rng(0).permutation(len(lengths)).astype(np.int64)
        layout = pack(packing, lengths, order, options.length)
        counts = layout.counts(options.length)
        behind = counts["behind_tear"] / counts["tokens"]
        wasted = padding(layout.tokens(), options.micro_batch)
        print(f"{packing:<9}  {counts['sequences']:>9}  {counts['torn']:>4}  {behind:>20.1%}  {wasted:>23.2%}")


if __name__ == "__main__":
    main()
