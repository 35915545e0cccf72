"""The driver `python -m d3 run [SNAKEMAKE'S ARGUMENTS]`: a front of Snakemake that can be started again at any time.

What plain Snakemake leaves open, and this closes:
- After a head process was killed, its SLURM jobs go on. They are waited for (`--orphans wait`) or cancelled
  before the folder is unlocked, so that no two jobs write one file; what they finished is kept.
- Jobs that the executor plugin has forgotten are noticed; Snakemake is then started again.
- Jobs that can never start are cancelled and reported, instead of waiting for ever.
- A failed job's reason, the end of its log and the remedy are printed on one screen at the end.

Exit codes: 0 all done; 1 jobs failed, all others are done; 2 nothing could start (usage, configuration,
workflow); 3 another head works in this folder; 4 SLURM gives no answer; 5 jobs were forgotten again and
again; 130 interrupted. After every one of them the same command goes on.
"""

import argparse
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from d3.cluster.failures import read_failures, screen
from d3.cluster.head import Head, Options
from d3.cluster.orphans import SlurmSilentError, has_slurm, living_head, other_host, settle

ROOT = Path(__file__).parents[3]
DONE, FAILED, NOT_STARTED, OTHER_HEAD, SILENT, FORGETFUL, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


def parser() -> argparse.ArgumentParser:
    """Give the parser of the driver's own options; all others go to Snakemake."""
    options = argparse.ArgumentParser(
        prog="d3 run",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(__doc__ or "").strip(),
        epilog="All other arguments go to Snakemake: dataset --profile profiles/slurm --configfile config/d3.yaml",
    )
    options.add_argument(
        "--orphans",
        choices=("wait", "cancel"),
        default="wait",
        help="what becomes of running SLURM jobs whose head process is gone; waiting ones are cancelled always",
    )
    options.add_argument(
        "--patience", type=float, default=900, metavar="SECONDS", help="longest silence of SLURM at the start (900)"
    )
    options.add_argument(
        "--forgotten-after",
        type=float,
        default=Options().forgotten,
        metavar="SECONDS",
        help="a job that ended so long ago and that Snakemake still waits for is forgotten (900)",
    )
    options.add_argument(
        "--stuck-after",
        type=float,
        default=Options().stuck,
        metavar="SECONDS",
        help="a job that waits so long for what will never come is cancelled (300)",
    )
    options.add_argument("--watch-every", type=float, default=Options().every, help=argparse.SUPPRESS)
    options.add_argument("--head-restarts", type=int, default=3, metavar="N", help="restarts after forgotten jobs (3)")
    options.add_argument(
        "--take-over",
        action="store_true",
        help="the head on another machine is dead, though nobody can see that from here",
    )
    return options


def main(words: Sequence[str]) -> int:
    """Run the driver; gives its exit code."""
    options, rest = parser().parse_known_args(list(words))
    folder = working_folder(rest)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder) as other:
        if not other:
            other = living_head(folder)
        if not other and not options.take_over and (host := other_host(folder)):
            other = f"a run started on {host}; if it is dead, add --take-over"
        if other:
            _say(f"another head works in {folder}: {other}")
            return OTHER_HEAD
        try:
            return _drive(options, snakemake(rest), folder)
        except SlurmSilentError as error:
            _say(f"{error}. What still runs is unknown, so nothing was started")
            return SILENT


def _drive(options: argparse.Namespace, command: list[str], folder: Path) -> int:
    """Start Snakemake as often as it takes."""
    watch = Options(options.forgotten_after, options.stuck_after, options.watch_every)
    asks_only = {"-n", "--dry-run", "--dryrun", "--unlock", "--help", "-h", "--version", "--lint", "--summary"}
    if asks_only & set(command):
        return subprocess.run(command, check=False).returncode
    cancel = options.orphans == "cancel"
    for restart in range(options.head_restarts + 1):
        tidy(folder, command, cancel=cancel, patience=options.patience)
        head = Head(command, watch)
        with _passing_on(head.process):
            code = head.wait()
        if code is not None:
            return _ended(code, head, folder)
        left = options.head_restarts - restart
        _say(f"Snakemake has forgotten SLURM jobs {', '.join(head.forgotten)}; restarts left: {left}")
    return FORGETFUL


def tidy(folder: Path, command: list[str], *, cancel: bool, patience: float) -> None:
    """Make the folder ready for a new head: no old job lives, no lock is left."""
    if has_slurm():
        settle(folder, cancel=cancel, patience=patience)
    if any((folder / ".snakemake" / "locks").glob("*")):
        subprocess.run([*command, "--unlock"], check=False, capture_output=True)


def _ended(code: int, head: Head, folder: Path) -> int:
    """Print what failed and translate Snakemake's exit code."""
    if code in (-signal.SIGINT, 128 + signal.SIGINT):
        return INTERRUPTED
    failures = read_failures(head.seen.lines)
    if failures:
        print("\n" + screen(failures, folder, head.seen.stuck), file=sys.stderr, flush=True)
    if code == 0:
        return DONE
    if any("Terminating processes on user request" in line for line in head.seen.lines):
        return INTERRUPTED
    return FAILED if failures else NOT_STARTED


def snakemake(rest: Sequence[str]) -> list[str]:
    """Give the command line of Snakemake: our Snakefile, and profiles by whole path, since it changes the folder."""
    words = list(rest)
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--profile", "--workflow-profile"):
            if equals and Path(value).exists():
                words[at] = f"{name}={Path(value).resolve()}"
            elif not equals and at + 1 < len(words) and Path(words[at + 1]).exists():
                words[at + 1] = str(Path(words[at + 1]).resolve())
    if not any(word.split("=")[0] in ("-s", "--snakefile") for word in words):
        words = ["--snakefile", str(ROOT / "workflow" / "Snakefile"), *words]
    return [sys.executable, "-m", "snakemake", *words]


def working_folder(rest: Sequence[str]) -> Path:
    """Give the folder that Snakemake will work in."""
    for at, word in enumerate(rest):
        name, equals, value = word.partition("=")
        if name in ("-d", "--directory"):
            return Path(value if equals else rest[at + 1]).resolve()
    return Path.cwd().resolve()


@contextmanager
def _alone(folder: Path) -> Iterator[str]:
    """Hold the folder as its only driver; gives the name of the other one if there is one."""
    path = folder / ".snakemake" / "d3-run.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            yield file.read().strip() or "another `d3 run`"
            return
        file.truncate(0)
        file.write(f"`d3 run`, process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield ""


@contextmanager
def _passing_on(process: subprocess.Popen[str]) -> Iterator[None]:
    """Pass SIGTERM and SIGHUP on to Snakemake, which lets running jobs end. Ctrl-C reaches it by itself."""

    def pass_on(number: int, frame: object) -> None:
        process.send_signal(number)

    names = (signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, pass_on) for name in names}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _say(text: str) -> None:
    print(f"d3 run: {text}", file=sys.stderr, flush=True)
