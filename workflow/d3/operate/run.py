"""The driver `python -m d3 run [SNAKEMAKE'S ARGUMENTS]`: a front of Snakemake that can be started again at any time.

What plain Snakemake leaves open, and this closes:
- After a head process was killed, its SLURM jobs go on. They are waited for (`--orphans wait`) or cancelled
  before the folder is unlocked, so that no two jobs write one file; what they finished is kept.
- Jobs that the executor plugin has forgotten are noticed; Snakemake is then started again.
- Jobs that can never start are cancelled and reported, instead of waiting for ever.
- A failed job's reason, the end of its log and the remedy are printed on one screen at the end.

Exit codes: 0 all done; 1 jobs failed or SLURM refused them, all others are done; 2 no job could start
(usage, configuration, workflow); 3 another run works in this folder; 4 SLURM does not answer; 5 jobs were
forgotten again and again; 130 interrupted. After every one of them the same command resumes the run.
"""

import argparse
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from d3.errors import ConfigError
from d3.operate.failures import RESUME, screen
from d3.operate.orphans import recorded_jobs, settle
from d3.operate.run_lock import is_locked, run_lock
from d3.operate.slurm import SlurmSilentError, has_slurm
from d3.operate.snakemake_arguments import (
    CONFIG_FILES,
    complete,
    executor,
    run_name,
    runs_nothing,
    values_of,
    working_folder,
)
from d3.operate.watchdog import Head, Options
from d3.provenance.digest_cache import read_everything

SNAKEMAKE = (sys.executable, "-m", "snakemake")
LOCAL_SECONDS = 10.0
"""Time limit of the one query of SLURM in a run on this machine."""
DONE, FAILED, NOT_STARTED, OTHER_HEAD, SILENT, FORGETFUL, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of the driver's own options; all others go to Snakemake."""
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
    options.add_argument(
        "--paranoid", action="store_true", help="read every file to judge what is stale, whatever its size and times"
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
    """Run the driver; return its exit code."""
    options, rest = parser().parse_known_args(list(words))
    try:
        arguments = complete(rest)
    except ConfigError as error:
        _report(f"error: {error}")
        return NOT_STARTED
    if options.paranoid:
        read_everything()
    if runs_nothing(arguments):
        return subprocess.run([*SNAKEMAKE, *arguments], check=False).returncode
    folder = working_folder(arguments)
    with run_lock(folder, take_over=options.take_over) as other:
        if other:
            _report(f"another run works in {folder}: {other}")
            return OTHER_HEAD
        try:
            return _drive(options, arguments, folder)
        except SlurmSilentError as error:
            _report(f"{error}. Jobs of an earlier run may still write, so nothing was started")
            return SILENT


def _drive(options: argparse.Namespace, arguments: list[str], folder: Path) -> int:
    """Start Snakemake as often as it takes."""
    watch = Options(options.forgotten_after, options.stuck_after, options.watch_every)
    cancel = options.orphans == "cancel"
    for restart in range(options.head_restarts + 1):
        tidy(folder, arguments, cancel=cancel, patience=options.patience)
        head = Head(arguments, watch)
        with _passing_on(head.process) as signals:
            code = head.wait()
        if code is not None:
            return _ended(code, head, folder, arguments, interrupted=bool(signals))
        left = options.head_restarts - restart
        _report(f"Snakemake has forgotten SLURM jobs {', '.join(head.forgotten)}; restarts left: {left}")
    return FORGETFUL


def tidy(folder: Path, arguments: list[str], *, cancel: bool, patience: float) -> None:
    """Make the folder ready for a new Snakemake: no job of an earlier one is left, and no lock.

    A run on this machine queries SLURM only about jobs that an earlier run has left, and only once.
    Raise SlurmSilentError when SLURM does not answer.
    """
    if executor(arguments, folder) == "slurm":
        if has_slurm():
            settle(folder, cancel_running=cancel, patience=patience)
    elif has_slurm() and recorded_jobs(folder):
        settle(folder, cancel_running=cancel, patience=0, seconds=LOCAL_SECONDS)
    if is_locked(folder):
        subprocess.run([*SNAKEMAKE, "--unlock", *arguments], check=False, capture_output=True)


def _ended(code: int, head: Head, folder: Path, arguments: Sequence[str], *, interrupted: bool) -> int:
    """Print what failed and translate Snakemake's exit code."""
    state = head.state
    if code == 0:
        for line in where_the_report_is(folder, arguments):
            print(line, flush=True)
        return DONE
    if interrupted or state.interrupted or code == -signal.SIGINT:
        _report(f"interrupted. {RESUME}")
        return INTERRUPTED
    if not state.errors and not state.started:
        if is_silent(arguments):
            _report("nothing could start; run the same command without `--quiet all` to see why")
        return NOT_STARTED
    errors = list(state.errors.values())
    print("\n" + screen(errors, folder, head.stuck, state.exception), file=sys.stderr, flush=True)
    return FAILED


def is_silent(arguments: Sequence[str]) -> bool:
    """Return whether Snakemake is told to print nothing at all, its own errors included."""
    places = [place for place, word in enumerate(arguments) if word in ("--quiet", "-q")]
    return any("all" in takewhile(lambda word: word[:1] != "-", arguments[place + 1 :]) for place in places)


def where_the_report_is(folder: Path, arguments: Sequence[str]) -> list[str]:
    """Return the lines after a run that has a report: its link, how to open it from elsewhere, what to do next."""
    name = run_name(arguments)
    report = folder / "results" / "runs" / name / "report.html"
    if not report.is_file():
        return []
    configs = [f"--config {shlex.quote(value)}" for value in values_of(arguments, *CONFIG_FILES)][-1:]
    return [
        "",
        f"The report:         {report.as_uri()}",
        f"From a login node:  scp {socket.gethostname()}:{shlex.quote(str(report))} .",
        f"Next:               d3 numbers {shlex.quote(str(report.with_name('numbers.json')))}",
        f"                    {' '.join(['d3 status', *configs])}",
    ]


@contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Pass SIGTERM and SIGHUP on to Snakemake, which lets running jobs end; yield the signals that came.

    Ctrl-C reaches Snakemake by itself, and it reports that as an event.
    """
    passed: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        passed.append(number)
        process.send_signal(number)

    names = (signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, pass_on) for name in names}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield passed
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _report(text: str) -> None:
    print(f"d3 run: {text}", file=sys.stderr, flush=True)
