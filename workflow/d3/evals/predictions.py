"""Predictions for the official harness of SWE-bench: what a model made of files, as patches."""

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from d3.core import schemas
from d3.core.tables import read_rows
from d3.errors import InputError
from d3.evals.benchmarks.swebench import oracle_file
from d3.evals.solutions import trimmed
from d3.evals.task_file import task_lines

NO_NEWLINE = "\\ No newline at end of file\n"


class Instance(NamedTuple):
    """The file of an instance."""

    name: str
    content: str


class Instances(NamedTuple):
    """The instances of a file by their id: those that can be asked, and why the others cannot."""

    files: dict[str, Instance]
    skipped: dict[str, str]


def read_instances(path: Path) -> Instances:
    """Return the instances of a file of SWE-bench; raise InputError for one that is malformed."""
    files: dict[str, Instance] = {}
    skipped: dict[str, str] = {}
    for line in task_lines(path):
        name, file = line.identifier("instance_id"), oracle_file(line)
        if isinstance(file, tuple):
            files[name] = Instance(*file)
        else:
            skipped[name] = file
    return Instances(files, skipped)


def predictions(instances: Mapping[str, Instance], samples: Path, model: str, sample: int = 0) -> Iterator[str]:
    """Yield a JSON line with `instance_id`, `model_name_or_path` and `model_patch` for each instance.

    The patch is empty where a sample has no program. Raise InputError for samples of other instances, or none.
    """
    found = 0
    for row in read_rows(samples, schemas.SAMPLES):
        if row["sample"] != sample:
            continue
        if row["task_id"] not in instances:
            reason = f"instance {row['task_id']!r} is not in the file of instances, or cannot be asked"
            raise InputError(reason, where=str(samples), remedy="name the file that `d3 generate` was given")
        found += 1
        patch = "" if row["program"] is None else patch_of(instances[row["task_id"]], row["program"])
        line = {"instance_id": row["task_id"], "model_name_or_path": model, "model_patch": patch}
        yield json.dumps(line) + "\n"
    if not found:
        raise InputError(
            f"contains no sample {sample + 1} (counted from 1)",
            where=str(samples),
            remedy="name samples of `d3 generate`",
        )


def patch_of(instance: Instance, program: str) -> str:
    """Return the patch from the file of an instance to a program, which has no line ends around it, as Git reads it."""
    content = instance.content
    kept = trimmed(content)
    begin = content.find(kept)
    after = content[:begin] + program + (content[begin + len(kept) :] if program else "")
    if after == content:
        return ""
    before, changed = _lines(content), _lines(after)
    names = (f"a/{instance.name}", f"b/{instance.name}")
    parts = difflib.unified_diff(before, changed, *names, n=3)
    return "".join(part if part.endswith("\n") else f"{part}\n{NO_NEWLINE}" for part in parts)


def _lines(text: str) -> list[str]:
    """Return the lines of a text with their newlines; only a newline ends a line."""
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
