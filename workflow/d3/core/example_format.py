r"""Sub-trajectories of a diff sequence, and the text of a D3 example.

The template is that of the authors' code and dataset card: the start file with line numbers, the
instruction, then the diffs, each on a new line after `<|diff|>`. The newline before the first one belongs to
the prompt here, to the answer in theirs; the whole example is the same. Tokenizers that merge it with
`<code>` (Llama 3's) would otherwise write a prompt alone in other tokens than in training.

A marker of this structure inside of a file or an instruction gets a backslash after its first character
(`<\code>`, and `<\\code>` of `<\code>`), which `unescape` takes away again.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from d3.core.ids import unit_interval

DIFF = "<|diff|>"
CODE_END = "</code>"
OPENING = f"{DIFF}@@ -"
"""How every answer begins."""
MARKERS = (DIFF, "<code>", CODE_END, "<issue>", "</issue>", "[start of ", "[end of ")
"""What structures an example."""
INSIDE = r"\|diff\|>|/?code>|/?issue>"
AFTER_BRACKET = "start of |end of "
UNESCAPED = re.compile(rf"(<)(?=\\*(?:{INSIDE}))|(\[)(?=\\*(?:{AFTER_BRACKET}))")
ESCAPED = re.compile(rf"(<)\\(?=\\*(?:{INSIDE}))|(\[)\\(?=\\*(?:{AFTER_BRACKET}))")
"""A marker's first character where a backslash is to be put, and with one."""

DRAWS = 20
"""How often a part is drawn before an unwanted one stays."""


class Part(NamedTuple):
    """A piece of a diff sequence: from the program after diffs[:start], the steps diffs[start:end]."""

    number: int
    start: int
    end: int


def draw_parts(
    run_seed: int,
    identifier: str,
    sample: int,
    length: int,
    *,
    count: int,
    ends: Literal["all", "authors"],
    unwanted: Callable[[Part], bool] = lambda part: False,
) -> list[Part]:
    """Draw `count` sub-trajectories of a sequence of `length` diffs, numbered from 1.

    With probability 1/2 a part starts at the empty program, else uniformly at a later state; its
    end is uniform after its start [authors' code]. In the mode `authors` the last diff is never
    reached, as in their code, which needs at least two diffs: shorter sequences have no parts. An unwanted
    part is drawn again, at most `DRAWS` times in all; then the last one stays.
    """
    last = length if ends == "all" else length - 1
    parts = []
    for number in range(1, count + 1 if last > 0 else 1):
        for draw in range(DRAWS):
            names: tuple[str | int, ...] = (identifier, sample, number, *([draw] if draw else []))
            begins_empty = last == 1 or unit_interval(run_seed, "part-empty", *names) < 0.5
            start = 0 if begins_empty else 1 + int(unit_interval(run_seed, "part-start", *names) * (last - 1))
            end = start + 1 + int(unit_interval(run_seed, "part-end", *names) * (last - start))
            part = Part(number, start, end)
            if not unwanted(part):
                break
        parts.append(part)
    return parts


def escape(text: str) -> str:
    """Return a text without markers, from which `unescape` makes it again."""
    return UNESCAPED.sub(lambda found: f"{found[0]}\\", text)


def unescape(text: str) -> str:
    """Return what a text was before `escape`."""
    return ESCAPED.sub(lambda found: found[0][0], text)


def number_lines(program: str) -> str:
    """Put `{line number:3d} ` before every line; the empty program stays empty [authors' code]."""
    if not program:
        return ""
    return "\n".join(f"{number:3d} {line}" for number, line in enumerate(program.split("\n"), start=1))


def example_prompt(name: str, program: str, instruction: str) -> str:
    """Return the prompt of an example: the start file and the instruction [authors' code]."""
    return (
        f"<code>\n[start of {name}]\n{escape(number_lines(program))}\n[end of {name}]\n</code>\n\n"
        f"<issue>\n{escape(instruction)}\n</issue>\n\n<code>\n"
    )


def example_completion(prompt: str, diffs: Sequence[str]) -> str:
    """Return the completion: the prompt again, then the diffs [dataset card]."""
    return prompt + "".join(f"{DIFF}{escape(diff)}\n" for diff in diffs) + CODE_END


def holds_marker(text: str) -> bool:
    """Return whether a text holds a piece of the example's structure."""
    return any(marker in text for marker in MARKERS)


def random_name(run_seed: int, *names: str | int) -> str:
    """Return a file name of 1 to 11 characters and `.py`, as the authors' helper makes them.

    Whether the released examples carry such names is not known: our reading of the authors' code.
    """
    length = 1 + int(unit_interval(run_seed, "name", *names) * 11)
    rest = string.ascii_letters + string.digits + "-_"
    letters = [string.ascii_letters, *[rest] * (length - 1)]
    drawn = [
        choice[int(unit_interval(run_seed, "name", at, *names) * len(choice))] for at, choice in enumerate(letters)
    ]
    return "".join(drawn) + ".py"
