"""Commands around a run: start it, watch it, what it takes, what the machine lacks, what would run again and why."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

if TYPE_CHECKING:
    from d3.config.models import Config


def run(*words: str) -> int:
    """Run the workflow with Snakemake; resume safely, and explain failures on one screen.

    Example: d3 run --profile profiles/slurm --configfile config/d3.yaml
    """
    from d3.operate.run import main

    return main(words)


def status(config: "Config", *, json_: bool = False, with_topics: bool = False) -> None:
    """Show how far a run is: files, rows, rate and time left per stage; what runs or failed.

    Example: d3 status --config config/d3.yaml
    """
    import json

    from d3.core.terminal import print_text
    from d3.operate.slurm import read_queue
    from d3.operate.status import status_table, survey
    from d3.pipeline.pipeline import Chain

    found = survey(Chain(config), read_queue(), topics=with_topics)
    if json_:
        print(json.dumps(found.plain(), indent=1))
    else:
        print_text(status_table(found))


def plan(
    config: "Config",
    *,
    json_: bool = False,
    with_topics: bool = False,
    measured: Annotated[Path | None, "working folder of the run whose rates count; default: that of the run"] = None,
    quick: Annotated[bool, "do not ask Snakemake which jobs are stale"] = False,
    paranoid: Annotated[bool, "read every file, whatever its size and times"] = False,
) -> None:
    """Estimate what a run takes: jobs, rows, tokens, GPU- and CPU-hours, disk and files.

    Prints, too, the smallest difference of two arms that the scores will find.

    Shards need not be downloaded if source.expected_rows and source.expected_shards are set.

    Example: d3 plan --config config/d3.yaml
    """
    import json

    from d3.core.printable import printable
    from d3.core.terminal import print_text
    from d3.errors import InputError
    from d3.operate import cost_model
    from d3.operate.pending import lines, pending
    from d3.operate.plan import plan as estimate
    from d3.operate.plan_table import plan_table
    from d3.pipeline.pipeline import Chain
    from d3.pipeline.why import job_states
    from d3.provenance.digest_cache import read_everything

    if paranoid:
        read_everything()
    chain = Chain(config, estimate=True)
    folder = measured.absolute() if measured else None
    if folder and not (folder / chain.results).is_dir():
        remedy = "name the working folder of a run, which contains results/"
        raise InputError("no results of a run", where=str(measured), remedy=remedy)
    found = estimate(chain, cost_model.measured(chain, folder / chain.results if folder else None), topics=with_topics)
    todo = (
        None if quick or chain.expects_source else pending(job_states(["all", "topics"] if with_topics else [], config))
    )
    if json_:
        plain = found.plain() | {"pending": None if todo is None else [item._asdict() for item in todo]}
        print(json.dumps(plain, indent=1))
        return
    print_text(plan_table(found))
    if todo is not None:
        print_text("\n  ".join(["\nTo do now:", *map(printable, lines(todo))]))


def doctor(
    config: "Config",
    *,
    json_: bool = False,
    profile: Annotated[Path | None, "profile of the run, such as profiles/slurm"] = None,
) -> int:
    """Check whether this machine has what a run needs.

    Each line is ok or names the remedy. Exit 1: a check failed.

    Example: d3 doctor --config config/d3.yaml --profile profiles/slurm
    """
    import json

    from d3.core.printable import printable
    from d3.core.terminal import print_text
    from d3.operate.doctor.doctor import examine, line, place_of
    from d3.pipeline.pipeline import Chain

    found = []
    for check, finding in examine(place_of(Chain(config), profile.absolute() if profile else None)):
        found.append({"check": check, **finding._asdict()})
        if not json_:
            print_text(printable(line(check, finding)))
    if json_:
        print(json.dumps(found, indent=1))
    return int(any(item["level"] == "fail" for item in found))


def images(
    names: Annotated[Sequence[str], "data, train, dolma, llm, eval; default: all"] = (),
    /,
    *,
    check: Annotated[bool, "build nothing; list images that are missing or damaged"] = False,
    variant: Annotated[Literal["gpu", "cpu"], "cpu: without libraries for GPUs"] = "gpu",
    base: Annotated[str | None, "another base: an image of a registry, a folder, a .sif, or `local`"] = None,
    compression: Annotated[Literal["gzip", "zstd"], "zstd is faster, less portable"] = "gzip",
    store: Annotated[Path | None, "folder that keeps built images for other checkouts"] = None,
    json_: Annotated[bool, "with --check, print JSON"] = False,
) -> int:
    """Build the container images that are missing, or check the existing ones.

    Example: d3 images data train --variant cpu
    """
    import json

    from d3.operate import build_images

    if not check:
        build_images.build_all(names, base=base, store=store, variant=variant, compression=compression)
        return 0
    states = build_images.image_states(names)
    if json_:
        found = [{"image": name, "state": state, "text": text} for name, state, text in states]
        print(json.dumps({"images": found, "left_over": list(map(str, build_images.leftovers()))}, indent=1))
        return int(any(state != "ok" for _, state, _ in states))
    for name, state, text in states:
        print(f"{name:8}{state:12}{text}")
    for name in build_images.leftovers():
        print(f"{'':8}{'left over':12}{name} belongs to no definition and lock any more; it may be removed")
    return int(any(state != "ok" for _, state, _ in states))


def why(
    files: Annotated[Sequence[str], "files below results/, or anything in their folders"],
    /,
    config: "Config",
    *,
    paranoid: Annotated[bool, "read every file, whatever its size and times"] = False,
    json_: bool = False,
) -> None:
    """Explain whether a run would build files again, and why.

    Reasons are settings, prompts, modules, packages, images and inputs. For a table with responses of engines that
    `engine.accept` names, it also says which engine answered which rows.

    Example: d3 why results/runs/demo/report.html --config config/demo.yaml
    """
    import json

    from d3.audit.answering_engines import sentences
    from d3.core.ids import canonical_path
    from d3.core.printable import printable
    from d3.core.terminal import print_text
    from d3.pipeline.why import elsewhere, explain, job_states
    from d3.provenance.digest_cache import read_everything

    if paranoid:
        read_everything()
    found = []
    for name in files:
        lines = elsewhere(config, name)
        if lines is None:
            lines = explain(job_states([name.removesuffix(".prov.json")], config), name)
        table = canonical_path(name.removesuffix(".prov.json"))
        lines += [f"    {sentence}" for sentence in sentences(Path.cwd(), table)]
        found.append({"file": name, "verdict": lines[0], "reasons": [line.strip() for line in lines[1:]]})
        if not json_:
            print_text("\n".join(map(printable, lines)))
    if json_:
        print(json.dumps(found, indent=1))


def where(
    stages: Annotated[Sequence[str], "stages, or folders of results/runs/NAME such as models; default: all"] = (),
    /,
    *,
    config: "Config",
    json_: bool = False,
) -> int:
    """Print where the files of a run are: a line per file of some stages, or a line per stage.

    Exit 1: a file is not made yet.

    Example: d3 where dataset --config mine.yaml
    """
    import json
    import sys
    from dataclasses import asdict

    from d3.operate.run_files import files_of, stage_files
    from d3.pipeline.pipeline import Chain

    if not stages:
        rows = list(stage_files(Chain(config)))
        print(json.dumps([asdict(row) for row in rows], indent=1) if json_ else "\n".join(map(str, rows)))
        return 0
    found = files_of(Chain(config), stages)
    if json_:
        print(json.dumps([{"path": str(path), "made": path.exists()} for path in found], indent=1))
    else:
        print(*found, sep="\n")
    lacking = sum(not path.exists() for path in found)
    if lacking:
        print(f"d3 where: {lacking} of {len(found)} are not made yet", file=sys.stderr)
    return int(lacking > 0)


def clean(
    *,
    config: Annotated[Sequence[Path], "configurations whose files are kept"],
    dry_run: Annotated[bool, "list only (default)"] = False,
    delete: Annotated[bool, "remove what is listed"] = False,
    json_: bool = False,
) -> None:
    """List what none of some configurations makes, with sizes, or remove it.

    These are results of other configurations and removed shards, checkpoints, journals, and what killed jobs left.
    Files that the pipeline did not write are never touched.

    Example: d3 clean --config mine.yaml other.yaml --delete
    """
    import json

    from d3.config.load import load_config
    from d3.core.terminal import print_text
    from d3.errors import ConfigError, D3Error
    from d3.operate import clean as unused
    from d3.operate.run_lock import at_work
    from d3.pipeline.pipeline import Chain

    if dry_run and delete:
        raise ConfigError("--dry-run and --delete exclude each other", remedy="choose one")
    worker = at_work(Path.cwd())
    if worker and delete:
        raise D3Error(f"{worker} works in this folder", remedy="run the command again when it has ended")
    found = unused.find_unused([Chain(load_config(path)) for path in config], alone=not worker)
    if delete:
        unused.delete(found)
    if json_:
        print(json.dumps([{"path": str(item.path), "bytes": item.bytes, "why": item.why} for item in found], indent=1))
        return
    print_text("\n".join(unused.unused_lines(found, deleted=delete)))
    if found and not delete:
        print("--delete removes them")


def config(
    config: "Config",
    *,
    write: Annotated[bool, "write the default configuration, its table and the schema"] = False,
    json_: bool = False,
) -> None:
    """Check a configuration and print it with all defaults.

    With --write, generate the files of `config/` instead.

    Example: d3 config --config config/d3.yaml --set run=mine
    """
    import json

    import yaml

    from d3.config.generate_docs import write_config_files

    if write:
        write_config_files()
    elif json_:
        print(json.dumps(config.model_dump(mode="json"), indent=1))
    else:
        print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")


def numbers(file: Annotated[Path, "the file numbers.json of a run"], /, *, json_: bool = False) -> None:
    """Print the table of a run's key numbers.

    Example: d3 numbers results/runs/demo/numbers.json
    """
    import json

    from d3.core.terminal import print_text
    from d3.report.numbers import key_numbers, read_numbers

    if json_:
        values = read_numbers(file)
        print(json.dumps({name: values[name] for name in ("run", "seed", "demo", "key")}, indent=1))
    else:
        print_text(key_numbers(file))


def topics_cost(
    config: "Config",
    *,
    labels: Sequence[Path],
    model: str | None = None,
    journal: Path | None = None,
    json_: bool = False,
) -> None:
    """Estimate what `topics` costs at most for some shards, without running a model.

    Example: d3 topics-cost --labels labels.parquet --model MODEL
    """
    import json
    from dataclasses import asdict

    from d3.core.terminal import print_text
    from d3.stages.topics import estimate

    found = estimate(config, labels, model=model, journal=journal)
    if json_:
        print(json.dumps(asdict(found), indent=1))
    else:
        print_text(found.text())


def completion(shell: Annotated[Literal["bash", "zsh"], "bash or zsh"], /) -> None:
    """Print the script that completes commands and options in a shell.

    `eval "$(d3 completion bash)"` in ~/.bashrc loads it; with zsh in ~/.zshrc.

    Example: d3 completion bash
    """
    from d3.cli import parser_of
    from d3.commands.completion import completion_script
    from d3.commands.index import commands
    from d3.commands.parser import is_raw

    options = {
        name: ["--help"] if is_raw(command.head) else parser_of(command).flags for name, command in commands().items()
    }
    print(completion_script(options, shell), end="")
