"""Where vLLM keeps what it compiles: a folder for each model with its options, which parallel jobs share.

vLLM writes parts of its cache in place, and notes absolute paths in it. So two jobs that compile the same into one
folder can read each other's half files, one that is killed leaves a torn file to all later ones, and a copy of the
folder is worth nothing. Here one job compiles while the others wait for it; when it has started, the folder is marked
as whole, and from then on jobs start from it side by side. A folder without the mark, of a job that was killed, is
emptied. Where the file system cannot lock, a job gets a folder of its own.

Not covered: jobs of other programs in the same folder, and what is compiled after the start.
"""

import atexit
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from d3.core.ids import digest_of
from d3.core.progress import announce
from d3.core.tables import remove

BELOW = "d3"
"""Folder below the user's cache of vLLM."""
WHOLE = "whole"
"""File that marks a folder whose first job has started."""
DEFAULT = "torchinductor_"
"""Beginning of the folder that torch sets when it is imported and nobody has set one."""
KEY_DIGITS = 16


def cache_folder(identity: Mapping[str, Any], environment: Mapping[str, str]) -> Path:
    """Return the folder for what decides the compiled code, below `VLLM_CACHE_ROOT` or the user's cache."""
    home = environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    base = Path(environment.get("VLLM_CACHE_ROOT") or Path(home, "vllm")).absolute()
    if base.parent.name == BELOW:  # an engine of this process has set it
        base = base.parents[1]
    return base / BELOW / digest_of(dict(identity))[:KEY_DIGITS]


@contextmanager
def compile_cache(identity: Mapping[str, Any], environment: MutableMapping[str, str] = os.environ) -> Iterator[Path]:
    """Set the variables of the caches while an engine starts, and give the folder.

    The block is the start. If it ends without an error, the folder is whole. The variables stay, for what is compiled
    later; `TORCHINDUCTOR_CACHE_DIR` and `TRITON_CACHE_DIR` give way to the user's.
    """
    folder = cache_folder(identity, environment)
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(_alone(folder))
        except OSError:  # no lock, or no room for us there
            base, folder = folder, Path(tempfile.mkdtemp(prefix="d3-vllm-"))
            atexit.register(remove, folder)
            _set(environment, folder / BELOW / base.name)
        else:
            _set(environment, folder)
        yield folder
        (folder / WHOLE).touch()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other jobs away from a folder that is not whole, and empty what a killed job left in it.

    Raise OSError where the file system cannot lock.
    """
    if (folder / WHOLE).exists():
        yield
        return
    with (folder.parent / f"{folder.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            announce("waiting for another job, which compiles the same model")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / WHOLE).exists():
            fcntl.flock(lock, fcntl.LOCK_UN)
        else:
            for left in folder.iterdir():
                remove(left)
        yield


def _set(environment: MutableMapping[str, str], folder: Path) -> None:
    environment["VLLM_CACHE_ROOT"] = str(folder)
    for name, part in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
        given = Path(environment.get(name) or folder / part)
        ours = given.parent.parent.name == BELOW
        if ours or any(above.startswith(DEFAULT) for above in given.parts):
            environment[name] = str(folder / part)
