"""Which commands there are: their groups, names and functions, and the text of `d3 --help`."""

import shutil
import textwrap
from typing import NamedTuple

from d3.commands.heads import Head, functions, read_head
from d3.commands.stages import stage_commands

RUN, AUDIT = "d3.commands.run", "d3.commands.audit"
FORMER_NAMES = {
    "lintseq": "diffs",
    "embed-source": "source",
    "embed-model": "model",
    "embed-benchmark": "benchmark",
    "fetch-model": "hub-model",
}
"""Aliases that are not shown."""
FORMER_FLAGS = {"numbers": "--numbers", "journal": "--journal"}
"""Flags of a value that is a word without a flag now; both forms are read."""
MORE_HELP = {"verify": "d3.audit.verify.coverage:help_text"}
"""Functions that return the end of a command's help."""
USAGE = "usage: d3 [--debug] COMMAND [OPTION ...]\n       d3 COMMAND --help\n       d3 --version"


class Command(NamedTuple):
    """One command."""

    name: str
    group: str
    target: str
    """`module:function`."""

    @property
    def head(self) -> Head:
        """Signature and docstring of its function."""
        return read_head(self.target)


def commands() -> dict[str, Command]:
    """Return all commands by name, group after group."""
    found = {name: Command(name, "Stages", target) for name, target in stage_commands().items()}
    for group, module in (("Run", RUN), ("Audit", AUDIT)):
        for function in functions(module):
            if not function.startswith("_"):
                name = function.replace("_", "-")
                found[name] = Command(name, group, f"{module}:{function}")
    return found


def modern_words(name: str, words: list[str]) -> list[str]:
    """Return the words of a command line without the flag that its value had before."""
    flag = FORMER_FLAGS.get(name)
    if flag is None:
        return words
    return [word.removeprefix(f"{flag}=") for word in words if word != flag]


def help_text() -> str:
    """Return the text of `d3 --help`."""
    known = commands().values()
    width = max(len(command.name) for command in known)
    columns = max(60, shutil.get_terminal_size().columns - 1)
    lines = [USAGE]
    for group in dict.fromkeys(command.group for command in known):
        lines += ["", f"{group}:"]
        for item in known:
            if item.group == group:
                head = f"  {item.name:{width}}  "
                lines += textwrap.wrap(
                    item.head.summary, columns, initial_indent=head, subsequent_indent=" " * len(head)
                )
    return "\n".join(lines)
