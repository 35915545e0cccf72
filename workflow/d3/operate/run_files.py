"""Where the files of a run are: the first output of every job, stage by stage."""

from collections.abc import Iterator, Sequence
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


def stage_table(chain: Chain) -> Iterator[str]:
    """Yield a line per stage of the run: its name, the files that are made of how many, and its folder."""
    found: dict[str, list[Path]] = {}
    for work in jobs(chain):
        found.setdefault(work.stage, []).append(work.output)
    for name, files in found.items():
        made = f"{sum(path.exists() for path in files):,}/{len(files):,}"
        yield f"{name:<16}{made:>9}  {chain.folder(name)}"
