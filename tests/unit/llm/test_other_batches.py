"""One journal a stage: other batches, a withdrawn shard or one in front ask nothing again."""

from pathlib import Path

import pytest

from d3.core.journal import Journal
from d3.llm.ask import Question, ask_all
from d3.llm.engine import Request
from d3.pipeline.batches import batches_of
from helpers.echo_engine import EchoEngine

SHARDS = [f"shard-{number:02d}" for number in range(20)]
EACH = 6
"""Files of a shard."""


def asked(folder: Path, shards: list[str], size: int) -> tuple[int, int]:
    """Run a stage, a job a batch; return how many requests were asked of how many."""
    requests = 0
    engine = EchoEngine(max_length=256)
    for members in batches_of(shards, size).values():
        questions = [
            Question(row=key, request=Request(key=key, ids=(*key.encode(), 1), max_tokens=9, temperature=1.0))
            for key in (f"{shard}.{number}" for shard in members for number in range(EACH))
        ]
        with Journal(folder) as journal:
            outcomes = list(ask_all(engine, questions, journal, what="t", total=None))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        requests += len(outcomes)
    return len(engine.asked), requests


@pytest.mark.parametrize(
    ("shards", "size"),
    [(SHARDS, 4), (SHARDS[:7] + SHARDS[8:], 2), (SHARDS[::-1], 3), (SHARDS[1:], 1)],
    ids=["shards_per_job 2 to 4", "one of 20 withdrawn", "another order", "the first withdrawn, alone"],
)
def test_what_was_answered_in_other_batches_is_not_asked(tmp_path: Path, shards: list[str], size: int) -> None:
    everything = len(SHARDS) * EACH
    assert asked(tmp_path, SHARDS, 2) == (everything, everything)
    assert asked(tmp_path, shards, size) == (0, len(shards) * EACH)


def test_a_shard_in_front_asks_its_own_requests_alone(tmp_path: Path) -> None:
    asked(tmp_path, SHARDS, 2)
    assert asked(tmp_path, ["a-new-shard", *SHARDS], 2) == (EACH, (len(SHARDS) + 1) * EACH)
