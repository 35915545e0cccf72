"""A folder of Python files, or a git checkout, as rows.

Of a checkout the files of its commit are read, whatever lies beside them; repository and commit go into every
row. Of any other folder all `.py` files are read but for hidden folders; links are not followed.
"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from d3.core.tables import Row, damage_named
from d3.errors import InputError, ToolError

SUFFIX = ".py"


class NoTextError(InputError):
    """A source contains no text, or has no column of texts."""


def folder_rows(folder: Path) -> Iterator[Row]:
    """Yield the files of a folder as rows of The Stack, sorted by path; columns that are not known are absent.

    Raise NoTextError if there is none.
    """
    rows = _checkout_rows(folder) if (folder / ".git").exists() else _plain_rows(folder)
    first = next(rows, None)
    if first is None:
        raise NoTextError("contains no Python file", where=str(folder), remedy="name another folder")
    yield from chain([first], rows)


def _row(path: str, data: bytes, **columns: str) -> Row:
    blob = b"blob %d\0" % len(data) + data
    return {
        "max_stars_repo_path": path.encode("utf-8", "surrogateescape"),
        "hexsha": hashlib.sha1(blob, usedforsecurity=False).hexdigest(),
        "size": len(data),
        "ext": SUFFIX[1:],
        "lang": "Python",
        "content": data,
        **columns,
    }


def _plain_rows(folder: Path) -> Iterator[Row]:
    with damage_named(folder):
        found = []
        for place, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(place, name) for name in names if name.endswith(SUFFIX)]
        for path in sorted(path for path in found if path.is_file() and not path.is_symlink()):
            yield _row(path.relative_to(folder).as_posix(), path.read_bytes())


def _raise(error: OSError) -> None:
    raise error


# --- git ------------------------------------------------------------------------------------------


def _checkout_rows(folder: Path) -> Iterator[Row]:
    commit = _git(folder, "rev-parse", "HEAD").decode().strip()
    columns = {"max_stars_repo_head_hexsha": commit}
    if repository := _repository(folder):
        columns["max_stars_repo_name"] = repository
    listing = _git(folder, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]
    files = []
    for entry in listing:
        about, _, path = entry.partition(b"\t")
        mode, kind, blob = about.split()
        if kind == b"blob" and mode != b"120000" and path.endswith(SUFFIX.encode()):
            files.append((path, blob))
    files.sort()
    for (path, _), data in zip(files, _blobs(folder, [blob for _, blob in files]), strict=True):
        yield _row(os.fsdecode(path), data, **columns)


def _blobs(folder: Path, blobs: list[bytes]) -> Iterator[bytes]:
    """Yield the contents of blobs, read by one process."""
    with tempfile.TemporaryFile() as wanted:
        wanted.writelines(blob + b"\n" for blob in blobs)
        wanted.seek(0)
        command = ["git", "-C", str(folder), "cat-file", "--batch"]
        with subprocess.Popen(command, env=_environment(), stdin=wanted, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for blob in blobs:
                head = process.stdout.readline().split()
                if len(head) != 3:
                    reason = f"git cannot read the blob {blob.decode()}"
                    raise ToolError(reason, where=str(folder), remedy="check the checkout with `git fsck`")
                yield process.stdout.read(int(head[2]))
                process.stdout.read(1)


def _repository(folder: Path) -> str:
    """Return OWNER/NAME of the remote `origin`, or an empty text."""
    try:
        address = _git(folder, "config", "--get", "remote.origin.url").decode("utf-8", "replace").strip()
    except ToolError:
        return ""
    parts = address.removesuffix("/").removesuffix(".git").replace(":", "/").split("/")
    return "/".join(parts[-2:]) if len(parts) > 1 else ""


def _git(folder: Path, *arguments: str) -> bytes:
    """Return what git prints of a checkout; raise ToolError with its reason."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise ToolError("git is not installed", where=str(folder), remedy="install git, or remove `.git`") from None
    if done.returncode:
        reason = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["failed"])[0]
        raise ToolError(f"git {arguments[0]}: {reason}", where=str(folder), remedy="check the checkout with `git fsck`")
    return done.stdout


def _environment() -> dict[str, str]:
    """Return this process's environment without what names another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
