"""The configuration: a wrong key, type or range is one line with the path, what was given and what is allowed."""

import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from d3.config.fields import Section
from d3.config.load import load_config, parse_config
from d3.config.models import Config
from d3.errors import ConfigError


def sections(
    model: type[BaseModel] = Config, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], type[BaseModel]]]:
    """Every section with the path of a value in it; mappings get an entry of the name `name`."""
    found = [(path, model)]
    for key, field in model.model_fields.items():
        kinds = typing.get_args(field.annotation) or (field.annotation,)
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                inner = (*path, key, "name") if typing.get_origin(field.annotation) is dict else (*path, key)
                found += sections(kind, inner)
    return found


OPTIONAL = {("pregrade", "graded"), *(("adopt", kind) for kind in ("grades", "labels", "dataset"))}
"""Sections that may be null."""


def nested(path: tuple[str, ...], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def fault(values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(values, "c.yaml")
    message = str(caught.value)
    assert message.startswith("c.yaml: ")
    assert message.endswith("; config/README.md lists every key")
    assert "\n" not in message
    return message


def test_the_walk_over_the_sections_finds_them_all() -> None:
    paths = {".".join(path) for path, _ in sections()}
    assert {"", "corpus", "grades.engine", "labels.sampling", "midtrain.optimizer", "arms.name"} <= paths
    assert len(paths) >= 24


@pytest.mark.parametrize(
    ("path", "model"), sections(), ids=lambda value: ".".join(value) if isinstance(value, tuple) else ""
)
def test_every_section_refuses_a_foreign_key_and_lists_its_own(path: tuple[str, ...], model: type[BaseModel]) -> None:
    message = fault(nested((*path, "treshold"), 1))
    assert (
        f"{'.'.join((*path, 'treshold'))}: no such key, allowed are {', '.join(sorted(model.model_fields))}" in message
    )


@pytest.mark.parametrize(
    ("path", "model"), sections()[1:], ids=lambda value: ".".join(value) if isinstance(value, tuple) else ""
)
def test_a_section_must_be_a_mapping(path: tuple[str, ...], model: type[BaseModel]) -> None:
    optional = path in OPTIONAL
    for value in (5, ["a"]) if optional else (5, None, ["a"]):
        assert f"{'.'.join(path)}: given {value!r}, allowed is a valid dictionary" in fault(nested(path, value))


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("corpus.min_lines", 0, "greater than 0"),
        ("corpus.min_lines", "x", "a valid integer"),
        ("corpus.min_lines", 1.5, "a valid integer"),
        ("corpus.min_lines", True, "a number"),
        ("corpus.min_lines", None, "a valid integer"),
        ("corpus.sample", -1, "greater than 0"),
        ("corpus.held_out", 1.01, "less than or equal to 1"),
        ("corpus.language", 5, "a valid string"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", False, "a number"),
        ("run", "../x", "match pattern"),
        ("run", "", "match pattern"),
        ("arms.a/b.[key]", "a/b", "match pattern"),
        ("source.shards", "a.parquet", "a valid list"),
        ("source.shards.1", 5, "a valid string"),
        ("grades.threshold", 5, "less than or equal to 4"),
        ("grades.engine.kind", "ollama", "'transformers', 'vllm', 'openai', 'openai_batch' or 'replay'"),
        ("grades.engine.batch", 0, "greater than 0"),
        ("grades.sampling.top_p", 0, "greater than 0"),
        ("labels.ends", "last", "'all' or 'authors'"),
        ("labels.whole_program", "maybe", "a valid boolean"),
        ("midtrain.optimizer.betas.1", 1.5, "less than or equal to 1"),
        ("midtrain.optimizer.learning_rate", 0, "greater than 0"),
        ("midtrain.optimizer.learning_rate", float("inf"), "a finite number"),
        ("midtrain.zero_stage", 4, "0, 1, 2 or 3"),
        ("sft.epochs", float("nan"), "a finite number"),
        ("benchmarks.name.tasks", 0, "greater than 0"),
        ("scores.k", [], "at least 1 item"),
        ("scores.k.0", 0, "greater than 0"),
        ("scores.confidence", 1, "less than 1"),
    ],
)
def test_wrong_values_are_named_with_what_is_allowed(path: str, value: Any, allowed: str) -> None:
    shape: dict[str, Any] = {
        "source.shards.1": {"source": {"shards": ["a", value]}},
        "midtrain.optimizer.betas.1": {"midtrain": {"optimizer": {"betas": [0.9, value]}}},
        "scores.k.0": {"scores": {"k": [value]}},
        "arms.a/b.[key]": {"arms": {"a/b": {"midtrain": True}}},
    }
    message = fault(shape.get(path) or nested(tuple(path.split(".")), value))
    assert f"c.yaml: {path}: given {value!r}, allowed is " in message
    assert allowed in message


def test_all_faults_are_told_at_once_and_long_values_are_cut() -> None:
    message = fault({"seed": "x" * 5000, "corpus": {"min_lines": 0, "foo": 1}, "arms": {"a": {}}})
    for part in (
        "seed: given 'xxx",
        "corpus.min_lines: given 0",
        "corpus.foo: no such key",
        "arms.a.midtrain: is missing",
    ):
        assert part in message
    assert len(message) < 800


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scores": {"k": [1, 5]}}, "pass@5 but generate.samples is 1"),
        ({"corpus": {"min_lines": 70, "max_lines": 60}}, "corpus.min_lines is larger than corpus.max_lines"),
        (
            {"grades": {"engine": {"tensor_parallel": 2}}},
            "grades.engine: kind: transformers does not support tensor_parallel (got 2, expected 1)",
        ),
        (
            {"labels": {"engine": {"quantization": "fp8"}}},
            'labels.engine: kind: transformers does not support quantization (got "fp8", expected null)',
        ),
    ],
)
def test_values_that_do_not_fit_together(values: Any, words: str) -> None:
    assert words in fault(values)


