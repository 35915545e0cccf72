"""Three judges by rule for real files: one draws, one reads the length alone, one reads the code."""

import ast
import random
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from d3.core.ids import content_id, normalise
from d3.core.tables import Row
from d3.llm.ask import Outcome
from d3.llm.engine import Answer
from d3.stages.grades import grade_row
from helpers.corpus_tables import corpus_row

FILES = 300
LICENSES = (["PSF-2.0"], ["MIT"], ["Apache-2.0"], ["BSD-3-Clause"])


def real_files(count: int = FILES) -> list[tuple[str, Path]]:
    """Return programs of this Python's standard library with their paths, an even choice in the order of the paths."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for path in sorted(folder.rglob("*.py")):
        if "site-packages" in path.parts or not 400 < path.stat().st_size < 60_000:
            continue
        try:
            text = normalise(path.read_text(encoding="utf-8"))
            ast.parse(text)
        except (UnicodeDecodeError, SyntaxError, ValueError):
            continue
        found.append((text, path.relative_to(folder)))
    return [found[number * len(found) // count] for number in range(count)]


def corpus_of(files: list[tuple[str, Path]]) -> list[Row]:
    """Return corpus rows; repository, licence and age follow from the path alone, as a stand-in for real metadata."""
    rows = []
    for number, (text, path) in enumerate(files):
        draw = random.Random(str(path))
        row = corpus_row(text, number)
        repository = f"owner/{path.parts[0] if len(path.parts) > 1 else 'top'}"
        month = f"{draw.randrange(2010, 2022)}-{draw.randrange(1, 13):02d}-01T00:00:00.000Z"
        row["metadata"] = {
            "max_stars_repo_name": repository,
            "max_stars_repo_licenses": draw.choice(LICENSES),
            "max_stars_repo_stars_event_min_datetime": month,
        }
        rows.append(row)
    return rows


@cache
def quality(text: str) -> float:
    """Return 0 to 4 points for code: shares of what is there, none of which grows with the length of the file."""
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    documented = sum(ast.get_docstring(node) is not None for node in functions) / max(len(functions), 1)
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    telling = sum(len(name) > 3 for name in names) / max(len(names), 1)
    lines = [len(line) for line in text.split("\n") if line.strip()]
    short = sum(length <= 60 for length in lines) / len(lines)
    return min(max(1.6 * documented + 2.6 * telling + 1.2 * (short - 0.5), 0.0), 4.0)


def chances_of(points: float, sure: float) -> tuple[float, ...]:
    """Return the probabilities of 0 to 4 of a judge who means `points`, closer to it the larger `sure` is."""
    weights = [2.718281828 ** (-sure * (score - points) ** 2) for score in range(5)]
    return tuple(weight / sum(weights) for weight in weights)


class Judge:
    """A judge by rule; `seed` draws its noise, as the seed of a request draws a rationale."""

    def __init__(self, kind: str, files: list[tuple[str, Path]], seed: int) -> None:
        self.kind, self.seed = kind, seed
        self.lengths = sorted(len(text) for text, _ in files)

    def chances(self, text: str, repeat: int | None) -> tuple[float, ...]:
        """Return the probabilities of 0 to 4 points."""
        draw = random.Random(f"{self.seed} {repeat} {content_id(text)}")
        if self.kind == "random":
            weights = [draw.random() for _ in range(5)]
            return tuple(weight / sum(weights) for weight in weights)
        if self.kind == "length":
            rank = sum(length <= len(text) for length in self.lengths) / len(self.lengths)
            return chances_of(4 * rank + draw.gauss(0, 0.3), 2.0)
        return chances_of(quality(text) + draw.gauss(0, 0.3), 2.0)

    def row(self, text: str, repeat: int | None = None) -> Row:
        """Return the row of the grades as the stage writes it."""
        answer: Any = Answer(
            text="Because of what it shows.",
            finish_reason="stop",
            prompt_tokens=150 + len(text) // 4,
            answer_tokens=9,
            choice_probabilities=self.chances(text, repeat),
        )
        row = grade_row(Outcome(row=content_id(text), status="ok", answer=answer), "constrained")
        return row if repeat is None else row | {"repeat": repeat}

    def rows(self, files: list[tuple[str, Path]]) -> Iterator[Row]:
        """Yield the grades of all files."""
        return (self.row(text) for text, _ in files)

    def repeats(self, files: list[tuple[str, Path]], count: int = 100) -> Iterator[Row]:
        """Yield the grades of some files again, twice."""
        chosen = random.Random(self.seed).sample(files, count)
        return (self.row(text, repeat) for repeat in (0, 1) for text, _ in chosen)
