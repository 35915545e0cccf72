"""Checks of what files hold: ids that are hashes of text, sequences that replay, tables that belong together.

They find what no file hash can: a row that was changed together with the digests around it. Ids of the
corpus and of pairs are worked out for all rows, everything else for a random sample.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3 import records
from d3.diffs import DiffError, apply_diffs, lines_changed, programs_of
from d3.errors import D3Error
from d3.identity import content_id, normalise, program_number
from d3.lineage.run import Finding, Run
from d3.lineage.statements import Statement, stage_of
from d3.pipeline.registry import STAGES
from d3.tables import FORMATS, Row, count_rows, read_notes, read_rows, table_name
from d3.trajectory import example_completion, example_prompt, random_name

Faults = Iterator[tuple[str, str]]
"""(file, what is wrong with it)."""
Check = Callable[["Checker"], Faults]


@dataclass(kw_only=True)
class Checker:
    """Looks into the outputs of one job; `sample` rows of a table, drawn by `draw`."""

    run: Run
    statement: Statement
    sample: int
    draw: random.Random

    def findings(self, check: "Check | None") -> Iterator[Finding]:
        """Yield what is wrong with the rows that the job wrote; `check` is that of its stage."""
        try:
            for path, what in [*self._counts(), *(check(self) if check else ())]:
                yield Finding(path=path, what=what, jobs=(self.statement.path,))
        except (D3Error, KeyError, ValueError, TypeError, OSError, IndexError, ArithmeticError) as error:
            what = error.reason if isinstance(error, D3Error) else f"{type(error).__name__}: {error}"
            yield Finding(
                path=self.statement.outputs[0].path, what=f"cannot be checked: {what}", jobs=(self.statement.path,)
            )

    # --- what all checks use --------------------------------------------------------------------------

    def out(self, place: int = 0) -> Path:
        """Give an output of the job."""
        return self.run.root / self.statement.outputs[place].path

    def inputs(self, stage: str, folder: str = "") -> list[Path]:
        """Give the inputs that lie in the folder of a stage."""
        paths = [item.path for item in self.statement.inputs if stage_of(item.path) == stage]
        return [self.run.root / path for path in paths if not folder or path.split("/")[3] == folder]

    def rows(self, path: Path, schema: pa.Schema, *columns: str) -> Iterator[Row]:
        """Read some columns of a table, all of them if none is named."""
        part = pa.schema([schema.field(column) for column in columns]) if columns else schema
        return read_rows(path, part)

    def chosen(self, path: Path, schema: pa.Schema, fits: Callable[[Row], bool] = lambda row: True) -> list[Row]:
        """Draw a sample of a table's rows in one pass, each row as likely as any other."""
        kept: list[Row] = []
        seen = 0
        for row in read_rows(path, schema):
            if fits(row):
                seen += 1
                if len(kept) < self.sample:
                    kept.append(row)
                elif (place := self.draw.randrange(seen)) < self.sample:
                    kept[place] = row
        return kept

    def by_id(self, paths: list[Path], schema: pa.Schema, wanted: set[Any], *names: str) -> dict[Any, Row]:
        """Give the rows whose id (or several columns) is wanted."""
        key: Callable[[Row], Any] = (lambda row: tuple(row[name] for name in names)) if names else lambda row: row["id"]
        return {key(row): row for path in paths for row in read_rows(path, schema) if key(row) in wanted}

    def _counts(self) -> Faults:
        """Compare the counts of rows in the statement with the tables and their footers."""
        counts = self.statement.counts
        for place, item in enumerate(self.statement.outputs):
            path = self.run.root / item.path
            if path.suffix != ".parquet":
                continue
            rows = count_rows(path)
            if item.rows is not None and item.rows != rows:
                yield item.path, f"has {rows:,} rows, its statement says {item.rows:,}"
            notes = read_notes(path)
            if notes and {name: notes.get(name) for name in counts} != counts:
                yield item.path, f"its footer counts {notes}, its statement {counts}"
            stage = STAGES.get(stage_of(item.path))
            whole = place == 0 and stage is not None and stage.one_row_each
            if whole and rows != counts["kept"]:
                yield item.path, f"has {rows:,} rows, but {counts['kept']:,} were kept"


