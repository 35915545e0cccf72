"""The record of a run: its whole configuration, the folders of its stages, and its files under readable names.

`results/runs/NAME/run.json` names them, and links beside it lead to them: `dataset/data/SHARD.parquet`,
`models/sft/ARM`, `scores/BENCHMARK/ARM.json`. The record is made first: a link dangles until its file is made, and
`d3 where dataset` exits with 1 as long as one of them does.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d3.config.identity import deciding
from d3.core.ids import digest_of
from d3.core.tables import part_name
from d3.errors import InputError
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job
from d3.pipeline.job_list import links, requested
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.provenance.redact import scrub

FOLDERS = {stage.linked.split("/")[0] for stage in STAGES.values() if stage.linked}
"""Folders in that of a run which hold links and nothing else."""


def run_record(chain: Chain) -> dict[str, Any]:
    """Return the record of a configuration's run."""
    return {
        "run": chain.config.run,
        "config": scrub(chain.values),
        "stages": {stage.name: chain.folder(stage.name) for stage in requested(chain)},
        "files": links(chain),
    }


def record_text(record: Mapping[str, Any]) -> str:
    """Return a record as it is written."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a record."""
    return {**deciding(record["config"]), "files": digest_of(record["files"])}


def run(*, record: Path, out: Path) -> None:
    """Write the record of a run, and link its files beside it.

    Links of an earlier configuration of the same name are removed. Raise InputError if a file is in a link's place.

    Example: d3 run-record --record work/settings/run_record-KEY.json --out results/runs/demo/run.json
    """
    text = record.read_text(encoding="utf-8")
    values = json.loads(text)
    with Job("run_record", config=None, settings=settings_of(values)) as job:
        link_files(out.parent, values["files"])
        job.file(out).write_text(text, encoding="utf-8")


def link_files(folder: Path, files: Mapping[str, str]) -> None:
    """Make the links in a run's folder exactly those to some files, given relative to the working folder."""
    for link in _links_in(folder):
        if link not in files:
            (folder / link).unlink()
    for link, file in files.items():
        path, target = folder / link, _target(folder / link, file)
        if path.is_symlink() and path.readlink() == target:
            continue
        if path.exists() and not path.is_symlink():
            raise InputError("is in the place of a link", where=str(path), remedy="move it away, and run again")
        part = part_name(path)
        part.unlink(missing_ok=True)
        part.symlink_to(target)
        part.replace(path)


def _target(link: Path, file: str) -> Path:
    return Path(os.path.relpath(file, link.parent))


def _links_in(folder: Path) -> list[str]:
    """Return the links below the folders of links, relative to the run's folder."""
    found = []
    for name in FOLDERS:
        for place, folders, files in os.walk(folder / name):
            paths = [Path(place, child) for child in (*folders, *files)]
            found += [path.relative_to(folder).as_posix() for path in paths if path.is_symlink()]
    return sorted(found)


def check(job: FinishedJob) -> Faults:
    """Yield links that are missing, lead elsewhere, or that the record does not name."""
    files = json.loads(job.path().read_bytes())["files"]
    folder = Path(job.name()).parent
    for link in {*files, *_links_in(job.root / folder)}:
        path = job.root / folder / link
        if link not in files:
            yield f"{folder}/{link}", "is a link that run.json does not name"
        elif not path.is_symlink() or path.readlink() != _target(folder / link, files[link]):
            yield f"{folder}/{link}", f"does not link {files[link]}, as run.json says"
