"""How a function becomes a command: its name, its options, and what reads its configuration.

    @command("corpus", "--shard", "--out", "--rejected")
    def corpus(arguments): ...

An option that several commands share stands in `OPTIONS`; what only one command knows, it adds to
its parser itself, with `more`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from d3.config import Config
from d3.config_read import load_config, read_settings

Arguments = argparse.Namespace
Function = TypeVar("Function", bound=Callable[[argparse.Namespace], int | None])

OPTIONS: dict[str, dict[str, Any]] = {
    "--arm": {"type": str, "help": "name of the arm in the configuration"},
    "--attrition": {"help": "where the table of rows in, kept and dropped goes"},
    "--benchmark": {"type": str, "help": "name of the benchmark in the configuration"},
    "--corpus": {"help": "kept files, as `corpus` writes them"},
    "--dataset": {"help": "dataset rows, as `dataset` writes them"},
    "--diffs": {"help": "diff sequences, as `lintseq` writes them"},
    "--duplicates": {"help": "ids that go on in another batch, as `duplicates` writes them"},
    "--examples": {"help": "fine-tuning examples, as `sft-data` writes them"},
    "--grades": {"help": "grades, as `grades` writes them"},
    "--in": {"dest": "files", "help": "tables (Parquet or JSONL) with the columns id and text"},
    "--journal": {"help": "folder for finished work that a killed run resumes from"},
    "--labels": {"help": "labels, as `labels` writes them"},
    "--model": {"type": str, "help": "folder or hub id of the model"},
    "--numbers": {"help": "the JSON file with all numbers of the report"},
    "--opt-out": {"dest": "opt_out", "help": "list of repositories, users and files that no row may come from"},
    "--out": {"help": "where the result goes"},
    "--pairs": {"help": "docstring -> function pairs, as `pairs` writes them"},
    "--rejected": {"help": "rejected rows, as `corpus` writes them"},
    "--revision": {"type": str, "help": "commit of the model on the hub"},
    "--rows": {"help": "where our ids beside the row numbers go"},
    "--samples": {"help": "solutions, as `generate` writes them"},
    "--scores": {"help": "scores, as `scores` writes them"},
    "--shard": {"help": "source shards (Parquet or JSONL) in the schema of The Stack"},
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
    """One command: its function and its options; `?` marks an optional one, `+` a list.

    The function gives the exit code, or None for 0. `more` adds options of the command's own.
    """

    function: Callable[[Arguments], int | None]
    options: tuple[str, ...]
    more: Callable[[argparse.ArgumentParser], None] | None
    raw: bool = False
    """Whether it reads its words itself, from `arguments.words`."""


COMMANDS: dict[str, Command] = {}


def command(
    name: str, *options: str, more: Callable[[argparse.ArgumentParser], None] | None = None, raw: bool = False
) -> Callable[[Function], Function]:
    """Register a function as a command."""

    def register(function: Function) -> Function:
        COMMANDS[name] = Command(function, options, more, raw)
        return function

    return register


def read_config(arguments: Arguments) -> Config:
    """Return the configuration of `--config` with the `--set` overrides, or that of the settings file of a job."""
    if arguments.settings is not None:
        return read_settings(arguments.settings)
    return load_config(Path(arguments.config) if arguments.config else None, arguments.set)
