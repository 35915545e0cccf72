"""What runs on this host for a run's folder: the Snakemake process and the jobs that it started here."""

from pathlib import Path
from typing import NamedTuple

RUNNING = "is running"
ENDED = "is not running"
UNKNOWN = "left its lock behind: it died, or it runs on another host"


class Here(NamedTuple):
    """The processes of a run on this host."""

    heads: list[int]
    """Snakemake processes that are nobody's job."""
    words: frozenset[str]
    """All arguments of the running commands of this package; a job's output is among them."""

    def state(self, folder: Path) -> str:
        """Say whether Snakemake is alive, from its processes and its locks."""
        if self.heads:
            return RUNNING
        locks = folder / ".snakemake" / "locks"
        return UNKNOWN if locks.is_dir() and any(locks.iterdir()) else ENDED


def look(folder: Path, proc: Path = Path("/proc")) -> Here:
    """Look at all processes that work in a folder, those inside containers of this host too."""
    here = folder.resolve()
    heads: list[int] = []
    words: set[str] = set()
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            snakemake = any(Path(word).name == "snakemake" for word in arguments[:3])
            ours = "d3" in arguments[:4]  # python -m d3 STAGE ...
            if not (snakemake or ours) or (process / "cwd").readlink() != here:
                continue
        except OSError:
            continue
        if ours:
            words.update(arguments)
        elif "--mode" not in arguments:
            heads.append(int(process.name))
    return Here(sorted(heads), frozenset(words))