def test_what_belongs_together_is_taken() -> None:
    config = parse_config({"scores": {"k": [1, 5]}, "generate": {"samples": 5}, "corpus": {"sample": None}})
    assert config.scores.k == [1, 5]
    assert config.corpus.sample is None
    engine = {"kind": "vllm", "tensor_parallel": 8, "quantization": "fp8"}
    assert parse_config({"grades": {"engine": engine}}).grades.engine.tensor_parallel == 8
    assert parse_config({}) == Config()


def test_a_configuration_does_not_change_after_reading() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]


def test_every_field_of_every_section_says_what_it_is() -> None:
    silent = [
        ".".join((*path, key))
        for path, model in sections()
        for key, field in model.model_fields.items()
        if not field.description and not (isinstance(field.annotation, type) and issubclass(field.annotation, Section))
    ]
    assert silent == []


# --- files and overrides --------------------------------------------------------------------------


def test_a_file_is_read_and_overridden(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 3\nmidtrain:\n  optimizer: {learning_rate: 1e-5}\n")
    overrides = ["seed=4", "corpus.sample=null", "midtrain.optimizer.clip=0.5", "source.shards=[a, 'b c']", "run=x=y"]
    config = load_config(path, overrides[:-1])
    assert (config.seed, config.corpus.sample, config.source.shards) == (4, None, ["a", "b c"])
    assert (config.midtrain.optimizer.learning_rate, config.midtrain.optimizer.clip) == (1e-5, 0.5)
    assert load_config(path).seed == 3
    assert load_config(None) == Config()
    path.write_text("# nothing\n")
    assert load_config(path) == Config()
    assert load_config(path, ["seed=5"]).seed == 5
    with pytest.raises(ConfigError, match="given 'x=y'"):
        load_config(None, overrides[-1:])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", "'seed' is no KEY=VALUE"),
        ("seed.deep=1", "seed: given {'deep': 1}, allowed is a valid integer"),
        ("corpus.foo=1", "corpus.foo: no such key"),
        ("corpus.min_lines=[1", "corpus.min_lines: '[1' is no YAML"),
        ("=1", "no such key"),
    ],
)
def test_wrong_overrides_are_one_line(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    assert words in str(caught.value)
    assert str(caught.value).startswith("--set: ")


def test_an_override_does_not_go_below_a_value(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("corpus:\n")
    with pytest.raises(ConfigError, match="corpus holds a value, not keys"):
        load_config(tmp_path / "c.yaml", ["corpus.min_lines=2"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"corpus: [1", "not YAML"),
        (b"\xff\xfe", "not YAML"),
        (b"- a\n- b\n", "must be a mapping of sections"),
        (b"[]", "must be a mapping of sections"),
        (b"0", "must be a mapping of sections"),
        (b"hello", "must be a mapping of sections"),
        (b"!!python/object/apply:os.system [ls]", "not YAML"),
        (b"1: 2", "1: given 1, allowed is Keys should be strings"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    for overrides in ([], ["seed=1", "corpus.min_lines=3"]):
        with pytest.raises(ConfigError) as caught:
            load_config(path, overrides)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=words):
            load_config(path)


def test_a_misspelt_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"corpus\.smple: no such key, allowed are .*; did you mean sample\?;"):
        parse_config({"corpus": {"smple": 3}})
    with pytest.raises(ConfigError) as far:
        parse_config({"corpus": {"zzz": 3}})
    assert "did you mean" not in str(far.value)


def test_a_whole_threshold_has_one_spelling() -> None:
    for written in (2, 2.0, "2"):
        assert repr(parse_config({"grades": {"threshold": written}}).grades.threshold) == "2"
    assert parse_config({"grades": {"threshold": 2.5}}).grades.threshold == 2.5
    for wrong in (float("nan"), float("inf"), 4.5, True):
        with pytest.raises(ConfigError, match=r"grades\.threshold"):
            parse_config({"grades": {"threshold": wrong}})
