"""What a running Snakemake reports: the events that `snakemake_process` writes, put together."""

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from d3.operate.snakemake_process import INTERRUPTED, REFUSED, SUBMITTED


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
    refused: bool
    """Whether the job could not be submitted."""


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
    refused: set[str] = field(default_factory=set)
    """Snakemake's number of every job that could not be submitted."""
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
            case event_name if event_name == REFUSED:
                self.refused.add(str(event["jobid"]))
            case event_name if event_name == SUBMITTED:
                self.run = event["run"]
                self.submitted[str(event["slurm"])] = str(event["jobid"])
                self.refused.discard(str(event["jobid"]))

    def _job_error(self, event: dict[str, Any]) -> None:
        job, message = str(event["jobid"]), event["rule_msg"] or ""
        slurm = str(event["aux"].get("external_jobid") or "")
        output = (event["output"] or [""])[0]
        logs, refused = tuple(event["log"] or ()), job in self.refused
        self.errors[job] = JobError(event["rule_name"], job, slurm, message, output, logs, refused)
        self._no_longer_submitted(job)

    def _no_longer_submitted(self, job: str) -> None:
        self.submitted = {slurm: own for slurm, own in self.submitted.items() if own != job}
