"""Every question answered once: journal first, engine for the rest, answers in the order of the questions."""

import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from d3.core.ids import digest_of
from d3.core.journal import Journal
from d3.core.printable import printable
from d3.core.progress import Progress
from d3.llm.accepted import AcceptedAnswers, numerics_of
from d3.llm.budget import Budget, budget_of
from d3.llm.dispatch import InChunks, Rolling
from d3.llm.engine import (
    NOT_IN_JOURNAL,
    AcceptingEngine,
    Answer,
    BatchingEngine,
    Engine,
    EngineError,
    PricedEngine,
    ReplayingEngine,
    Request,
    RollingEngine,
    answer_key,
    room_needed,
)
from d3.llm.engine_log import record_engine
from d3.provenance import resource_usage

T = TypeVar("T")

HELD_CHUNKS = 16
"""So many chunks of questions are held while the first of them has no answer; most come from the journal then."""
SAVE_SECONDS = 30.0
"""How often the answers of an engine that never pauses are brought to the disk."""
SHOWN = 12
"""So many digits of an engine's digest stand in rows, statements and what is printed."""
TO_BLAME = 3
"""When so many requests were asked and none was answered, the engine is to blame and not the rows. Our default."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Question(Generic[T]):
    """A request, or a row that needs none, with what the stage wants to find again beside the answer."""

    row: T
    request: Request | None = None
    status: str = "ok"
    """Why there is no request; with a request, not read."""
    detail: str | None = None


@dataclass(kw_only=True, slots=True, frozen=True)
class Outcome(Generic[T]):
    """What became of a question."""

    row: T
    status: str
    """`ok`, `too_long`, `engine_error`, or the question's own status when it had no request."""
    detail: str | None = None
    answer: Answer | None = None
    answered_by: str | None = None
    """Digest of the accepted engine that the answer is from; None for the job's own engine."""

    def columns(self) -> dict[str, Any]:
        """Return the columns of `d3.core.schemas.ANSWER`."""
        answer = self.answer
        return {
            "status": self.status,
            "detail": self.detail,
            "raw": answer and answer.text,
            "finish_reason": answer and answer.finish_reason,
            "prompt_tokens": answer and answer.prompt_tokens,
            "answer_tokens": answer and answer.answer_tokens,
            "answered_by": self.answered_by and self.answered_by[:SHOWN],
        }


@dataclass(slots=True)
class Tally:
    """How many answers came from where; printed at the end, it proves what was asked twice."""

    journal: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    """Of these, those of accepted engines, by their digest."""
    asked: int = 0
    repeated: int = 0
    unanswered: int = 0
    failed: int = 0
    """Asked, and not answered in the end."""
    reason: str = ""
    """Of the last of these."""
    prompt_tokens: int = 0
    """Of what was asked, as are the answers' tokens."""
    answer_tokens: int = 0


def ask_all(
    engine: Engine,
    questions: Iterable[Question[T]],
    journal: Journal | None,
    *,
    what: str,
    total: int | None,
    empty_again: bool = True,
) -> Iterator[Outcome[T]]:
    """Yield the outcome of every question, in order; memory is bounded by the engine's chunk.

    Answers are journalled chunk by chunk, those of an engine that never pauses at least every half
    minute, so a killed run asks again only what was in flight.
    Prompts longer than the engine takes are `too_long`. A request that fails is asked as often as the
    engine wants, a drawn answer that is empty up to three times with other seeds; failures end as
    `engine_error`, which is not journalled, so the next run tries again. With `empty_again=False` an
    empty answer is an answer: scores would be biased if a model could try again.
    Raises EngineError when at least `TO_BLAME` requests were asked and there is not one answer: such a
    file would look finished, and the next run would leave it alone.
    """
    if isinstance(engine, ReplayingEngine):
        engine.bind(journal)
    waiting = iter(questions)
    progress = Progress(what, total, "answers")
    desk = _Desk[T](engine, journal, empty_again, what)
    more = True
    while more or desk.held:
        while desk.held and (outcome := desk.held[0].outcome) is not None:
            desk.held.popleft()
            yield outcome
            if desk.budget.price is not None:
                progress.note = desk.budget.outlook(None if total is None else max(0, total - desk.read))
            progress.advance()
        if more and desk.has_room():
            question = next(waiting, None)
            if question is None:
                more = False
            else:
                desk.accept(question)
        elif desk.held:
            desk.wait()
    desk.save()
    progress.close()
    tally = desk.tally
    if not tally.journal and tally.asked == tally.failed >= TO_BLAME:
        raise EngineError(
            f"none of {tally.asked} requests was answered; the last reason: {tally.reason}",
            where=what,
            remedy="mend the engine and run again",
        )
    resource_usage.count(
        asked=tally.asked,
        journal=tally.journal,
        prompt_tokens=tally.prompt_tokens,
        answer_tokens=tally.answer_tokens,
        **desk.budget.facts(),
        **{f"accepted_{digest[:SHOWN]}": answers for digest, answers in tally.accepted.items()},
    )
    for digest, answers in sorted(tally.accepted.items()):
        numerics = numerics_of(desk.accepted.engines[digest]) if desk.accepted else {}
        told = ", ".join(f"{name} {value}" for name, value in sorted(numerics.items()))
        print(printable(f"{what}: {answers} of them by the accepted engine {digest[:SHOWN]} ({told})"), file=sys.stderr)
    print(
        f"{what}: {tally.asked} asked, {tally.journal} from the journal, {tally.repeated} equal to another, "
        f"{tally.unanswered} without an answer; engine {digest_of(engine.identity)[:SHOWN]}"
        + (f"; {desk.budget}" if desk.budget.price else ""),
        file=sys.stderr,
    )


