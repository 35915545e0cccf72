"""The corpus stage: a batch of shards in, its kept rows and its rejected rows out.

What is kept does not depend on the order of rows or on which shards share a batch. Files that pass
the filters are put aside first; when all shards of the batch are read, the sample of every shard is
known, and of rows with the same text the one with the smallest key stays (`d3.stages.corpus.sampling`).
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import thread_time
from types import MappingProxyType

import pyarrow as pa

from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id, normalise, unit_interval
from d3.core.opt_out import NOBODY, OptOut, detail_of, read_opt_out, repositories_of
from d3.core.opt_out import REASON as OPTED_OUT
from d3.core.progress import track
from d3.core.row_spool import RowSpool
from d3.core.tables import FORMATS, Row, scratch_folder
from d3.pipeline.checks import Faults, FinishedJob, read_columns
from d3.pipeline.job import Job
from d3.provenance.resource_usage import count_rule, count_rules
from d3.sources.shard import count_files, read_shard, shard_name
from d3.sources.values import Broken
from d3.stages.contamination import Key as MatchKey
from d3.stages.contamination import Match, read_matches
from d3.stages.corpus.filter import Rejection
from d3.stages.corpus.filters import examine, reject_size
from d3.stages.corpus.own_filters import SETTING, OwnFilter, own_filters
from d3.stages.corpus.redaction import redacted
from d3.stages.corpus.sampling import MIDTRAIN, SFT, Choice, Key, Mask, order_key

PLACE = ("shard", "row", "id", "original", "hexsha", "repositories")


def run(
    config: Config,
    shard: Sequence[Path],
    out: Path,
    rejected: Path,
    *,
    contamination: Path | None = None,
    opt_out: Path | None = None,
) -> None:
    """Filter source shards or folders, one or a batch, into kept rows and rejected rows.

    Write `schemas.CORPUS` to `out`, ordered as in the shards, and `schemas.REJECTED` with the reasons to
    `rejected`. `contamination` lists files that contain tasks of benchmarks; `opt_out` is a list as in
    `d3.core.opt_out`. Raise InputError if a shard cannot be read to
    its end, if the list contains a malformed line or if a filter of the user fails; ConfigError if one
    cannot be imported.

    Example: d3 corpus --shard shard.parquet --out kept.parquet --rejected rejected.parquet
    """
    with (
        Job("corpus", config=config) as job,
        scratch_folder(out, "candidates") as folder,
    ):
        kept_table, rejected_table = job.table(out, schemas.CORPUS), job.table(rejected, schemas.REJECTED)
        candidates = RowSpool(folder / "candidates.arrow", schemas.CORPUS)
        choice = Choice(config)
        entries = NOBODY if opt_out is None else read_opt_out(job.input(opt_out, role="opt_out", declared=False))
        contaminated = read_matches(job, contamination)
        own = own_filters(config.corpus.filters)
        for judge in own:
            job.input(judge.path, role="filter", declared=False)
            job.prompt(f"{SETTING} {judge.name}", judge.path)

        def reject(row: Row, why: Rejection) -> None:
            rejected_table.write({**{name: row[name] for name in PLACE}, **why._asdict()})
            job.drop(why.reason.partition(":")[0], detail=why.detail)

        count_rules()
        gc.freeze()  # modules and settings stay: the collector need not look at them for every file
        columns = config.source.columns
        for path in shard:
            name, total = shard_name(path), count_files(job.input(path), columns)
            job.read, job.read_from = job.read + total, str(path)
            for number, row in enumerate(track(read_shard(path, columns), f"corpus {name}", total, "files")):
                place = placed(name, number, row, redact=config.corpus.redact)
                found = examined(config, entries, place, row, own, contaminated, where=f"{path}: row {number}")
                if isinstance(found, Rejection):
                    reject(place, found)
                else:
                    choice.add(found)
                    candidates.add(found)
        candidates.finish()
        choice.close(lambda some: _keys(candidates, some))

        def reject_candidate(number: int, row: Row) -> None:
            names = {"hexsha": row["metadata"]["hexsha"], "repositories": repositories_of(row["metadata"])}
            reject({**row, **names}, choice.rejection(number, row["id"]))

        candidates.copy(choice.kept(), kept_table, reject_candidate)
        job.keep(kept_table.rows)


def _keys(candidates: RowSpool, some: Mask) -> Iterator[Key]:
    """Yield the order keys of some candidates."""
    first = 0
    for piece in candidates.pieces("shard", "row", "metadata") if some.any() else ():
        mask = some[first : first + piece.num_rows]
        first += piece.num_rows
        yield from map(order_key, piece.filter(pa.array(mask)).to_pylist())


def placed(shard: str, number: int, row: Row | Broken, *, redact: bool = True) -> Row:
    """Return the columns of `schemas.REJECTED` that say which row this is."""
    if isinstance(row, Broken):
        ids, hexsha, repositories = _ids_of(None, redact), row.hexsha, list(row.repositories)
    else:
        ids, hexsha, repositories = _ids_of(row["content"], redact), row["hexsha"], repositories_of(row)
    names = {"shard": shard, "row": number, "hexsha": hexsha, "repositories": repositories}
    return {**names, "id": ids[0], "original": ids[1]}


def _ids_of(content: str | None, redact: bool) -> tuple[str | None, str | None]:
    """Return the content ids of a text after and before redaction."""
    if content is None:
        return None, None
    text = normalise(content)
    try:
        original = content_id(text)
    except UnicodeEncodeError:
        return None, None
    began = thread_time()
    changed = redacted(text) if redact else text
    count_rule("redact", thread_time() - began, rejected=False)
    return (original if changed == text else content_id(changed)), original


def examined(
    config: Config,
    entries: OptOut,
    place: Row,
    row: Row | Broken,
    own: Sequence[OwnFilter] = (),
    contaminated: Mapping[MatchKey, Match] = MappingProxyType({}),
    *,
    where: str = "",
) -> Row | Rejection:
    """Return the `schemas.CORPUS` row of a source row that passes all filters, or why it does not.

    `own` are the user's filters, `contaminated` the matches by id; `where` names the row if a filter fails.
    """
    entry = entries.entry(place["repositories"], place["id"], place["original"], place["hexsha"])
    if entry is not None:
        return Rejection(OPTED_OUT, detail_of(entry))
    if isinstance(row, Broken):
        return Rejection(row.reason, row.detail)
    if (match := contaminated.get((place["original"],))) is not None:
        return Rejection(match.reason, match.detail)
    text = examine(row, config.corpus)
    if isinstance(text, Rejection):
        return text
    if config.corpus.redact:
        text = redacted(text)
    held_out = unit_interval(config.seed, "held-out", place["id"]) < config.corpus.held_out
    why = None if held_out else reject_size(text, config.corpus)
    why = why or next(filter(None, (judge.check(text, row, where) for judge in own)), None)
    return why or {
        "id": place["id"],
        "original": place["original"],
        "text": text,
        "split": SFT if held_out else MIDTRAIN,
        "shard": place["shard"],
        "row": place["row"],
        "source": config.source.name,
        "metadata": {name: value for name, value in row.items() if name != "content"},
    }


def check(job: FinishedJob) -> Faults:
    """Compare ids with texts, and kept and rejected rows with the rows of the shards."""
    columns = job.config.get("source", {}).get("columns", {})
    paths = {job.root / name for name in job.inputs if name.endswith(FORMATS) or (job.root / name).is_dir()}
    sources = {shard_name(path): path for path in sorted(paths.difference(job.inputs_of("contamination")))}
    places: set[tuple[str, int]] = set()
    for row in read_columns([job.path()], schemas.CORPUS, "id", "text", "shard", "row"):
        if content_id(row["text"]) != row["id"] or normalise(row["text"]) != row["text"]:
            yield job.name(), f"the text of {row['id'][:16]} is not the one that its id is the hash of"
        if row["shard"] not in sources or (row["shard"], row["row"]) in places:
            reason = f"{row['id'][:16]} is row {row['row']} of {row['shard']}, which is no input or comes twice"
            yield job.name(), reason
        places.add((row["shard"], row["row"]))
    for row in read_columns([job.path(1)], schemas.REJECTED, "shard", "row"):
        if row["shard"] not in sources or (row["shard"], row["row"]) in places:
            yield job.name(1), f"row {row['row']} of {row['shard']} is no input's or comes twice"
        places.add((row["shard"], row["row"]))
    for shard, source in sources.items():
        total = count_files(source, columns)
        counted = sum(1 for name, row in places if name == shard and 0 <= row < total)
        if counted != total:
            yield job.name(), f"kept and rejected rows account for {counted:,} of the {total:,} rows of {shard}"
    yield from _check_sources(job, sources, columns)


def _check_sources(job: FinishedJob, sources: Mapping[str, Path], columns: Mapping[str, str]) -> Faults:
    """Compare some kept rows with the rows of the shards that they come from."""
    wanted = {(row["shard"], row["row"]): row for row in job.sample_rows(job.path(), schemas.CORPUS)}
    for shard in sorted({shard for shard, _ in wanted} & sources.keys()):
        for number, found in enumerate(read_shard(sources[shard], columns)):
            kept = wanted.get((shard, number))
            if kept is None:
                continue
            source_row = {} if isinstance(found, Broken) else found
            text = normalise(source_row.get("content") or "")
            if content_id(text) != kept["original"]:
                yield job.name(), f"{kept['id'][:16]} has not the text of row {number} of {shard}"
            text = redacted(text) if kept["id"] != kept["original"] else text
            metadata = {name: source_row.get(name) for name in kept["metadata"]}
            if text != kept["text"] or metadata != kept["metadata"]:
                yield job.name(), f"{kept['id'][:16]} differs from row {number} of {shard}"
