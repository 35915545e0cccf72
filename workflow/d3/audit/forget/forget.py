"""Forgetting: files, repositories or users leave everything that a run made of them.

`forget` adds entries to the opt-out list, says which files of the results hold rows of theirs, lets the
workflow make these again, removes what no run makes again (files of other configurations and of batches
that are no more, entries of journals, leftovers, logs) and searches everything for lines of the files.

What it cannot do: a model that was trained on a file cannot be cleaned. Models of this configuration are
trained again, since their inputs change; those of other configurations are named. Source shards, and
copies outside of the working folder, are the user's. Rejected rows keep hashes, place and repositories of
what was opted out, so that the list can be obeyed and changed again.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from d3.audit.forget.affected import (
    RESULTS,
    TRAINED,
    WRITTEN,
    Files,
    Held,
    find_adopted,
    find_files,
    find_held,
    nearest,
    other_texts,
)
from d3.audit.forget.search import Found, Probes, search, strings
from d3.audit.statements import read_statement
from d3.core.journal import Journal
from d3.core.leftovers import leftovers
from d3.core.opt_out import KINDS, OptOut, parse_entry, read_opt_out
from d3.core.printable import printable
from d3.core.tables import remove, written_whole
from d3.errors import ConfigError, D3Error, InputError
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.provenance.statement import SUFFIX, statement_path
from d3.sources.shard import shard_name

WORK, LOGS = Path("work"), Path("logs")
HEX = re.compile(r"[0-9a-fA-F]{16,}")
"""An id or a part of one: no user has such a name."""
HEADER = "# Rows of these repositories, users and files are in no artefact; see config/README.md.\n"


def entry_of(name: str) -> str:
    """Return the entry that a name on the command line means: OWNER/NAME, an id or hexsha, or a user.

    Raises InputError for a name that is none of these.
    """
    if name.split(":")[0].lower() in KINDS and ":" in name:
        text = name
    elif "/" in name:
        text = f"repo:{name}"
    else:
        text = f"file:{name}" if HEX.fullmatch(name) else f"user:{name}"
    try:
        return parse_entry(text)
    except ValueError as error:
        raise InputError(str(error), remedy="name OWNER/NAME, a user, or the id or hexsha of a file") from None


def add_entries(path: Path, entries: Iterable[str]) -> list[str]:
    """Add entries to a list, which is made if there is none; gives those that were not in it."""
    known = read_opt_out(path).entries if path.exists() else frozenset()
    new = sorted(set(entries) - known)
    if new or not path.exists():
        before = path.read_text(encoding="utf-8") if path.exists() else HEADER
        before += "" if before.endswith("\n") else "\n"
        with written_whole(path) as part:
            part.write_text(before + "".join(f"{entry}\n" for entry in new), encoding="utf-8")
    return new


# --- cleaning -----------------------------------------------------------------------------------------


class Now:
    """Which files below the results the configuration makes: only those are made again."""

    def __init__(self, chain: Chain) -> None:
        self.folders = {Path(chain.folder(stage)) for stage in STAGES}
        self.batches = tuple(f"{name}." for name in chain.batches)
        self.source = {os.path.abspath(path) for path in chain.shards.values()}
        self.run = RESULTS / "runs" / chain.config.run

    def makes(self, path: Path) -> bool:
        """Return whether a run of the configuration makes a file again."""
        if self.run in path.parents:
            return True
        folder = Path(*path.parts[:3])
        if folder not in self.folders:
            return False
        return path.parts[1] in (*TRAINED, *WRITTEN) or path.name.startswith(self.batches)


@dataclass(kw_only=True, slots=True)
class Cleaned:
    """What was removed."""

    files: list[Path] = field(default_factory=list)
    entries: Counter[Path] = field(default_factory=Counter)
    """Entries by journal."""


def clean(now: Now, held: Held, probes: Probes, found: Found, *, alone: bool = False) -> Cleaned:
    """Remove what no run of the configuration makes again; models stay."""
    cleaned = Cleaned()
    for folder in sorted({path.parent for path in WORK.glob("journal/**/*.journal.zst")}):
        gone = Journal(folder).purge(held.ids, lambda text: _quotes(text, probes))
        if gone:
            cleaned.entries[folder] = gone
    doomed = {path for path in (*held.rows, *found.hits) if path.parts[:1] == RESULTS.parts and not now.makes(path)}
    doomed -= {path for path in doomed if os.path.abspath(path) in now.source or _inside_model(path)}
    for path in sorted(doomed):
        for output in _siblings(path):
            remove(output)
            cleaned.files.append(output)
    left = [path for folder in (RESULTS, WORK) for path in leftovers(folder, alone=alone)]
    caches = [path for stage in TRAINED for path in (WORK / stage).glob("*")] if held.models else []
    texts = [path for path in found.hits if path.parts[:1] != RESULTS.parts and ".journal." not in path.name]
    index = [path for path in (RESULTS / "lineage").glob("index.duckdb*") if held.rows]
    for path in [*left, *caches, *texts, *index]:
        if path.exists():
            remove(path)
            cleaned.files.append(path)
    return cleaned


def _quotes(text: str, probes: Probes) -> bool:
    return any(probes.in_lines(string) for string in strings(json.loads(text)))


def _inside_model(path: Path) -> bool:
    return len(path.parts) > 1 and path.parts[1] in TRAINED


def _siblings(path: Path) -> list[Path]:
    """Return all outputs of the job that wrote a file, with its statement."""
    for candidate in [statement_path(path), *sorted(_job_folder(path).rglob(f"*{SUFFIX}"))]:
        try:
            outputs = [Path(item.path) for item in read_statement(Path(), candidate).outputs]
        except InputError:
            continue
        if path in outputs:
            return [*(output for output in outputs if output.exists()), candidate]
    return [path]


def _job_folder(path: Path) -> Path:
    """Return the folder of the stage and key that a file lies in."""
    return Path(*path.parts[:3]) if len(path.parts) > 3 else path.parent


# --- the whole ----------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Report:
    """What `forget` did and found."""

    new: list[str]
    """Entries that were not in the list."""
    unmatched: dict[str, str | None]
    """Entries that no row matches, with the most similar one that rows would match."""
    files: Files
    before: Held
    after: Held
    cleaned: Cleaned
    probes: Probes
    found: Found
    """The search when everything was done."""
    sources: list[Path]
    """Source shards that hold the files: inputs, the user's to clean."""
    adopted: Mapping[Path, int]
    """Rows about the files in each table made outside of the pipeline: inputs, the user's to clean."""
    now: Now

    @property
    def left(self) -> list[Path]:
        """Return the files that still hold text or rows, and those that nobody could look into."""
        return sorted({*self.found.hits, *self.found.unread, *self.after.rows})

    def text(self) -> str:
        """Return the report as text."""
        return "\n".join(map(printable, _lines(self)))


