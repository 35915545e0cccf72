"""CPU-seconds of the corpus beside datatrove's, on the same rows with the same rules: `make bench-datatrove`.

    make bench-datatrove ARGS="--python VENV/bin/python --shards shards/*.parquet"

VENV has the packages datatrove[processing,io], spacy and pydantic. Its `LambdaFilter` calls the functions that our
filters are, so that what is compared is everything around them: reading, ids, judging equal files, writing. Ours are
the jobs of `d3 corpus`, `d3 fingerprints` and `d3 near-duplicates`, theirs reader, filter and writers, then the four
steps of MinHash with the settings of the package. Each runs in a process of its own, in turn; imports do not count.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

FILTER, NEAR = "filter", "filter + near-duplicates"


def ours(shards: list[Path], folder: Path) -> dict[str, Any]:
    """Run our jobs; return CPU-seconds and the number of files after each."""
    from d3.config.models import Config
    from d3.core.tables import count_rows
    from d3.stages.corpus.stage import run
    from d3.stages.fingerprints import run as write_fingerprints
    from d3.stages.near_duplicates import run as find_near_duplicates

    config = Config.model_validate({"corpus": {"held_out": 0}})  # else files of any size are held out
    names = [folder / name for name in ("kept.parquet", "rejected.parquet", "fingerprints.parquet", "near.parquet")]
    pa.Table.from_pylist([{"a": 1}])  # imports pandas, where it is installed
    began = time.process_time()
    run(config, shards, names[0], names[1])
    filtered = time.process_time() - began
    write_fingerprints(config, names[0], names[2])
    find_near_duplicates(config, [names[2]], names[3])
    both = time.process_time() - began
    kept, dropped = count_rows(names[0]), count_rows(names[3])
    return {FILTER: (filtered, kept), NEAR: (both, kept - dropped)}


def theirs(shards: list[Path], folder: Path) -> dict[str, Any]:
    """Run datatrove's steps; return CPU-seconds and the number of files after each."""
    import pyarrow.parquet as pq
    from datatrove.executor import LocalPipelineExecutor  # type: ignore[import-not-found]
    from datatrove.pipeline.dedup import (  # type: ignore[import-not-found]
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
    )
    from datatrove.pipeline.dedup import MinhashDedupSignature as Signature
    from datatrove.pipeline.filters import LambdaFilter  # type: ignore[import-not-found]
    from datatrove.pipeline.readers import ParquetReader  # type: ignore[import-not-found]
    from datatrove.pipeline.writers import ParquetWriter  # type: ignore[import-not-found]

    from d3.config.data import Corpus
    from d3.core.ids import content_id
    from d3.stages.corpus.filter import Rejection
    from d3.stages.corpus.filters import examine, reject_size
    from d3.stages.corpus.redaction import redact

    settings, seen = Corpus(), set[str]()

    def judge(document: Any) -> Any:
        text = examine({**document.metadata, "content": document.text}, settings)
        why = text if isinstance(text, Rejection) else reject_size(text, settings)
        if why is not None:
            return False, why.reason
        document.text = redact(str(text))
        document.id = content_id(document.text)
        if document.id in seen:
            return False, "duplicate"
        seen.add(document.id)
        return True

    def run(*steps: Any) -> None:
        LocalPipelineExecutor(list(steps), logging_dir=str(folder / f"log{len(os.listdir(folder))}"), workers=1).run()

    def parquet(name: str) -> str:
        return str(folder / name)

    for number, path in enumerate(shards):
        (folder / "in").mkdir(exist_ok=True)
        (folder / "in" / f"{number:05d}.parquet").symlink_to(path.resolve())
    pa.Table.from_pylist([{"a": 1}])  # imports pandas, where it is installed
    began = time.process_time()
    rejected = ParquetWriter(parquet("rejected"), compression="zstd")
    read = ParquetReader(parquet("in"), text_key="content", id_key="hexsha")
    run(read, LambdaFilter(judge, exclusion_writer=rejected), ParquetWriter(parquet("kept"), compression="zstd"))
    filtered = time.process_time() - began
    run(ParquetReader(parquet("kept")), Signature(parquet("signatures")))
    for bucket in range(14):
        step = MinhashDedupBuckets(parquet("signatures"), parquet("buckets"))
        step.run(rank=bucket, world_size=14)
    run(MinhashDedupCluster(parquet("buckets"), parquet("remove")))
    run(ParquetReader(parquet("kept")), MinhashDedupFilter(parquet("remove")), ParquetWriter(parquet("left")))
    both = time.process_time() - began
    count: Callable[[str], int] = lambda name: sum(  # noqa: E731
        pq.read_metadata(path).num_rows for path in (folder / name).glob("*.parquet")
    )
    return {FILTER: (filtered, count("kept")), NEAR: (both, count("left"))}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="of an environment with datatrove")
    parser.add_argument("--shards", type=Path, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", choices=["ours", "theirs"])
    arguments = parser.parse_args()
    if arguments.child:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps((ours if arguments.child == "ours" else theirs)(arguments.shards, Path(scratch))))
        return
    best: dict[str, dict[str, Any]] = {}
    for _ in range(arguments.rounds):
        for side in ("theirs", "ours"):
            python = arguments.python if side == "theirs" else sys.executable
            command = [python, __file__, "--child", side, "--shards", *map(str, arguments.shards)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{done.stderr}\n{python}: install the packages that the head of {__file__} names")
            found = json.loads(done.stdout.splitlines()[-1])
            best[side] = min(best.get(side, found), found, key=lambda one: float(one[NEAR][0]))
    print(f"CPU-seconds, best of {arguments.rounds}     datatrove              d3     ratio")
    for name in (FILTER, NEAR):
        (other, left), (own, kept) = best["theirs"][name], best["ours"][name]
        print(f"{name:26} {other:8.1f} ({left:,}) {own:8.1f} ({kept:,})    {other / own:.2f}x")


if __name__ == "__main__":
    main()
