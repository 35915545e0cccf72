"""What the linter can import: the standard library and an explicit list of packages, nothing else.

Whether an import resolves decides which lines a step deletes, so the answer must not depend on the
environment that happens to run the linter. Inside `sealed` the import system finds modules in three
places only: the standard library, its extension modules, and a private folder that holds links to
the listed packages. Everything that a lint may load must be loaded before.
"""

import importlib.metadata
import platform
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from pathlib import Path

from d3.core.ids import digest_of
from d3.errors import ToolError

TOOLS = ("pylint", "astroid", "numpy")
"""Packages whose version decides the diffs besides the interpreter's."""


def standard_library() -> list[str]:
    """Return the folders of the running interpreter's standard library and its extension modules."""
    library = sysconfig.get_path("stdlib")
    return [library, f"{library}/lib-dynload"]


def link_packages(packages: Sequence[str], folder: Path) -> list[str]:
    """Fill `folder` with links to what the named distributions install; give it as a search path.

    Dependencies are not followed: list them too. Raises ToolError for one that is not installed.
    """
    for name in packages:
        try:
            files = importlib.metadata.files(name)
        except importlib.metadata.PackageNotFoundError:
            files = None
        if not files:
            raise ToolError(
                f"the package {name} is not installed", where="diffs.packages", remedy="install it or drop it"
            )
        for file in files:
            top = file.parts[0]
            link = folder / top
            if top in ("..", "__pycache__") or top.endswith((".dist-info", ".egg-info", ".pth")) or link.exists():
                continue
            link.symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / top)
    return [str(folder)] if packages else []


@contextmanager
def sealed(search_path: Sequence[str]) -> Iterator[None]:
    """Let the import system find modules in `search_path` only, by its three own finders."""
    path, finders = sys.path[:], sys.meta_path[:]
    sys.path[:] = search_path
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, PathFinder]
    try:
        yield
    finally:
        sys.path[:], sys.meta_path[:] = path, finders


def environment_key(packages: Sequence[str]) -> str:
    """Return a digest of everything outside the file and the settings that decides its diffs."""
    versions = {name: importlib.metadata.version(name) for name in [*TOOLS, *packages]}
    python = [platform.python_implementation(), platform.python_version(), sys.platform, platform.machine()]
    return digest_of({"python": python, "packages": versions})
