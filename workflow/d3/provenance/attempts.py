"""Every attempt at a job is kept, the failed ones too: one line when it starts, one when it ends.

They lie in `work/attempts/STAGE/KEY/NAME.jsonl`, named after the job's first output. An attempt that
was killed has a line for its start and none for its end.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from d3.errors import D3Error
from d3.provenance import runtime
from d3.provenance.digest_cache import WORK
from d3.provenance.redact import scrub

LONGEST = 500
"""Characters of an error that are kept."""


def attempts_path(output: Path) -> Path:
    """Return the file of the attempts at a job, by its first output."""
    relative = Path(os.path.relpath(output))
    parts = [part for part in relative.parts if part != ".."]
    if parts[:1] == ["results"]:
        parts = parts[1:]
    folder = WORK / "attempts" / Path(*parts[:-1])
    return folder / f"{parts[-1]}.jsonl"


def read_attempts(output: Path) -> list[dict[str, Any]]:
    """Return the lines of a job's attempts, oldest first; a line cut off by a crash is left out.

    A job that writes a folder of files has them under the folder's name.
    """
    lines = []
    named = [output, output.parent] if output.parent.name else [output]
    file = next((path for path in map(attempts_path, named) if path.is_file()), None)
    try:
        text = file.read_text(encoding="utf-8") if file else ""
    except OSError:
        return []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def count_attempts(output: Path) -> int:
    """Return the number of attempts since the last one that ended well, the running one included; at least 1."""
    number = 0
    for line in read_attempts(output):
        if line["event"] == "start":
            number += 1
        elif line["status"] == "ok":
            number = 0
    return max(number, 1)


@contextmanager
def attempt(command: str, output: Path | None) -> Iterator[None]:
    """Note start and end of an attempt, inside a workflow; elsewhere, and without an output, note nothing."""
    if output is None or runtime.RUN not in os.environ:
        yield
        return
    path = attempts_path(output)
    place = {"host": runtime.host(), "pid": os.getpid(), "slurm": runtime.slurm()}
    _note(path, {"event": "start", "time": now(), "command": command, "output": str(output), **place})
    try:
        yield
    except BaseException as error:
        reason = str(error) if isinstance(error, D3Error) else f"{type(error).__name__}: {error}"
        with suppress(OSError):  # a full disk, of which the first error is the one to read
            _note(path, {"event": "end", "time": now(), "status": "failed", "error": scrub(reason)[:LONGEST]})
        raise
    _note(path, {"event": "end", "time": now(), "status": "ok"})


def _note(path: Path, line: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def now() -> str:
    """Return the time as RFC 3339 in UTC."""
    return moment(time.time())


def moment(seconds: float) -> str:
    """Write seconds since the epoch as RFC 3339 in UTC, to the millisecond."""
    whole, rest = divmod(round(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{rest:03d}Z"