@dataclass(slots=True)
class _Held(Generic[T]):
    """A question whose outcome, or that of one before it, is not there yet."""

    row: T
    outcome: Outcome[T] | None = None
    request: Request | None = None
    about: str = ""
    """What the request is about: the id that its key begins with."""


class _Desk(Generic[T]):
    """Questions between being read and being answered."""

    def __init__(self, engine: Engine, journal: Journal | None, empty_again: bool, what: str) -> None:
        self.engine, self.journal, self.empty_again, self.what = engine, journal, empty_again, what
        self.budget = budget_of(engine) if isinstance(engine, PricedEngine) else Budget()
        self.read = 0
        rolling = isinstance(engine, RollingEngine)
        self.flight = (
            Rolling(engine, empty_again) if isinstance(engine, RollingEngine) else InChunks(engine, empty_again)
        )
        self.save_every = SAVE_SECONDS if rolling else 0.0
        self.saved = time.monotonic()
        self.held: deque[_Held[T]] = deque()
        self.open: dict[str, list[_Held[T]]] = {}
        self.tally = Tally()
        self.accepted = (
            AcceptedAnswers(engine.identity, engine.accept, journal)
            if journal is not None and isinstance(engine, AcceptingEngine)
            else None
        )

    def has_room(self) -> bool:
        """Return whether another question may be read."""
        return len(self.flight) < self.engine.chunk and len(self.held) < HELD_CHUNKS * self.engine.chunk

    def accept(self, question: Question[T]) -> None:
        """Find the outcome of a question, or send its request."""
        held = _Held(question.row)
        self.read += 1
        self.held.append(held)
        request = question.request
        if request is None:
            held.outcome = Outcome(row=question.row, status=question.status, detail=question.detail)
            self.tally.unanswered += 1
            return
        needed = room_needed(self.engine.tokenizer, request)
        if needed > self.engine.max_length:
            detail = f"takes {needed} tokens of {self.engine.max_length}"
            held.outcome = Outcome(row=question.row, status="too_long", detail=detail)
            self.tally.unanswered += 1
            return
        key = answer_key(self.engine.identity, request, self.empty_again)
        held.about = request.key.partition("#")[0]
        if key in self.open:
            self.open[key].append(held)
            self.tally.repeated += 1
            return
        known = self.journal.get(key) if self.journal is not None else None
        digest = None
        if known is None and self.accepted and (other := self.accepted.find(request, self.empty_again)):
            digest, known = other
            self.tally.accepted[digest] += 1
        if known is not None:
            held.outcome = Outcome(row=question.row, status="ok", answer=_from_entry(known), answered_by=digest)
            self.tally.journal += 1
        elif self.engine.tries == 0:
            held.outcome = Outcome(row=question.row, status="engine_error", detail=NOT_IN_JOURNAL)
            self.tally.unanswered += 1
        else:
            while not self.budget.has_room(request):
                if not len(self.flight):
                    self.save()
                    raise self.budget.exceeded(self.what)
                self.wait()  # an answer mostly costs less than it could have
            self.budget.reserve(request)
            held.request = request
            self.open[key] = [held]
            self.flight.put(key, request)

    def wait(self) -> None:
        """Wait until the engine has answered something, and keep it."""
        replies = self.flight.take()
        if self.journal is not None and any(isinstance(reply, Answer) for _, reply in replies):
            record_engine(self.engine.identity, self.journal)
        for key, reply in replies:
            self.tally.asked += 1
            if isinstance(reply, Answer):
                self.tally.prompt_tokens += reply.prompt_tokens
                self.tally.answer_tokens += reply.answer_tokens
            else:
                self.tally.failed += 1
                self.tally.reason = reply
            if (asked := self.open[key][0].request) is not None:
                self.budget.settle(asked, reply if isinstance(reply, Answer) else None)
            if isinstance(reply, Answer) and self.journal is not None:
                self.journal.put(key, _entry(reply), about={held.about for held in self.open[key]})
            for held in self.open.pop(key):
                if isinstance(reply, Answer):
                    held.outcome = Outcome(row=held.row, status="ok", answer=reply)
                else:
                    held.outcome = Outcome(row=held.row, status="engine_error", detail=reply)
        if time.monotonic() - self.saved >= self.save_every:
            self.save()

    def save(self) -> None:
        """Bring the answers to the disk."""
        if self.journal is not None:
            self.journal.flush()
            if isinstance(self.engine, BatchingEngine):
                self.engine.saved()
        self.saved = time.monotonic()


def _entry(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "answer_tokens": answer.answer_tokens,
        "choice_probabilities": answer.choice_probabilities,
        **({} if answer.choice is None else {"choice": answer.choice}),
    }


def _from_entry(entry: dict[str, Any]) -> Answer:
    probabilities = entry["choice_probabilities"]
    return Answer(**{**entry, "choice_probabilities": None if probabilities is None else tuple(probabilities)})
