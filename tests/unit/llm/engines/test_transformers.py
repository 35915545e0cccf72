"""The transformers engine against the plain model, computed without cache, batch or shared prefix."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from d3.config.engine import Engine as EngineSettings
from d3.llm.engine import Answer, Engine, EngineError, Request
from d3.llm.open_engine import open_engine
from helpers.tiny_models import chat_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("chat") / "model", length=256)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return open_engine(EngineSettings(batch=3), str(folder))


def prompts(count: int = 7) -> list[tuple[int, ...]]:
    begin = tuple(range(20, 30))
    return [
        begin + tuple((number * 37 + at * 11) % 500 + 30 for at in range(3 + number * 5)) for number in range(count)
    ]


def requests(**options: Any) -> list[Request]:
    return [
        Request(**{"key": f"r{number}", "ids": ids, "max_tokens": 12, "seed": number, "shared": 10, **options})
        for number, ids in enumerate(prompts())
    ]


def reference(engine: Any, ids: Sequence[int]) -> Any:
    """Return the log-probabilities of the next token, from one plain pass over all ids."""
    import torch

    with torch.inference_mode():
        return engine._model(torch.tensor([list(ids)])).logits[0, -1].log_softmax(-1)


def test_greedy_answers_are_those_of_the_plain_model(engine: Any) -> None:
    for request, answer in zip(requests(), engine.ask(requests()), strict=True):
        ids = list(request.ids)
        while len(ids) < len(request.ids) + 12:
            ids.append(int(reference(engine, ids).argmax()))
            if ids[-1] == 2:
                break
        new = ids[len(request.ids) :]
        assert answer.answer_tokens == len(new)
        assert answer.finish_reason == ("stop" if new[-1] == 2 else "length")
        assert answer.text == engine.tokenizer.decode(new[:-1] if new[-1] == 2 else new)
        assert answer.prompt_tokens == len(request.ids)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_does_not_depend_on_its_batch(engine: Engine, temperature: float) -> None:
    asked = requests(temperature=temperature, choices=("a", "b"), lead=(31, 32))
    together = engine.ask(asked)
    alone = [engine.ask([request])[0] for request in asked]
    backwards = engine.ask(asked[::-1])[::-1]
    unshared = engine.ask([replace(request, shared=0) for request in asked])
    for answers in (alone, backwards, unshared):
        assert [text_of(answer) for answer in answers] == [text_of(answer) for answer in together]
        for one, other in zip(answers, together, strict=True):
            assert one.choice_probabilities == pytest.approx(other.choice_probabilities, abs=1e-5)


def text_of(answer: Answer) -> tuple[str, str, int]:
    return answer.text, answer.finish_reason, answer.answer_tokens


def test_the_seed_decides_the_draw(engine: Engine) -> None:
    one = requests(temperature=1.0)
    assert engine.ask(one) == engine.ask(one)
    other = engine.ask([replace(request, seed=request.seed + 100) for request in one])
    assert sum(a.text == b.text for a, b in zip(engine.ask(one), other, strict=True)) <= 1


def test_a_tiny_nucleus_is_greedy(engine: Engine) -> None:
    greedy = engine.ask(requests())
    narrow = engine.ask(requests(temperature=1.0, top_p=1e-6))
    assert [answer.text for answer in narrow] == [answer.text for answer in greedy]


def test_draws_follow_the_probabilities(engine: Any) -> None:
    import torch

    from d3.llm.engines.transformers import _sample

    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    request = Request(key="r", ids=(1,), max_tokens=1, temperature=1.0)
    for top_p, chances in ((1.0, [0.5, 0.3, 0.15, 0.05]), (0.75, [0.625, 0.375, 0, 0])):
        draws = [
            _sample(logits, replace(request, top_p=top_p), torch.Generator().manual_seed(seed)) for seed in range(2000)
        ]
        for token, chance in enumerate(chances):
            assert draws.count(token) / 2000 == pytest.approx(chance, abs=0.04)


@pytest.mark.parametrize("free", [0, 5])
def test_choices_have_the_probabilities_of_the_plain_model(engine: Any, free: int) -> None:
    """One choice of one token, one of several, after a lead and a free text that may have ended."""
    import torch

    choices = ("0", "def return", "x")
    lead = (40, 41)
    asked = requests(max_tokens=free, choices=choices, lead=lead)
    for request, answer in zip(asked, engine.ask(asked), strict=True):
        ids = list(request.ids)
        for _ in range(free):
            token = int(reference(engine, ids).argmax())
            if token == 2:
                break
            ids.append(token)
        ids += lead
        sums = []
        for choice in choices:
            total, after = 0.0, list(ids)
            for token in engine.tokenizer.encode(choice, add_special_tokens=False):
                total += float(reference(engine, after)[token])
                after.append(token)
            sums.append(total)
        expected = torch.tensor(sums).softmax(0).tolist()
        assert answer.choice_probabilities == pytest.approx(expected, abs=1e-4)
        assert (answer.text == "") == (len(ids) == len(request.ids) + 2)


def test_a_stop_text_ends_the_answer_and_the_choice_comes_after_what_is_left(engine: Any) -> None:
    (whole,) = engine.ask([requests()[3]])
    stop = whole.text[len(whole.text) // 2 :][:3]
    cut = whole.text[: whole.text.index(stop)]
    request = replace(requests()[3], stop=(stop, "never written"), choices=("a", "b"), lead=(31,))
    (answer,) = engine.ask([request])
    assert (answer.text, answer.finish_reason) == (cut, "stop")
    assert answer.answer_tokens < whole.answer_tokens
    kept = engine.tokenizer.encode(cut, add_special_tokens=False)
    if engine.tokenizer.decode(kept) == cut:
        again = replace(request, ids=(*request.ids, *kept), max_tokens=0, stop=())
        assert engine.ask([again])[0].choice_probabilities is not None


def test_an_end_token_ends_the_answer(folder: Path, engine: Any) -> None:
    first = int(reference(engine, prompts()[0]).argmax())
    other: Any = open_engine(EngineSettings(), str(folder))
    other.__dict__["_ends"] = frozenset({first})
    (answer,) = other.ask([requests()[0]])
    assert text_of(answer) == ("", "stop", 1)


def test_a_request_over_the_limit_is_refused(engine: Engine) -> None:
    assert engine.max_length == 256
    long = Request(key="long", ids=tuple(range(3, 200)), max_tokens=60)
    with pytest.raises(EngineError, match="long: takes 257 tokens of 256"):
        engine.ask([long])


def test_weights_are_loaded_at_the_first_question(folder: Path) -> None:
    engine: Any = open_engine(EngineSettings(), str(folder))
    assert engine.identity["digest"]
    assert "_model" not in engine.__dict__
    engine.ask(requests()[:1])
    assert "_model" in engine.__dict__


def test_other_weights_and_other_types_have_another_identity(folder: Path, tmp_path: Path) -> None:
    base = open_engine(EngineSettings(), str(folder)).identity
    assert open_engine(EngineSettings(batch=1, max_length=100), str(folder)).identity == base
    assert open_engine(EngineSettings(dtype="bfloat16"), str(folder)).identity != base
    assert open_engine(EngineSettings(), str(chat_model(tmp_path / "m", length=256, seed=1))).identity != base


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nothing: no such folder"):
        open_engine(EngineSettings(), str(tmp_path / "nothing"))


def test_a_cut_model_is_no_fault_of_the_requests(tmp_path: Path) -> None:
    weights = chat_model(tmp_path / "model") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(EngineError, match=r"model: cannot be loaded \(SafetensorError: "):
        open_engine(EngineSettings(batch=4, max_length=256), str(weights.parent)).ask(requests())
