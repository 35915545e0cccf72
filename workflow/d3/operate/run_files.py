"""Where the files of a run are: the first output of every job, stage by stage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from d3.errors import InputError
from d3.pipeline.job_list import jobs
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.pipeline.stage import Stage


def files_of(chain: Chain, names: Sequence[str]) -> list[Path]:
    """Return the first outputs of the jobs of some stages, in the order of the pipeline; raise InputError."""
    known = dict.fromkeys(name for stage in STAGES.values() for name in sorted(_names(stage)))
    for name in names:
        if name not in known:
            raise InputError("is not the name of a stage", where=name, remedy=f"name one of {', '.join(known)}")
    return [work.output for work in jobs(chain, topics=True) if _names(STAGES[work.stage]) & set(names)]


def _names(stage: Stage) -> set[str]:
    """Return the names by which a stage is found."""
    return {stage.name, stage.linked.split("/")[0]} - {""}


@dataclass(frozen=True, slots=True)
class StageFiles:
    """The files of a stage of a run."""

    stage: str
    made: int
    """How many of them exist."""
    files: int
    folder: str

    def __str__(self) -> str:
        """Return them as one line."""
        return f"{self.stage:<16}{f'{self.made:,}/{self.files:,}':>9}  {self.folder}"


def stage_files(chain: Chain) -> Iterator[StageFiles]:
    """Yield the files of every stage of the run, in the order of the pipeline."""
    found: dict[str, list[Path]] = {}
    for work in jobs(chain):
        found.setdefault(work.stage, []).append(work.output)
    for name, files in found.items():
        yield StageFiles(name, sum(path.exists() for path in files), len(files), chain.folder(name))
