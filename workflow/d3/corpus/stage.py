"""The corpus stage: one shard in, its kept rows and its rejected rows out."""

import heapq
from collections.abc import Iterator
from pathlib import Path

from d3 import records
from d3.config import Config
from d3.corpus.filters import Rejection, examine, reject_size
from d3.corpus.read import Broken, read_shard
from d3.identity import content_id, unit_interval
from d3.progress import track
from d3.stage import Job
from d3.tables import Row, count_rows, table_name

MIDTRAIN, SFT = "midtrain", "sft"


def run(config: Config, shard: Path, kept: Path, rejected: Path) -> None:
    """Write `records.CORPUS` in the shard's row order and `records.REJECTED` for one shard.

    Raises InputError for a shard that cannot be read as a whole.
    """
    params = {"seed": config.seed, "source": config.source.name, "corpus": config.corpus.model_dump()}
    with Job("corpus", code="d3.corpus.stage", params=params) as job:
        total = count_rows(job.input(shard))
        rows = track(read_shard(shard), f"corpus {shard.name}", total, "files")
        kept_table, rejected_table = job.table(kept, records.CORPUS), job.table(rejected, records.REJECTED)
        sorter = Sorter(config, table_name(shard))
        for row in sorter.sort(rows):
            if "reason" in row:
                rejected_table.write(row)
                job.drop(row["reason"])
            else:
                kept_table.write(row)
                job.keep()
        job.read = total


class Sorter:
    """Judges the rows of one shard and turns each into a kept or a rejected row."""

    def __init__(self, config: Config, shard: str) -> None:
        self.config, self.shard = config, shard
        self.seen: set[str] = set()
        self.held_back: list[Row] = []  # kept for good, but written after the shard is read
        self.sampled: list[tuple[float, int, Row]] = []  # a heap: the row to give up next is first

    def sort(self, rows: Iterator[Row | Broken]) -> Iterator[Row]:
        """Yield one `records.CORPUS` or `records.REJECTED` row for every row; the latter has a `reason`.

        Without a sample rows come as they are read, with one the kept rows come last.
        """
        for number, row in enumerate(rows):
            if isinstance(row, Broken):
                yield self.rejection(number, row.hexsha, Rejection(row.reason, row.detail))
                continue
            text = examine(row, self.config.corpus)
            if isinstance(text, Rejection):
                yield self.rejection(number, row["hexsha"], text)
            elif content_id(text) in self.seen:
                yield self.rejection(number, row["hexsha"], Rejection("duplicate", f"of {content_id(text)}"))
            else:
                yield from self.place(self.corpus_row(number, text, row))
        yield from sorted(self.held_back + [row for _, _, row in self.sampled], key=lambda row: row["row"])

    def corpus_row(self, number: int, text: str, row: Row) -> Row:
        """Give the `records.CORPUS` row of a file that passed the filters."""
        identifier = content_id(text)
        self.seen.add(identifier)
        held_out = unit_interval(self.config.seed, "held-out", identifier) < self.config.corpus.held_out
        return {
            "id": identifier,
            "text": text,
            "split": SFT if held_out else MIDTRAIN,
            "shard": self.shard,
            "row": number,
            "source": self.config.source.name,
            "metadata": {name: value for name, value in row.items() if name != "content"},
        }

    def place(self, row: Row) -> Iterator[Row]:
        """Yield a good row, or the row that it pushes out of a full sample, or nothing yet."""
        size = self.config.corpus.sample
        too_big = None if row["split"] == SFT else reject_size(row["text"], self.config.corpus)
        if too_big is not None:
            yield self.rejection(row["row"], row["metadata"]["hexsha"], too_big)
        elif size is None:
            yield row
        elif row["split"] == SFT:
            self.held_back.append(row)
        else:
            rank = unit_interval(self.config.seed, "sample", row["id"])
            heapq.heappush(self.sampled, (-rank, row["row"], row))
            if len(self.sampled) > size:
                _, number, out = heapq.heappop(self.sampled)
                reason = Rejection("not_sampled", f"the sample is {size} files")
                yield self.rejection(number, out["metadata"]["hexsha"], reason)

    def rejection(self, number: int, hexsha: str | None, reason: Rejection) -> Row:
        """Give the `records.REJECTED` row."""
        return {"shard": self.shard, "row": number, "hexsha": hexsha, **reason._asdict()}
