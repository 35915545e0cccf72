"""What the arguments that `d3 run` hands on to Snakemake mean, and the profiles that they name."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from d3.config.models import Config
from d3.core.paths import REPOSITORY, SNAKEFILE
from d3.errors import ConfigError

RUNS_NOTHING = {
    *("--dry-run", "--dryrun", "--unlock", "--help", "-h", "--version", "-v", "--lint", "--summary", "-S"),
    *("--detailed-summary", "-D", "--list-rules", "--list", "-l", "--list-target-rules", "--lt", "--list-changes"),
    *("--lc", "--list-input-changes", "--li", "--list-params-changes", "--lp", "--list-untracked", "--lu"),
    *("--list-conda-envs", "--dag", "--rulegraph", "--filegraph", "--d3dag", "--print-compilation", "--containerize"),
}
"""Options with which Snakemake runs no job."""
DRY_RUN = re.compile(r"-[pFk]*n[a-zA-Z]*")
"""`-n`, also written together with other short options that take no value."""
DEFAULT_PROFILE = "profiles/default"
"""Where Snakemake looks in the folder that it is started in."""
CONFIG_FILES = ("--configfile", "--configfiles")
PROFILES = ("--workflow-profile", "--profile")
"""The first overrides the second."""


def values_of(arguments: Sequence[str], *names: str) -> Iterator[str]:
    """Yield the values of an option, written as `NAME VALUE` or `NAME=VALUE`."""
    for at, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in names and (equals or at + 1 < len(arguments)):
            yield value if equals else arguments[at + 1]


def runs_nothing(arguments: Sequence[str]) -> bool:
    """Return whether Snakemake only prints something, or unlocks the folder, with these arguments."""
    return any(word.partition("=")[0] in RUNS_NOTHING or DRY_RUN.fullmatch(word) for word in arguments)


def working_folder(arguments: Sequence[str]) -> Path:
    """Return the folder that Snakemake will work in."""
    return Path(*list(values_of(arguments, "-d", "--directory"))[-1:]).resolve()


def run_name(arguments: Sequence[str]) -> str:
    """Return the name of the run that these arguments start; that of the defaults where a file cannot be read."""
    name = str(Config.model_fields["run"].default)
    for file in values_of(arguments, *CONFIG_FILES):
        with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):
            values = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            name = str(values.get("run", name)) if isinstance(values, dict) else name
    return next((word[4:] for word in reversed(arguments) if word.startswith("run=")), name)


def complete(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with our Snakefile, and with absolute paths of profiles, since Snakemake changes the folder.

    In another folder than a checkout the default profile is that of our checkout, as Snakemake finds it in ours. The
    `--snakefile` comes first, so that it cannot end a list of targets. `--config FILE`, as the other commands
    have it, is Snakemake's `--configfile`. Raise ConfigError for a configuration that is not there.
    """
    words = list(arguments)
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        following = value if equals else "".join(words[at + 1 : at + 2])
        if name == "--config" and "=" not in following:
            name, words[at] = "--configfile", f"--configfile{equals}{value}"
        if name in CONFIG_FILES and not Path(following).is_file():
            where = following or "--configfile"
            raise ConfigError("no such file", where=where, remedy="name a configuration; settings are KEY=VALUE")
        if name in PROFILES:
            if equals and Path(value).exists():
                words[at] = f"{name}={Path(value).resolve()}"
            elif not equals and at + 1 < len(words) and Path(words[at + 1]).exists():
                words[at + 1] = str(Path(words[at + 1]).resolve())
    if any(values_of(words, "-s", "--snakefile")):
        return words
    found = [*values_of(words, "--workflow-profile"), *filter(Path.is_dir, [Path(DEFAULT_PROFILE)])]
    default = [] if found else ["--workflow-profile", str(REPOSITORY / DEFAULT_PROFILE)]
    return ["--snakefile", str(SNAKEFILE), *default, *words]


def executor(arguments: Sequence[str], folder: Path) -> str:
    """Return the name of the executor that Snakemake will use, as far as the arguments and their profiles name one."""
    named = list(values_of(arguments, "-e", "--executor"))
    if named:
        return named[-1]
    profiles = [value for option in PROFILES for value in values_of(arguments, option)]
    profiles += filter(None, [os.environ.get("SNAKEMAKE_PROFILE")])
    paths = [path for name in profiles for path in (Path(name), _config_home() / name)]
    paths += [place / "profiles" / "default" for place in (folder, SNAKEFILE.parent, REPOSITORY)]
    for path in filter(Path.exists, paths):
        try:
            found = read_profile(path).get("executor")
        except ConfigError:  # Snakemake reports it
            continue
        if found:
            return str(found)
    return "local"


def read_profile(path: Path) -> dict[str, Any]:
    """Return the entries of a profile, a folder or its file; raise ConfigError for one that cannot be read."""
    file = max(path.glob("config*.yaml"), default=path / "config.yaml") if path.is_dir() else path
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"the profile cannot be read ({error})", where=str(file), remedy="name a folder of profiles/"
        ) from None
    return entries if isinstance(entries, dict) else {}


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "snakemake"
