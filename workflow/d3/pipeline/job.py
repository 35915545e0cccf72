"""The frame of every job: read rows, conserve them, write all outputs at once, leave a statement.

    with Job("corpus", config=config) as job:
        kept = job.table(path, records.CORPUS)
        for row in job.rows(shard, records.STACK):
            ...
            kept.write(row)
            job.keep()          # or job.drop("too_long")

Outputs get their names only when the block ends without an error and every row that was read is
either kept or dropped with a reason. The old statement goes first and the new one comes last, so
that outputs without a statement are not finished. A killed job leaves nothing that looks finished, and what it left
is removed by its next run, on whatever machine: only one job writes a file.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from d3.config.identity import deciding
from d3.config.models import Config
from d3.core.ids import file_digest
from d3.core.tables import Row, TableWriter, part_name, publish, read_rows, remove, remove_parts
from d3.errors import D3Error, InputError, file_named, name_file
from d3.pipeline.pipeline import code_of
from d3.pipeline.registry import STAGES
from d3.provenance.code_digest import data_digest
from d3.provenance.digest_cache import Cache, Stamp, stamp
from d3.provenance.statement import Told, descriptor, statement_path, write_statement

APART = {"opted_out", "held_out", "not_sampled", "duplicate", "duplicate_elsewhere", "near_duplicate", "repeated"}
"""Reasons that are no loss: these rows go on elsewhere, or were taken out on purpose."""
EMPTY_REMEDY = "correct the input or the settings, or set `source: {allow_empty: true}`"


class Job:
    """One run of one stage over some files; see the module's text.

    `config` is what the job was started with: the settings that decide it go into its statement. A stage
    that reads no configuration names its `settings` itself. `engine` describes the language model asked.
    """

    def __init__(
        self,
        stage: str,
        *,
        config: Config | None,
        settings: Mapping[str, Any] | None = None,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        self.stage, self.engine = stage, engine
        given = {} if config is None else config.model_dump(mode="json", exclude_unset=True)
        self.allow_empty = config is None or config.source.allow_empty
        self.settings: dict[str, Any] = dict(settings) if settings is not None else deciding(given)
        self.modules = code_of(stage, self.settings)
        self.read = 0
        self.read_from = ""
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        self._details: dict[str, str] = {}
        self._inputs: dict[Path, dict[str, Any]] = {}
        self._stamps: dict[Path, Stamp] = {}
        self._rows: Counter[Path] = Counter()
        self._prompts: dict[str, str] = {}
        self._tables: list[TableWriter] = []
        self._files: list[tuple[Path, Path]] = []
        self._started = time.time()

    def input(self, path: Path, **annotations: Any) -> Path:
        """Register a file or folder that decides the result; gives it back.

        `annotations` go into the statement: `role` says what it is (`model`, `opt_out`), `revision`
        which version; `declared=False` marks a file that no rule lists among its inputs.
        """
        if not path.exists():
            raise D3Error("no such file or folder", where=str(path), remedy="check the path")
        self._inputs.setdefault(path, {}).update(annotations)
        self._stamps.setdefault(path, stamp(path))
        return path

    def model(self, name: str, revision: str | None) -> None:
        """Register the model that is asked: a folder, or the name of one that lies elsewhere; empty: a server's."""
        if name and Path(name).exists():
            self.input(Path(name), role="model", revision=revision)

    def prompt(self, setting: str, path: Path) -> Path:
        """Register the template of a setting, or the file of code that it names; return its path."""
        if not path.exists():
            raise D3Error("no such template", where=str(path), remedy="check the path")
        self._prompts[setting] = data_digest(path)
        return path

    def rows(self, path: Path, schema: pa.Schema) -> Iterator[Row]:
        """Read an input table whose rows are to be conserved."""
        self.read_from = str(path)
        for row in read_rows(self.input(path), schema):
            self.read += 1
            self._rows[path] += 1
            yield row

    def side_rows(self, path: Path, schema: pa.Schema) -> Iterator[Row]:
        """Read an input table that is only looked things up in: its rows are not counted."""
        yield from read_rows(self.input(path), schema)

    def keep(self, rows: int = 1) -> None:
        """Count rows that went on."""
        self.kept += rows

    def drop(self, reason: str, rows: int = 1, *, detail: str = "") -> None:
        """Count rows that did not, by their reason; the first detail of each reason is kept for an error."""
        self.dropped[reason] += rows
        self._details.setdefault(reason, detail)

    def require_rows(self) -> None:
        """Raise InputError if rows were lost and none is kept, unless the configuration allows it."""
        lost = {reason: rows for reason, rows in self.dropped.most_common() if reason not in APART}
        if self.kept or self.allow_empty or not lost or "opted_out" in self.dropped:
            return
        shown = [
            f"{rows:,} {why}" + (f" ({self._details[why]})" if self._details[why] else "") for why, rows in lost.items()
        ]
        text = "".join(character if character.isprintable() else "?" for character in ", ".join(shown[:3]))
        reason = f"{self.stage} keeps none of {self.read:,} rows: {text}"
        raise InputError(reason, where=self.read_from, remedy=EMPTY_REMEDY)

    def table(self, path: Path, schema: pa.Schema) -> TableWriter:
        """Open an output table."""
        remove_parts(path)
        writer = TableWriter(path, schema)
        self._tables.append(writer)
        return writer

    def file(self, path: Path) -> Path:
        """Return the temporary path of an output file or folder that the stage writes itself."""
        remove_parts(path)
        part = part_name(path)
        remove(part)
        self._files.append((part, path))
        return part

    @property
    def counts(self) -> dict[str, Any]:
        """Return rows read, kept and dropped by reason."""
        return {
            "stage": self.stage,
            "read": self.read,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
        }

    def __enter__(self) -> Self:
        """Begin the job."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish everything, or discard everything."""
        outputs = [*(table.path for table in self._tables), *(path for _, path in self._files), Path()]
        name_file(error, outputs[0])
        try:
            if kind is None:
                with file_named(outputs[0]):
                    self._commit()
        finally:
            for table in self._tables:
                table.discard()
            for part, _ in self._files:
                remove(part)

    def _commit(self) -> None:
        lost = self.read - self.kept - sum(self.dropped.values())
        if lost:
            raise D3Error(
                f"{self.stage}: {lost} of {self.read} rows are neither kept nor dropped", remedy="report this"
            )
        if 0 < STAGES[self.stage].must_keep_of <= self.read:
            self.require_rows()
        finished: list[tuple[Path, str, int | None]] = []
        for table in self._tables:
            table.note(self.counts)
            finished.append((table.path, table.finish(), table.rows))
        finished += [(path, file_digest(part), None) for part, path in self._files]
        cache = Cache.of_run()
        inputs = [self._described(path, cache, annotations) for path, annotations in self._inputs.items()]
        if finished:
            statement = statement_path(finished[0][0])
            remove_parts(statement)
            remove(statement)  # it comes last: outputs of which some are old have no statement
            for table in self._tables:
                table.publish()
            for part, path in self._files:
                publish(part, path)
            outputs = []
            for path, digest, rows in finished:
                now = stamp(path)
                outputs.append(descriptor(path, digest, rows=rows, bytes=now.bytes, state=now.state))
            write_statement(
                statement,
                Told(
                    stage=self.stage,
                    config=self.settings,
                    prompts=self._prompts,
                    modules=self.modules,
                    outputs=outputs,
                    inputs=inputs,
                    counts=self.counts,
                    seed=self.settings.get("seed"),
                    engine=self.engine,
                    started=self._started,
                    ended=time.time(),
                ),
            )

    def _described(self, path: Path, cache: Cache, annotations: dict[str, Any]) -> dict[str, Any]:
        """Describe an input: files are read again, folders (models) only if they changed since somebody did."""
        now = stamp(path)
        if now.times != self._stamps[path].times:  # a link or a new mode changes the rest, and some mounts do
            raise D3Error("changed while the job read it", where=str(path), remedy="run the job again")
        digest = cache.digest(path, now) if path.is_dir() else file_digest(path)
        return descriptor(path, digest, rows=self._rows.get(path), bytes=now.bytes, state=now.state, **annotations)
