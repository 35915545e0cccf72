"""What all tests share: fixtures, and the markers that follow from them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

TESTS = Path(__file__).parent
BY_FIXTURE = {
    "tiny_model": ("model",),
    "tiny_tokenizer": ("model",),
    "finished_run": ("model", "snakemake", "slow"),
    "images": ("slow",),
}
BY_FOLDER = {"workflow": ("snakemake",), "slurm": ("snakemake", "slow")}
LIBRARIES = ("torch", "transformers", "vllm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test by the fixtures that it uses, directly or through others, and by its folder."""
    for item in items:
        markers = {name for fixture in getattr(item, "fixturenames", ()) for name in BY_FIXTURE.get(fixture, ())}
        folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        for name in sorted(markers | set(BY_FOLDER.get(folder, ()))):
            item.add_marker(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that is the first to load a library for models and is not marked: it belongs in no quick run."""
    before = set(sys.modules)
    yield
    loaded = [name for name in LIBRARIES if name in sys.modules and name not in before]
    if loaded and item.get_closest_marker("model") is None:
        pytest.fail(f"this test loads {' and '.join(loaded)}: mark it as `model`", pytrace=False)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny random Llama with its tokenizer and a chat template."""
    from helpers.tiny_models import chat_model

    return chat_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tokenizer with 600 tokens, three of them special."""
    from helpers.tiny_models import make_tokenizer

    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, Path]:
    """Return folder and configuration of a finished run of the whole workflow; tests leave its files alone."""
    from helpers.workflow_run import run, tiny_config, write_config

    folder = tmp_path_factory.mktemp("finished")
    config = write_config(folder, tiny_config(tiny_model))
    done = run(folder, config)
    assert done.returncode == 0, done.stdout[-6000:]
    return folder, config


@pytest.fixture(scope="session")
def images() -> dict[str, Path]:
    """Return the files of all images by their names; builds what is missing, some minutes each."""
    from d3.provenance.images import RECIPES, image_path
    from helpers.real_images import build, require_apptainer

    require_apptainer()
    done = build()
    assert done.returncode == 0, done.stderr
    return {name: image_path(name) for name in RECIPES}
