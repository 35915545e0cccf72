"""The command blocks of the documentation, and how tests run them.

A block that needs what no test has is marked by a comment before it: `<!-- needs: a cluster -->`. All other commands
are run: those that read a finished run in `tests/workflow/test_doc_commands.py`, the others in
`tests/unit/test_doc_commands.py`, where long ones are shortened (`d3 run -n`, `make -n`, `--help`).
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from helpers.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md")])
BLOCK = re.compile(r"(?:^<!-- needs: (?P<needs>[^>]+) -->\n)?^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {"a cluster", "a GPU", "the network", "minutes", "files of SWE-bench"}
"""What a block may say that it needs."""
READS_A_RUN = frozenset(
    ("why", "status", "trace", "verify", "numbers", "diff", "where", "forget", "export", "release", "journal", "sign")
)
MODELS = frozenset(("grades", "tokens"))
"""Commands that are run with `--help`: they load a model, or need another environment."""


class Block(NamedTuple):
    """A block of commands."""

    page: Path
    line: int
    needs: str | None
    commands: tuple[str, ...]

    def __str__(self) -> str:
        """Return where it is."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    """Yield the command blocks of all pages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            lines = found["text"].replace("\\\n", " ").splitlines()
            commands = tuple(line for line in lines if shlex.split(line, comments=True))
            yield Block(page, text.count("\n", 0, found.start()) + 1, found["needs"], commands)


def reads_a_run(command: str) -> bool:
    """Return whether a command reads the results of a finished run."""
    words = shlex.split(command, comments=True)
    return Path(words[0]).name == "d3" and words[1] in READS_A_RUN


def shortened(command: str) -> str:
    """Return a command that does the same in seconds: a dry-run, or the help."""
    text = command.partition(" #")[0].rstrip()
    words = shlex.split(text)
    program = Path(words[0]).name
    if program == "make":
        return text.replace("make", "make -n", 1)
    if program == "snakemake" or words[:2] == [words[0], "run"]:
        return f"{text} -n --quiet all"
    if program == "d3" and words[1] == "doctor":
        return f"{{ {text} || [ $? = 1 ]; }}"  # this machine may lack something
    return f"{' '.join(words[:2])} --help" if program == "d3" and words[1] in MODELS else text


def run_commands(commands: str, folder: Path, *, names: Mapping[str, str] | None = None) -> str:
    """Run commands in a folder with bash and return what they print; raise AssertionError if one fails."""
    for name, value in (names or {}).items():
        commands = commands.replace(name, value)
    paths = {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "workflow")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=os.environ | paths | {"HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout[-2000:]}"
    return done.stdout
