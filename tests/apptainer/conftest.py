"""Fixtures of the tests in images."""

from pathlib import Path

import pytest
from entering import NAMES, Enter, build, entrance, require_apptainer

from d3.images import image_path


@pytest.fixture(scope="session")
def images() -> dict[str, Path]:
    """Give the files of the images under test by their names."""
    require_apptainer()
    done = build(*NAMES)
    assert done.returncode == 0, done.stderr
    return {name: image_path(name) for name in NAMES}


@pytest.fixture(scope="session")
def enter(images: dict[str, Path]) -> Enter:
    """Give a function that runs a command in an image as the profile for images does."""
    return entrance(images)
