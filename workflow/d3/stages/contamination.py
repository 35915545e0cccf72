"""Contamination: which files, pairs and labels contain a task of a benchmark, by n-grams of tokens.

A task is its problem and its solution, as published. A text contains it if at least `contamination.share`
of the task's n-grams of `contamination.ngram` tokens occur in the text, or half of those of the problem or of
the solution without its docstring alone; of problems shorter than one n-gram, all 8-grams. Tokens are words,
numbers and operators, in lower case: quotes, brackets, commas and comment signs are left out, so that a
formatter changes nothing. What this does not find: a solution alone whose names were all replaced.

The stages write one JSON line per text that contains a task, and nothing else. Whoever leaves these texts out
reads the list and not the benchmarks: a benchmark that is added later makes only those batches again whose list
changes.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import canonical_json, content_id, normalise
from d3.core.progress import track
from d3.core.tables import Row, damage_named, table_name
from d3.errors import InputError
from d3.evals.solutions import without_docstrings
from d3.evals.task_file import task_lines
from d3.evals.tasks import reader
from d3.pipeline.job import Job
from d3.sources.shard import count_files, read_shard, shard_name
from d3.sources.values import Broken

CONTAMINATED = "benchmark"
TOKEN = re.compile(r"\w+|[^\w\s'\"(),#]")
HALF = 0.5
"""Share of the n-grams of a problem or of a solution alone."""
SHORT = 8
"""Tokens of the n-grams of a problem that is shorter than one n-gram."""
FEWEST = 5
"""N-grams that a text must have at least, if there are so many: 10 % of a short task is one common expression."""
PROBLEM = ("prompt", "text", "question", "problem", "instruction", "description")
SOLUTION = ("canonical_solution", "code", "solution", "reference", "answer", "completion")
"""Fields of a file named in `contamination.files`; the first one that a line has is taken."""

Key = tuple[str | int, ...]
"""The id of a file or a pair; id, sample and part of a label."""
Gram = tuple[str, ...]


class Match(NamedTuple):
    """The task that a text contains."""

    benchmark: str
    task: str
    share: float
    """Part of the n-grams of the task, or of its problem or solution alone."""

    @property
    def reason(self) -> str:
        """Return the reason for which the text is dropped."""
        return f"{CONTAMINATED}:{self.task}"

    @property
    def detail(self) -> str:
        """Return what the reason leaves open."""
        return f"{self.share:.0%} of this task of {self.benchmark}"


class _Piece(NamedTuple):
    """Some n-grams of a task, and the share of them that a text must have."""

    benchmark: str
    task: str
    grams: int
    share: float


class Tasks:
    """The n-grams of tasks: `add` them, then ask `match` of each text."""

    def __init__(self, ngram: int, share: float) -> None:
        self.ngram, self.share = ngram, share
        self._pieces: list[_Piece] = []
        self._where: dict[int, defaultdict[Gram, list[int]]] = {}

    def add(self, benchmark: str, task: str, problem: str, solution: str) -> None:
        """Add a task; `problem` may be empty where the solution has it as its docstring."""
        whole, code = _tokens(f"{problem}\n{solution}"), _tokens(without_docstrings(solution))
        self._add(benchmark, task, whole, self.ngram, self.share)
        self._add(benchmark, task, code, self.ngram, HALF)
        words = _tokens(problem)
        short = len(words) < self.ngram
        self._add(benchmark, task, words, SHORT if short else self.ngram, 1.0 if short else HALF)

    def _add(self, benchmark: str, task: str, tokens: Sequence[str], ngram: int, share: float) -> None:
        if grams := set(_grams(tokens, ngram)):
            where = self._where.setdefault(ngram, defaultdict(list))
            for gram in grams:
                where[gram].append(len(self._pieces))
            self._pieces.append(_Piece(benchmark, task, len(grams), share))

    def match(self, text: str) -> Match | None:
        """Return the task that a text contains, that of the largest share, or None."""
        tokens = _tokens(text)
        found: Counter[int] = Counter()
        for ngram, where in self._where.items():
            for gram in where.keys() & set(_grams(tokens, ngram)):
                found.update(where[gram])
        best: Match | None = None
        for number, grams in sorted(found.items()):
            piece = self._pieces[number]
            share = grams / piece.grams
            if share >= piece.share and grams >= min(FEWEST, piece.grams) and (best is None or share > best.share):
                best = Match(piece.benchmark, piece.task, share)
        return best


def _tokens(text: str) -> list[str]:
    return TOKEN.findall(text.lower())


def _grams(tokens: Sequence[str], ngram: int) -> Iterator[Gram]:
    return zip(*(tokens[start:] for start in range(ngram)), strict=False)


def _tasks(job: Job, config: Config, tasks: Mapping[str, Path], files: Sequence[Path]) -> Tasks:
    """Read the tasks of benchmarks by name, all of each file, and those of further files."""
    settings = config.contamination
    found = Tasks(settings.ngram, settings.share or 1.0)
    for name, path in tasks.items():
        job.input(path, role="tasks")
        if settings.share is not None:
            benchmark = config.benchmarks[name].model_copy(update={"plus_tests": False})
            for task in reader(benchmark.kind).read(path, benchmark):
                problem = task.instruction if task.problem is None else task.problem
                found.add(name, task.task_id, problem, task.canonical)
    for path in files:
        job.input(path, role="tasks")
        if settings.share is not None:
            for line in task_lines(path):
                found.add(path.name, line.first(("task_id", "id", "name")), line.first(PROBLEM), line.first(SOLUTION))
    return found


def run(
    config: Config,
    shard: Sequence[Path],
    out: Path,
    *,
    tasks: Mapping[str, Path] | None = None,
    task_files: Sequence[Path] = (),
) -> None:
    """List the files of source shards that contain a task of a benchmark.

    Write one JSON line per text, ordered by id, which is that of the text as it is in the shard. `tasks` are
    the task files of benchmarks of the configuration by name, `task_files` further ones. Raise InputError if a
    shard or a task file cannot be read.

    Example: d3 contamination --shard shard.parquet --tasks humaneval=HumanEval.jsonl.gz --out contaminated.jsonl
    """
    with Job("contamination", config=config) as job:
        known = _tasks(job, config, tasks or {}, task_files)
        texts = (found for path in shard for found in _source_texts(job, path, config.source.columns))
        _write_list(job, known, "file", texts, out)


def _source_texts(job: Job, path: Path, columns: Mapping[str, str]) -> Iterator[tuple[Key, str]]:
    """Yield the texts of a shard that can have an id."""
    total = count_files(job.input(path), columns)
    for row in track(read_shard(path, columns), f"contamination {shard_name(path)}", total, "files"):
        job.read += 1
        try:
            text = None if isinstance(row, Broken) or row["content"] is None else normalise(row["content"])
            key = None if text is None else (content_id(text),)
        except UnicodeEncodeError:
            key = None
        if text is None or key is None:
            job.keep()
        else:
            yield key, text


def pair_contamination(
    config: Config,
    pairs: Sequence[Path],
    out: Path,
    *,
    tasks: Mapping[str, Path] | None = None,
    task_files: Sequence[Path] = (),
) -> None:
    """List for each batch the docstring -> function pairs that contain a task of a benchmark.

    Write `out/NAME.jsonl` for every table NAME. See `run`.

    Example: d3 pair-contamination --pairs pairs.parquet --tasks humaneval=HumanEval.jsonl.gz --out pairs
    """
    with Job("pair_contamination", config=config) as job:
        known = _tasks(job, config, tasks or {}, task_files)
        for path in pairs:
            rows = job.rows(path, schemas.PAIRS)
            texts = ((_key(row), f"{row['instruction']}\n{row['text']}") for row in rows)
            _write_list(job, known, "pair", texts, out / f"{table_name(path)}.jsonl")


def label_contamination(
    config: Config,
    labels: Path,
    out: Path,
    *,
    tasks: Mapping[str, Path] | None = None,
    task_files: Sequence[Path] = (),
) -> None:
    """List the labels, generated or adopted, that contain a task of a benchmark.

    See `run`.

    Example: d3 label-contamination --labels labels.parquet --tasks humaneval=HumanEval.jsonl.gz --out labels.jsonl
    """
    with Job("label_contamination", config=config) as job:
        known = _tasks(job, config, tasks or {}, task_files)
        made_here = config.adopt.dataset is None
        rows = job.rows(labels, schemas.LABELS if made_here else schemas.ADOPTED_ROWS)
        column = "label" if made_here else "prompt"
        _write_list(job, known, "label", ((_key(row, "sample", "part"), row[column] or "") for row in rows), out)


def _key(row: Row, *more: str) -> Key:
    return tuple(row[name] for name in ("id", *more))


def _write_list(job: Job, known: Tasks, kind: str, texts: Iterable[tuple[Key, str]], out: Path) -> None:
    lines: dict[Key, str] = {}
    for key, text in texts:
        match = known.match(text)
        if match is None:
            job.keep()
            continue
        job.drop(CONTAMINATED)
        names = dict(zip(("id", "sample", "part"), key, strict=False))
        lines[key] = canonical_json({"kind": kind, **names, **match._asdict(), "share": round(match.share, 4)})
    text = "".join(f"{lines[key]}\n" for key in sorted(lines))
    job.file(out).write_text(text, encoding="utf-8", newline="\n")


def read_matches(job: Job, path: Path | None) -> dict[Key, Match]:
    """Return the matches of a list by key, none without a list; raise InputError for a line that is none."""
    return {} if path is None else {key: match for _, key, match in matches(job.input(path))}


def matches(path: Path) -> Iterator[tuple[str, Key, Match]]:
    """Yield kind, key and match of every line of a list; raise InputError for a line that is none."""
    with damage_named(path):
        lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, start=1):
        try:
            row = json.loads(line)
            key = tuple(row[name] for name in ("id", "sample", "part") if name in row)
            yield row["kind"], key, Match(row["benchmark"], row["task"], row["share"])
        except (ValueError, KeyError, TypeError):
            raise InputError(f"line {number} is not a match", where=str(path), remedy="make the list again") from None
