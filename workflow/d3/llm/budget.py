"""What the requests of a job cost: spent so far, and a cap that no request may exceed."""

from dataclasses import dataclass

from d3.llm.engine import Answer, EngineError, PricedEngine, Request


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
    tokens_per_id: int = 1
    """Most tokens that an id of a prompt is."""
    choice_tokens: int = 1
    """Most tokens of a choice that is read off."""
    answers: int = 0
    """How many requests were answered."""
    open: int = 0
    """How many requests have no answer."""
    bound: float = 0.0
    """What all requests that were sent could have cost."""
    dearest: float = 0.0
    """The most that one of them could have cost."""

    def at_most(self, request: Request) -> float:
        """Return what a request costs at most; reading choices off sends prompt and answer a second time."""
        prompt, answer = self.price or (0.0, 0.0)
        prompts = len(request.ids) if request.max_tokens else 0
        drawn = request.max_tokens
        if request.choices:
            prompts += len(request.ids) + request.max_tokens + len(request.lead)
            drawn += self.choice_tokens
        return (prompts * self.tokens_per_id * prompt + drawn * answer) / 1e6

    def has_room(self, request: Request) -> bool:
        """Return whether a request can be sent without exceeding the cap; a cap of 0 lets none through."""
        if self.cap is None:
            return True
        return self.cap > 0 and self.spent + self.reserved + self.at_most(request) <= self.cap

    def reserve(self, request: Request) -> None:
        """Count a request that is sent."""
        cost = self.at_most(request)
        self.reserved += cost
        self.open += 1
        self.bound += cost
        self.dearest = max(self.dearest, cost)

    def settle(self, request: Request, answer: Answer | None) -> None:
        """Count an answer instead of its request; None: it failed."""
        self.reserved = max(0.0, self.reserved - self.at_most(request))
        self.open -= 1
        if answer is not None and self.price is not None:
            prompt, drawn = self.price
            sent = answer.prompt_tokens if request.max_tokens else 0
            written = answer.answer_tokens
            if request.choices:
                sent += answer.prompt_tokens + answer.answer_tokens + len(request.lead)
                written += 1
            self.spent += (sent * prompt + written * drawn) / 1e6
            self.answers += 1

    def outlook(self, unsent: int | None) -> str:
        """Return what was spent, and what the job costs as expected and at most, when so many requests are unsent.

        Expected: the rest costs what the answers so far did on average. At most: each of the rest costs what the
        dearest request so far could have, and the cap holds; longer prompts than any so far are not foreseen.
        """
        if unsent is None or not self.answers:
            return str(self)
        expected = self.spent + self.spent / self.answers * (unsent + self.open)
        most = self.spent + self.reserved + unsent * self.dearest
        expected, most = (value if self.cap is None else min(value, self.cap) for value in (expected, most))
        return f"spent {self.spent:.4g}, expected {expected:.4g}, at most {max(most, expected):.4g}"

    def exceeded(self, what: str) -> EngineError:
        """Return the error of a request that is not sent."""
        return EngineError(
            f"the next request could exceed the cap (spent {self.spent:.6g} of {self.cap or 0:g}); "
            "responses so far are in the journal",
            where=what,
            remedy="raise engine.max_cost and run again",
        )

    def facts(self) -> dict[str, int]:
        """Return what a statement holds of the costs, in millionths; empty without prices."""
        if self.price is None:
            return {}
        facts = {"cost_millionths": round(self.spent * 1e6), "cost_at_most_millionths": round(self.bound * 1e6)}
        return facts | ({} if self.cap is None else {"cost_cap_millionths": round(self.cap * 1e6)})

    def __str__(self) -> str:
        """Return what was spent, and the cap if there is one."""
        return f"spent {self.spent:.6g}" + ("" if self.cap is None else f" of at most {self.cap:g}")


def budget_of(engine: PricedEngine) -> Budget:
    """Return the budget of an engine with prices."""
    return Budget(
        price=engine.price,
        cap=engine.max_cost,
        tokens_per_id=engine.tokens_per_id,
        choice_tokens=engine.choice_tokens,
    )