def corpus(check: Checker) -> Faults:
    """Check ids against texts, and kept and rejected rows against the shards."""
    path = check.statement.outputs[0].path
    tables = [check.run.root / item.path for item in check.statement.inputs if item.path.endswith(FORMATS)]
    sources = {table_name(table): table for table in tables}
    places: set[tuple[str, int]] = set()
    for row in check.rows(check.out(), records.CORPUS, "id", "text", "shard", "row"):
        if content_id(row["text"]) != row["id"] or normalise(row["text"]) != row["text"]:
            yield path, f"the text of {row['id'][:16]} is not the one that its id is the hash of"
        if row["shard"] not in sources or (row["shard"], row["row"]) in places:
            yield path, f"{row['id'][:16]} is row {row['row']} of {row['shard']}, which is no input or comes twice"
        places.add((row["shard"], row["row"]))
    for row in check.rows(check.out(1), records.REJECTED, "shard", "row"):
        if row["shard"] not in sources or (row["shard"], row["row"]) in places:
            yield check.statement.outputs[1].path, f"row {row['row']} of {row['shard']} is no input's or comes twice"
        places.add((row["shard"], row["row"]))
    for shard, source in sources.items():
        total = count_rows(source)
        found = sum(1 for name, row in places if name == shard and 0 <= row < total)
        if found != total:
            yield path, f"kept and rejected rows account for {found:,} of the {total:,} rows of {shard}"
    yield from _source_rows(check, sources)


def _source_rows(check: Checker, sources: dict[str, Path]) -> Faults:
    """Look some kept rows up in their source shard."""
    wanted = {(row["shard"], row["row"]): row for row in check.chosen(check.out(), records.CORPUS)}
    for shard, source in sources.items():
        numbers = {row for name, row in wanted if name == shard}
        if source.suffix != ".parquet" or not numbers:
            continue
        for number, row in enumerate(_raw_rows(source)):
            if number not in numbers:
                continue
            kept = wanted[shard, number]
            content = row.pop("content")
            text = content if isinstance(content, str) else content.decode("utf-8", "replace")
            if (
                normalise(text) != kept["text"]
                or {name: row.get(name) for name in kept["metadata"]} != kept["metadata"]
            ):
                yield check.statement.outputs[0].path, f"{kept['id'][:16]} differs from row {number} of {shard}"


def _raw_rows(path: Path) -> Iterator[Row]:
    from d3.tables import open_parquet

    with open_parquet(path) as file:
        for batch in file.iter_batches(batch_size=256):
            yield from batch.to_pylist()


def grades(check: Checker) -> Faults:
    """Check that every file for mid-training has one grade."""
    path = check.statement.outputs[0].path
    files = {row["id"] for source in check.inputs("corpus")
             for row in check.rows(source, records.CORPUS, "id", "split") if row["split"] == "midtrain"}  # fmt: skip
    files -= {
        line for elsewhere in check.inputs("duplicates") for line in elsewhere.read_text(encoding="ascii").split()
    }
    seen: set[str] = set()
    for row in check.rows(check.out(), records.GRADES, "id", "score", "status"):
        if row["id"] not in files or row["id"] in seen:
            yield path, f"grades {row['id'][:16]}, which is no file for mid-training or comes twice"
        seen.add(row["id"])
        if (row["status"] == "ok") != (row["score"] is not None) or (row["score"] or 0) not in range(5):
            yield path, f"{row['id'][:16]} has the score {row['score']} and the status {row['status']}"
    if seen != files:
        yield path, f"{len(files - seen):,} files have no grade"


def diffs(check: Checker) -> Faults:
    """Replay a sample of sequences."""
    path = check.statement.outputs[0].path
    rows = check.chosen(check.out(), records.DIFFS, lambda row: row["status"] == "ok")
    wanted = {row["id"] for row in rows}
    texts = check.by_id(check.inputs("corpus"), _part(records.CORPUS, "id", "text"), wanted)
    texts |= check.by_id(check.inputs("pairs"), _part(records.PAIRS, "id", "text"), wanted)
    for row in rows:
        name = f"{row['id'][:16]}#{row['sample']}"
        if row["id"] not in texts:
            yield path, f"{name} is about no file of its inputs"
        elif _replayed(row["diffs"]) != texts[row["id"]]["text"]:
            yield path, f"the diffs of {name} do not give its file"


def _replayed(diffs: list[str]) -> str | None:
    try:
        return apply_diffs("", diffs)
    except DiffError:
        return None


def _part(schema: pa.Schema, *names: str) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names])


def labels(check: Checker) -> Faults:
    """Check that labels are about steps that there are."""
    path = check.statement.outputs[0].path
    lengths = {(row["id"], row["sample"]): len(row["diffs"] or [])
               for source in check.inputs("diffs")
               for row in check.rows(source, records.DIFFS, "id", "sample", "diffs")}  # fmt: skip
    for row in check.rows(check.out(), records.LABELS, "id", "sample", "part", "start", "end", "label", "status"):
        length = lengths.get((row["id"], row["sample"]), -1)
        name = f"{row['id'][:16]}#{row['sample']}, part {row['part']}"
        if not 0 <= row["start"] < row["end"] <= length:
            yield path, f"{name} is about steps {row['start']} to {row['end']} of {length}"
        if (row["status"] == "ok") != (row["label"] is not None):
            yield path, f"{name} has the status {row['status']} and the label {row['label']!r:.40}"


