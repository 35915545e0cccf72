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
    form.add_argument("--mermaid", action="store_true", help="a Mermaid flowchart, which GitHub and Jupyter draw")
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
    elif arguments.mermaid:
        print(nodes.as_mermaid(node))
    else:
        print(nodes.as_text(node, arguments.depth, short=arguments.short))


# --- verify and sign ----------------------------------------------------------------------------------


def verify_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `verify`, and what it does not cover."""
    from d3.lineage.verify import help_text

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = help_text()
    parser.add_argument("target", nargs="?", help="check only this file and what it was made of; default: everything")
    results_option(parser)
    parser.add_argument("--rows", type=int, default=100, help="rows of each table that are made again; default: 100")
    parser.add_argument("--allowed-signers", type=Path, help="whose keys may sign; see ssh-keygen(1)")
    parser.add_argument("--json", action="store_true", help="the findings as JSON lines")
    parser.add_argument(
        "--rebuild", action="store_true", help="remove what is damaged, so that the next run makes it again"
    )


@command("verify", more=verify_options)
def verify(arguments: Arguments) -> int:
    """Read everything again and say what was changed, cut off, lost or added; exit code 1 if anything was."""
    import json
    from dataclasses import asdict

    from d3.lineage.verify import rebuild
    from d3.lineage.verify import verify as run

    root = working_folder(arguments)
    verified = run(root, arguments.target, sample=arguments.rows, allowed=arguments.allowed_signers)
    for finding in verified.findings:
        if arguments.json:
            print(json.dumps(asdict(finding), ensure_ascii=False))
        else:
            print(f"{'note' if finding.note else 'WRONG'}  {finding}")
    for signer in verified.signed:
        print(f"signed by {signer}", file=sys.stderr)
    size = f"{verified.statements:,} statements, {verified.files:,} files, {verified.bytes / 1e6:,.1f} MB"
    print(f"{size}: {len(verified.wrong) or 'nothing'} wrong", file=sys.stderr)
    if arguments.rebuild and verified.wrong:
        for path in rebuild(root, verified.wrong):
            print(f"removed {path}", file=sys.stderr)
    return 1 if verified.wrong else 0


def sign_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sign`."""
    results_option(parser)
    parser.add_argument("--key", type=Path, required=True, help="SSH key that signs")
    parser.add_argument("--name", default="signer", help="name of the signature's file; default: signer")


@command("sign", more=sign_options)
def sign(arguments: Arguments) -> None:
    """Sign the statements of all jobs with an SSH key, so that `verify` can also say who stands for them."""
    from d3.lineage.sign import sign as run

    print(run(working_folder(arguments), arguments.key, arguments.name))


# --- diff and export ----------------------------------------------------------------------------------


