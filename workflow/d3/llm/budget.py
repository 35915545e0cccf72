"""What the requests of a job cost: spent so far, and a cap that no request may exceed."""

from dataclasses import dataclass

from d3.llm.engine import Answer, EngineError, Request


@dataclass(kw_only=True, slots=True)
class Budget:
    """Prices and a cap in the user's currency; without prices nothing is counted.

    A request is counted with all tokens that it may draw until its answer is there, so that open requests
    cannot exceed the cap together. Not covered: what a provider charges for requests that failed, and for empty
    answers that were drawn again.
    """

    price: tuple[float, float] | None = None
    """Of a million prompt tokens, and of a million answer tokens."""
    cap: float | None = None
    """Most that the job may spend."""
    spent: float = 0.0
    """What the answers cost."""
    reserved: float = 0.0
    """What open requests cost at most."""

    def at_most(self, request: Request) -> float:
        """Return what a request costs at most; reading choices off sends prompt and answer a second time."""
        prompt, answer = self.price or (0.0, 0.0)
        prompts = len(request.ids) if request.max_tokens else 0
        drawn = request.max_tokens
        if request.choices:
            prompts += len(request.ids) + request.max_tokens + len(request.lead)
            drawn += 1
        return (prompts * prompt + drawn * answer) / 1e6

    def has_room(self, request: Request) -> bool:
        """Return whether a request can be sent without exceeding the cap; a cap of 0 lets none through."""
        if self.cap is None:
            return True
        return self.cap > 0 and self.spent + self.reserved + self.at_most(request) <= self.cap

    def reserve(self, request: Request) -> None:
        """Count a request that is sent."""
        self.reserved += self.at_most(request)

    def settle(self, request: Request, answer: Answer | None) -> None:
        """Count an answer instead of its request; None: it failed."""
        self.reserved = max(0.0, self.reserved - self.at_most(request))
        if answer is not None and self.price is not None:
            prompt, drawn = self.price
            sent = answer.prompt_tokens if request.max_tokens else 0
            written = answer.answer_tokens
            if request.choices:
                sent += answer.prompt_tokens + answer.answer_tokens + len(request.lead)
                written += 1
            self.spent += (sent * prompt + written * drawn) / 1e6

    def exceeded(self, what: str) -> EngineError:
        """Return the error of a request that is not sent."""
        return EngineError(
            f"the next request could exceed the cap (spent {self.spent:.6g} of {self.cap or 0:g}); "
            "responses so far are in the journal",
            where=what,
            remedy="raise engine.max_cost and run again",
        )

    def __str__(self) -> str:
        """Return what was spent, and the cap if there is one."""
        return f"spent {self.spent:.6g}" + ("" if self.cap is None else f" of at most {self.cap:g}")
