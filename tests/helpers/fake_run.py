"""Made-up runs: statements, logs and attempts of jobs that never ran, for what only looks at them."""

import json
import time
from typing import Any

from d3.attempts import attempts_path, moment
from d3.chain import Chain
from d3.cluster.jobs import Work, jobs
from d3.statement import settings_digest


def works_of(chain: Chain) -> dict[tuple[str, str], Work]:
    """Give all jobs by (stage, name)."""
    return {(work.stage, work.name): work for work in jobs(chain)}


def finish(work: Work, *, read: int = 10, rows: int = 8, seconds: float = 4.0, ended: float | None = None) -> None:
    """Leave the statement of a job; it kept what it wrote."""
    ended = time.time() if ended is None else ended
    subject = {"name": str(work.output), "digest": {"sha256": "0" * 64}, "annotations": {"rows": rows, "bytes": 1000}}
    statement: dict[str, Any] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject],
        "predicate": {
            "buildDefinition": {
                "externalParameters": {"stage": work.stage, "config": settings_digest({}), "prompts": {}},
                "internalParameters": {"shared": {"config": {}}},
            },
            "runDetails": {
                "metadata": {"startedOn": moment(ended - seconds), "finishedOn": moment(ended)},
                "byproducts": [{"name": "rows", "content": {"read": read, "kept": rows, "dropped": {}}}],
            },
        },
    }
    work.statement.parent.mkdir(parents=True, exist_ok=True)
    work.statement.write_text(json.dumps(statement))


def attempted(work: Work, *errors: str | None) -> None:
    """Leave an attempt for each error; None stands for one that was killed, the empty text for one that ended well."""
    path = attempts_path(work.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for error in errors:
            place = {"host": "far", "pid": 1, "slurm": None}
            file.write(json.dumps({"event": "start", "time": moment(time.time()), **place}) + "\n")
            if error is not None:
                end = {"event": "end", "time": moment(time.time()), "status": "failed" if error else "ok"}
                file.write(json.dumps(end | ({"error": error} if error else {})) + "\n")


def write_log(work: Work, *lines: str) -> None:
    """Leave a job's log."""
    work.log.parent.mkdir(parents=True, exist_ok=True)
    work.log.write_text("".join(f"{line}\n" for line in lines))