def dataset(check: Checker) -> Faults:
    """Check row numbers and ids, and that every label is used or not."""
    data, ids, unused = (item.path for item in check.statement.outputs[:3])
    places = list(check.rows(check.out(1), records.ROW_IDS))
    if [row["row"] for row in places] != list(range(count_rows(check.out()))):
        yield ids, "its row numbers are not those of the dataset file"
        return
    keys = {(row["id"], row["sample"], row["part"]) for row in places}
    left = [(row["id"], row["sample"], row["part"]) for row in check.rows(check.out(2), records.UNUSED)]
    labelled = {(row["id"], row["sample"], row["part"]) for source in check.inputs("labels")
                for row in check.rows(source, records.LABELS, "id", "sample", "part")}  # fmt: skip
    if keys | set(left) != labelled or keys & set(left) or len(left) + len(places) != len(labelled):
        yield unused, "used and unused labels together are not the labels that there are"
    for row, key in zip(check.rows(check.out(), records.DATASET, "source_program_id"), places, strict=True):
        if row["source_program_id"] != program_number(key["id"]):
            yield data, f"row {key['row']} is of another file than its id {key['id'][:16]} says"
    yield from _rebuilt(check, data)


def _rebuilt(check: Checker, data: str) -> Faults:
    """Build some dataset rows again from corpus, diffs and labels."""
    places = {row["row"]: row for row in check.chosen(check.out(1), records.ROW_IDS)}
    wanted = {(row["id"], row["sample"], row["part"]) for row in places.values()}
    labels = check.by_id(check.inputs("labels"), records.LABELS, wanted, "id", "sample", "part")
    sequences = check.by_id(check.inputs("diffs"), _part(records.DIFFS, "id", "sample", "diffs"),
                            {key[:2] for key in wanted}, "id", "sample")  # fmt: skip
    files = check.by_id(check.inputs("corpus"), records.CORPUS, {key[0] for key in wanted})
    config = check.statement.config
    if not config:  # the facts are lost, which is a finding of its own
        return
    for number, row in enumerate(check.rows(check.out(), records.DATASET)):
        if number not in places:
            continue
        place = places[number]
        key = (place["id"], place["sample"], place["part"])
        label, diffs, file = labels[key], sequences[key[:2]]["diffs"], files[key[0]]
        name = (file["metadata"]["max_stars_repo_path"] or "").rsplit("/", 1)[-1]
        if config["dataset"]["names"] == "random" or not name:
            name = random_name(config["seed"], *key)
        start, steps = programs_of(diffs)[label["start"]], diffs[label["start"] : label["end"]]
        prompt = example_prompt(name, start, label["label"])
        expected = {
            "prompt": prompt,
            "completion": example_completion(prompt, steps),
            "program_start": start,
            "lines_changed": lines_changed(steps),
            "source_program_id": program_number(key[0]),
            "metadata": file["metadata"],
            "source": file["source"],
        }
        if (place["start"], place["end"]) != (label["start"], label["end"]):
            yield check.statement.outputs[1].path, f"row {number} names other steps than its label"
        for column in (name for name in expected if row[name] != expected[name]):
            yield data, f"row {number}: {column} is not what corpus, diffs and label give"


def pairs(check: Checker) -> Faults:
    """Check the ids of pairs, and the files that they come from."""
    path = check.statement.outputs[0].path
    rows = list(check.rows(check.out(), records.PAIRS))
    held_out = {row["id"] for source in check.inputs("corpus")
                for row in check.rows(source, records.CORPUS, "id", "split") if row["split"] == "sft"}  # fmt: skip
    for row in rows:
        if content_id(row["text"]) != row["id"]:
            yield path, f"the text of {row['id'][:16]} is not the one that its id is the hash of"
        if row["file_id"] not in held_out:
            yield path, f"{row['id'][:16]} comes from {row['file_id'][:16]}, which is no held-out file"


def sft_data(check: Checker) -> Faults:
    """Make a sample of the examples again."""
    path = check.statement.outputs[0].path
    rows = check.chosen(check.out(), records.SFT)
    wanted = {(row["id"], row["sample"]) for row in rows}
    sequences = check.by_id(check.inputs("pair_diffs"), _part(records.DIFFS, "id", "sample", "diffs"), wanted,
                            "id", "sample")  # fmt: skip
    pairs = check.by_id(check.inputs("pairs"), records.PAIRS, {row["id"] for row in rows})
    for row in rows:
        pair, diffs = pairs[row["id"]], sequences[row["id"], row["sample"]]["diffs"]
        prompt = example_prompt(f"{pair['name']}_solution.py", "", pair["instruction"])
        if (row["prompt"], row["completion"]) != (prompt, example_completion(prompt, diffs)):
            yield path, f"{row['id'][:16]}#{row['sample']} is not what its pair and diffs give"
