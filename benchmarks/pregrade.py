"""Measure the pre-grader: files saved and wrong drops on held-out rows, over many random splits.

    python benchmarks/pregrade.py SHARD.parquet ...

Without shards, the standard library of this Python is read. In place of a language model a rubric of rules judges the
files (`points`): so the truth of every file is known. In each split, `--sample` files are "graded first"; the others
are judged by the pre-grader that learned of them, with the bound of the configuration.
"""

import argparse
import ast
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from d3.core.ids import content_id, normalise
from d3.sources.shard import read_shard
from d3.sources.values import Broken
from d3.stages.inputs import standard_library
from d3.stages.linear_judge import features, fit, rank_of_bound, scores

if TYPE_CHECKING:
    from numpy.typing import NDArray


def points(text: str) -> int:
    """Return 0 to 4 points of a rubric for what is useful to learn from.

    One point each: half of the functions and classes have a docstring; the mean function has 4 to 30 lines; a fifth of
    the parameters and results are annotated, or the module has a docstring; no function has more than 3 nested blocks
    and the module has at least two functions.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return 0
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not functions:
        return 0
    documented = [
        ast.get_docstring(node) is not None
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    lengths = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]
    places = [place for node in functions for place in (node.returns, *(word.annotation for word in node.args.args))]
    annotated = sum(place is not None for place in places) / len(places)
    return sum(
        (
            sum(documented) >= len(documented) / 2,
            4 <= fmean(lengths) <= 30,
            annotated >= 0.2 or ast.get_docstring(tree) is not None,
            len(functions) >= 2 and max(map(depth, functions)) <= 3,
        )
    )


def depth(node: ast.AST) -> int:
    """Return how deep blocks are nested in a node."""
    own = isinstance(node, ast.For | ast.While | ast.If | ast.With | ast.Try)
    return own + max(map(depth, ast.iter_child_nodes(node)), default=0)


def texts(shards: list[Path]) -> Iterator[str]:
    """Yield the different texts of at least 10 lines."""
    seen = set()
    for text in (raw for path in shards for raw in shard_texts(path)) if shards else library():
        if text.count("\n") >= 9 and (name := content_id(text)) not in seen:
            seen.add(name)
            yield text


def shard_texts(path: Path) -> Iterator[str]:
    """Yield the normalized texts of a shard."""
    for row in read_shard(path, {}):
        if not isinstance(row, Broken) and row["content"]:
            yield normalise(row["content"])


def library() -> Iterator[str]:
    """Yield the normalized texts of the standard library."""
    for _, data in standard_library():
        yield normalise(data.decode("utf-8", "replace"))


def main() -> None:
    """Print one JSON line for each threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="*", type=Path)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--sample", type=int, default=600, help="files that are graded first (default: 600)")
    parser.add_argument("--max-wrong-drops", type=float, default=0.05)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--thresholds", type=int, nargs="+", default=[2, 3, 4])
    given = parser.parse_args()
    files = list(texts(given.shards))
    truth = np.array(list(map(points, files)))
    started = time.process_time()
    matrix = features(files)
    cost = 1000 * (time.process_time() - started) / len(files)
    for threshold in given.thresholds:
        good = truth >= threshold
        tried = (split(matrix, good, given, number) for number in range(given.splits))
        found = [each for each in tried if each is not None]
        result = {
            "files": len(files),
            "threshold": threshold,
            "good": round(float(good.mean()), 3),
            "cpu_ms_a_file": round(cost, 1),
            "sample": given.sample,
            "splits": len(found),
        }
        if found:
            saved, wrong = (np.array(column) for column in zip(*found, strict=True))
            result |= {
                "saved": round(float(saved.mean()), 3),
                "saved_least": round(float(saved.min()), 3),
                "wrong_drops": round(float(wrong.mean()), 4),
                "wrong_drops_most": round(float(wrong.max()), 4),
                "splits_above_bound": int((wrong > given.max_wrong_drops).sum()),
            }
        print(json.dumps(result), flush=True)


def split(matrix: Any, good: "NDArray[np.bool_]", given: argparse.Namespace, seed: int) -> tuple[float, float] | None:
    """Return shares of held-out files that are left out, and of good ones among them that are; None: too few files."""
    order = np.array(random.Random(seed).sample(range(len(good)), len(good)))
    sample, rest = order[: given.sample], order[given.sample :]
    train, calibration = sample[: len(sample) // 2], sample[len(sample) // 2 :]
    calibration = calibration[good[calibration]]
    rank = rank_of_bound(len(calibration), given.max_wrong_drops, given.confidence)
    if not rank:
        return None
    weights = fit(matrix[train], good[train].tolist())
    threshold = sorted(scores(weights, matrix[calibration]))[rank - 1]
    dropped = np.asarray(scores(weights, matrix[rest]), dtype=np.float64) < threshold
    return float(dropped.mean()), float(dropped[good[rest]].mean())


if __name__ == "__main__":
    main()
