"""The pylintseq command and ours side by side: CPU seconds, and whether they write the same diffs.

    .venv/bin/python benchmarks/lintseq.py [--in FILES] [--lines 20 200] [--files N] [--workers 2] [--rounds 1]
                                           [--profile | --imports | --memory SEQUENCES]

Without FILES it takes the shard of real files beside the repository, or else the standard library.

Both commands get the same files, one sample each and as many workers, and their lint settings are
made equal: pylint's checks are sealed from the packages that happen to be installed, every file has
the same seed on both sides, and pylintseq does not cut fenced code out of docstrings. CPU seconds are
user and system time of the whole process trees, start-up and warm-up included. The files are measured
in two groups by their imports. Both commands are run in turn, `--rounds` times, and the times added:
a shared machine changes its speed from minute to minute. A file whose diffs differ is put to pylintseq
once more, in a process that has linted nothing before, since the command's own result depends on the
files before it.

`--imports` measures what `unresolved_imports` does to the sequences of real files, `--memory` how much
memory a worker holds while it samples many sequences.
"""

import argparse
import ctypes
import gc
import json
import os
import re
import resource
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Literal

import pyarrow as pa

from d3.config.data import Diffs
from d3.core.ids import LINE_BREAKS, content_id, derive_seed, normalise
from d3.core.paths import IMPORT_ROOT, REPOSITORY
from d3.core.tables import open_parquet, read_rows
from d3.errors import D3Error, ToolError
from d3.lintseq.pool import Pool, Task
from d3.lintseq.reference import ask, private_environment
from d3.stages.diffs import imported_modules

PR_SET_CHILD_SUBREAPER = 36
SEED = 0
SHARD = REPOSITORY.parent / "shared" / "data" / "stack" / "train-00000-of-00004.parquet"
IMPORTED = re.compile(r"^[ \t]*(?:from|import)[ \t]+(\.*[\w.]*)", re.MULTILINE)

UNRESOLVED_IMPORTS: tuple[Literal["error", "ignore"], ...] = ("error", "ignore")
CURVE_POINTS = 5
"""How often the memory is printed."""

ROW = "{:<24}{:>7}{:>14}{:>14}{:>8}{:>10}"

HOOK = """
import importlib.abc, importlib.machinery, json, os, sys
from hashlib import sha256

class Loader(importlib.abc.Loader):
    def __init__(self, loader): self.loader = loader
    def create_module(self, spec): return self.loader.create_module(spec)
    def exec_module(self, module):
        self.loader.exec_module(module)
        if module.__name__ == "pylint.lint.pylinter":
            from d3.lintseq.reference import seal
            module.PyLinter.check = seal(module.PyLinter.check)
        else:
            seeds = json.load(open(os.environ["D3_SEEDS"]))
            sample = module.lintseq_backward_sampling_pythonic
            def seeded(text, *arguments, **options):
                module.np.random.seed(seeds[sha256(text.encode()).hexdigest()])
                return sample(text, *arguments, **options)
            module.lintseq_backward_sampling_pythonic = seeded
            module.strip_chain_of_thought = lambda text, *_: text

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in ("pylint.lint.pylinter", "pylintseq.utils"): return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Loader(spec.loader)
        return spec

sys.meta_path.insert(0, Finder())
"""
"""A `sitecustomize` for the processes of the pylintseq command."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """What one group of files cost; `differing` are the ids whose diffs were not the command's."""

    files: int
    theirs: float
    ours: float
    differing: tuple[str, ...]


def third_party(text: str) -> bool:
    """Return whether a program imports anything that is not in the standard library."""
    names = {name.split(".")[0] for name in IMPORTED.findall(text)}
    return any(name not in sys.stdlib_module_names for name in names)


