"""Limits: the defaults have none, and whatever makes a run smaller shows up, alone as well as with others."""

from typing import Any

import pytest

from d3.config.fields import Limits
from d3.config.limits import UNUSED, limit_fields, limits_in_effect
from d3.config.load import parse_config
from d3.config.models import Config
from helpers.demo import DEMO

OWN: dict[str, Any] = {
    "source": {"shards": ["a.parquet"]},
    "model": {"path": "/models/base"},
    "grades": {"engine": {"model": "/models/chat"}},
    "labels": {"engine": {"model": "/models/chat"}},
}
"""A run that sets its inputs alone."""
FIELDS = {
    key: (mark, value)
    for key, mark, value in limit_fields(Config())
    if not any(key == name or key.startswith(f"{name}.") for name in UNUSED)
}


RATIOS = {f"corpus.max_{name}" for name in ("encoded", "repeated", "comments", "data")}
"""Shares, which end at 1."""


def changed(key: str, value: Any) -> Config:
    """Return the configuration of own inputs with one more setting."""
    values = parse_config(OWN).model_dump(mode="json")
    *sections, name = key.split(".")
    inner = values
    for section in sections:
        inner = inner[section]
    inner[name] = value
    return parse_config(values)


def smaller(mark: Limits, value: Any) -> Any:
    """Return a value that leaves more out than the default does."""
    if mark.by == "stand_in":
        return mark.value
    if value is None:
        return 3
    if mark.by == "minimum":
        return value + (1 if isinstance(value, int) else 0.1)
    return value - 1 if isinstance(value, int) and value > 1 else value / 2


def test_a_run_with_only_its_inputs_set_is_limited_by_nothing() -> None:
    assert limits_in_effect(parse_config(OWN)) == []


# One sample a task is the least; pass@k needs more.
@pytest.mark.parametrize("key", [key for key in FIELDS if key != "generate.samples"])
def test_lowering_any_limit_alone_shows_it(key: str) -> None:
    mark, full = FIELDS[key]
    config = changed(key, smaller(mark, full))
    assert [limit.key for limit in limits_in_effect(config)] == [key]
    assert key in str(limits_in_effect(config)[0])


@pytest.mark.parametrize("key", [key for key, (mark, value) in FIELDS.items() if mark.by == "maximum" and value])
def test_raising_a_limit_shows_nothing(key: str) -> None:
    assert limits_in_effect(changed(key, FIELDS[key][1] * 2 if key not in RATIOS else 1.0)) == []


def test_all_numbers_named_like_a_limit_are_marked() -> None:
    """A new `max_...` or `min_...` must be marked, or stand here with its reason."""
    unmarked = {
        "corpus.min_ascii_letters",  # null is its default and keeps all
        "pregrade.max_wrong_drops",  # off by default; the files that it drops are counted
        "topics.engine.max_length",  # a target of its own
        "topics.sampling.max_tokens",
        "labels.checks.max_words",  # leaves out faults alone, and only on request
    }
    flat: dict[str, Any] = {}

    def walk(values: dict[str, Any], path: str = "") -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{path}{name}.")
            else:
                flat[f"{path}{name}"] = value

    walk(Config().model_dump(mode="json"))
    named = {
        key
        for key in flat
        if (name := key.rpartition(".")[2]).startswith(("max_", "min_")) or name in ("sample", "tasks")
    }
    stops = {
        key for key in named if key.endswith(".engine.max_cost")
    }  # a job that reaches it fails: nothing is limited
    stops |= {key for key in named if key.startswith("judge_health.")}  # no row depends on them
    assert named - FIELDS.keys() - stops <= unmarked


def test_the_demo_names_every_key_of_its_file_that_limits_it() -> None:
    keys = {limit.key for limit in limits_in_effect(DEMO)}
    assert {"source.name", "corpus.sample", "corpus.max_bytes", "midtrain.max_steps", "sft.max_steps"} <= keys
    assert {"model.path", "grades.engine.model", "benchmarks.humaneval.tasks", "generate.max_tokens"} <= keys


def test_what_no_model_answers_is_not_limited_by_one() -> None:
    ablation = parse_config(OWN | {"grades": {"mode": "none"}, "labels": {"mode": "constant"}})
    assert limits_in_effect(ablation) == []


def test_own_inputs_bring_their_tokenizer_and_name() -> None:
    config = parse_config({"source": {"shards": ["a.parquet"]}, "model": {"path": "o/r", "revision": "1"}})
    assert (config.tokens.tokenizer, config.tokens.revision) == ("o/r", "1")
    assert config.source.name == "own-files"
    chosen = parse_config({"model": {"path": "o/r"}, "tokens": {"tokenizer": "/t"}, "source": {"name": "mine"}})
    assert (chosen.tokens.tokenizer, chosen.source.name) == ("/t", "mine")


def test_a_key_that_is_absent_keeps_the_default_of_its_section() -> None:
    full = Config()
    config = parse_config({"labels": {"sampling": {"temperature": 1.0}}, "sft": {"optimizer": {"clip": 2.0}}})
    assert config.labels.sampling.max_tokens == full.labels.sampling.max_tokens != full.grades.sampling.max_tokens
    assert config.sft.optimizer == full.sft.optimizer.model_copy(update={"clip": 2.0})
    assert config.sft.batch == full.sft.batch
