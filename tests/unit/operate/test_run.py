"""The driver: what it reads from Snakemake's lines and from SLURM, and how it answers."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from d3.cluster import head, orphans, run
from d3.cluster.failures import read_failures, screen
from d3.cluster.head import Head, Options, Seen
from helpers.paths import ROOT

UUID = "2f021887-5961-490c-9325-3435ec137b8b"
Fake = Callable[[str, str], None]

FAILED = """\
Job 10 has been submitted with SLURM jobid 13 (log: /x/13.log).
Error in rule sft:
    message: SLURM-job '13' failed, SLURM status is: 'FAILED'.
    jobid: 10
    input: results/sft_data/a.parquet, results/midtrain/b/model
    output: results/sft/c/d3-62
    log: logs/sft/d3-62.log, logs/slurm/13.log (check log file(s) for error details)
    shell:

        d3-train sft 2>&1 | tee logs/sft/d3-62.log
        (command exited with non-zero exit code)
    external_jobid: 13
Logfile logs/sft/d3-62.log:
d3 sft: error: no row left to train on; raise sft.sequence_length
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Give a function that puts a program of SLURM on the PATH."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")

    def make(name: str, script: str) -> None:
        path = place / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    return make


def seen(text: str) -> Seen:
    found = Seen()
    for line in text.splitlines():
        found.read(line)
    return found


def test_submitted_jobs_are_waited_for_until_they_end() -> None:
    text = f"SLURM run ID: d3_{UUID}\nJob 1 has been submitted with SLURM jobid 70 (log: x).\n"
    text += "Job 2 has been submitted with SLURM jobid 71 (log: x).\nFinished jobid: 1 (Rule: grades)\n"
    found = seen(text)
    assert (found.run, found.jobs) == (f"d3_{UUID}", {"71": "2"})
    assert seen(FAILED).jobs == {}


def test_failures_are_read_and_explained(tmp_path: Path, fake: Fake) -> None:
    fake("squeue", "exit 1")
    fake("sacct", "exit 1")
    (tmp_path / "logs/sft").mkdir(parents=True)
    (tmp_path / "logs/sft/d3-62.log").write_text("d3 sft: error: no row left to train on; raise it\n")
    failures = read_failures(FAILED.splitlines())
    assert [(failure.rule, failure.slurm, failure.output) for failure in failures] == [
        ("sft", "13", "results/sft/c/d3-62")
    ]
    text = screen(failures, tmp_path, {})
    assert "why    no row left to train on" in text
    assert len(text.splitlines()) < 40


def test_a_job_that_was_started_again_has_not_failed() -> None:
    assert read_failures((FAILED + "Trying to restart job 10.\n").splitlines()) == []


@pytest.mark.parametrize(
    ("log", "state", "expected"),
    [
        ("slurmstepd: error: *** JOB 13 CANCELLED AT 2026 DUE TO TIME LIMIT ***", "TIMEOUT", "raise `runtime`"),
        ("slurmstepd: error: Exceeded job memory limit", "FAILED", "raise `mem_mb`"),
        ("OSError: [Errno 28] No space left on device", "FAILED", "make room"),
        ("", "CANCELLED by 0", "somebody cancelled"),
        ("", "NODE_FAIL", "SLURM takes another node"),
    ],
)
def test_every_usual_failure_has_its_remedy(tmp_path: Path, fake: Fake, log: str, state: str, expected: str) -> None:
    fake("squeue", f"echo '{state}|n1'")
    (tmp_path / "logs/slurm").mkdir(parents=True)
    (tmp_path / "logs/slurm/13.log").write_text(log + "\n")
    assert expected in screen(read_failures(FAILED.splitlines()), tmp_path, {})


def test_jobs_of_the_folder_are_found_by_their_names(tmp_path: Path, fake: Fake) -> None:
    lines = [
        f"70|d3_{UUID}|RUNNING|rule_grades|{tmp_path}",
        f"71|{UUID}|PENDING|rule_corpus|{tmp_path}",
        f"72|d3_{UUID}|RUNNING|rule_grades|/elsewhere",
        f"73|interactive|RUNNING||{tmp_path}",
    ]
    fake("squeue", "cat <<'END'\n" + "\n".join(lines) + "\nEND")
    assert [(job.id, job.waits) for job in orphans.living_jobs(tmp_path)] == [("70", False), ("71", True)]


