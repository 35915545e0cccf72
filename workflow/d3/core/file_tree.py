"""Every file below a folder, also behind links to other disks."""

import os
from collections.abc import Iterator
from pathlib import Path


def walk(top: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder below one with its folders and files, sorted; `top` itself may be a link.

    Links to folders outside are followed, each folder once. Those that lead back are only further names of
    what is yielded anyway: they are among the folders and are not entered.
    """
    entered = [os.path.realpath(top)]
    for place, folders, files in os.walk(top, followlinks=True):
        yield Path(place), sorted(folders), sorted(files)
        folders[:] = sorted(name for name in folders if _may_enter(os.path.join(place, name), entered))


def _may_enter(folder: str, entered: list[str]) -> bool:
    if not os.path.islink(folder):
        return True
    real = os.path.realpath(folder)
    if any(os.path.commonpath((real, other)) in (real, other) for other in entered):
        return False
    entered.append(real)
    return True
