"""Rows that another batch holds too, and that go on there: lists of ids, one a line.

`d3.corpus.duplicates` writes one list for every batch; the stages after it leave these rows out.
"""

import re
from pathlib import Path

from d3.errors import InputError
from d3.stage import Job
from d3.tables import damage_named

REASON = "duplicate_elsewhere"
ID = re.compile(r"[0-9a-f]{64}")


def ids_elsewhere(job: Job, path: Path | None) -> frozenset[str]:
    """Read the list of a batch, or none; raises InputError for a line that is no id."""
    if path is None:
        return frozenset()
    with damage_named(job.input(path)):
        lines = path.read_text(encoding="ascii").split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        if not ID.fullmatch(line):
            raise InputError(f"line {number} is no id", where=str(path), remedy="run `duplicates` again")
    if lines[-1]:
        raise InputError("ends in the middle of a line", where=str(path), remedy="run `duplicates` again")
    return frozenset(lines[:-1])