def test_waiting_jobs_are_cancelled_and_running_ones_waited_for(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "POLL_SECONDS", 0.01)
    asked = tmp_path / "asked"
    running, waiting = f"70|d3_{UUID}|RUNNING|a|{tmp_path}", f"71|d3_{UUID}|PENDING|b|{tmp_path}"
    fake("squeue", f"echo x >> {asked}; [ $(wc -l < {asked}) -gt 2 ] || printf '{running}\\n{waiting}\\n'")
    fake("scancel", f'echo "$@" >> {tmp_path}/cancelled')
    orphans.settle(tmp_path, cancel=False, patience=1)
    assert (tmp_path / "cancelled").read_text() == "71\n"
    assert asked.read_text().count("x") == 3


def test_silence_of_slurm_is_an_error_of_its_own(tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "POLL_SECONDS", 0.01)
    fake("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(orphans.SlurmSilentError, match="Unable to contact"):
        orphans.settle(tmp_path, cancel=False, patience=0.05)


def watched(fake: Fake, state: str, reason: str = "None") -> Head:
    fake("squeue", f"echo '70|{state}|{reason}'")
    fake("scancel", "true")
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    watching = Head(command, Options(forgotten=0.0, stuck=0.0, every=0.1))
    watching.seen.run, watching.seen.jobs = f"d3_{UUID}", {"70": "1"}
    return watching


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED", "FAILED"])
def test_a_head_that_waits_for_an_ended_job_is_killed(fake: Fake, state: str) -> None:
    watching = watched(fake, state)
    assert watching.wait() is None
    assert watching.forgotten == ["70"]
    assert watching.process.poll() is not None


def test_a_running_job_is_left_alone(fake: Fake) -> None:
    watching = watched(fake, "RUNNING")
    watching.watch(1.0)
    watching.watch(1000.0)
    assert watching.forgotten == []
    watching.process.kill()
    assert watching.wait() == -9


def test_a_job_that_can_never_start_is_cancelled(fake: Fake) -> None:
    watching = watched(fake, "PENDING", "PartitionTimeLimit")
    watching.watch(1.0)
    assert watching.seen.stuck == {"70": "PartitionTimeLimit"}
    assert watching.forgotten == []
    watching.process.kill()
    watching.wait()


def test_a_job_that_waits_for_its_turn_is_not(fake: Fake) -> None:
    watching = watched(fake, "PENDING", "Priority")
    watching.watch(1.0)
    assert watching.seen.stuck == {}
    watching.process.kill()
    watching.wait()


def driver(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "d3", "run", *words, "--directory", str(folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
        check=False,
        timeout=120,
    )


def test_what_cannot_start_is_exit_code_2(tmp_path: Path, fake: Fake) -> None:
    fake("squeue", "true")
    done = driver(tmp_path, "--configfile", str(tmp_path / "missing.yaml"))
    assert done.returncode == run.NOT_STARTED, done.stderr


def test_two_heads_in_one_folder_are_refused(tmp_path: Path, fake: Fake) -> None:
    fake("squeue", "true")
    with run._alone(tmp_path.resolve()) as other:
        assert not other
        done = driver(tmp_path)
    assert done.returncode == run.OTHER_HEAD
    assert f"process {os.getpid()}" in done.stderr


def test_profiles_are_named_by_their_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    words = run.snakemake(["--profile", "site", "-d", "elsewhere"])
    assert str(tmp_path / "site") in words
    assert words[1:5] == ["-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile")]
    assert run.working_folder(["--profile", "x", "-d", "elsewhere"]) == tmp_path / "elsewhere"


def test_the_watchdog_is_more_patient_than_the_plugin() -> None:
    assert Options().forgotten > 180 + 300
    assert Options().stuck > head.WATCH_SECONDS
