"""Compare everything on disk with what the jobs recorded when they made it, and remove what is damaged."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from d3.lineage import checks
from d3.lineage.rowchecks import check_data
from d3.lineage.run import Finding, Run, find_target, load
from d3.progress import Progress
from d3.statement import SUFFIX
from d3.tables import remove

SAMPLE = 100
"""Rows of each table that are built again."""
COVERED = (
    "every output of every job against the SHA-256, size and rows in its statement",
    "every input against the statement of the job that made it, or against the file if it came from outside",
    "files without a statement, statements without a file, in the wrong folder, or twice",
    "the settings, prompts and arms of a statement against the key in the names of folders",
    "the modules of the code against their digest, and facts against their name",
    "ids of files and pairs against their text; kept and rejected rows against the rows of the shard",
    "diff sequences, dataset rows, examples and tokens by building a sample of them again",
    "labels, grades, verdicts and scores against the tables that they were computed from",
    "the numbers of the report against scores and tables, its table against its numbers, and its page too "
    "while the code of the report is the one that made it",
    "chunks of journals against their names, and the index against the statements",
    "signatures, if there are any",
)
NOT_COVERED = {
    "claims": "what a job records of its surroundings: times, host, SLURM job, GPU, attempts, packages and environment",
    "answers": "what a model answered or learned, when the file and its digest in every statement are changed "
    "together: grades, labels, answers to tasks, weights",
    "whole": "a whole run that was replaced by another consistent one, or removed with all of its statements",
    "journal": "answers in journals whose chunks were renamed to fit, and everything else in work/ and logs/",
    "mtime": "times of files: only contents are compared",
}
"""What a check of one's own files cannot find, by a short name; `sign` covers all but the last two."""


def help_text() -> str:
    """Return the part of the command's help that lists what is checked, and what cannot be."""
    covered = "\n".join(f"  - {line}" for line in COVERED)
    missing = "\n".join(f"  - {line}" for line in NOT_COVERED.values())
    return (
        f"What is checked:\n{covered}\n\nWhat is not covered:\n{missing}\n\nSee `d3 sign`: it covers the first three."
    )


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
        """Give the findings that say that something is wrong."""
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
        found = list(checks.check_statement(run, statement)) + list(checks.check_files(run, statement))
        verified.files += len(statement.outputs)
        verified.bytes += sum(item.bytes or 0 for item in statement.outputs)
        damaged |= {finding.path for finding in found}
        verified.findings += found
        progress.advance()
    progress.close()
    for several in _across(run, whole, target is None):
        verified.findings += several
    for statement in run.statements.values():
        read = {item.path for item in (*statement.outputs, *statement.inputs)} | {statement.path}
        if not read & damaged:
            verified.findings += check_data(statement, sample=sample, draw=draw)
    if target is None:
        from d3.lineage.sign import check_signatures

        signers, faults = check_signatures(whole, allowed)
        verified.signed += signers
        verified.findings += faults
    verified.findings = _once(verified.findings)
    return verified


def _across(run: Run, whole: Run, everything: bool) -> Iterator[Iterable[Finding]]:
    yield checks.check_facts(run)
    yield checks.check_links(run)
    if everything:
        yield checks.check_orphans(whole)
        yield checks.check_journals(whole)
        yield checks.check_index(whole)


def _once(findings: Iterable[Finding]) -> list[Finding]:
    return list({(finding.path, finding.what): finding for finding in findings}.values())


def rebuild(root: Path, findings: Iterable[Finding]) -> list[str]:
    """Remove the outputs and statements of damaged jobs, and damaged chunks of journals; give what was removed.

    The next run of the workflow makes them again. Where two statements contradict each other, both
    jobs go. Files without a statement are left alone: they may be somebody's.
    """
    run = load(root)
    removed: set[str] = set()
    for finding in findings:
        if finding.path.startswith("work/journal/"):
            removed.add(finding.path)
        for job in finding.jobs:
            statement = run.statements.get(job)
            outputs = [item.path for item in statement.outputs] if statement else [job.removesuffix(SUFFIX)]
            removed.update([job, *outputs])
    for path in sorted(removed):
        place = (root / path).resolve()
        if place.is_relative_to(root.resolve()) and place != root.resolve():
            remove(root / path)
    return sorted(removed)
