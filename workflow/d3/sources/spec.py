"""What a layout is; the modules of `d3.sources.layouts` define one each as `SPEC`."""

from collections.abc import Mapping
from dataclasses import dataclass

from d3.core.schemas import STACK


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How the columns of a data set become those of The Stack."""

    name: str
    needs: frozenset[str]
    """Columns by which the data set is recognized."""
    columns: Mapping[str, tuple[str, ...]]
    """Paths in a row, such as `metadata.path`, by column of The Stack; the first that leads to something counts."""
    files: str = ""
    """Column with the list of a repository's files, where a row is a repository."""

    @property
    def roots(self) -> set[str]:
        """Return the columns of the data set that are read."""
        return {path.partition(".")[0] for paths in self.columns.values() for path in paths}


def same_names(*without: str) -> dict[str, tuple[str, ...]]:
    """Return the columns of The Stack under their own names."""
    return {name: (name,) for name in STACK.names if name not in without}


def of_repository(
    name: tuple[str, ...], path: tuple[str, ...], licenses: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Return the columns for repository, path and licenses of a file."""
    return {"max_stars_repo_name": name, "max_stars_repo_path": path, "max_stars_repo_licenses": licenses}
