"""Sub-trajectories of a diff sequence, and the text of a D3 example.

The template is that of the authors' code and dataset card: the start file with line numbers, the
instruction, then the diffs, each on a new line after `<|diff|>`. The newline before the first one belongs to
the prompt here, to the answer in theirs; the whole example is the same. Tokenizers that merge it with
`<code>` (Llama 3's) would otherwise write a prompt alone in other tokens than in training.
"""

import string
from collections.abc import Sequence
from typing import Literal, NamedTuple

from d3.core.ids import unit_interval

DIFF = "<|diff|>"
CODE_END = "</code>"
OPENING = f"{DIFF}@@ -"
"""How every answer begins."""
MARKERS = (DIFF, "<code>", CODE_END, "<issue>", "</issue>", "[start of ", "[end of ")
"""What structures an example. A file or instruction that holds one of these cannot be told from the
structure, so it does not become an example."""


class Part(NamedTuple):
    """A piece of a diff sequence: from the program after diffs[:start], the steps diffs[start:end]."""

    number: int
    start: int
    end: int


def draw_parts(
    run_seed: int, identifier: str, sample: int, length: int, *, count: int, ends: Literal["all", "authors"]
) -> list[Part]:
    """Draw `count` sub-trajectories of a sequence of `length` diffs, numbered from 1.

    With probability 1/2 a part starts at the empty program, else uniformly at a later state; its
    end is uniform after its start [authors' code]. In the mode `authors` the last diff is never
    reached, as in their code, which needs at least two diffs: shorter sequences have no parts.
    """
    last = length if ends == "all" else length - 1
    parts = []
    for number in range(1, count + 1 if last > 0 else 1):
        names = (identifier, sample, number)
        begins_empty = last == 1 or unit_interval(run_seed, "part-empty", *names) < 0.5
        start = 0 if begins_empty else 1 + int(unit_interval(run_seed, "part-start", *names) * (last - 1))
        end = start + 1 + int(unit_interval(run_seed, "part-end", *names) * (last - start))
        parts.append(Part(number, start, end))
    return parts


def number_lines(program: str) -> str:
    """Put `{line number:3d} ` before every line; the empty program stays empty [authors' code]."""
    if not program:
        return ""
    return "\n".join(f"{number:3d} {line}" for number, line in enumerate(program.split("\n"), start=1))


def example_prompt(name: str, program: str, instruction: str) -> str:
    """Give the prompt of an example: the start file and the instruction [authors' code]."""
    return (
        f"<code>\n[start of {name}]\n{number_lines(program)}\n[end of {name}]\n</code>\n\n"
        f"<issue>\n{instruction}\n</issue>\n\n<code>\n"
    )


def example_completion(prompt: str, diffs: Sequence[str]) -> str:
    """Return the completion: the prompt again, then the diffs [dataset card]."""
    return prompt + "".join(f"{DIFF}{diff}\n" for diff in diffs) + CODE_END


def holds_marker(text: str) -> bool:
    """Tell whether a text holds a piece of the example's structure."""
    return any(marker in text for marker in MARKERS)


def random_name(run_seed: int, *names: str | int) -> str:
    """Give a file name of 1 to 11 characters and `.py`, as the authors' helper makes them.

    Whether the released examples carry such names is not known: our reading of the authors' code.
    """
    length = 1 + int(unit_interval(run_seed, "name", *names) * 11)
    rest = string.ascii_letters + string.digits + "-_"
    letters = [string.ascii_letters, *[rest] * (length - 1)]
    drawn = [
        choice[int(unit_interval(run_seed, "name", at, *names) * len(choice))] for at, choice in enumerate(letters)
    ]
    return "".join(drawn) + ".py"
