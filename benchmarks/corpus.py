"""What the corpus keeps and drops: `make bench-corpus` plants benchmark tasks, and prints tables.

    make bench-corpus ARGS="--shards shards/*.parquet --tasks humanevalsynth=pack.jsonl mbppplus=plus.jsonl.gz"

Without arguments the shards are the standard library and the tasks those of HumanEval. `--tasks` are KIND=PATH,
as in `benchmarks`. Every task is planted alone, in a file of its own, in ten shapes; what is removed from the
shards themselves is listed, so that a reader can judge whether it is false.
"""

import argparse
import ast
import io
import random
import re
import sys
import tempfile
import textwrap
import time
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import black

from d3.config.data import NearDuplicates
from d3.config.evaluation import Benchmark
from d3.config.models import Config
from d3.core.ids import content_id, normalise
from d3.core.schemas import CORPUS, METADATA
from d3.core.tables import Row
from d3.evals.solutions import without_docstrings
from d3.evals.tasks import Task, reader
from d3.sources.shard import read_shard
from d3.sources.values import Broken
from d3.stages.contamination import Tasks
from d3.stages.corpus.filter import Rejection
from d3.stages.corpus.filters import examine
from d3.stages.corpus.junk import ROW_JUNK, TEXT_JUNK, TREE_JUNK
from d3.stages.corpus.redaction import redact
from d3.stages.fingerprints import run as write_fingerprints
from d3.stages.inputs import stack_row, standard_library
from d3.stages.near_duplicates import near_duplicates

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from helpers.corpus_tables import write_rows
from helpers.junk_files import junk
from helpers.near_copies import near_copies


