"""Fixtures of the tests in images."""

from pathlib import Path

import pytest

from helpers.real_images import Enter, entrance


@pytest.fixture(scope="session")
def enter(images: dict[str, Path]) -> Enter:
    """Return a function that runs a command in an image as the profile for images does."""
    return entrance(images)
