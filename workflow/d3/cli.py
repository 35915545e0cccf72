"""The command `d3`, also started as `python -m d3`. Only the module of the chosen command is imported.

Exit codes: 0 done; 1 an error, or a check that failed; 2 a wrong command line; 130 interrupted.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d3.commands.index import FORMER_NAMES, MORE_HELP, Command, commands, help_text, modern_words
from d3.commands.suggest import did_you_mean
from d3.core.terminal import error_line
from d3.errors import explain

if TYPE_CHECKING:
    from d3.commands.parser import CommandParser
    from d3.config.models import Config

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; print an error as one line."""
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:
        _discard_output()
        return 1


def _dispatch(words: list[str]) -> int:
    """Print what the words before a command ask for, or run the command."""
    debug = False
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in ("-h", "--help"):
            print(help_text())
            return 0
        if option == "--version":
            print(version())
            return 0
        if option != "--debug":
            return _usage_error(f"unknown option {option}{did_you_mean(option, ('--help', '--version', '--debug'))}")
        debug = True
    if not words:
        print(help_text(), file=sys.stderr)
        return 2
    known = commands()
    word = words.pop(0)
    name = FORMER_NAMES.get(word, word)
    if name not in known:
        return _usage_error(f"unknown command {word}{did_you_mean(word, known)}")
    return _run(known[name], modern_words(name, words), debug)


def _usage_error(message: str) -> int:
    print(error_line(f"d3: error: {message}; see `d3 --help`"), file=sys.stderr)
    return 2


def version() -> str:
    """Return the version of the package, with the commit if it is in a checkout."""
    from d3 import __version__
    from d3.core.paths import REPOSITORY
    from d3.provenance.runtime import git

    state = git(REPOSITORY)
    if state["commit"] is None:
        return f"d3 {__version__}"
    return f"d3 {__version__} (commit {state['commit'][:12]}{', modified' if state['dirty'] else ''})"


def _run(command: Command, words: list[str], debug: bool) -> int:
    """Run a command; errors that a user can act on become one line, unless they are to be debugged."""
    from d3.commands.parser import is_raw

    head = command.head
    values: dict[str, Any] = {}
    if not is_raw(head):
        values = parser_of(command).parse(words)
    try:
        code = _call(command, words, values)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        raise
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        if debug or values.get("debug"):
            traceback.print_exc()
        _discard_output()
        print(error_line(f"d3 {command.name}: error: {line}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"d3 {command.name}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _discard_output() -> None:
    """Discard what standard output cannot take, so that Python does not try again, with a traceback, at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser_of(command: Command) -> "CommandParser":
    """Return the parser of a command."""
    from d3.commands.parser import CommandParser
    from d3.commands.stages import SECTIONS, setting_flags

    parser = CommandParser(command.name, command.head)
    parser.add_directory()
    if section := SECTIONS.get(command.name):
        parser.add_settings(section, setting_flags(section))
    if command.name in MORE_HELP:
        parser.epilog = f"{parser.epilog}\n\n{load(MORE_HELP[command.name])()}"
    return parser


def _call(command: Command, words: list[str], values: dict[str, Any]) -> int:
    """Call the function of a command and return its exit code."""
    from d3.commands.parser import arguments_of, enter, is_config, is_raw
    from d3.pipeline.network import enforce

    enforce(command.name)
    head = command.head
    if is_raw(head):
        return int(load(command.target)(*words))
    with _attempt(command.name, values):
        wants_config = any(map(is_config, head.signature.parameters.values()))
        config = read_config(values) if wants_config else None
        if folder := values.pop("directory", None):
            enter(folder, values)
        positional, named = arguments_of(head, values, config)
        result = load(command.target)(*positional, **named)
    return result if isinstance(result, int) else 0


def load(target: str) -> Any:
    """Return the function `module:function`."""
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


def read_config(values: Mapping[str, Any]) -> "Config":
    """Return the configuration that `--config`, `--set` and `--settings` name."""
    from d3.config.load import load_config, read_settings

    if settings := values.get("settings"):
        return read_settings(settings)
    text = values.get("config")
    return load_config(Path(text) if text else None, values["set"])


@contextmanager
def _attempt(name: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Record start and end of a job of the workflow; see `d3.provenance.attempts`."""
    outputs = values.get("out")
    if outputs is None or "D3_RUN" not in os.environ:
        yield
        return
    from d3.core.progress import announce
    from d3.provenance.attempts import attempt

    announce(f"{name}: started")  # before libraries are loaded, which takes seconds
    with attempt(name, outputs[0] if isinstance(outputs, list) else outputs):
        yield
