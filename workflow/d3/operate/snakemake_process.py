"""Run Snakemake and write its log events as JSON lines: `python -P snakemake_process.py DESCRIPTOR ARGUMENTS`.

The driver (`d3.operate.run`) starts this file in place of `python -m snakemake` and reads the events at
the other end of the pipe, so that nobody has to understand text that is meant for the terminal. It
imports nothing of the package.
"""

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

INTERRUPTED = "interrupted"
"""The one event that is not Snakemake's: this process received SIGINT."""
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
        with contextlib.suppress(BrokenPipeError):  # the driver is gone, and the kernel is about to kill this process
            while left:
                left = left[os.write(self._descriptor, left) :]


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

    run_snakemake(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
