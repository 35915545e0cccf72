"""A process in the environment of vLLM that asks the vllm engine and prints the answers as JSON.

python -m helpers.vllm_worker MODEL JOURNAL
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from d3.config.engine import Engine
from d3.core.journal import Journal
from d3.llm.ask import Question, ask_all
from d3.llm.engine import EngineError, Request
from d3.llm.open_engine import open_engine
from helpers.engine_requests import requests


def ask(engine: Any, asked: list[Request], journal: Journal | None = None) -> list[dict[str, Any]]:
    questions = [Question(row=request.key, request=request) for request in asked]
    return [outcome.columns() for outcome in ask_all(engine, questions, journal, what="worker", total=None)]


def main(model: str, journal: str) -> dict[str, Any]:
    engine: Any = open_engine(Engine(kind="vllm", batch=16, max_length=512), model)
    result: dict[str, Any] = {"identity": engine.identity, "max_length": engine.max_length}

    greedy = requests()
    result["greedy"] = [asdict(answer) for answer in engine.ask(greedy)]
    result["stopped"] = [asdict(answer) for answer in engine.ask(requests(stop=tuple("aeiou \n"), choices=("a", "b")))]
    result["read_off"] = [asdict(a) for a in engine.ask(requests(max_tokens=0, choices=("0", "def return", "x")))]

    drawn = requests(temperature=1.0)
    together = engine.ask(drawn)
    result["repeated"] = engine.ask(drawn) == together
    result["alone"] = [engine.ask([request])[0] for request in drawn] == together
    result["backwards"] = engine.ask(drawn[::-1])[::-1] == together
    others = engine.ask([replace(request, seed=request.seed + 100) for request in drawn])
    result["equal with other seeds"] = sum(a.text == b.text for a, b in zip(together, others, strict=True))

    many = [Request(key=str(n), ids=(n + 30,) * 450, max_tokens=2, temperature=1.0, seed=n) for n in range(24)]
    result["many long ones"] = [answer.finish_reason for answer in engine.ask(many)]

    try:
        engine.ask([replace(greedy[0], max_tokens=512)])
    except EngineError as error:
        result["too long"] = str(error)
    foreign = replace(greedy[1], ids=(*greedy[1].ids, 100_000))
    result["mixed"] = ask(engine, [greedy[0], foreign, replace(greedy[2], max_tokens=512), greedy[3]])

    core = engine._llm.llm_engine
    step = core.step

    def dying_step() -> Any:
        core.step = step
        step()
        raise RuntimeError("one step fails")

    core.step = dying_step
    result["after a failed step"] = ask(engine, greedy)

    def failing_step() -> Any:
        outputs = step()
        for output in outputs:
            if output.prompt_token_ids == list(greedy[2].ids):
                output.outputs[0].finish_reason = "error"
        return outputs

    core.step = failing_step
    result["failed grammar"] = ask(engine, greedy[:4])
    core.step = step

    most = 0

    def watched_step() -> Any:
        nonlocal most
        most = max(most, core.get_num_unfinished_requests())
        return step()

    core.step = watched_step
    uneven = [replace(one, max_tokens=2 + 5 * (at % 4)) for at, one in enumerate(requests(20, temperature=1.0))]
    together = [answer.text for answer in engine.ask(uneven)]
    most, engine.chunk = 0, 5
    result["rolled"] = [row["raw"] for row in ask(engine, uneven)] == together
    result["most open"] = most
    core.step = step

    long = Request(key="long", ids=tuple(range(30, 430)), max_tokens=2)
    engine.ask([long])
    engine.prompt_tokens = engine.cached_tokens = 0
    engine.ask([replace(long, ids=(*long.ids[:-1], 7))])
    result["cached"] = [engine.prompt_tokens, engine.cached_tokens]

    with Journal(Path(journal)) as kept:
        result["journalled"] = ask(engine, greedy, kept)

    def broken(**_: Any) -> None:
        raise AttributeError("a compiled part of vLLM is missing")

    engine._vllm.LLM = broken
    try:
        ask(open_engine(Engine(kind="vllm", batch=16, max_length=512), model), greedy)
    except EngineError as error:
        result["broken"] = str(error)
    return result


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(*sys.argv[1:])))
