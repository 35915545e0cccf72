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


def image_options(parser: argparse.ArgumentParser) -> None:
    """Add which images, and what they are built from."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="data, train, dolma, llm, eval; default: all")
    parser.add_argument("--check", action="store_true", help="build nothing; say what is missing or damaged")
    parser.add_argument("--variant", choices=("gpu", "cpu"), default="gpu", help="cpu: without libraries for GPUs")
    parser.add_argument(
        "--base", metavar="IMAGE", help="another base: an image of a registry, a folder, a .sif, or `local`"
    )
    parser.add_argument("--compression", choices=("gzip", "zstd"), default="gzip", help="zstd is faster, less portable")
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="keeps built images for other checkouts")


@command("images", more=image_options)
def images(arguments: Arguments) -> int:
    """Build the container images that are missing, or check those that are there."""
    from d3.cluster import build

    if not arguments.check:
        base, store = arguments.base, arguments.store
        options = {"variant": arguments.variant, "compression": arguments.compression}
        build.build_all(arguments.names, base=base, store=store, **options)
        return 0
    states = build.survey(arguments.names)
    for name, state, text in states:
        print(f"{name:8}{state:12}{text}")
    for name in build.leftovers():
        print(f"{'':8}{'left over':12}{name} belongs to no definition and lock any more; it may be removed")
    return int(any(state != "ok" for _, state, _ in states))


def plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `plan`."""
    run_options(parser)
    parser.add_argument(
        "--measured", type=Path, metavar="FOLDER", help="working folder of the run whose rates count; default: this one"
    )
    parser.add_argument("--quick", action="store_true", help="do not ask Snakemake what is stale")


@command("plan", more=plan_options)
def plan(arguments: Arguments) -> None:
    """Say what a run will take: jobs, rows, tokens, GPU-hours, CPU-hours, disk and files of every stage."""
    from d3.chain import Chain
    from d3.cluster.pending import lines, pending
    from d3.cluster.plan import plan as work_out
    from d3.cluster.plan_table import table
    from d3.cluster.rates import measured
    from d3.why import job_states

    config = read_config(arguments)
    folder = arguments.measured.absolute() if arguments.measured else None
    enter(arguments)
    chain = Chain(config)
    rates = measured(chain, folder / chain.results if folder else None)
    found = work_out(chain, rates, topics=arguments.with_topics)
    todo = None
    if not arguments.quick:
        todo = pending(job_states(["all", "topics"] if arguments.with_topics else [], config))
    if arguments.json:
        plain = found.plain() | {"pending": None if todo is None else [item._asdict() for item in todo]}
        print(json.dumps(plain, indent=1))
        return
    print(table(found))
    if todo is not None:
        print("\nTo do now:", *lines(todo), sep="\n  ")


def doctor_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `doctor`."""
    view_options(parser)
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="profile of the run, such as profiles/slurm")


@command("doctor", more=doctor_options)
def doctor(arguments: Arguments) -> int:
    """Check whether this machine has what a run needs; each line says ok, or what to do. Exit 1: something fails."""
    from d3.chain import Chain
    from d3.cluster.doctor import examine, line, place_of

    config = read_config(arguments)
    profile = arguments.profile.absolute() if arguments.profile else None
    enter(arguments)
    found = []
    for check, finding in examine(place_of(Chain(config), profile)):
        found.append({"check": check, **finding._asdict()})
        if not arguments.json:
            print(line(check, finding), flush=True)
    if arguments.json:
        print(json.dumps(found, indent=1))
    return int(any(item["level"] == "fail" for item in found))


@command("run", raw=True)
def run(arguments: Arguments) -> int:
    """Run the workflow with Snakemake, safely after a head process that died, and explain failures on one screen."""
    from d3.cluster.run import main

    return main(arguments.words)
