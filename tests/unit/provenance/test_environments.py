"""Which environment a stage runs in, and what of an engine moves the folders of its answers."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from d3.chain import Chain
from d3.config_read import parse_config
from d3.errors import ConfigError
from d3.images import RECIPES
from d3.pipeline.registry import STAGES
from helpers.paths import ROOT

SERVER = {"kind": "openai", "served_model": "judge"}


def chain(stage: str, **engine: Any) -> Chain:
    return Chain(parse_config({stage: {"engine": engine}}))


@pytest.mark.parametrize("stage", ["grades", "labels", "generate", "topics"])
def test_the_engine_decides_the_environment_of_a_stage_that_asks(stage: str) -> None:
    assert chain(stage, kind="vllm").environment(stage) == "llm"
    assert chain(stage, kind="transformers").environment(stage) == "train"
    for engine in ({"kind": "replay"}, SERVER):
        assert chain(stage, **engine).environment(stage) == "data"


def test_every_stage_has_an_environment_and_one_that_asks_nothing_needs_no_model() -> None:
    plain = Chain(parse_config({"grades": {"mode": "none"}}))
    assert plain.environment("grades") == "data"
    found = {stage: plain.environment(stage) for stage in STAGES}
    assert set(found.values()) == {*RECIPES, "main"} - {"llm"}
    assert (found["tokens"], found["execute"], found["sft"], found["model"]) == ("dolma", "eval", "train", "main")


@pytest.mark.parametrize("stage", ["grades", "labels", "generate"])
def test_how_a_server_is_reached_moves_no_folder_but_reaches_the_job(stage: str) -> None:
    plain = chain(stage, **SERVER)
    changes = {"base_url": "http://node7:8000/v1", "api_key_env": "KEY", "timeout_seconds": 5, "retries": 0}
    for name, value in changes.items():
        other = chain(stage, **SERVER, **{name: value})
        assert other.folder(stage) == plain.folder(stage)
        assert parse_config(other.settings(stage)).model_dump()[stage]["engine"][name] == value
    for name, value in {"served_model": "other", "dtype": "bfloat16", "max_length": 99}.items():
        assert chain(stage, **{**SERVER, name: value}).folder(stage) != plain.folder(stage)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "http://me:secret@host/v1", "http://host/v1?key=secret", "file:///etc", "http://"]
)
def test_an_address_holds_no_secret(url: str) -> None:
    with pytest.raises(ConfigError, match=r"grades\.engine\.base_url"):
        chain("grades", **SERVER, base_url=url)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"kind": "openai"}, "needs served_model"),
        ({**SERVER, "api_key_env": "sk-123"}, "api_key_env"),
        ({"answers_of": "xyz"}, "answers_of"),
        ({**SERVER, "timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_settings_that_make_no_sense(engine: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        chain("grades", **engine)


def launch(root: Path, *line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(root / "workflow/bin/d3"), *line], capture_output=True, text=True, check=False)


def test_the_launcher_takes_the_environment_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "workflow/bin").mkdir(parents=True)
    shutil.copy(ROOT / "workflow/bin/d3", tmp_path / "workflow/bin/d3")
    for name in (".venv", ".venv-dolma", ".venv-vllm"):
        python = tmp_path / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        python.chmod(0o755)
    assert launch(tmp_path, "grades", "--out", "a b").stdout == ".venv -m d3 grades --out a b\n"
    assert launch(tmp_path, "tokens").stdout == ".venv-dolma -m d3 tokens\n"
    assert launch(tmp_path, "execute").stdout == ".venv -m d3 execute\n"
    assert launch(tmp_path, "--env", "llm", "grades").stdout == ".venv-vllm -m d3 grades\n"
    assert launch(tmp_path, "--env", "main", "grades").stdout == ".venv -m d3 grades\n"
    shutil.rmtree(tmp_path / ".venv-vllm")
    missing = launch(tmp_path, "--env", "llm", "grades")
    assert missing.returncode == 1
    assert missing.stderr.strip().endswith(f"is missing; run `make .venv-vllm/.installed` in {tmp_path}")
