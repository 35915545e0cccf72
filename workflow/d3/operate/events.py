"""What a running Snakemake reports: the events that `snakemake_process` writes, put together."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from d3.operate.snakemake_process import INTERRUPTED

RUN_ID = re.compile(r"SLURM run ID: (\S+)")
SUBMITTED = re.compile(r"Job (\d+) has been submitted with SLURM jobid (\d+)")
"""Two messages of the executor plugin; neither has an event of its own."""


class JobError(NamedTuple):
    """A job that failed and was not started again."""

    rule: str
    job: str
    """Snakemake's number."""
    slurm: str
    """SLURM's number; empty for a job on this machine and for one that SLURM refused."""
    message: str
    output: str
    logs: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether the job could not be submitted."""
        return not self.slurm and bool(re.search(r"sbatch failed|submission failed", self.message))


@dataclass
class RunState:
    """What is known of a Snakemake from its events."""

    run: str = ""
    """ID of the run, which is the name of its jobs in SLURM."""
    started: bool = False
    """Whether a job was started."""
    interrupted: bool = False
    submitted: dict[str, str] = field(default_factory=dict)
    """SLURM's number of every job that Snakemake waits for -> Snakemake's own."""
    errors: dict[str, JobError] = field(default_factory=dict)
    """Snakemake's number of every job that failed -> its error; a job that is started again is taken off."""
    exception: str = ""
    """The last exception that Snakemake reported."""

    def read(self, line: str) -> None:
        """Take in one event; a line that a signal has cut off is skipped."""
        try:
            event = json.loads(line)
        except ValueError:
            return
        match event["event"]:
            case "job_started":
                self.started = True
                for job in event["jobs"]:
                    self.errors.pop(str(job), None)
            case "job_finished":
                self._no_longer_submitted(str(event["job_id"]))
            case "job_error":
                self._job_error(event)
            case "error":
                self.exception = event["message"]
            case event_name if event_name == INTERRUPTED:
                self.interrupted = True
            case "":  # a message without an event
                self._message(event["message"])

    def _job_error(self, event: dict[str, Any]) -> None:
        job, message = str(event["jobid"]), event["rule_msg"] or ""
        slurm = str(event["aux"].get("external_jobid") or "")
        output = (event["output"] or [""])[0]
        self.errors[job] = JobError(event["rule_name"], job, slurm, message, output, tuple(event["log"] or ()))
        self._no_longer_submitted(job)

    def _message(self, message: str) -> None:
        if found := RUN_ID.search(message):
            self.run = found[1]
        elif found := SUBMITTED.match(message):
            self.submitted[found[2]] = found[1]

    def _no_longer_submitted(self, job: str) -> None:
        self.submitted = {slurm: own for slurm, own in self.submitted.items() if own != job}
