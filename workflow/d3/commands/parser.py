"""A parser derived from the signature of the function that the command calls.

| in the signature | on the command line |
|---|---|
| `name: Path` | `--name PATH`, required |
| `name: int = 1`, `name: Path or None` | optional |
| `name: bool = False` | a switch |
| `name: Literal["a", "b"]` | one of the choices |
| `name: Sequence[Path]` | one value or more |
| `name: Mapping[str, Path]` | `KEY=PATH`, one or more; a key of two parts is written `A/B` |
| before `/` | a word without a flag |
| `*words: str` | all words as they are: the function parses them itself |
| `config: Config` | `--config`, `--set` and `--settings` |

The name of a flag is that of the parameter with `_` written `-`; a `_` at its end, which keeps it apart from a
keyword or builtin of Python, is dropped. Help comes from `Annotated[TYPE, "help"]` or from `d3.commands.glossary`.
"""

import argparse
import os
import textwrap
from collections.abc import Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

from d3.commands.glossary import PARAMETERS
from d3.commands.heads import Head
from d3.commands.suggest import did_you_mean

SUPPRESSED = argparse.SUPPRESS
METAVARS = {Path: "PATH", str: "NAME", int: "N", float: "X"}
SWITCHES = {"action": "store_true"}


def is_config(parameter: Parameter) -> bool:
    """Return whether a parameter is the configuration."""
    return getattr(parameter.annotation, "__name__", "") == "Config"


def is_raw(head: Head) -> bool:
    """Return whether a function takes all words as they are."""
    return any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in head.signature.parameters.values())


class _Wrapped(argparse.RawDescriptionHelpFormatter):
    """Fills paragraphs to the width of the terminal; indented lines, such as those of a list, stay lines."""

    def _format_usage(self, *parts: Any) -> str:
        text = super()._format_usage(*parts)
        if max(map(len, text.splitlines())) <= self._width:
            return text
        return (
            textwrap.fill(" ".join(text.split()), self._width, subsequent_indent="  ", break_on_hyphens=False) + "\n\n"
        )

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks: list[list[str]] = []
        for line in text.split("\n"):
            if line and blocks and blocks[-1][-1] and not line.startswith(" ") and not blocks[-1][-1].endswith(":"):
                blocks[-1].append(line)
            else:
                blocks.append([line])
        return "\n".join(indent + wrapped(" ".join(block), width) for block in blocks)


