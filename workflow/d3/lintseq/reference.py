"""pylintseq itself, as a sampler and as the judge of ours: in a fresh process for every file, with equal settings.

`sequence_of` is what `diffs.sampler: pylintseq` runs, in the worker processes of `d3.lintseq.pool`.

`python -m d3.lintseq.reference` reads one JSON object a line (text, seed) and answers each with what
pylintseq does with it: the edit path, the diffs, every text that was linted with its messages, and
the CPU seconds. Every file is sampled in a process forked from one that has loaded pylint and linted
nothing. The lint settings are made equal in one way only: while pylint checks a file, the import
system is sealed as it is for our linter. Importing this module changes nothing; `main` does.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from d3.core.paths import IMPORT_ROOT
from d3.errors import ToolError
from d3.lintseq.import_sandbox import sealed, standard_library

ANY_MODULE = "MODULE"
"""Stands for the random name of the temporary file in the messages."""

COMMAND = {
    "children_per_round": 1,
    "top_k": 1,
    "max_population_size": 1,
    "max_depth": 512,
    "indent_bias_sampling_factor": 1,
    "ignore_imports": False,
    "ignore_comments": True,
    "ignore_global_defs": True,
    "ignore_init_errors": False,
}
"""What the pylintseq command passes to its sampler."""

Check = Callable[..., Any]


def seal(check: Check) -> Check:
    """Wrap `PyLinter.check` so that it finds modules of the standard library only."""

    def sealed_check(*arguments: Any, **options: Any) -> Any:
        with sealed(standard_library()):
            return check(*arguments, **options)

    return sealed_check


def private_environment(folder: Path) -> dict[str, str]:
    """Return the environment of an oracle process: nothing that changes what pylint does."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    places = {name: str(folder) for name in ("HOME", "TMPDIR", "PYLINTHOME", "XDG_CACHE_HOME")}
    return {**kept, **places, "PYTHONPATH": str(IMPORT_ROOT), "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}


def ask(tasks: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield pylintseq's answers to tasks (text, seed), in order."""
    with tempfile.TemporaryDirectory(prefix="d3-oracle-") as name:
        folder = Path(name)
        (folder / "tasks").write_text("".join(json.dumps(dict(task)) + "\n" for task in tasks))
        with (folder / "tasks").open("rb") as lines:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "d3.lintseq.reference"],
                stdin=lines,
                capture_output=True,
                check=False,
                cwd=folder,
                env=private_environment(folder),
            )
    if done.returncode:
        last = done.stderr.decode().strip().splitlines()[-1:]
        raise ToolError(f"pylintseq failed ({' '.join(last)})", where="oracle", remedy="install pylintseq 0.0.2")
    for line in done.stdout.splitlines():
        yield json.loads(line)


@cache
def load() -> Any:
    """Import pylintseq and all that pylint may import later, and seal pylint's checks."""
    import importlib
    import pkgutil

    import pylint.checkers
    import pylint.lint.pylinter
    import pylint.reporters
    import pylintseq.utils

    for package in (pylint.checkers, pylint.reporters):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    linter = pylint.lint.pylinter.PyLinter
    linter.check = seal(linter.check)
    return pylintseq.utils


def sequence_of(
    text: str, seed: int, max_depth: int = COMMAND["max_depth"]
) -> tuple[list[list[int]], list[str]] | None:
    """Return pylintseq's edits and diffs of a text, None for a text without a line that may be drawn."""
    import numpy as np

    utils = load()
    np.random.seed(seed)
    paths = utils.lintseq_backward_sampling_pythonic(text, **COMMAND | {"max_depth": max_depth})
    if paths is None:
        return None
    return paths[0][0], utils.inflate_edit_path(text, paths[0][0])[1]


def _answer(utils: Any, task: Mapping[str, Any]) -> dict[str, Any]:
    calls: list[tuple[str, list[Sequence[str]]]] = []
    original = utils.file_linter

    def file_linter(file: str, expected_error_traces: Any = None) -> Any:
        name = Path(file).stem
        traces = original(file, expected_error_traces)
        text = Path(file).read_bytes().decode()
        calls.append((text, [[*trace[:3], trace[3].replace(name, ANY_MODULE)] for trace in traces]))
        return traces

    utils.file_linter = file_linter
    started = time.process_time()
    edits: Any = None
    diffs: Any = None
    crash = None
    try:
        edits, diffs = sequence_of(task["text"], task["seed"]) or (None, None)
    except Exception as error:
        crash = f"{type(error).__name__}: {error}"
    cpu = time.process_time() - started
    return {"edits": edits, "diffs": diffs, "crash": crash, "calls": calls, "cpu": cpu}


def main() -> None:
    """Answer the tasks of standard input, each in a forked process."""
    answers = os.dup(1)
    os.dup2(2, 1)
    utils = load()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                data = json.dumps(_answer(utils, json.loads(line))).encode() + b"\n"
                while data:
                    data = data[os.write(answers, data) :]
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        for place in Path(os.environ["PYLINTHOME"]).iterdir():
            if place.suffix == ".stats" or place.name.startswith("pylint"):
                with contextlib.suppress(OSError):
                    place.unlink()


if __name__ == "__main__":
    main()
