"""pylintseq is the judge: the same edit paths, diffs, linted programs and messages, file by file."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d3.core.ids import content_id, derive_seed, normalise
from d3.lintseq.import_sandbox import standard_library
from d3.lintseq.linter import FATAL, MODULE, Linter
from d3.lintseq.reference import ANY_MODULE as THEIR_MODULE
from d3.lintseq.reference import ask
from d3.lintseq.sampler import SampleError, Trace, forward_diffs, sample_edits
from helpers.lintseq_programs import HOSTILE, real_files

pytestmark = pytest.mark.slow

FILE = re.compile(rf"[^ ']*/{THEIR_MODULE}\.py")
FILES = 60
LEFT_OUT = ("too_long", "form_feed", "separator", "empty", "blank")
"""Hostile files that never reach the linter."""


@pytest.fixture(scope="module")
def linter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linter]:
    linter = Linter(tmp_path_factory.mktemp("lint"), standard_library())
    yield linter
    linter.forget()


def ours(linter: Linter, text: str, seed: int) -> dict[str, Any]:
    calls: list[tuple[str, list[list[str]]]] = []

    def lint(program: str) -> list[Trace]:
        traces = linter(program)
        calls.append((program, [[*trace[:3], trace.msg.replace(MODULE, THEIR_MODULE)] for trace in traces]))
        return traces

    try:
        edits = sample_edits(text, lint, seed, max_depth=512)
        diffs = forward_diffs(text, edits)
    except SampleError as error:
        return {"edits": None, "diffs": None, "status": error.status, "calls": calls}
    finally:
        linter.forget()
    return {"edits": edits, "diffs": diffs, "status": "ok", "calls": calls}


def masked(calls: list[Any]) -> list[Any]:
    """Take the folders out of the messages, and what follows on the words that pylint crashed."""
    return [
        (program, [[*trace[:3], FATAL if FATAL in trace[3] else FILE.sub("FILE", trace[3])] for trace in traces])
        for program, traces in calls
    ]


def compare(linter: Linter, texts: list[str]) -> int:
    """Compare everything on some programs; gives the number of linted texts."""
    seeds = [derive_seed(11, content_id(text), bits=32) for text in texts]
    count = 0
    answers = ask({"text": text, "seed": seed} for text, seed in zip(texts, seeds, strict=True))
    for text, seed, theirs in zip(texts, seeds, answers, strict=True):
        mine = ours(linter, text, seed)
        assert masked(mine["calls"]) == masked(theirs["calls"]), text
        assert mine["edits"] == (theirs["edits"] and [sorted(set(edit)) for edit in theirs["edits"]])
        assert mine["diffs"] == theirs["diffs"]
        assert mine["status"] == ("no_candidate_lines" if theirs["diffs"] is None else "ok")
        count += len(mine["calls"])
    return count


def test_real_files(linter: Linter) -> None:
    texts = real_files(12, 40)[:FILES]
    assert len(texts) == FILES
    assert compare(linter, texts) > 5 * FILES


def test_hostile_files(linter: Linter) -> None:
    texts = [normalise(text) for name, text in HOSTILE.items() if name not in LEFT_OUT]
    assert compare(linter, texts) > 20


def test_the_order_of_files_does_not_matter(linter: Linter) -> None:
    texts = real_files(12, 40)[:20]
    there = [ours(linter, text, 3) for text in texts]
    back = [ours(linter, text, 3) for text in reversed(texts)]
    assert there == back[::-1]
    assert Path(linter.path).exists() is False
