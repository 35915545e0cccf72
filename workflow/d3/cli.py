"""The one command: `python -m d3 STAGE ...`. Each stage works alone on the files that are named."""

import argparse
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import d3.commands.audit
import d3.commands.cluster
import d3.commands.stages  # noqa: F401  (these register their commands)
from d3.commands.registry import COMMANDS, OPTIONS, Arguments
from d3.errors import D3Error
from d3.pipeline.network import enforce


def build_parser() -> argparse.ArgumentParser:
    """Give the parser with one subcommand for every registered command."""
    parser = argparse.ArgumentParser(prog="python -m d3", description="The stages of the D3 pipeline.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    for name, (function, options, more, _) in COMMANDS.items():
        text = (function.__doc__ or "").strip()
        sub = commands.add_parser(name, help=text.split(".")[0], description=text)
        for option in options:
            add_option(sub, option)
        sub.add_argument("--config", metavar="YAML", help="configuration file; default: the demo's")
        sub.add_argument("--settings", metavar="JSON", type=Path, help="settings that the workflow wrote for a job")
        sub.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. diffs.samples=2"
        )
        if more:
            more(sub)
    return parser


def add_option(parser: argparse.ArgumentParser, option: str) -> None:
    """Add one option of a command; see `Command` for its marks."""
    flag = option.rstrip("?+")
    settings = {"type": Path, "metavar": flag[2:].upper(), **OPTIONS[flag]}
    if option.endswith("+"):
        settings["nargs"] = "+"
    parser.add_argument(flag, required=not option.endswith("?"), **settings)


def overrides_of(arguments: Arguments) -> list[str]:
    """Give the options of `lintseq` that stand for settings, as overrides."""
    named = {name: value for name, value in vars(arguments).items() if name == "seed" or name.startswith("diffs.")}
    return [f"{name}={value}" for name, value in named.items() if value is not None]


@contextmanager
def attempt(arguments: Arguments) -> Iterator[None]:
    """Keep a line about the start and one about the end of a job of the workflow; see `d3.attempts`."""
    outputs = getattr(arguments, "out", None)
    if outputs is None or "D3_RUN" not in os.environ:
        yield
        return
    import d3.attempts

    with d3.attempts.attempt(arguments.command, outputs[0] if isinstance(outputs, list) else outputs):
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; print an error as one line and return its exit code: 1 for an error, 2 for wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS and COMMANDS[words[0]].raw:
        arguments = argparse.Namespace(command=words[0], words=words[1:], debug=False, set=[])
    else:
        arguments = build_parser().parse_args(words)
    try:
        enforce(arguments.command)
        arguments.set += overrides_of(arguments)
        with attempt(arguments):
            return COMMANDS[arguments.command].function(arguments) or 0
    except D3Error as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"d3 {arguments.command}: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