def forget(
    chain: Chain,
    names: Sequence[str],
    *,
    rebuild: Callable[[], None] | None = None,
    more: Sequence[Path] = (),
    is_alone: Callable[[], bool] = lambda: False,
) -> Report:
    """Forget what `names` mean; `rebuild` is called between finding and cleaning, `more` folders are searched too.
    `is_alone` says whether nobody works in the folder, so that all temporary files are left over.

    Paths are those of the working folder. Raises ConfigError without an opt-out list in the configuration, and
    InputError when no row matches any of the names: then there is nothing to find, and nothing is proved.
    """
    if chain.config.source.opt_out is None:
        remedy = "write `opt_out: config/opt-out.txt` below `source` into the configuration, so that every run obeys it"
        raise ConfigError("names no opt-out list", where="source.opt_out", remedy=remedy)
    entries = OptOut(frozenset(map(entry_of, names)))
    new = add_entries(Path(chain.config.source.opt_out), entries.entries)
    files = find_files(chain, entries)
    unmatched = {entry: nearest(entry) for entry in sorted(entries.entries - files.matched)}
    if not files.matched:
        raise InputError(
            "; ".join(_unmatched(unmatched)),
            remedy=f"check the spelling, or run the workflow first; {chain.config.source.opt_out} contains it now",
        )
    before = find_held(files)
    now = Now(chain)
    if rebuild is not None:
        rebuild()
    probes = Probes(files.texts, other_texts(entries))
    sources = [Path(path) for path in chain.shards.values()]
    folders, tokenizer = [RESULTS, WORK, LOGS, *more], _tokenizer(chain)
    first = search(folders, probes, leave_out=sources, tokenizer=tokenizer)
    cleaned = clean(now, before, probes, first, alone=is_alone())
    shards = {shard for shard, _ in files.rows}
    return Report(
        new=new,
        unmatched=unmatched,
        files=files,
        before=before,
        after=find_held(files),
        cleaned=cleaned,
        probes=probes,
        found=search(folders, probes, leave_out=sources, tokenizer=tokenizer),
        sources=[path for path in sources if path.exists() and shard_name(path) in shards],
        adopted=find_adopted(chain, files),
        now=now,
    )


