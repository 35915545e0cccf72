"""Compare everything on disk with what the jobs recorded when they made it, and remove what is damaged."""

import os
import random
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from d3.audit.answering_engines import check_answers
from d3.audit.index import INDEX
from d3.audit.job_graph import Finding, Run, find_target, load
from d3.audit.statements import FOLDERS, enclosing
from d3.audit.verify import statements
from d3.audit.verify.data import check_data
from d3.audit.verify.index import check_index
from d3.core.progress import Progress
from d3.core.tables import remove
from d3.provenance.statement import SUFFIX

JOURNALS = "work/journal"
SAMPLE = 100
"""Rows of each table that are built again."""


@dataclass(kw_only=True)
class Verified:
    """What was looked at and what was found."""

    statements: int
    files: int
    bytes: int
    findings: list[Finding] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)
    """Who signed, one line each."""

    @property
    def wrong(self) -> list[Finding]:
        """Return the findings that say that something is wrong."""
        return [finding for finding in self.findings if not finding.note]


def verify(root: Path, target: str | None = None, *, sample: int = SAMPLE, allowed: Path | None = None) -> Verified:
    """Check a working folder, or what one file or folder was made of; raises InputError for an unknown target.

    `sample` rows of every table are built again; they are drawn anew each time, so that nobody can
    know which. `allowed` lists whose keys may sign.
    """
    whole = load(root)
    run = whole if target is None else whole.upstream([find_target(whole, target)])
    verified = Verified(statements=len(run.statements), files=0, bytes=0)
    verified.findings += run.faults
    draw = random.Random()
    damaged: set[str] = set()
    progress = Progress("verify", len(run.statements), "jobs")
    for statement in run.statements.values():
        found = list(statements.check_statement(run, statement)) + list(statements.check_files(run, statement))
        verified.files += len(statement.outputs)
        verified.bytes += sum(item.bytes or 0 for item in statement.outputs)
        damaged |= {finding.path for finding in found}
        verified.findings += found
        progress.advance()
    progress.close()
    for several in _across(run, whole, damaged if target is None else None):
        verified.findings += several
    for statement in run.statements.values():
        read = {item.path for item in (*statement.outputs, *statement.inputs)} | {statement.path}
        if not read & damaged:
            verified.findings += check_data(statement, sample=sample, draw=draw)
    if target is None:
        from d3.audit.verify.signatures import check_signatures

        signers, faults = check_signatures(whole, allowed)
        verified.signed += signers
        verified.findings += faults
    verified.findings = _once(verified.findings)
    return verified


def _across(run: Run, whole: Run, damaged: Set[str] | None) -> Iterator[Iterable[Finding]]:
    yield statements.check_facts(run)
    yield statements.check_links(run)
    yield check_answers(run)
    if damaged is not None:
        yield statements.check_orphans(whole)
        yield statements.check_journals(whole)
        broken = {job.path for job in whole.statements.values() if damaged & {job.path, *(i.path for i in job.outputs)}}
        yield check_index(whole, broken)


def _once(findings: Iterable[Finding]) -> list[Finding]:
    return list({(finding.path, finding.what): finding for finding in findings}.values())


def rebuild(root: Path, findings: Iterable[Finding]) -> tuple[list[str], list[Finding]]:
    """Remove outputs and statements of damaged jobs, damaged chunks of journals, and a faulty index.

    The next run of the workflow makes them again. Where two statements contradict each other, both
    jobs go. Files without a statement are left alone: they may be somebody's. Return what was removed,
    and what was not, with the reason.
    """
    run = load(root)
    doomed: set[str] = set()
    for finding in findings:
        if finding.path.startswith(f"{JOURNALS}/") or finding.path == INDEX.as_posix():
            doomed.add(finding.path)
        for job in finding.jobs:
            statement = run.statements.get(job)
            outputs = [item.path for item in statement.outputs] if statement else [job.removesuffix(SUFFIX)]
            doomed.update([job, *outputs])
    shared = {folder for made in run.made for folder in enclosing(made) if folder != made}
    removed: list[str] = []
    left: list[Finding] = []
    tops = [(root / top).resolve() for top in (*FOLDERS, JOURNALS)]
    for path in sorted(doomed):
        place = root / path
        inside = any(map(place.parent.resolve().is_relative_to, tops))
        if not inside or ".." in Path(path).parts:
            left.append(Finding(path=path, what=f"not removed: it lies outside of {', '.join((*FOLDERS, JOURNALS))}"))
        elif path in shared:
            left.append(Finding(path=path, what="not removed: other jobs wrote below it"))
        elif os.path.lexists(place):
            try:
                remove(place)
                removed.append(path)
            except OSError as error:
                left.append(Finding(path=path, what=f"not removed: {error.strerror}"))
    return removed, left
