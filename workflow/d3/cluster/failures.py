"""Why jobs failed, on one screen: the reason, the end of the log, and what to do."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from d3.cluster.logs import reason_of, tail
from d3.cluster.orphans import SlurmSilentError, has_slurm, slurm
from d3.cluster.queue import FAILED

SHOWN = 4
"""Jobs that are shown in full."""
TAIL_LINES = 8
FIELD = re.compile(r"^ {4}(message|jobid|output|log|external_jobid): (.*)")
RESTARTED = re.compile(r"Trying to restart job (\d+)")

REMEDIES = (
    (
        r"can never start|configuration is not available|can not be satisfied|Invalid",
        "fit rule {rule} to a partition: resources in the profile, partitions.yaml",
    ),
    (r"DUE TO TIME LIMIT|\bTIMEOUT\b|over its time limit", "raise `runtime` of rule {rule}; the next run goes on"),
    (
        r"Exceeded job memory limit|oom.kill|OUT_OF_MEMORY|Out Of Memory",
        "raise `mem_mb` of rule {rule} in the profile (`retries` doubles it by itself)",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError",
        "give rule {rule} more GPUs, or lower the batch or max_length in the configuration",
    ),
    (r"No space left on device|Disk quota exceeded", "make room (or set TMPDIR to a larger disk), then start again"),
    (r"NODE_FAIL|its node failed", "start again; SLURM takes another node"),
    (r"CANCELLED|\bcancelled\b", "somebody cancelled the job; start again"),
    (
        r"\.sif\b.*(?:no such|not exist)|could not open image|unknown image format|squashfs",
        "build the image again: `make images-check`, `make images`",
    ),
    (r"MissingOutputException|missing after", "raise `latency-wait` in the profile: the file system shows files late"),
)
"""What a reason looks like, and what helps. The first that fits is shown; our own errors carry their remedy."""


class Failure(NamedTuple):
    """One job that failed and was not started again."""

    rule: str
    job: str
    """Snakemake's number."""
    slurm: str
    """SLURM's number, or empty."""
    message: str
    output: str
    logs: tuple[str, ...]


def read_failures(lines: Sequence[str]) -> list[Failure]:
    """Find the jobs that failed for good in the lines of a Snakemake."""
    failures: dict[str, Failure] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if found := RESTARTED.search(line):
            failures.pop(found[1], None)
        if not line.startswith("Error in "):
            continue
        fields: dict[str, str] = {}
        while at < len(lines) and (not lines[at] or lines[at].startswith(" ")):
            if got := FIELD.match(lines[at]):
                fields[got[1]] = got[2]
            at += 1
        rule = line.removeprefix("Error in ").removeprefix("group ").removeprefix("rule ").rstrip(":").split(",")[0]
        logs = re.sub(r"\(check log file.*", "", fields.get("log", "")).split(", ")
        if "jobid" not in fields:
            continue
        named = re.search(r"SLURM-job '(\d+)'", fields.get("message", ""))
        failures[fields["jobid"]] = Failure(
            rule,
            fields["jobid"],
            fields.get("external_jobid") or (named[1] if named else ""),
            fields.get("message", ""),
            fields.get("output", "").split(", ")[0],
            tuple(log.strip() for log in logs if log.strip()),
        )
    return list(failures.values())


def slurm_says(job: str) -> tuple[str, str]:
    """Give state and node of an ended job, from squeue while it remembers, then from the accounting."""
    if not job or not has_slurm():
        return "", ""
    for words in (
        ("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T|%N"),
        ("sacct", "-X", "--noheader", "--parsable2", f"--jobs={job}", "--format=State,NodeList"),
    ):
        try:
            lines = slurm(*words).splitlines()
        except SlurmSilentError:
            continue
        if lines:
            state, _, node = lines[0].partition("|")
            return state.split()[0] if state else "", node
    return "", ""


def explain(failure: Failure, folder: Path, stuck: dict[str, str]) -> list[str]:
    """Give the lines about one failure."""
    state, node = slurm_says(failure.slurm)
    texts = [tail(folder / log) for log in failure.logs]
    own = texts[0] if texts else []
    message = failure.message if failure.message != "None" else ""
    everything = "\n".join([message, state, *(line for text in texts for line in text)])
    reasons = []
    if failure.slurm in stuck:
        reasons.append(f"SLURM can never start it: {stuck[failure.slurm]} (can never start)")
    if state in FAILED and state not in ("FAILED",):
        reasons.append(f"{FAILED[state]} ({state})")
    found = re.search(r"Exceeded job memory limit|DUE TO TIME LIMIT|No space left on device", everything)
    if found and not reasons:
        reasons.append(found[0].lower())
    if said := reason_of(own):
        reasons.append(said)
    elif not reasons and "sbatch failed" in message:
        reasons.append(message)
    elif not reasons:
        reasons.append(next((line for text in texts[1:] if (line := reason_of(text))), "no reason found in the logs"))
    why = "; ".join(dict.fromkeys(reasons))
    place = f" (SLURM job {failure.slurm}{', node ' + node if node else ''})" if failure.slurm else ""
    lines = [f"{failure.rule}{place}: {failure.output}", f"  why    {why}"]
    for pattern, remedy in REMEDIES:
        if re.search(pattern, f"{why}\n{state}\n{message}\n" + everything[-3000:], re.IGNORECASE):
            lines.append(f"  remedy {remedy.format(rule=failure.rule)}")
            break
    if failure.logs:
        lines.append(f"  log    {failure.logs[0]}")
        lines += [f"    | {line[:160]}" for line in own[-TAIL_LINES:]]
    return lines


def screen(failures: Sequence[Failure], folder: Path, stuck: dict[str, str]) -> str:
    """Give the text about all failures; it fits a screen."""
    rules: dict[str, int] = {}
    for failure in failures:
        rules[failure.rule] = rules.get(failure.rule, 0) + 1
    counts = ", ".join(f"{count} x {rule}" for rule, count in rules.items())
    lines = [f"d3 run: {len(failures)} job{'s' * (len(failures) != 1)} failed: {counts}"]
    for failure in failures[:SHOWN]:
        lines += ["", *explain(failure, folder, stuck)]
    if len(failures) > SHOWN:
        lines += ["", f"and {len(failures) - SHOWN} more; `python -m d3 status` lists them"]
    lines += ["", "What is finished stays; the same command goes on."]
    return "\n".join(lines)
