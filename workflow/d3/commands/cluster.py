"""Commands about a run as a whole: how far it is, what it will cost, what the machine lacks."""

import argparse
import json
import os
from pathlib import Path

from d3.commands.registry import Arguments, command, read_config


def view_options(parser: argparse.ArgumentParser) -> None:
    """Add what all views of a run share."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--directory", type=Path, metavar="FOLDER", help="the run's working folder; default: this one")


def run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the views of a configuration's jobs."""
    view_options(parser)
    parser.add_argument("--with-topics", action="store_true", help="count the jobs of the target `topics` too")


def enter(arguments: Arguments) -> None:
    """Go to the run's working folder; raises D3Error if there is none."""
    from d3.errors import D3Error

    if arguments.directory:
        try:
            os.chdir(arguments.directory)
        except OSError as error:
            raise D3Error(error.strerror or "no folder", where=str(arguments.directory)) from None


@command("status", more=run_options)
def status(arguments: Arguments) -> None:
    """Show how far a run is: files, rows, rate and time left of every stage, what runs, what failed and why."""
    from d3.chain import Chain
    from d3.cluster.queue import ask
    from d3.cluster.status import survey
    from d3.cluster.status_table import table

    config = read_config(arguments)
    enter(arguments)
    found = survey(Chain(config), ask(), topics=arguments.with_topics)
    print(json.dumps(found.plain(), indent=1) if arguments.json else table(found))