def other_variables(program: str) -> str:
    """Return a program whose parameters and local variables have other names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    new = {name: f"{name[0]}v{number}" for number, name in enumerate(sorted(names))}
    lines = program.split("\n")
    found = [
        token
        for before, token in zip([None, *_tokens(program)], _tokens(program), strict=False)
        if token.type == tokenize.NAME and token.string in new and not (before and before.string == ".")
    ]
    for token in reversed(found):
        (line, start), (_, end) = token.start, token.end
        lines[line - 1] = lines[line - 1][:start] + new[token.string] + lines[line - 1][end:]
    return "\n".join(lines)


def _tokens(program: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(program).readline))


def published(task: Task) -> str:
    """Return a task as a file has it: its problem as a docstring of the file unless the solution contains it."""
    problem = task.instruction if task.problem is None else task.problem
    program = task.canonical.expandtabs(8)  # one program mixes tabs and spaces
    return f'"""{problem}"""\n{program}' if problem else program


def docstrings_as_comments(program: str) -> str:
    """Return a program with the lines of its docstrings as comments above its functions."""
    comments = "\n".join(
        f"# {line.strip()}"
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.FunctionDef | ast.Module)
        for line in (ast.get_docstring(node) or "").split("\n")
    )
    return f"{comments}\n{without_docstrings(program)}"


def with_type_hints(program: str) -> str:
    """Return a program whose functions have hints for all parameters and for what they return."""
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = ast.parse("list[int]", mode="eval").body
            for argument in node.args.args:
                argument.annotation = ast.parse("list[int] | None", mode="eval").body
    return ast.unparse(tree)


LIBRARY = ast.unparse(ast.parse(Path(textwrap.__file__).read_text(encoding="utf-8")))
SHAPES: dict[str, Callable[[str, Task], str]] = {
    "verbatim": lambda program, _: program,
    "in a class": lambda program, _: "class Answers:\n" + textwrap.indent(program, "    "),
    "other function name": lambda program, task: re.sub(rf"\b{task.entry_point}\b", "compute", program),
    "reformatted": lambda program, _: black.format_str(program, mode=black.Mode(line_length=60)),
    "other variables": lambda program, _: other_variables(program),
    "docstrings as comments": lambda program, _: docstrings_as_comments(program),
    "with type hints": lambda program, _: with_type_hints(program),
    "wrapped in main": lambda program, task: (
        "def main():\n" + textwrap.indent(program, "    ") + f"\n    print({task.entry_point})\n\n\nmain()"
    ),
    "in a long library file": lambda program, _: f"{LIBRARY}\n\n\n{program}\n\n\n{LIBRARY}",
    "without docstrings": lambda program, _: without_docstrings(program),
}


def source_rows(shards: Sequence[Path]) -> Iterator[Row]:
    """Yield the rows of shards, or of the standard library."""
    if shards:
        yield from (row for path in shards for row in read_shard(path, {}) if not isinstance(row, Broken))
        return
    for path, data in standard_library():
        text = data.decode("utf-8", "replace")
        yield stack_row(path, text, repository="python/cpython", revision="v", licences=["PSF-2.0"])


def contamination(named: dict[str, list[Task]], rows: Sequence[Row]) -> None:
    """Print the recall on planted tasks and what is removed from real files."""
    settings = Config().contamination
    known = Tasks(settings.ngram, settings.share or 1.0)
    for kind, tasks in named.items():
        for task in tasks:
            known.add(kind, task.task_id, task.instruction if task.problem is None else task.problem, task.canonical)
    print(f"planted tasks that are found ({settings.ngram}-grams, share {settings.share})")
    for kind, tasks in named.items():
        print(f"{kind}, {len(tasks)} tasks")
        for shape, change in SHAPES.items():
            found = [
                known.match(f"import os\n\n\n{change(published(task), task)}\n\nprint(os.name)\n") for task in tasks
            ]
            hits = sum(match is not None and match.benchmark == kind for match in found)
            print(f"  {shape:22} {hits / len(tasks):.3f}")
    began, removed = time.process_time(), []
    for row in rows:
        match = known.match(normalise(row["content"] or ""))
        if match is not None:
            removed.append(
                f"  {row['max_stars_repo_name']} {row['max_stars_repo_path']}: {match.reason}, {match.detail}"
            )
    seconds = 1000 * (time.process_time() - began) / max(len(rows), 1)
    print(f"removed of {len(rows):,} files as they are: {len(removed)} ({seconds:.2f} CPU-seconds for 1,000 files)")
    print("\n".join(removed))


def junk_and_licenses(rows: Sequence[Row]) -> None:
    """Print what made junk is rejected for, and which real files the same filters reject."""
    settings, own = Config().corpus, {judge.reason for judge in (*ROW_JUNK, *TEXT_JUNK, *TREE_JUNK)}
    kinds = list(junk())
    found = {kind: examine(row, settings) for kind, _, row in kinds}
    reasons = {kind: answer.reason if isinstance(answer, Rejection) else "" for kind, answer in found.items()}
    right = sum(reasons[kind] == reason for kind, reason, _ in kinds)
    print(f"\nmade junk: {right} of {len(kinds)} with the right reason")
    print("\n".join(f"  {kind:30} {reasons[kind] or 'kept'}" for kind, _, _ in kinds))
    began = time.process_time()
    lost: dict[str, list[str]] = {reason: [] for reason in sorted(own)}
    for row in rows:
        answer = examine(row, settings)
        if isinstance(answer, Rejection) and answer.reason in own:
            lost[answer.reason].append(f"    {row['max_stars_repo_path']}: {answer.detail}")
    seconds = 1000 * (time.process_time() - began) / max(len(rows), 1)
    total = sum(map(len, lost.values()))
    print(f"rejected of {len(rows):,} real files: {total} (all filters: {seconds:.2f} CPU-seconds for 1,000 files)")
    for reason, lines in lost.items():
        print(f"  {reason} {len(lines)}", *lines, sep="\n")


def redaction(rows: Sequence[Row]) -> None:
    """Print the lines of real files that redaction changes, by placeholder."""
    counts: Counter[str] = Counter()
    others: list[str] = []
    began = time.process_time()
    for row in rows:
        text = normalise(row["content"] or "")
        changed = redact(text)
        for before, after in zip(text.split("\n"), changed.split("\n"), strict=True) if changed != text else ():
            if before != after:
                marks = [mark for mark in ("<EMAIL>", "<IP>", "<KEY>", "<PASSWORD>") if mark in after]
                counts.update(marks)
                others += [f"  {row['max_stars_repo_path']}: {after.strip()[:90]}"] if marks != ["<EMAIL>"] else []
    seconds = 1000 * (time.process_time() - began) / max(len(rows), 1)
    print(f"\nredacted lines of real files: {dict(counts)} ({seconds:.2f} CPU-seconds for 1,000 files)")
    print("\n".join(others))


def planted_near_copies(rows: Sequence[Row], count: int = 50) -> None:
    """Print how many planted near-copies are found, and what else is a near-duplicate in the files as they are."""
    texts = [normalise(row["content"]) for row in rows if isinstance(row["content"], str)]
    texts = list(dict.fromkeys(text for text in texts if 30 <= text.count("\n") <= 600))
    random.Random(11).shuffle(texts)
    planted = near_copies(texts, count)
    for blinded in (False, True):
        settings = Config().model_copy(update={"near_duplicates": NearDuplicates(blinded=blinded)})
        with tempfile.TemporaryDirectory() as scratch:
            folder, began = Path(scratch), time.process_time()
            dropped = {(row["id"], row["survivor"]) for row in _near_duplicates(settings, texts, folder)}
            seconds = 1000 * (time.process_time() - began) / len(texts)
            print(f"\nnear-duplicates of {len(texts):,} files{', blinded too' if blinded else ''}: {len(dropped)}")
            print(f"  {seconds:.2f} CPU-seconds for 1,000 files, from texts to the list")
            for kind, pairs in planted.items():
                both = [normalise(text) for pair in pairs for text in pair]
                found = {frozenset((row["id"], row["survivor"])) for row in _near_duplicates(settings, both, folder)}
                hits = sum(frozenset(map(content_id, map(normalise, pair))) in found for pair in pairs)
                print(f"  {kind:22} {hits} of {len(pairs)}")


def _near_duplicates(settings: Config, texts: Sequence[str], folder: Path) -> list[Row]:
    names = dict.fromkeys(METADATA.names)
    rows = ({"text": text, "id": content_id(text), "metadata": names, "shard": "s", "row": 0} for text in texts)
    corpus = write_rows(folder / "corpus.parquet", CORPUS, [dict.fromkeys(CORPUS.names) | row for row in rows])
    write_fingerprints(settings, corpus, folder / "fingerprints.parquet")
    return near_duplicates(settings, [folder / "fingerprints.parquet"], folder)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shards", type=Path, nargs="+", default=[])
    parser.add_argument("--tasks", nargs="+", default=[], metavar="KIND=PATH")
    arguments = parser.parse_args()
    named: dict[str, list[Task]] = {}
    for entry in arguments.tasks or ["humaneval=resources/benchmarks/HumanEval.jsonl.gz"]:
        kind, _, path = entry.partition("=")
        settings = Benchmark(kind=kind, path=path, plus_tests=False)
        named[kind] = list(reader(kind).read(Path(path), settings))
    rows = list(source_rows(arguments.shards))
    contamination(named, rows)
    junk_and_licenses(rows)
    redaction(rows)
    planted_near_copies(rows)


if __name__ == "__main__":
    main()
