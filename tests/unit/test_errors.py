"""Errors of the operating system as errors that a user can act on."""

import errno
import importlib
import os
import sys

import pytest

from d3.errors import REMEDIES, InputError, explain, from_os_error


@pytest.mark.parametrize("number", REMEDIES)
def test_an_error_names_file_reason_and_remedy(number: int) -> None:
    line = str(from_os_error(OSError(number, os.strerror(number), "a/b")))
    assert line == f"a/b: {os.strerror(number)}; {REMEDIES[number]}"


def test_both_files_of_a_rename_are_named() -> None:
    assert str(from_os_error(OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"))).startswith("a -> b: ")


def test_the_number_is_found_in_the_text_of_a_library() -> None:
    text = "Error writing bytes to file. Detail: [errno 28] No space left on device"
    assert str(from_os_error(OSError(text))) == f"{text}; {REMEDIES[errno.ENOSPC]}"


def test_an_error_without_text_has_its_name() -> None:
    assert str(from_os_error(TimeoutError())) == "TimeoutError; run again with --debug for the traceback"


def test_a_missing_package_is_named_with_its_environment() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("no_such_package")
    line = str(explain(caught.value))
    assert line.startswith(f"the package no_such_package is not installed in the environment {sys.prefix}; run")


def test_an_error_with_a_remedy_stays_as_it_is() -> None:
    error = InputError("not Parquet", where="a", remedy="fix it")
    assert explain(error) is error