def diff_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `diff`."""
    parser.add_argument("one", help="a run: its name, a folder of results, or RESULTS:NAME")
    parser.add_argument("other", help="the other run")
    results_option(parser)
    parser.add_argument("--json", action="store_true", help="the comparison as JSON")


@command("diff", more=diff_options)
def diff(arguments: Arguments) -> None:
    """Say what differs between two runs, and which cause explains which result."""
    from d3.lineage.compare import as_text, compare, read_side

    found = compare(*(read_side(text, arguments.results) for text in (arguments.one, arguments.other)))
    print(found.as_json() if arguments.json else as_text(found))


# --- forget -------------------------------------------------------------------------------------------


def forget_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `forget`."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="OWNER/NAME, a user, or the id or hexsha of a file")
    parser.add_argument("--run", action="store_true", help="run the workflow; default: print the command that does")
    parser.add_argument("--target", nargs="+", default=[], help="what is to be made again; default: the report")
    parser.add_argument(
        "--search", nargs="+", type=Path, default=[], metavar="FOLDER", help="more to search, such as a release"
    )


@command("forget", more=forget_options)
def forget(arguments: Arguments) -> int:
    """Put repositories, users or files on the opt-out list and prove that nothing of their text is left.

    Says which artefacts hold rows of theirs, lets the workflow make these again (with --run), removes
    what no run makes again, and searches results/, work/ and logs/ for their lines. Give the run's
    configuration file with --config. The exit code is 1 while anything is left: run it again after the
    workflow.
    """
    import shlex
    import subprocess

    from d3.chain import Chain
    from d3.commands.registry import read_config
    from d3.errors import ConfigError, ToolError
    from d3.images import ROOT
    from d3.lineage.forget import forget as run

    file = arguments.config
    if not file or file.startswith("{") or arguments.set:
        raise ConfigError("not a file of its own", where="--config", remedy="give the run's configuration file alone")
    line = [str(Path(sys.executable).with_name("snakemake")), "--snakefile", str(ROOT / "workflow" / "Snakefile")]
    line += ["--workflow-profile", str(ROOT / "profiles" / "default"), "--configfile", file, "--", *arguments.target]

    def rebuild() -> None:
        if subprocess.run(line, stdout=sys.stderr, check=False).returncode:
            raise ToolError("the workflow failed", remedy="mend what it says above, and run `d3 forget` again")

    report = run(
        Chain(read_config(arguments)),
        arguments.names,
        rebuild=rebuild if arguments.run else None,
        more=arguments.search,
    )
    print(report.text())
    if report.left and not arguments.run:
        print(f"run the workflow, then this command again: {shlex.join(line)}")
    return 1 if report.left else 0


# --- staleness ----------------------------------------------------------------------------------------


def why_options(parser: argparse.ArgumentParser) -> None:
    """Add the files of `why`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="files below results/, or anything in their folders")


@command("why", more=why_options)
def why(arguments: Arguments) -> None:
    """Say of files whether a run would make them again, and why: setting, prompt, module, package, image or input.

    Give the run's configuration with --config.
    """
    from d3.commands.registry import read_config
    from d3.why import elsewhere, explain, job_states

    config = read_config(arguments)
    for name in arguments.files:
        lines = elsewhere(config, name)
        if lines is None:
            lines = explain(job_states([name.removesuffix(".prov.json")], config), name)
        print("\n".join(lines))


def export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    parser.add_argument("run", nargs="?", default="results", help="a run: its name, or RESULTS:NAME; default: the only")
    results_option(parser)
    parser.add_argument("--crate", type=Path, metavar="DIR", help="write a Workflow Run RO-Crate into a new folder")
    parser.add_argument("--croissant", type=Path, metavar="FILE", help="describe the dataset in Croissant")
    parser.add_argument("--openlineage", type=Path, metavar="FILE", help="write the events of all jobs as JSON lines")
    parser.add_argument("--code-url", default="", help="address of the pipeline's code, for the crate")
    parser.add_argument("--author", help="who stands for the crate")
    parser.add_argument("--affiliation", default="", help="of the author")
    parser.add_argument("--affiliation-url", default="", help="page of the affiliation")


@command("export", more=export_options)
def export(arguments: Arguments) -> None:
    """Describe a run in the words of others: RO-Crate, Croissant, OpenLineage."""
    from d3.errors import D3Error
    from d3.lineage.compare import read_side
    from d3.lineage.crate import Author, write_crate
    from d3.lineage.croissant import write_croissant
    from d3.lineage.index import build, licences_of, open_index
    from d3.lineage.openlineage import write_openlineage

    wanted = (arguments.crate, arguments.croissant, arguments.openlineage)
    if not any(wanted):
        raise D3Error("nothing to write", remedy="give --crate DIR, --croissant FILE or --openlineage FILE")
    name = str(arguments.results) if arguments.run == "results" else arguments.run
    side = read_side(name, arguments.results)
    build(side.root)
    with open_index(side.root) as connection:
        licences = licences_of(connection, [item.path for item in side.run.statements.values()])
    if arguments.crate:
        author = Author(name=arguments.author, affiliation=arguments.affiliation, url=arguments.affiliation_url)
        print(write_crate(side, arguments.crate, licences, author if arguments.author else None, arguments.code_url))
    if arguments.croissant:
        write_croissant(side, licences, arguments.croissant)
        print(arguments.croissant)
    if arguments.openlineage:
        print(f"{arguments.openlineage}: {write_openlineage(side, arguments.openlineage)} events")
