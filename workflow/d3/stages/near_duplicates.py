"""Near-duplicates over all batches: of files whose code is almost the same, the one with the most stars stays.

Candidates have an equal band of their signatures (`d3.stages.fingerprints`) and are verified by the exact
similarity of their shingles. Files are then judged in the order of stars, most first, and of ids: a file is dropped
if it is similar to one that is kept. So no two files that are kept are near-duplicates, every file that is dropped
is one of its survivor, and the order of rows, shards and batches changes nothing. Mid-training and held-out files
are judged together: none has a near-copy on the other side.

Only numbers are sorted, by DuckDB and on the disk where the memory ends; what is kept in Python grows with the files
that are dropped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from d3.config.models import Config
from d3.core import schemas
from d3.core.data_base import data_base
from d3.core.plain_links import plain_links
from d3.core.tables import Row, open_parquet
from d3.pipeline.checks import Faults, FinishedJob, read_columns
from d3.pipeline.job import Job
from d3.stages.duplicates import NEAR_DUPLICATE

if TYPE_CHECKING:
    import duckdb

MOST_OF_BAND = 50
"""Files of one band that all others of it are compared with, those that are judged first; of copies with the same
shingles one is compared."""
READ = "read_parquet($files, hive_partitioning = false)"
RANKED = f"""
    CREATE TEMP TABLE files AS
    SELECT id, digest, row_number() OVER (ORDER BY stars DESC, id) AS rank
    FROM (
        SELECT id, any_value(digest) AS digest,
            arg_min(stars, ROW(repository, path, revision, hexsha, shard, "row")) AS stars
        FROM {READ} WHERE view = 'code' GROUP BY id
    )
"""
"""The stars of equal files are those of the one that stays; see `d3.stages.duplicates`."""
SAME_CODE = """
    CREATE TEMP TABLE twins AS
    SELECT id, rank, CASE WHEN digest IS NULL THEN rank ELSE min(rank) OVER (PARTITION BY digest) END AS first
    FROM files
"""
SETS = f"""
    CREATE TEMP TABLE sets AS
    SELECT rank, view, any_value(shingles) AS shingles
    FROM {READ} JOIN twins USING (id) WHERE rank = first AND len(shingles) > 0 GROUP BY rank, view
"""
CANDIDATES = f"""
    INSERT INTO pairs
    WITH banded AS (
        SELECT DISTINCT view, rank, {{band}} AS band FROM {READ} JOIN twins USING (id)
        WHERE rank = first AND {{band}} IS NOT NULL
    ), placed AS (
        SELECT *, row_number() OVER (PARTITION BY view, band ORDER BY rank) AS place,
            count(*) OVER (PARTITION BY view, band) AS size
        FROM banded
    ), shared AS (SELECT * FROM placed WHERE size > 1)
    SELECT early.view, early.rank, late.rank FROM shared early JOIN shared late USING (view, band)
    WHERE early.place <= {MOST_OF_BAND} AND early.rank < late.rank
"""
VERIFIED = """
    SELECT late, early, view, common / (early_size + late_size - common) AS similarity FROM (
        SELECT late, early, view, len(one.shingles) AS early_size, len(other.shingles) AS late_size,
            len(list_intersect(one.shingles, other.shingles)) AS common
        FROM (SELECT DISTINCT view, early, late FROM pairs)
        JOIN sets one USING (view)
        JOIN sets other USING (view)
        WHERE one.rank = early AND other.rank = late
    ) WHERE similarity >= $similarity ORDER BY late, early, view DESC
"""
"""`code` comes before `blinded`, so that a pair which is found in both views is one of code."""
DROPPED = """
    SELECT twins.id, kept.id, coalesce(dropped.similarity, 1.0), coalesce(dropped.view, 'code')
    FROM twins LEFT JOIN dropped ON dropped.rank = twins.first
    JOIN twins kept ON kept.rank = coalesce(dropped.survivor, twins.first)
    WHERE twins.rank <> twins.first OR dropped.rank IS NOT NULL
    ORDER BY twins.id
"""


def run(config: Config, fingerprints: Sequence[Path], out: Path) -> None:
    """List the files of all batches that are near-duplicates of one that is kept.

    Write `schemas.NEAR_DUPLICATES` to `out`, ordered by id. Raise InputError if a table cannot be read.

    Example: d3 near-duplicates --fingerprints a.parquet b.parquet --out near_duplicates.parquet
    """
    with Job("near_duplicates", config=config) as job:
        table = job.table(out, schemas.NEAR_DUPLICATES)
        for path in fingerprints:
            with open_parquet(job.input(path), ("id", "view")) as file:
                job.read += sum(
                    batch["view"].to_pylist().count("code") for batch in file.iter_batches(columns=["view"])
                )
        for row in near_duplicates(config, fingerprints, out.parent):
            table.write(row)
            job.drop(NEAR_DUPLICATE)
        job.keep(job.read - job.dropped[NEAR_DUPLICATE])


def near_duplicates(config: Config, fingerprints: Sequence[Path], folder: Path) -> list[Row]:
    """Return the rows of `schemas.NEAR_DUPLICATES`; what does not fit into memory is spilled into `folder`."""
    similarity = config.near_duplicates.similarity
    if not fingerprints or similarity is None:
        return []
    with plain_links(fingerprints) as links, data_base(folder) as base:
        files = {"files": list(links)}
        base.execute(RANKED, files)
        base.execute(SAME_CODE)
        base.execute("CREATE TEMP TABLE pairs (view VARCHAR, early BIGINT, late BIGINT)")
        for name in schemas.FINGERPRINTS.names:
            if name.startswith("band_"):
                base.execute(CANDIDATES.format(band=name), files)
        base.execute(SETS, files)
        base.execute("CREATE TEMP TABLE dropped (rank BIGINT, survivor BIGINT, similarity DOUBLE, view VARCHAR)")
        _judge(base, similarity)
        names = schemas.NEAR_DUPLICATES.names
        return [dict(zip(names, row, strict=True)) for row in base.execute(DROPPED).fetchall()]


def _judge(base: "duckdb.DuckDBPyConnection", similarity: float) -> None:
    """Fill the table `dropped`: what is similar to a file that is judged before and kept."""
    dropped: dict[int, tuple[int, float, str]] = {}
    pairs = base.execute(VERIFIED, {"similarity": similarity})
    while rows := pairs.fetchmany(10_000):
        for late, early, view, found in rows:
            if early not in dropped and late not in dropped:
                dropped[late] = (early, round(found, 4), view)
    if dropped:
        import pyarrow as pa

        columns = zip(*((rank, *why) for rank, why in dropped.items()), strict=True)
        found = pa.table(dict(zip(("rank", "survivor", "similarity", "view"), map(list, columns), strict=True)))
        base.register("found", found)
        base.execute("INSERT INTO dropped SELECT * FROM found")
        base.unregister("found")


def check(job: FinishedJob) -> Faults:
    """Check that files are dropped once, and each for one that is kept and was compared."""
    listed = list(read_columns([job.path()], schemas.NEAR_DUPLICATES, "id", "survivor"))
    dropped = {row["id"] for row in listed}
    files = {row["id"] for row in read_columns(job.inputs_of("fingerprints"), schemas.FINGERPRINTS, "id")}
    if len(dropped) < len(listed):
        yield job.name(), "lists a file twice"
    for row in listed:
        if row["id"] not in files or row["survivor"] not in files - dropped:
            yield job.name(), f"drops {row['id'][:16]} for a file that is not kept, or is about no file of its inputs"
