"""What a run would do now: jobs of every stage that are stale or not made yet, with the reasons in words."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from d3.pipeline.why import JobState

NEVER = "not made yet"
GONE = "missing"
UNMADE = re.compile(r"^(output .* is not made yet|no statement: never finished)$")
LOST = re.compile(r"^output .* is missing$")
SHOWN_REASONS = 3
"""Reasons of a stage that are named."""


class Pending(NamedTuple):
    """The jobs of one stage that would run."""

    stage: str
    jobs: int
    unmade: int
    """Jobs that never finished."""
    missing: int
    """Jobs that finished and whose outputs were removed."""
    stale: int
    """Jobs that finished but would be made otherwise today."""
    follows: int
    """Jobs that run only if those before them come out otherwise."""
    reasons: dict[str, int]
    """Jobs by their reasons, the commonest first; names of single files are left out."""


def pending(states: Iterable[JobState]) -> list[Pending]:
    """Put the states of jobs together by stage, in the order of their first job; stages that are done are left out."""
    by_stage: dict[str, list[JobState]] = defaultdict(list)
    for state in states:
        if state.state != "fresh":
            by_stage[state.stage].append(state)
    found = []
    for stage, members in by_stage.items():
        reasons: Counter[str] = Counter()
        unmade = missing = 0
        for state in members:
            words = {general(reason, state) for reason in state.reasons}
            unmade += NEVER in words
            missing += GONE in words
            reasons.update(words)
        stale = sum(state.state in ("stale", "forced") for state in members) - unmade - missing
        follows = sum(state.state == "follows" for state in members)
        found.append(Pending(stage, len(members), unmade, missing, stale, follows, dict(reasons.most_common())))
    return found


def general(reason: str, state: JobState) -> str:
    """Return a reason without the names of a job's own files, so that equal ones can be counted."""
    if UNMADE.match(reason):
        return NEVER
    if LOST.match(reason):
        return GONE
    for name in (*state.outputs, *state.inputs):
        reason = reason.replace(name, "FILE")
    return reason


def lines(found: list[Pending]) -> list[str]:
    """Write what would run, one line a stage."""
    if not found:
        return ["Nothing is to be done."]
    text = []
    for item in found:
        counts = ((item.unmade, NEVER), (item.missing, GONE), (item.stale, "stale"))
        parts = [f"{count} {word}" for count, word in counts if count]
        parts += [f"{item.follows} only if what they read changes"] if item.follows else []
        reasons = [f"{words} ({jobs} jobs)" for words, jobs in item.reasons.items() if words not in (NEVER, GONE)]
        more = [f"{len(reasons) - SHOWN_REASONS} more reasons"] if len(reasons) > SHOWN_REASONS else []
        why = f": {'; '.join([*reasons[:SHOWN_REASONS], *more])}" if reasons else ""
        text.append(f"{item.stage}: {', '.join(parts)}{why}")
    return text
