"""An arm that is not mid-trained, trained on as many tokens as one that is."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from d3.audit.verify.statements import _names_differ
from d3.config.load import parse_config
from d3.core import schemas
from d3.core.example_format import example_completion, example_prompt
from d3.errors import ConfigError, InputError
from d3.pipeline.pipeline import Chain
from d3.train import sft
from d3.train.data import Stream
from helpers.corpus_tables import write_rows
from helpers.tiny_models import make_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def examples(path: Path) -> Path:
    rows = []
    for number in range(30):
        prompt = example_prompt("a.py", "", f"Do {number}.")
        diffs = [f"@@ -{line},0 +{line + 1} @@\n+x = {number}" for line in range(number % 5 + 1)]
        rows.append(
            {"id": f"r{number}", "sample": 0, "prompt": prompt, "completion": example_completion(prompt, diffs)}
        )
    return write_rows(path, schemas.SFT, rows)


@pytest.mark.parametrize(("settings", "more"), [({"max_steps": 2}, 5000), ({"max_steps": None, "epochs": 2}, 12_345)])
def test_the_examples_are_repeated_up_to_that_many_tokens(
    model: Path, tmp_path: Path, monkeypatch: Any, settings: dict[str, Any], more: int
) -> None:
    found: list[int] = []

    def count(job: Any, plan: Any, chosen: Any, sequences: Any, *_: Any) -> None:
        assert plan.settings == chosen.model_dump(mode="json")
        stream = Stream(sequences, chosen)
        found.append(sum(stream.step_tokens(step) for step in range(stream.steps)))

    monkeypatch.setattr(sft, "train_model", count)
    config = parse_config({"sft": {"sequence_length": 256, "batch": 2, **settings}})
    longer = tmp_path / "midtrained"
    longer.mkdir()
    (longer / "training.json").write_text(json.dumps({"tokens": more}))
    data, places = examples(tmp_path / "rows.parquet"), {"model": str(model), "work": tmp_path / "work"}
    sft.run(config, [data], tmp_path / "out", **places)
    sft.run(config, [data], tmp_path / "out", **places, same_tokens=longer)
    plain, lengthened = found
    assert plain + more == pytest.approx(lengthened, abs=2 * 256)  # a step
    (longer / "training.json").write_text("{}")
    with pytest.raises(InputError, match="not the record of a training"):
        sft.run(config, [data], tmp_path / "out", **places, same_tokens=longer)


def test_verify_works_out_the_same_name_of_an_arm() -> None:
    arms = {"longer": {"midtrain": False, "same_tokens": True}}
    chain = Chain(parse_config({"arms": arms}))
    (name,) = chain.arms
    statement: Any = SimpleNamespace(config={"arms": arms})
    read = {"midtrain": chain.key("midtrain")}
    assert list(_names_differ(statement, "sft", ["results", "sft", "KEY", name], read)) == []
    assert list(_names_differ(statement, "sft", ["results", "sft", "KEY", name], {"midtrain": "other"})) != []


def test_the_arm_follows_mid_training_and_needs_it() -> None:
    arms = {"baseline": {"midtrain": False}, "longer": {"midtrain": False, "same_tokens": True}}
    one, other = (Chain(parse_config({"arms": arms, "midtrain": {"batch": batch}})).arms for batch in (2, 8))
    assert {name for key, (name, _) in one.items() if key in other} == {"baseline"}
    with pytest.raises(ConfigError, match="same_tokens is for arms with midtrain: false"):
        parse_config({"arms": {"d3": {"midtrain": True, "same_tokens": True}}})
