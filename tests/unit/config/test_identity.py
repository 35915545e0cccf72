"""What of a configuration decides: neutral settings, spellings and addresses do not."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import create_model

from d3.config import identity
from d3.config.fields import Neutral, Section
from d3.config.identity import deciding, deciding_part
from d3.config.load import parse_config
from d3.config.models import Config
from d3.pipeline import pipeline as chain_module
from d3.pipeline.pipeline import STAGES, Chain
from helpers.paths import ROOT

SECTIONS = [name for name, field in Config.model_fields.items() if isinstance(field.default, Section)]


def keys(config: Config) -> dict[str, str]:
    chosen = Chain(config)
    return {stage: chosen.key(stage) for stage in STAGES}


def with_new_setting(section: str, kind: Any, default: Any) -> Config:
    """Return the default configuration of a pipeline whose `section` has one more setting."""
    old: Section = getattr(Config(), section)
    new = create_model("New", __base__=type(old), brand_new=(kind, default))
    whole = create_model("Whole", __base__=Config, **{section: (new, new(**old.model_dump()))})  # type: ignore[call-overload]
    return whole()  # type: ignore[no-any-return]


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(
    ("kind", "default"),
    [(int | None, None), (Annotated[bool, Neutral(False)], False), (Annotated[list[str], Neutral([])], [])],
)
def test_a_new_setting_at_its_neutral_value_moves_nothing(
    section: str, kind: Any, default: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_new_setting(section, kind, default)
    monkeypatch.setattr(chain_module, "deciding", lambda values: identity.deciding(values, type(config)))
    before = Config()
    assert keys(config) == keys(before)
    assert deciding_part(getattr(config, section)) == deciding_part(getattr(before, section))
    for stage in STAGES:
        assert Chain(config).deciding(stage, section) == Chain(before).deciding(stage, section)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_new_setting_at_another_value_decides(section: str) -> None:
    config = with_new_setting(section, int | None, 3)
    assert deciding_part(getattr(config, section))["brand_new"] == 3
    assert deciding_part(getattr(with_new_setting(section, Annotated[int, Neutral(0)], 1), section))["brand_new"] == 1


def test_applied_twice_it_changes_nothing() -> None:
    once = deciding(Config().model_dump(mode="json"))
    assert deciding(once) == once
    assert "prompt" not in once["grades"]
    assert once["grades"]["engine"] == {
        "kind": "transformers", "model": "embedded", "dtype": "float32", "tensor_parallel": 1, "max_length": 8192,
        "batch": 8,
    }  # fmt: skip


def test_the_spelling_of_a_path_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("models/a", "models/b"):
        Path(name).mkdir(parents=True)
    spellings = ["models/a", "models/a/", "./models/a", "models/b/../a", str(tmp_path / "models" / "a")]

    def of(name: str) -> Config:
        return parse_config({"model": {"path": name}, "grades": {"engine": {"model": name}}})

    assert len({tuple(keys(of(name)).values()) for name in spellings}) == 1
    assert {Chain(of(name)).model_path(name, None) for name in spellings} == {"models/a"}
    assert keys(of("models/b"))["grades"] != keys(of("models/a"))["grades"]
    assert (
        Chain(parse_config({"model": {"path": "o/r", "revision": "1"}})).deciding("midtrain")["model"]["path"] == "o/r"
    )


def test_a_prompt_counts_by_what_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "config" / "prompts" / "grade.jinja").read_text()
    monkeypatch.chdir(tmp_path)
    Path("same.jinja").write_text(text)
    Path("commented.jinja").write_text("{# a remark #}\n" + text)
    Path("other.jinja").write_text(text + "!")

    def key(name: str) -> str:
        return Chain(parse_config({"grades": {"prompt": name}})).key("grades")

    before = Chain(Config()).key("grades")
    assert key("same.jinja") == key(str(tmp_path / "same.jinja")) == key("commented.jinja") == before
    assert key("other.jinja") != before
