"""The source shards that a configuration names: globs resolved, names checked before any job starts.

Names of shards become names of results, and reach Snakemake, shells and file systems. What is resolved there (braces,
control characters, backslashes) is refused here; readers that resolve more are given names of ours.
"""

from collections.abc import Iterable, Iterator, Mapping
from glob import glob
from pathlib import Path

from d3.errors import ConfigError, InputError
from d3.pipeline.hub_files import SCHEME, hub_files
from d3.sources.shard import check_columns, shard_name

NAME_BYTES = 150
"""Longest name: temporary files add host, process and suffixes, and file systems allow 255 bytes."""
LOOKED_INTO = 200
"""Shards whose columns are checked at most, spread over the list."""
SETTING = "source.shards"
CHECK = "check the path; to estimate before the download, set source.expected_shards and source.expected_rows"
RENAME = "rename the file, or give a link with another name"


def find_shards(patterns: Iterable[str], hub_folder: str) -> dict[str, str]:
    """Return the path of every source shard or folder by its name; raise ConfigError for none or for twins.

    `hub_folder` is where the rule `hub_dataset` puts the files of the hub.
    """
    shards: dict[str, str] = {}
    for pattern in patterns:
        for path in _paths(pattern, hub_folder):
            name = checked_name(path)
            if shards.setdefault(name, path) != path and not _same_file(shards[name], path):
                raise ConfigError(f"{SETTING}: {shards[name]} and {path} share a name", remedy="rename one")
    return shards


def _paths(pattern: str, hub_folder: str) -> Iterator[str]:
    """Yield the paths that an entry of the list stands for."""
    if pattern.startswith(SCHEME):
        yield from (file.path(hub_folder) for file in hub_files(pattern))
        return
    literal = Path(pattern)
    found = [pattern] if literal.exists() or literal.is_symlink() else sorted(glob(pattern, recursive=True))
    if not found:
        raise ConfigError(f"{SETTING}: no file matches {pattern!r}", remedy=CHECK)
    for path in found:
        check_path(SETTING, path)
        if not Path(path).exists():
            reason = f"{SETTING}: {path} is a link to a file that is not there"
            raise ConfigError(reason, remedy="fetch the file again, or leave the link out of the pattern")
        yield path


def checked_name(path: str) -> str:
    """Return the name of a shard or folder; raise ConfigError for one that cannot be the name of results."""
    try:
        name = shard_name(Path(path))
    except InputError as error:
        raise ConfigError(f"{SETTING}: {error}") from None
    if name.startswith(("-", ".")) or name != name.strip() or not name:
        raise ConfigError(f"{SETTING}: the name {name!r} must not begin with a dash, a dot or a space", remedy=RENAME)
    if len(name.encode()) > NAME_BYTES:
        raise ConfigError(f"{SETTING}: the name {name[:40]}... is longer than {NAME_BYTES} bytes", remedy=RENAME)
    return name


def check_path(setting: str, path: str) -> None:
    """Raise ConfigError for a path with characters that Snakemake resolves, or that are no text."""
    faulty = next((character for character in path if character in "{}\\" or not character.isprintable()), None)
    if faulty is not None:
        raise ConfigError(f"{setting}: {ascii(path)[1:-1]}: a path must not contain {faulty!a}", remedy=RENAME)


def _same_file(one: str, other: str) -> bool:
    return Path(one).exists() and Path(other).exists() and Path(one).samefile(other)


def check_shards(shards: Mapping[str, str], columns: Mapping[str, str]) -> None:
    """Raise ConfigError for shards without a text, and if no shard has a row.

    At most `LOOKED_INTO` of those that are there are opened.
    """
    paths = [Path(path) for path in shards.values()]
    rows = not paths
    for path in paths[:: max(1, -(-len(paths) // LOOKED_INTO))]:
        try:
            rows = not path.exists() or check_columns(path, columns) or rows
        except InputError as error:
            raise ConfigError(f"{SETTING}: {error}") from None
    if not rows and len(paths) <= LOOKED_INTO:
        named = f"{paths[0]} has" if len(paths) == 1 else f"the {len(paths)} shards have"
        raise ConfigError(f"{SETTING}: {named} no rows", remedy="check that the files were fetched as a whole")
