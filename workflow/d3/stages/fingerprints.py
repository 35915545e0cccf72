"""Fingerprints: what near-duplicates are found by, one batch at a time, so that a changed shard costs only itself.

For every file its shingles (`d3.stages.shingles`), and the bands of their MinHash signature: files of which one
band is equal are candidates. Bands have `ROWS` values each; of two files with the similarity 0.7 one of 51
bands is equal with the probability 0.9999. Nothing depends on other files, on their order or on the machine.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from rensa import RMinHash

from d3.config.data import NearDuplicates
from d3.config.models import Config
from d3.core import schemas
from d3.core.progress import track
from d3.core.tables import Row, TableWriter
from d3.errors import D3Error
from d3.pipeline.checks import Faults, FinishedJob, read_columns
from d3.pipeline.job import Job
from d3.stages.shingles import BLINDED_SHINGLES, Hashes, blinded_words, combined, shingles, words

ROWS = 5
"""Values of the signature in a band."""
SEED = 42
"""Of the permutations; datasets with different ones cannot be compared."""
CODE, BLINDED = "code", "blinded"
TOGETHER = 1000
"""Files whose signatures are computed in one call."""


def run(config: Config, corpus: Path, out: Path) -> None:
    """Write the fingerprints of the files of a corpus table.

    Write `schemas.FINGERPRINTS` to `out`, in the order of the table: a row per file, and a second one in the blinded
    view if `near_duplicates.blinded` is set. Without `near_duplicates.similarity` there are no rows. Raise D3Error if
    the installed `rensa` computes other signatures than `near_duplicates.algorithm`.

    Example: d3 fingerprints --corpus kept.parquet --out fingerprints.parquet
    """
    settings = config.near_duplicates
    if f"rensa-{RMinHash.ALGORITHM_VERSION}" != settings.algorithm:
        reason = f"rensa computes signatures of version {RMinHash.ALGORITHM_VERSION}, expected {settings.algorithm}"
        raise D3Error(reason, remedy="install the version of envs/data.lock")
    with Job("fingerprints", config=config) as job:
        table = job.table(out, schemas.FINGERPRINTS)
        waiting: list[tuple[Row, Hashes]] = []
        for row in track(job.rows(corpus, schemas.CORPUS), "fingerprints", None, "files"):
            job.keep()
            if settings.similarity is None:
                continue
            waiting += _views(row, settings)
            if len(waiting) >= TOGETHER:
                _write(table, waiting, settings)
                waiting = []
        _write(table, waiting, settings)


def _write(table: TableWriter, views: Sequence[tuple[Row, Hashes]], settings: NearDuplicates) -> None:
    for row in _rows(views, settings.permutations):
        table.write(row)


def _views(row: Row, settings: NearDuplicates) -> Iterator[tuple[Row, Hashes]]:
    """Yield the views of a file, each with its shingles; with none if they are too few."""
    metadata = row["metadata"]
    stars = metadata["max_stars_count"]
    place = {
        "id": row["id"],
        "stars": 0 if stars is None else int(stars),
        "repository": metadata["max_stars_repo_name"] or "",
        "path": metadata["max_stars_repo_path"] or "",
        "revision": metadata["max_stars_repo_head_hexsha"] or "",
        "hexsha": metadata["hexsha"] or "",
        "shard": row["shard"],
        "row": row["row"],
    }
    found = shingles(words(row["text"]), settings.ngram)
    yield {**place, "view": CODE}, found if len(found) >= settings.min_shingles else found[:0]
    if settings.blinded:
        found = shingles(blinded_words(row["text"]), settings.ngram)
        yield {**place, "view": BLINDED}, found if len(found) >= BLINDED_SHINGLES else found[:0]


def _rows(views: Sequence[tuple[Row, Hashes]], permutations: int) -> Iterator[Row]:
    """Yield the rows of `schemas.FINGERPRINTS` of some views."""
    described = [(row, found) for row, found in views if len(found)]
    bands = iter(signature_bands([found for _, found in described], permutations))
    for row, found in views:
        values = next(bands) if len(found) else []
        padded = [*values, *[None] * (schemas.BANDS - len(values))]
        digest = int.from_bytes(blake2b(found.tobytes(), digest_size=8).digest(), "little")
        yield {
            **row,
            "shingles": found.tolist(),
            "digest": digest if len(found) else None,
            **{f"band_{number:02d}": value for number, value in enumerate(padded)},
        }


def signature_bands(sets: Sequence[Hashes], permutations: int) -> list[list[int]]:
    """Return the hashes of the bands of each set's signature, at most `schemas.BANDS` of them."""
    if not sets:
        return []
    offsets = np.cumsum([0, *map(len, sets)]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(sets), offsets, permutations, SEED)
    values = np.array(matrix.to_rows(), dtype=np.uint64)
    bands = min(permutations // ROWS, schemas.BANDS)
    columns = [combined(list(values[:, ROWS * band : ROWS * (band + 1)].T)) for band in range(bands)]
    found: list[list[int]] = np.stack(columns, axis=1).tolist()
    return found


def check(job: FinishedJob) -> Faults:
    """Compare the ids with those of the corpus, and some of the shingles with the texts."""
    settings = NearDuplicates(**job.config.get("near_duplicates", {}))
    files = [row["id"] for row in read_columns(job.inputs_of("corpus"), schemas.CORPUS, "id")]
    found = read_columns([job.path()], schemas.FINGERPRINTS, "id", "view")
    listed = [row["id"] for row in found if row["view"] == CODE]
    if listed != ([] if settings.similarity is None else files):
        yield (
            job.name(),
            f"has fingerprints of {len(listed):,} files, not of the {len(files):,} of its corpus",
        )
    sample = job.sample_rows(job.path(), schemas.FINGERPRINTS, lambda row: row["view"] == CODE)
    wanted = {row["id"]: row for row in sample}
    for row in read_columns(job.inputs_of("corpus"), schemas.CORPUS, "id", "text", "metadata", "shard", "row"):
        if (kept := wanted.get(row["id"])) is not None:
            again = next(_rows(list(_views(row, settings))[:1], settings.permutations))
            if {name: value for name, value in kept.items() if value is not None} != {
                name: value for name, value in again.items() if value is not None
            }:
                yield job.name(), f"the fingerprint of {row['id'][:16]} is not that of its text"
