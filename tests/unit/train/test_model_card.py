"""The card of a trained model names what it was made of."""

from pathlib import Path
from typing import Any

import yaml

from d3.train.model_card import CARD, base_model, card, header_of

MADE_WITH: dict[str, dict[str, Any]] = {
    "run": {"sft.batch": 8, "seed": 0, "model": "b" * 64, "data rows.parquet": "d" * 64},
    "code": {"d3.train.sft": "c" * 64, "torch": "2.13.0"},
    "shape": {},
}
RECORD = {"steps": 2, "tokens": 1024, "loss_tokens": 512, "record": [{"loss": 2.5}, {"loss": 1.25}]}


def test_a_card_names_base_data_versions_and_losses(tmp_path: Path) -> None:
    base = tmp_path / "SmolLM2-135M-Instruct@0.1.2"
    base.mkdir()
    first = tmp_path / "model"
    first.mkdir()
    (first / "training.json").touch()
    (first / CARD).write_text(card("midtrain", base, "b" * 64, MADE_WITH, RECORD))
    assert header_of(first)["base_model"] == "SmolLM2-135M-Instruct"
    assert header_of(first)["license"] == "apache-2.0"
    second = card("sft", first, "e" * 64, MADE_WITH, RECORD)  # of two stages, the first one's base
    assert yaml.safe_load(second.split("---\n")[1])["base_model"] == "SmolLM2-135M-Instruct"
    for text in ("e" * 64, f"`rows.parquet`: `{'d' * 64}`", "torch 2.13.0", "loss 2.5000", "1.2500", '"sft.batch": 8'):
        assert text in second, text
    assert "c" * 64 not in second
    assert str(tmp_path) not in second


def test_names_and_licences_come_from_cards_and_folders(tmp_path: Path) -> None:
    hub = tmp_path / f"somebody--large-7B@{'a' * 40}"
    hub.mkdir()
    assert base_model(hub) == ("somebody/large-7B", "unknown")
    (hub / CARD).write_text("---\nlicense: mit\nbase_model: other/one\n---\n# Large")
    assert base_model(hub) == ("somebody/large-7B", "mit")  # it is the base, whatever it was made of
    (hub / CARD).write_text("---\nlicense: [no\n---\n")
    assert base_model(hub) == ("somebody/large-7B", "unknown")
    (hub / CARD).write_text("no header")
    assert header_of(hub) == {}
