"""Objects that the configuration names by import string: `module:Name`, or `path/to/file.py:Name`.

A path is relative to the working folder. A module is looked up in the working folder, then among the
packages that are installed in the environment of the job.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SOURCE_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

from d3.core.ids import canonical_path
from d3.errors import ConfigError


def source_file(import_string: str, setting: str) -> Path:
    """Return the source file of what an import string names, which is not executed.

    Raise ConfigError, which names the setting, for a file or module that is not found.
    """
    module = _module_of(import_string)
    if _is_path(module):
        if not Path(module).is_file():
            remedy = f"correct {setting}; paths are relative to the working folder {Path.cwd()}"
            raise ConfigError(f"no such file: {module}", where=import_string, remedy=remedy)
        return Path(canonical_path(module))
    with _working_folder_importable():
        try:
            spec = importlib.util.find_spec(module)
        except Exception as error:  # whatever the package that it lies in raises
            raise _not_imported(import_string, setting, error) from None
    if spec is None:
        remedy = f"correct {setting}, or put the module into the working folder"
        raise ConfigError(f"module {module} not found", where=import_string, remedy=remedy)
    if not str(spec.origin).endswith(tuple(SOURCE_SUFFIXES)):
        remedy = f"name a module written in Python in {setting}"
        raise ConfigError(f"module {module} has no source file", where=import_string, remedy=remedy)
    return Path(canonical_path(str(spec.origin)))


def load(import_string: str, setting: str) -> Any:
    """Import and return what an import string names; raise ConfigError, which names the setting."""
    path, module, name = source_file(import_string, setting), _module_of(import_string), import_string.split(":")[-1]
    try:
        found = _executed(path) if _is_path(module) else _imported(module)
    except Exception as error:  # whatever the user's module raises
        raise _not_imported(import_string, setting, error, path) from None
    if not hasattr(found, name):
        raise ConfigError(f"{path} does not define {name}", where=import_string, remedy=f"correct {setting}")
    return getattr(found, name)


def described(error: Exception, path: Path) -> str:
    """Return an exception on one line, with the line of `path` that it comes from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _same(frame.filename, path)]
    place = f" ({path}, line {lines[-1]})" if lines else ""
    return " ".join(f"{type(error).__name__}: {error}".split()) + place


def _module_of(import_string: str) -> str:
    return import_string.rpartition(":")[0]


def _is_path(module: str) -> bool:
    return module.endswith(tuple(SOURCE_SUFFIXES))


def _same(filename: str, path: Path) -> bool:
    return os.path.abspath(filename) == os.path.abspath(path)


def _not_imported(import_string: str, setting: str, error: Exception, path: Path = Path()) -> ConfigError:
    remedy = f"correct the module, or {setting}"
    return ConfigError(f"cannot be imported: {described(error, path)}", where=import_string, remedy=remedy)


def _executed(path: Path) -> ModuleType:
    """Import a file under a name that hides no other module."""
    spec = importlib.util.spec_from_file_location(f"d3_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _imported(module: str) -> ModuleType:
    with _working_folder_importable():
        return importlib.import_module(module)


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Let modules of the working folder be found first."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
