"""What no configuration makes: results of other configurations and of removed shards, and leftovers of killed jobs.

Only what the pipeline itself writes is named: outputs as the registry describes them, statements, checkpoints,
attempts, folders of runs, temporary files, also those in journals. The entries of a journal stay: any configuration
may use them, and `d3 forget` removes those of a file. Anything else below `results/` and `work/` is not touched, nor is
what a configuration reads, such as a model that an earlier run has trained.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from d3.core.leftovers import leftovers
from d3.core.tables import remove
from d3.errors import ConfigError
from d3.pipeline.job_list import jobs, outputs
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.pipeline.stage import Stage
from d3.provenance.attempts import attempts_path
from d3.provenance.statement import SUFFIX, statement_path

KEY = re.compile(r"[0-9a-f]{12}")
OTHER, REMOVED, KILLED = "of another configuration", "no shard, arm or benchmark has this name", "left by a killed job"


class Unused(NamedTuple):
    """A file or folder that no configuration makes."""

    path: Path
    bytes: int
    why: str


class Needed:
    """What some configurations make and read. Paths are relative to the working folder where they lie below it."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.results, self.resources, self.work = Path("results"), Path("resources"), Path("work")
        self.files: set[Path] = set()
        """Outputs, statements, checkpoints and attempts of all jobs, and the journals."""
        self.runs = {chain.config.run for chain in chains}
        self.reads: set[Path] = set()
        """Whole paths of the inputs from outside."""
        for chain in chains:
            self.reads |= {Path(os.path.abspath(path)) for path in _inputs(chain)}
            for work in jobs(chain, topics=True):
                stage = STAGES[work.stage]
                folder = Path(chain.folder(work.stage))
                made = {folder / path for path in outputs(chain, stage, work.name)}
                self.files |= made | {statement_path(work.output)}
                self.files |= {attempts_path(work.output), attempts_path(work.output.parent)}
                if stage.trains:
                    self.files.add(self.work / folder.relative_to(self.results) / work.name)
        # A journal is shared by all configurations of a folder, and what it holds has been paid for.
        self.files |= {self.work / "journal" / stage.name for stage in STAGES.values() if stage.journal}
        self.folders = {parent for path in self.files for parent in path.parents}

    def keeps(self, path: Path) -> bool:
        """Return whether a path is made or read, or lies in something that is."""
        whole = Path(os.path.abspath(path))
        return any(place in self.files for place in (path, *path.parents)) or any(
            place in self.reads for place in (whole, *whole.parents)
        )

    def holds(self, folder: Path) -> bool:
        """Return whether something in a folder is made or read."""
        whole = Path(os.path.abspath(folder))
        return folder in self.folders or any(whole in path.parents for path in self.reads)


def _inputs(chain: Chain) -> Iterator[str]:
    yield from chain.shards.values()
    for stage in STAGES:
        with suppress(ConfigError):  # a model of a stage that nothing requests
            yield from filter(None, [chain.answering(stage)])
    with suppress(ConfigError):
        yield from chain.untrained
    yield from (chain.tasks_path(benchmark) for benchmark in chain.config.benchmarks.values())


def find_unused(chains: Sequence[Chain], *, alone: bool) -> list[Unused]:
    """Return what no configuration makes, sorted by path.

    `alone`: nobody works in the folder, so all temporary files are leftovers, also those of other machines.
    """
    needed = Needed(chains)
    found = {path: why for path, why in _candidates(needed) if not path.is_symlink()}
    for folder in (needed.results, needed.resources, needed.work):
        for path in leftovers(folder, alone=alone):
            if not found.keys() & set(path.parents):
                found[path] = KILLED
    return [Unused(path, size_of(path), why) for path, why in sorted(found.items())]


def orphaned_checkpoints(chain: Chain) -> list[Unused]:
    """Return the checkpoints of trainings that a configuration does not have, with their sizes."""
    found = []
    for stage in (stage for stage in STAGES.values() if stage.trains):
        for key in _children(Path("work") / stage.name):
            if key.name != Path(chain.folder(stage.name)).name:
                found.append((key, OTHER))
            elif stage.over == "arm":
                found += [(arm, REMOVED) for arm in _children(key) if arm.name not in chain.trained]
    return [Unused(path, size_of(path), why) for path, why in found if not path.is_symlink()]


def _candidates(needed: Needed) -> Iterator[tuple[Path, str]]:
    """Yield the outermost files and folders of the pipeline's own that are not needed."""
    for stage in STAGES.values():
        if stage.has_key:
            for key in _keys(needed.results / stage.name):
                yield from _outputs_in(stage, key, needed)
        if stage.trains:
            yield from _below(needed.work / stage.name, needed)
    yield from _below(needed.work / "attempts", needed)
    for run in _children(needed.results / "runs"):
        ours = any((run / name).exists() for name in ("run.json", "report.html"))
        if ours and run.name not in needed.runs and not needed.holds(run):
            yield run, OTHER
    for model in _children(needed.resources / "models"):
        if not model.name.startswith(".") and not needed.keeps(model):
            yield model, OTHER


def _outputs_in(stage: Stage, key: Path, needed: Needed) -> Iterator[tuple[Path, str]]:
    """Yield the folder of a stage's key, or the outputs in it that are not needed."""
    if not needed.holds(key):
        yield key, OTHER
        return
    for place, folders, files in os.walk(key):
        for name in [*folders, *files]:
            path = Path(place, name)
            output = path.relative_to(key).as_posix().removesuffix(SUFFIX)
            if name.startswith(".") or not stage.output_of(output):
                continue
            if not needed.keeps(path) and not needed.holds(path):
                yield path, REMOVED
        folders[:] = [name for name in folders if not stage.output_of(Path(place, name).relative_to(key).as_posix())]


def _below(folder: Path, needed: Needed) -> Iterator[tuple[Path, str]]:
    """Yield the outermost files and folders below a folder of ours that are not needed."""
    for path in _children(folder):
        if needed.holds(path):
            yield from _below(path, needed)
        elif not needed.keeps(path):
            yield path, OTHER if KEY.fullmatch(path.name) else REMOVED


def _keys(folder: Path) -> list[Path]:
    return [path for path in _children(folder) if KEY.fullmatch(path.name)]


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def size_of(path: Path) -> int:
    """Return the bytes of a file or a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(Path(place, name).lstat().st_size for place, _, files in os.walk(path) for name in files)


def delete(found: Sequence[Unused]) -> None:
    """Remove files and folders, statements first, so that no statement is about what is gone; then empty folders."""
    for item in sorted(found, key=lambda item: not item.path.name.endswith(SUFFIX)):
        remove(item.path)
    for folder in {item.path.parent for item in found}:
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def unused_lines(found: Sequence[Unused], *, deleted: bool) -> Iterator[str]:
    """Yield a line per file or folder with its size, and their sum."""
    for item in found:
        yield f"{megabytes(item.bytes):>12}  {item.path}  ({item.why})"
    total = megabytes(sum(item.bytes for item in found))
    yield f"{total:>12}  in {len(found)} files and folders{' removed' if deleted else ''}"


def megabytes(size: int) -> str:
    """Write bytes as MB or kB."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"
