"""A disk that is too small is named before the first step."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from d3.config.training import Midtrain
from d3.errors import ToolError
from d3.train import disk_room
from d3.train.disk_room import check_room, parameters_of
from helpers.tiny_models import make_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def free(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    monkeypatch.setattr(disk_room.shutil, "disk_usage", lambda _: SimpleNamespace(free=count))


def test_parameters_are_those_that_torch_counts(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    assert parameters_of(base) == sum(weight.numel() for weight in model.parameters())
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    assert parameters_of(tmp_path) == 0


@pytest.mark.parametrize(
    ("settings", "steps", "there", "bytes_each"),
    [
        ({"save_steps": 2}, 100, 0, 3 * 12 + 4),
        ({"save_steps": 2}, 100, 2, 12 + 4),
        ({"save_steps": 2}, 5, 0, 2 * 12 + 4),
        ({"save_steps": 100}, 100, 0, 4),
        ({"save_steps": 2, "dtype": "bfloat16"}, 100, 0, 3 * 14 + 2),
    ],
)
def test_checkpoints_and_model_must_fit(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    steps: int,
    there: int,
    bytes_each: int,
) -> None:
    for number in range(there):
        folder = tmp_path / "checkpoints" / f"checkpoint-{number}"
        folder.mkdir(parents=True)
        (folder / "complete").touch()
    needed = parameters_of(base) * bytes_each
    section = Midtrain.model_validate(settings)
    free(monkeypatch, needed)
    check_room("midtrain", section, steps, base, tmp_path)
    free(monkeypatch, needed - 1)
    with pytest.raises(ToolError, match=r"midtrain needs .* GB for checkpoints and the model") as caught:
        check_room("midtrain", section, steps, base, tmp_path)
    assert "midtrain.save_steps" in str(caught.value)
