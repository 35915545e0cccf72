"""Is what lies here what the jobs made? Everything is read again, and said where it is not.

What is looked at, and what cannot be found, stands in `d3.lineage.told`, which the help prints.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from d3.lineage import checks, endchecks, rowchecks
from d3.lineage.rowchecks import Check, Checker
from d3.lineage.run import Finding, Run, find_target, load
from d3.lineage.statements import stage_of
from d3.pipeline.registry import stage_of_folder
from d3.progress import Progress
from d3.statement import SUFFIX
from d3.tables import remove

RANDOM_ROWS = 100
CHECKS: dict[str, Check] = {
    "corpus": rowchecks.corpus,
    "grades": rowchecks.grades,
    "diffs": rowchecks.diffs,
    "pair_diffs": rowchecks.diffs,
    "labels": rowchecks.labels,
    "dataset": rowchecks.dataset,
    "pairs": rowchecks.pairs,
    "sft_data": rowchecks.sft_data,
    "tokens": endchecks.tokens,
    "midtrain": endchecks.model,
    "sft": endchecks.model,
    "execute": endchecks.execute,
    "scores": endchecks.scores,
    "runs": endchecks.report,
}
"""Stage's folder -> what is looked at in the outputs of its jobs."""


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


def verify(
    root: Path, target: str | None = None, *, sample: int = RANDOM_ROWS, allowed: Path | None = None
) -> Verified:
    """Check a working folder, or what one file or folder was made of; raises InputError for an unknown target.

    `sample` rows of every table are made again; they are drawn anew each time, so that nobody can
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
            checker = Checker(run=run, statement=statement, sample=sample, draw=draw)
            verified.findings += checker.findings(_check_of(stage_of(statement.outputs[0].path)))
    if target is None:
        from d3.lineage.sign import check_signatures

        signers, faults = check_signatures(whole, allowed)
        verified.signed += signers
        verified.findings += faults
    verified.findings = _once(verified.findings)
    return verified


def _check_of(folder: str) -> Check | None:
    """Return the check of the stage with a folder of the results; the check of its own module goes first."""
    stage = stage_of_folder(folder)
    return (stage.check() if stage else None) or CHECKS.get(folder)


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