def wrapped(line: str, width: int) -> str:
    """Return a line as lines of at most `width` columns; a command line that is broken can still be copied."""
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    command = line.strip().startswith("d3 ")
    lines = textwrap.wrap(
        line.strip(),
        width - 2 * command,
        initial_indent=indent,
        subsequent_indent=indent + "    " * bool(indent),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return (" \\\n" if command else "\n").join(lines)


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. Values that are not on the command line are absent from its result."""

    def __init__(self, name: str, head: Head) -> None:
        epilog = "\n".join(["example:", *(f"  {line}" for line in head.examples)])
        super().__init__(
            prog=f"d3 {name}",
            description=head.description,
            epilog=epilog,
            formatter_class=_Wrapped,
            allow_abbrev=False,
            argument_default=SUPPRESSED,
        )
        self.fields: tuple[str, ...] = ()
        """Settings that have a flag of their own."""
        required = self.add_argument_group("required")
        for parameter in head.signature.parameters.values():
            if not is_config(parameter):
                _add_parameter(self, required, parameter)
        if any(map(is_config, head.signature.parameters.values())):
            self._add_config()
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    @property
    def flags(self) -> list[str]:
        """The options in alphabetical order."""
        return sorted(flag for flag in self._option_string_actions if flag.startswith("--"))

    def _add_config(self) -> None:
        group = self.add_argument_group("configuration")
        group.add_argument("--config", metavar="PATH", help="configuration file (default: config/config.yaml)")
        group.add_argument(
            "--set", action="append", metavar="KEY=VALUE", help="override one setting, such as diffs.samples=2"
        )
        group.add_argument("--settings", type=Path, metavar="PATH", help="file of settings that the workflow wrote")

    def add_directory(self) -> None:
        """Add the working folder of the run."""
        self.add_argument("--directory", type=Path, metavar="PATH", help="working folder of the run (default: .)")

    def add_settings(self, section: str, fields: Mapping[str, str]) -> None:
        """Add settings of a section of the configuration as flags of their own, by path with their help."""
        group = self.add_argument_group(f"settings of `{section}`, in place of --set")
        for path, text in fields.items():
            flag = "--" + path.rsplit(".", 1)[-1].replace("_", "-")
            group.add_argument(flag, dest=path, metavar="VALUE", help=text.replace("%", "%%"))
        self.fields = tuple(fields)

    def parse(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the values on the command line by parameter; exit with 2 if it is wrong."""
        for word in words[: words.index("--")] if "--" in words else words:
            flag = word.split("=", 1)[0]
            if flag.startswith("--") and flag not in self._option_string_actions:
                self.error(f"unknown option {flag}{did_you_mean(flag, self._option_string_actions)}")
        values = vars(self.parse_args(list(words)))
        values["set"] = values.get("set", []) + [f"{path}={values[path]}" for path in self.fields if path in values]
        if "settings" in values and ("config" in values or values["set"]):
            self.error("--settings cannot be combined with --config, --set or the flag of a setting")
        return values

    def error(self, message: str) -> NoReturn:
        """Print what is wrong as one line and exit with 2."""
        self.exit(2, f"{self.prog}: error: {message}; see `{self.prog} --help`\n")


def _add_parameter(parser: argparse.ArgumentParser, required: Any, parameter: Parameter) -> None:
    name = parameter.name.rstrip("_").replace("_", "-")
    annotation, text = parameter.annotation, PARAMETERS.get(name)
    if get_origin(annotation) is Annotated:
        annotation, text = get_args(annotation)
    if text is None:
        raise TypeError(
            f"parameter {parameter.name} has no help; write Annotated[TYPE, 'help'] or add it to PARAMETERS"
        )
    has_default = parameter.default is not Parameter.empty
    if has_default and parameter.default not in (None, False, ()):
        text += f" (default: {parameter.default})"
    options = {**_type_options(annotation), "help": text.replace("%", "%%")}
    optional = has_default or _is_optional(annotation)
    if parameter.kind is Parameter.POSITIONAL_ONLY:
        plain = {"+": "*", None: "?"}[options.get("nargs")] if optional else options.get("nargs")
        options |= {"metavar": name.upper().removesuffix("S")} | ({"nargs": plain} if plain else {})
        parser.add_argument(parameter.name, **options)
    elif optional:
        parser.add_argument(f"--{name}", dest=parameter.name, **options)
    else:
        required.add_argument(f"--{name}", dest=parameter.name, required=True, **options)


def _is_optional(annotation: Any) -> bool:
    return NoneType in get_args(annotation)


def _type_options(annotation: Any) -> dict[str, Any]:
    """Return the settings of argparse for the type of a parameter."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is bool:
        return SWITCHES
    if origin is UnionType and len(parts) == 2 and NoneType in parts:
        return _type_options(next(part for part in parts if part is not NoneType))
    if origin is Literal:
        return {"choices": parts}
    if origin is Sequence:
        return {**_type_options(parts[0]), "nargs": "+"}
    if origin is Mapping:
        two = get_origin(parts[0]) is tuple
        form = "A/B=PATH" if two else "KEY=PATH"
        return {"type": _entry(two, form), "nargs": "+", "action": _IntoDict, "metavar": form}
    if annotation in METAVARS:
        return {"type": _count if annotation is int else annotation, "metavar": METAVARS[annotation]}
    raise TypeError(f"no option is defined for parameters of the type {annotation}")


class _IntoDict(argparse.Action):
    """Store (key, value) entries as a dict."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, dict(values))


def _count(text: str) -> int:
    """Return a number of things, such as workers; at least 1."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 (got {text!r:.20})")
    return int(text)


def _entry(two: bool, form: str) -> Any:
    """Return the parser of an entry `KEY=PATH` or `A/B=PATH`."""

    def parse(text: str) -> tuple[Any, Path]:
        key, _, path = text.partition("=")
        parts = tuple(key.split("/")) if two else (key,)
        if not path or not all(parts) or len(parts) != 1 + two:
            raise argparse.ArgumentTypeError(f"{text!r} must be written {form}")
        return (parts if two else key), Path(path)

    return parse


def arguments_of(head: Head, values: Mapping[str, Any], config: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and keyword arguments of a function for the values of a command line."""
    positional, named = [], {}
    for name, parameter in head.signature.parameters.items():
        default = None if parameter.default is Parameter.empty else parameter.default
        value = config if is_config(parameter) else values.get(name, default)
        if parameter.kind is Parameter.POSITIONAL_ONLY:
            positional.append(value)
        else:
            named[name] = value
    return positional, named


def enter(folder: Path, values: dict[str, Any]) -> None:
    """Change to the working folder of a run. Paths on the command line stay relative to where it was typed."""
    for name, value in values.items():
        if isinstance(value, Path):
            values[name] = value.absolute()
        elif isinstance(value, list):
            values[name] = [item.absolute() if isinstance(item, Path) else item for item in value]
        elif isinstance(value, dict):
            values[name] = {key: item.absolute() if isinstance(item, Path) else item for key, item in value.items()}
        elif name == "model" and isinstance(value, str) and Path(value).is_dir():  # else an id of the hub
            values[name] = os.path.abspath(value)
    os.chdir(folder)
