"""What all tests share."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a tiny random Llama with its tokenizer and a chat template."""
    from helpers.tiny_models import chat_model

    return chat_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, Path]:
    """Give folder and configuration of a finished run of the whole workflow; tests leave its files alone."""
    from helpers.workflow_run import run, tiny_config, write_config

    folder = tmp_path_factory.mktemp("finished")
    config = write_config(folder, tiny_config(tiny_model))
    done = run(folder, config)
    assert done.returncode == 0, done.stdout[-6000:]
    return folder, config


@pytest.fixture(scope="session")
def images() -> dict[str, Path]:
    """Give the files of all images by their names; builds what is missing, some minutes each (see `entering.STORE`)."""
    from d3.images import RECIPES, image_path
    from helpers.real_images import build, require_apptainer

    require_apptainer()
    done = build()
    assert done.returncode == 0, done.stderr
    return {name: image_path(name) for name in RECIPES}
