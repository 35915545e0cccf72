"""Looking at what a run left behind: the lineage of its files and numbers, and whether it is whole."""

import argparse
import sys
from pathlib import Path

from d3.commands.registry import Arguments, command


def results_option(parser: argparse.ArgumentParser) -> None:
    """Add the folder of results that a command looks at."""
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results; default: results")


def working_folder(arguments: Arguments) -> Path:
    """Give the folder that the paths in statements are relative to; raises D3Error if there are no results in it."""
    from d3.errors import D3Error

    if not arguments.results.is_dir():
        raise D3Error("no such folder", where=str(arguments.results), remedy="run the workflow, or give --results")
    return Path(arguments.results).absolute().parent


# --- index and trace ----------------------------------------------------------------------------------


def lineage_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `lineage`."""
    results_option(parser)
    parser.add_argument("--index", type=Path, help="where the index goes; default: results/lineage/index.duckdb")


@command("lineage", more=lineage_options)
def lineage(arguments: Arguments) -> None:
    """Bring the index of the lineage up to date with the statements of all jobs."""
    from d3.lineage.index import build

    built = build(working_folder(arguments), arguments.index)
    for reason in built.faulty:
        print(f"left out: {reason}", file=sys.stderr)
    print(f"{built.jobs:,} jobs ({built.new:,} new, {built.gone:,} gone), {built.rows:,} rows")


def trace_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `trace`."""
    parser.add_argument("target", help="a file, FILE#ROW, file id, Stack hexsha, model folder, or number of a report")
    results_option(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="nodes and their children as JSON")
    form.add_argument("--html", action="store_true", help="one page with a drawing and the tree")
    form.add_argument("--svg", action="store_true", help="the drawing alone")
    parser.add_argument("--depth", type=int, help="levels of the tree that are printed; default: all")
    parser.add_argument("--limit", type=int, default=5, help="source files that are named; default: 5")
    parser.add_argument("--short", action="store_true", help="one line for each step, without code and prompts")


@command("trace", more=trace_options)
def trace(arguments: Arguments) -> None:
    """Follow a file, a row, a model or a number of the report back to its sources.

    The index is made if there is none, and brought up to date when statements changed.
    """
    from d3.lineage import nodes
    from d3.lineage.index import INDEX, build, newer_statements, open_index
    from d3.lineage.trace import Tracer

    root = working_folder(arguments)
    if not (root / INDEX).is_file():
        build(root)
    connection = open_index(root)
    if newer_statements(root, connection):
        connection.close()
        build(root)
        connection = open_index(root)
    node = Tracer(root, connection, limit=arguments.limit).trace(arguments.target)
    if arguments.json:
        print(nodes.as_json(node))
    elif arguments.html:
        print(nodes.as_html(node), end="")
    elif arguments.svg:
        print(nodes.as_svg(node), end="")
    else:
        print(nodes.as_text(node, arguments.depth, short=arguments.short))
