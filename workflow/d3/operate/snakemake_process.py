"""Run Snakemake and write its log events as JSON lines: `python -P snakemake_process.py DESCRIPTOR ARGUMENTS`.

The driver (`d3.operate.run`) starts this file in place of `python -m snakemake` and reads the events at
the other end of the pipe, so that nobody has to understand text that is meant for the terminal. It
imports nothing of the package.
"""

import contextlib
import functools
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

INTERRUPTED, SUBMITTED, REFUSED = "interrupted", "submitted", "refused"
"""Events that are not Snakemake's: this process received SIGINT; the executor plugin submitted a job, or could not."""
REFUSED_SECONDS = 30.0
"""Time before a refused job is submitted again; it doubles with every attempt."""
FIELDS = ("jobid", "job_id", "jobs", "rule_name", "rule_msg", "output", "log", "aux", "exception")
"""Attributes of the records of `snakemake_interface_logger_plugins.common.LogEvent` that the driver reads."""


class EventWriter(logging.Handler):
    """Writes a record as one JSON object: its `event`, its `message` and those of `FIELDS` that it has."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(logging.INFO)
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        fields = {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        self.write(event=str(getattr(record, "event", None) or ""), message=str(record.msg), **fields)

    def write(self, **event: Any) -> None:
        """Write an event on a line of its own, even if a signal has cut off the line before it."""
        left = f"\n{json.dumps(event, default=str)}\n".encode()
        self.acquire()  # the executor plugin reports from threads
        try:
            self._write(left)
        finally:
            self.release()

    def _write(self, left: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the driver is gone, and the kernel is about to kill this process
            while left:
                left = left[os.write(self._descriptor, left) :]


def listen(executor: Any, writer: EventWriter, seconds: float = REFUSED_SECONDS) -> None:
    """Write what executors of a class report about submissions; report a refused job only after a while.

    Snakemake submits a job again as soon as it is told of its failure, which would use up all retries at once.
    """
    submitted, failed = executor.report_job_submission, executor.report_job_error

    def report_job_submission(self: Any, job_info: Any, *more: Any, **named: Any) -> None:
        run = getattr(self, "run_uuid", "")
        writer.write(event=SUBMITTED, jobid=job_info.job.jobid, slurm=job_info.external_jobid, run=run)
        submitted(self, job_info, *more, **named)

    def report_job_error(self: Any, job_info: Any, msg: str | None = None, **named: Any) -> None:
        job = job_info.job
        report = functools.partial(failed, self, job_info, msg=msg, **named)
        if job_info.external_jobid is not None:
            report()
            return
        writer.write(event=REFUSED, jobid=job.jobid)
        if job.attempt > job.restart_times:
            report()
            return
        wait = seconds * 2 ** (job.attempt - 1)
        reason = " ".join((msg or "").partition("sbatch call:")[0].split())
        print(f"d3 run: job {job.jobid} was not submitted; next attempt in {wait:.0f} s: {reason}", file=sys.stderr)
        timer = threading.Timer(wait, report)
        timer.daemon = True
        timer.start()

    executor.report_job_submission, executor.report_job_error = report_job_submission, report_job_error


def main(words: Sequence[str]) -> None:
    """Run Snakemake with the arguments that follow the descriptor; exit as Snakemake does."""
    descriptor, *arguments = words
    writer = EventWriter(int(descriptor))
    os.set_inheritable(writer._descriptor, False)  # no job of this machine holds the pipe open

    def interrupt(number: int, frame: FrameType | None) -> None:
        writer.write(event=INTERRUPTED)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    logging.getLogger("snakemake").addHandler(writer)  # Snakemake empties its own logger, `snakemake.logging`
    sys.argv = ["snakemake", *arguments]
    from snakemake.cli import main as run_snakemake
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    listen(RemoteExecutor, writer)
    run_snakemake(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
