"""Every question answered once: journal first, engine for the rest, answers in the order of the questions."""

import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Any, Generic, TypeVar

from d3.errors import D3Error
from d3.identity import derive_seed, digest_of
from d3.journal import Journal
from d3.llm.engine import Answer, Engine, Request, room_needed
from d3.llm.replay_engine import NOT_KEPT, ReplayEngine, record
from d3.progress import Progress

T = TypeVar("T")

ATTEMPTS = 3
"""How often an answer is drawn, with another seed each time, until one is not empty."""


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

    def columns(self) -> dict[str, Any]:
        """Give the columns of `d3.records.ANSWER`."""
        answer = self.answer
        return {
            "status": self.status,
            "detail": self.detail,
            "raw": answer and answer.text,
            "finish_reason": answer and answer.finish_reason,
            "prompt_tokens": answer and answer.prompt_tokens,
            "answer_tokens": answer and answer.answer_tokens,
        }


@dataclass(slots=True)
class Tally:
    """How many answers came from where; printed at the end, it proves what was asked twice."""

    journal: int = 0
    asked: int = 0
    repeated: int = 0
    unanswered: int = 0


def answer_key(identity: dict[str, Any], request: Request, empty_again: bool = True) -> str:
    """Give the digest of everything that decides an answer: engine and model, prompt, sampling, seed.

    At temperature 0 the seed decides nothing and is left out, as is top-p.
    """
    greedy = request.temperature == 0
    return digest_of(
        [
            identity,
            sha256(array("q", request.ids).tobytes()).hexdigest(),
            request.max_tokens,
            0 if greedy else request.temperature,
            1 if greedy else request.top_p,
            0 if greedy else request.seed,
            list(request.stop),
            list(request.lead),
            list(request.choices or ()),
            empty_again and not greedy,
        ]
    )


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

    Answers are journalled chunk by chunk, so a killed run asks again only what was in flight.
    Prompts longer than the engine takes are `too_long`. A request that fails is asked as often as the
    engine wants, a drawn answer that is empty up to three times with other seeds; failures end as
    `engine_error`, which is not journalled, so the next run tries again. With `empty_again=False` an
    empty answer is an answer: scores would be biased if a model could try again.
    """
    if isinstance(engine, ReplayEngine):
        engine.bind(journal)
    waiting = iter(questions)
    progress = Progress(what, total, "answers")
    tally = Tally()
    while chunk := list(islice(waiting, engine.chunk)):
        for outcome in _answer_chunk(engine, chunk, journal, tally, empty_again):
            yield outcome
            progress.advance()
    progress.close()
    print(
        f"{what}: {tally.asked} asked, {tally.journal} from the journal, {tally.repeated} equal to another, "
        f"{tally.unanswered} without an answer; engine {digest_of(engine.identity)[:12]}",
        file=sys.stderr,
    )


def _answer_chunk(
    engine: Engine, chunk: list[Question[T]], journal: Journal | None, tally: Tally, empty_again: bool
) -> Iterator[Outcome[T]]:
    answers: dict[str, Answer | str] = {}
    missing: dict[str, Request] = {}
    keys: list[str | None] = []
    for question in chunk:
        request = question.request
        if request is None or room_needed(engine.tokenizer, request) > engine.max_length:
            keys.append(None)
            tally.unanswered += 1
            continue
        key = answer_key(engine.identity, request, empty_again)
        keys.append(key)
        if key in answers or key in missing:
            tally.repeated += 1
            continue
        known = journal.get(key) if journal is not None else None
        if known is not None:
            answers[key] = _from_entry(known)
            tally.journal += 1
        elif engine.tries == 0:
            answers[key] = NOT_KEPT
            tally.unanswered += 1
        else:
            missing[key] = request
    if missing:
        new = dict(zip(missing, _ask_patiently(engine, list(missing.values()), empty_again), strict=True))
        tally.asked += len(new)
        answers.update(new)
        if journal is not None:
            record(engine.identity, journal)
            for key, answer in new.items():
                if isinstance(answer, Answer):
                    journal.put(key, _entry(answer))
            journal.flush()
    for question, found in zip(chunk, keys, strict=True):
        if question.request is None:
            yield Outcome(row=question.row, status=question.status, detail=question.detail)
        elif found is None:
            needed = room_needed(engine.tokenizer, question.request)
            detail = f"takes {needed} tokens of {engine.max_length}"
            yield Outcome(row=question.row, status="too_long", detail=detail)
        else:
            answer = answers[found]
            if isinstance(answer, Answer):
                yield Outcome(row=question.row, status="ok", answer=answer)
            else:
                yield Outcome(row=question.row, status="engine_error", detail=answer)


def _ask_patiently(engine: Engine, requests: list[Request], empty_again: bool) -> list[Answer | str]:
    """Ask a chunk, then what failed one by one; give an answer or a reason for each."""
    answers: list[Answer | str] = list(_ask(engine, requests))
    for place, request in enumerate(requests):
        answer = answers[place]
        for attempt in range(1, max(ATTEMPTS, engine.tries)):
            if isinstance(answer, str):
                if attempt >= engine.tries:
                    break
                seed = request.seed
            elif empty_again and _is_empty(answer, request) and attempt < ATTEMPTS:
                seed = derive_seed(request.seed, "again", attempt)
            else:
                break
            answer = _ask(engine, [replace(request, seed=seed)])[0]
        answers[place] = answer
    return answers


def _ask(engine: Engine, requests: list[Request]) -> list[Answer | str]:
    """Ask once; an exception becomes the reason why none of the requests has an answer."""
    try:
        return [
            answer
            if answer.finish_reason in ("stop", "length")
            else answer.detail or f"finished with {answer.finish_reason!r}"
            for answer in engine.ask(requests)
        ]
    except D3Error:
        raise  # the model cannot be loaded, or our own mistake: no row is to blame
    except Exception as error:
        return [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"] * len(requests)


def _is_empty(answer: Answer, request: Request) -> bool:
    """Tell whether an answer is empty although another draw could be better."""
    return request.max_tokens > 0 and request.temperature > 0 and not answer.text.strip()


def _entry(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "answer_tokens": answer.answer_tokens,
        "choice_probabilities": answer.choice_probabilities,
    }


def _from_entry(entry: dict[str, Any]) -> Answer:
    probabilities = entry["choice_probabilities"]
    return Answer(**{**entry, "choice_probabilities": None if probabilities is None else tuple(probabilities)})