def cpu_seconds(command: Sequence[str], *, cwd: Path, environment: dict[str, str]) -> float:
    """Run a command and give the CPU seconds of its whole process tree.

    Raises ToolError with its last line when it fails.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # so that orphans are counted too
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (cwd / "log").open("w+") as log:
        code = subprocess.run(command, cwd=cwd, env=environment, stdout=log, stderr=log, check=False).returncode
        log.seek(0)
        last = log.read().strip().splitlines()[-1:]
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    if code:
        raise ToolError(f"ended with {code} ({' '.join(last)})", where=command[0], remedy="see the log")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(texts: Sequence[str], *, workers: int) -> Measure:
    """Run both commands on some programs."""
    ids = {content_id(text): text for text in texts}
    seeds = {name: derive_seed(SEED, "lintseq", name, 0, bits=32) for name in ids}
    with tempfile.TemporaryDirectory(prefix="d3-bench-") as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(HOOK)
        (folder / "seeds").write_text(json.dumps(seeds))
        (folder / "files.jsonl").write_text("".join(json.dumps({"response": text}) + "\n" for text in ids.values()))
        environment = private_environment(folder)
        environment["PYTHONPATH"] = f"{folder}{os.pathsep}{IMPORT_ROOT}"
        environment["D3_SEEDS"] = str(folder / "seeds")
        command = [sys.executable, "-P", "-c", "from pylintseq.generate import generate; generate()"]
        options = ["-p", "files.jsonl", "-d", "out", "--prompt_data_field", "None", "-c", str(workers)]
        theirs = cpu_seconds([*command, *options], cwd=folder, environment=environment)
        written: dict[str, list[str]] = {}
        for path in (folder / "out").iterdir():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                written[content_id(row["source_response"])] = row["edit_path"]
        (folder / "ours.jsonl").write_text(
            "".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in ids.items())
        )
        environment = private_environment(folder)
        options = ["lintseq", "--in", "ours.jsonl", "--out", "diffs.jsonl", "--seed", str(SEED)]
        command = [sys.executable, "-m", "d3", *options, "--workers", str(workers)]
        ours = cpu_seconds(command, cwd=folder, environment=environment)
        rows = [json.loads(line) for line in (folder / "diffs.jsonl").read_text().splitlines()]
    differing = [row["id"] for row in rows if row["diffs"] != written.get(row["id"])]
    again = ask({"text": ids[key], "seed": seeds[key]} for key in differing)
    mine = {row["id"]: row["diffs"] for row in rows}
    wrong = tuple(key for key, answer in zip(differing, again, strict=True) if answer["diffs"] != mine[key])
    if len(differing) > len(wrong):
        print(f"  {len(differing) - len(wrong)} files equal pylintseq's only in a process that linted nothing before")
    return Measure(files=len(ids), theirs=theirs, ours=ours, differing=wrong)


def programs(paths: Iterable[Path], *, fewest: int, most: int) -> list[str]:
    """Return the distinct programs of shards (`content`) or corpus files (`text`), by their lines."""
    found: dict[str, None] = {}
    for path in paths:
        column = "text"
        if path.suffix == ".parquet":
            with open_parquet(path) as file:
                column = "content" if "content" in file.schema_arrow.names else "text"
        for row in read_rows(path, pa.schema([(column, pa.string())])):
            text = normalise(row[column] or "")
            if fewest <= text.count("\n") + 1 <= most:
                found[text] = None
    return list(found)


def at_hand(*, fewest: int, most: int) -> list[str]:
    """Return programs where no files are named: those of `SHARD`, or else of the standard library."""
    if SHARD.exists():
        return programs([SHARD], fewest=fewest, most=most)
    found: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*/*.py")):
        text = normalise(path.read_text(errors="replace"))
        if fewest <= text.count("\n") + 1 <= most and not any(mark in text for mark in LINE_BREAKS):
            found[text] = None
    return list(found)


def profile(texts: Sequence[str]) -> None:
    """Print where the time of our linter goes on some programs, once its modules are loaded."""
    import cProfile
    import pstats

    from d3.lintseq.import_sandbox import standard_library
    from d3.lintseq.linter import Linter
    from d3.lintseq.sampler import SampleError, sample_edits

    with tempfile.TemporaryDirectory(prefix="d3-bench-") as folder:
        lint = Linter(Path(folder), standard_library())
        runs = cProfile.Profile()
        for measured in (False, True):
            gc.collect()
            gc.freeze()
            for text in texts:
                if measured:
                    runs.enable()
                try:
                    sample_edits(text, lint, derive_seed(SEED, "lintseq", content_id(text), 0, bits=32), max_depth=512)
                except SampleError:
                    continue
                finally:
                    lint.forget()
                    runs.disable()
        pstats.Stats(runs).sort_stats("tottime").print_stats(30)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--in", dest="inputs", nargs="+", type=Path)
    parser.add_argument("--lines", nargs=2, type=int, default=[20, 200], metavar=("FEWEST", "MOST"))
    parser.add_argument("--files", type=int, default=None, help="only the first files")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="run both so many times in turn, and add the times")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--imports", action="store_true", help="only show what unresolved_imports does")
    parser.add_argument("--memory", type=int, metavar="SEQUENCES", help="only show a worker's memory along them")
    arguments = parser.parse_args(argv)
    fewest, most = arguments.lines
    if arguments.inputs:
        texts = programs(arguments.inputs, fewest=fewest, most=most)
    else:
        texts = at_hand(fewest=fewest, most=most)
    texts = texts[: arguments.files]
    if arguments.imports:
        imports(texts, workers=arguments.workers)
    elif arguments.memory:
        memory(texts, sequences=arguments.memory)
    else:
        compare(texts, workers=arguments.workers, rounds=arguments.rounds)
        if arguments.profile:
            profile(texts[:40])


def compare(texts: Sequence[str], *, workers: int, rounds: int) -> None:
    """Print the comparison, group by group."""
    groups = {
        "standard library only": [text for text in texts if not third_party(text)],
        "third-party imports": [text for text in texts if third_party(text)],
    }
    print(ROW.format("imports", "files", "pylintseq", "d3", "ratio", "equal"), flush=True)
    total: list[Measure] = []
    for name, group in groups.items():
        if not group:
            continue
        measured = [measure(group, workers=workers) for _ in range(rounds)]
        result = Measure(
            files=len(group),
            theirs=sum(one.theirs for one in measured),
            ours=sum(one.ours for one in measured),
            differing=tuple(sorted({key for one in measured for key in one.differing})),
        )
        total.append(result)
        print(_line(name, [result]), flush=True)
    print(_line("all", total))
    print(f"CPU seconds, user and system, of whole process trees, {rounds} x one sample a file, {workers} workers")


def _line(name: str, results: Sequence[Measure]) -> str:
    files = sum(result.files for result in results)
    theirs, ours = sum(result.theirs for result in results), sum(result.ours for result in results)
    equal = files - sum(len(result.differing) for result in results)
    cells = (name, files, f"{theirs:.1f} s", f"{ours:.1f} s", f"{theirs / ours:.1f}x", f"{equal}/{files}")
    return ROW.format(*cells)


def tasks_of(texts: Sequence[str], *, samples: int = 1) -> list[Task]:
    """Return the tasks of some programs, file by file."""
    names = {content_id(text): text for text in texts}
    return [
        Task(id=f"{name}#{sample}", sample=sample, text=text, seed=derive_seed(SEED, "lintseq", name, sample, bits=32))
        for sample in range(samples)
        for name, text in names.items()
    ]


def imports(texts: Sequence[str], *, workers: int) -> None:
    """Print, for both settings, how large the first edit is and how many diffs a file has."""
    row = "{:<22}{:>7}{:>36}{:>18}"
    print(row.format("unresolved_imports", "files", "first edit is more than half of it", "diffs, median"), flush=True)
    for setting in UNRESOLVED_IMPORTS:
        large, diffs = 0, []
        with Pool(Diffs(unresolved_imports=setting), workers, imported_modules(texts)) as pool:
            for task, answer in pool.run(tasks_of(texts)):
                if answer["status"] == "ok":
                    large += len(answer["edits"][0]) > (task.text.count("\n") + 1) / 2
                    diffs.append(len(answer["diffs"]))
        share = f"{large / len(diffs):.1%}" if diffs else "-"
        print(row.format(setting, len(diffs), share, f"{median(diffs or [0]):g}"), flush=True)


def memory(texts: Sequence[str], *, sequences: int) -> None:
    """Print the resident memory of one worker along so many sequences, and of how many imported modules it
    holds the trees. The files are taken again if need be.
    """
    samples = -(-sequences // max(1, len(texts)))
    tasks = islice(tasks_of(texts, samples=samples), sequences)
    step = max(1, sequences // CURVE_POINTS)
    print(f"{'sequences':>10}{'resident':>12}{'modules':>10}", flush=True)
    with Pool(Diffs(), 1, imported_modules(texts)) as pool:
        for number, _ in enumerate(pool.run(tasks)):
            if number in (1, *range(step, sequences, step), sequences - 1):
                print(f"{number:>10}{pool.resident_mb:>9} MB{pool.modules:>10}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except D3Error as error:
        sys.exit(f"error: {error}")
