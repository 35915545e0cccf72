"""Checks of a label against the code that it is about: faults that can be told without a language model.

`unknown_name`: it names something in back quotes that is in neither program, so it is invented; `long`: more words
than `labels.checks.max_words`; `cut`: it breaks off in the middle; `hedged`: it says that it is not sure. What passes
may be wrong all the same: no check reads what the sentence means.
"""

import keyword
import re
from collections.abc import Iterator, Sequence

from d3.config.data import LabelChecks

UNKNOWN_NAME, LONG, CUT, HEDGED, DUPLICATE = "unknown_name", "long", "cut", "hedged", "duplicate"
SETTING_OF = {UNKNOWN_NAME: "names", LONG: "long", CUT: "cut", HEDGED: "hedges"}
"""The setting of `labels.checks` that says what becomes of a fault."""
QUOTED = re.compile(r"`([^`\n]{1,200})`")
NAME = re.compile(r"[^\W\d]\w*")
STRING = re.compile(r"'[^']*'|\"[^\"]*\"")
HEDGE = re.compile(
    r"\b(?:might|maybe|perhaps|possibly|probably|presumably|apparently|seemingly|likely|seems?|appears? to|"
    r"may be|could be|not sure|unclear|unknown purpose|some kind of|some sort of|if (?:needed|necessary|applicable))\b",
    re.IGNORECASE,
)
DANGLING = re.compile(
    r"(?:\b(?:a|an|the|and|or|of|to|for|with|by|in|on|at|from|that|which|into|as|its|is|are|using|when|if|than)"
    r"|[,:;(\[{=\-–…]|\.\.)[\"'`)*]*\.?$",
    re.IGNORECASE,
)


def faults_of(label: str, texts: Sequence[str], checks: LabelChecks) -> Iterator[tuple[str, str]]:
    """Yield (fault, detail) of a label; `texts` are the programs that it is about, before and after the change.

    The lines of a change are lines of these programs, so a name in the change is in one of them.
    """
    if unknown := next(_unknown_names(label, texts), None):
        yield UNKNOWN_NAME, f"{unknown:.60} is in neither program"
    words = len(label.split())
    if words > checks.max_words:
        yield LONG, f"{words} words"
    if found := DANGLING.search(label):
        yield CUT, f"ends in {found[0]:.20}"
    elif label.count("`") % 2 or label.count("(") != label.count(")"):
        yield CUT, "a quote or bracket is open"
    if hedge := HEDGE.search(label):
        yield HEDGED, hedge[0].lower()


def _unknown_names(label: str, texts: Sequence[str]) -> Iterator[str]:
    """Yield the names in back quotes that occur in none of the texts as a word; keywords are no names."""
    for quoted in QUOTED.findall(label):
        for name in NAME.findall(STRING.sub(" ", quoted)):
            if not keyword.iskeyword(name) and not any(_has_word(text, name) for text in texts):
                yield name


def _has_word(text: str, name: str) -> bool:
    return name in text and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def dropped_fault(faults: Sequence[tuple[str, str]], checks: LabelChecks) -> tuple[str, str] | None:
    """Return the first fault for which a label is dropped, with its detail; None if it stays."""
    return next((fault for fault in faults if getattr(checks, SETTING_OF[fault[0]]) == "drop"), None)