def _tokenizer(chain: Chain) -> Path | None:
    try:
        path = Path(chain.model_path(chain.config.tokens.tokenizer, chain.config.tokens.revision)) / "tokenizer.json"
    except D3Error:
        return None
    return path if path.is_file() else None


def _lines(report: Report) -> Iterator[str]:
    files, before, cleaned, found = report.files, report.before, report.cleaned, report.found
    yield f"added to the list: {', '.join(report.new) or 'nothing new'}"
    yield from _unmatched(report.unmatched)
    yield f"rows of the source that match: {len(files.rows)}, different files: {len(files.ids)}"
    if files.kept_elsewhere:
        yield f"{len(files.kept_elsewhere)} of their files stay: they also lie in repositories that did not opt out"
    if files.lacking:
        yield f"of {len(files.lacking)} rows no text is to be had: they were looked for by their ids alone"
    if report.probes.without:
        count = len(report.probes.without)
        yield f"{count} files have no line of their own: they were looked for by their ids alone"
    if before.rows:
        yield ""
        yield f"{'stage':<16}{'files':>7}{'rows':>9}  made again by this configuration"
        for (stage, again), (count, rows) in sorted(_by_stage(report).items()):
            yield f"{stage:<16}{count:>7}{rows:>9}  {'yes' if again else 'no: removed'}"
    for path, digest in sorted(before.models.items()):
        state = "trained again" if report.after.models.get(path) != digest else "still the old one"
        if not report.now.makes(path):
            state = "of another configuration: delete it, or train it again"
        yield f"model trained on them: {path} ({state})"
    for path in report.sources:
        yield f"source shard that holds them, an input of yours: {path}"
    for path, rows in report.adopted.items():
        yield f"adopted table with {rows} rows about them, an input of yours: {path}"
    yield ""
    removed = sum(cleaned.entries.values())
    yield f"removed: {removed} entries of journals, {len(cleaned.files)} files that no run makes again"
    lines = len(report.probes.lines)
    yield f"searched {found.searched} files for {lines} lines; {len(found.weights)} files of weights cannot be searched"
    for path in report.left:
        counted = f", {report.after.rows[path]} rows" if report.after.rows[path] else ""
        what = "could not be read: " + found.unread[path] if path in found.unread else f"still holds them{counted}"
        yield f"LEFT {path}: {what}"
    if report.left:
        yield f"{len(report.left)} files are left"
    else:
        yield "nothing is left" + (" of the others" if report.unmatched else "")


def _unmatched(entries: Mapping[str, str | None]) -> Iterator[str]:
    for entry, similar in entries.items():
        yield f"{entry} matches no row of these results" + (f", did you mean {similar}?" if similar else "")


def _by_stage(report: Report) -> dict[tuple[str, bool], tuple[int, int]]:
    table: dict[tuple[str, bool], tuple[int, int]] = {}
    for path, rows in report.before.rows.items():
        name = path.parts[1], report.now.makes(path)
        count, sum_of = table.get(name, (0, 0))
        table[name] = count + 1, sum_of + rows
    return table
