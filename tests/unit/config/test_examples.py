"""The shipped configurations are valid, and every one of them can be planned."""

from pathlib import Path

import pytest
import yaml

from d3.cli import main
from d3.config.limits import limits_in_effect
from d3.config.load import load_config
from d3.config.models import Config
from helpers.paths import ROOT

EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
FILES = [ROOT / "config" / "d3.yaml", *EXAMPLES]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_has_keys_for_every_stage_and_is_planned(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-project").mkdir()
    Path("my-project", "a.py").write_text("x = 1\n")
    Path("data").mkdir()
    Path("data", "a.jsonl").write_text('{"content": "x = 1"}\n')
    Path("data", "grades.jsonl").write_text('{"blob_id": "0", "int_score": 3}\n')
    for model in ("base", "chat", "judge"):
        Path("models", model).mkdir(parents=True)
    overrides = [word for override in source_of(path) for word in ("--set", override)]
    assert main(["plan", "--config", str(path), *overrides]) == 0


def source_of(path: Path) -> list[str]:
    """Return an override that names shards which exist here."""
    return [] if path.stem in ("own-files", "d3") else ["source.shards=[data/a.jsonl]"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_limits_nothing(path: Path) -> None:
    assert limits_in_effect(load_config(path)) == []


def test_the_scale_of_the_paper_holds_only_what_differs() -> None:
    values = yaml.safe_load((ROOT / "config" / "d3.yaml").read_text())
    full = Config().model_dump(mode="json")

    def same(given: dict[str, object], default: dict[str, object], path: str = "") -> list[str]:
        found: list[str] = []
        for key, value in given.items():
            other = default.get(key)
            if isinstance(value, dict) and isinstance(other, dict):
                found += same(value, other, f"{path}{key}.")
            elif value == other:
                found.append(f"{path}{key}")
        return found

    assert same(values, full) == []
    assert same({**values, "seed": 0}, full) == ["seed"]
