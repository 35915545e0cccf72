"""The driver: what it reads from Snakemake's lines and from SLURM, and how it answers."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from d3.core.paths import SNAKEFILE
from d3.core.processes import start_time
from d3.errors import ConfigError
from d3.operate import orphans, run, watchdog
from d3.operate.events import RunState
from d3.operate.failures import screen
from d3.operate.run_lock import LOCK, run_lock
from d3.operate.slurm import SlurmSilentError
from d3.operate.snakemake_arguments import complete, executor, run_name, runs_nothing, working_folder
from d3.operate.snakemake_process import EventWriter, listen
from d3.operate.watchdog import Head, Options
from helpers.crash_drill import kill_tree
from helpers.paths import ROOT

UUID = "2f021887-5961-490c-9325-3435ec137b8b"
Fake = Callable[[str, str], None]

LOG = "logs/sft/d3-62.log"


def job_error(*, slurm: str = "13", message: str = "SLURM-job '13' failed, SLURM status is: 'FAILED'.") -> str:
    """Return the event of a job that failed."""
    event = {"event": "job_error", "message": "", "jobid": 10, "rule_name": "sft", "rule_msg": message}
    event |= {"output": ["results/sft/c/d3-62"], "log": [LOG, "logs/slurm/13.log"]}
    return json.dumps(event | {"aux": {"external_jobid": slurm} if slurm else {}})


def event(kind: str = "", message: str = "", **fields: object) -> str:
    return json.dumps({"event": kind, "message": message, **fields})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return a function that puts a program of SLURM on the PATH."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")

    def make(name: str, script: str) -> None:
        path = place / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    return make


def state_of(*events: str) -> RunState:
    state = RunState()
    for line in events:
        state.read(line)
    return state


def submitted(job: int, slurm: str) -> str:
    return event("submitted", jobid=job, slurm=slurm, run=f"d3_{UUID}")


SUBMITTED = submitted(10, "13")


def test_submitted_jobs_are_waited_for_until_they_end() -> None:
    state = state_of(
        submitted(1, "70"),
        submitted(2, "71"),
        event("job_finished", job_id=1),
        '{"event": "job_fin',  # cut off by a signal
    )
    assert (state.run, state.submitted) == (f"d3_{UUID}", {"71": "2"})
    assert state_of(SUBMITTED).submitted == {"13": "10"}
    assert state_of(SUBMITTED, job_error()).submitted == {}


def test_failed_jobs_are_explained(tmp_path: Path, fake: Fake) -> None:
    fake("squeue", "exit 1")
    fake("sacct", "exit 1")
    (tmp_path / "logs/sft").mkdir(parents=True)
    (tmp_path / LOG).write_text("d3 sft: error: no row left to train on; raise it\n")
    errors = list(state_of(SUBMITTED, job_error()).errors.values())
    assert [(error.rule, error.slurm, error.output) for error in errors] == [("sft", "13", "results/sft/c/d3-62")]
    text = screen(errors, tmp_path, {})
    assert "why    no row left to train on" in text
    assert len(text.splitlines()) < 40


def test_a_job_that_was_started_again_has_not_failed() -> None:
    assert not state_of(job_error(), event("job_started", jobs=[10])).errors


LIMIT = """\
sbatch: error: QOSMaxSubmitJobPerUserLimit
sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, size, time)"""
MEMORY = "sbatch: error: Batch job submission failed: Memory specification can not be satisfied"


@pytest.mark.parametrize(
    ("reason", "remedy"), [(LIMIT, "set `jobs:` in the profile below the site's limit"), (MEMORY, "fit rule sft to a")]
)
def test_a_refused_job_is_explained_by_the_refusal(tmp_path: Path, reason: str, remedy: str) -> None:
    (tmp_path / "logs/sft").mkdir(parents=True)
    (tmp_path / LOG).write_text("d3 sft: error: of an earlier attempt\n")
    message = f"SLURM sbatch failed. The error message was '{reason}'.\n    sbatch call:\n        sbatch --mem 1"
    text = screen(
        list(state_of(event("refused", jobid=10), job_error(slurm="", message=message)).errors.values()), tmp_path, {}
    )
    assert " ".join(reason.split()) in text
    assert remedy in text
    assert "sbatch --mem" not in text
    assert "earlier attempt" not in text


class Job:
    jobid, restart_times = 10, 2

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt


class Submission(NamedTuple):
    job: Job
    external_jobid: str | None


def test_a_refused_job_is_submitted_again_only_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    reported: list[tuple[int, float]] = []

    class Executor:
        run_uuid = f"d3_{UUID}"

        def report_job_submission(self, job_info: Submission) -> None:
            reported.append((0, 0.0))

        def report_job_error(self, job_info: Submission, msg: str) -> None:
            reported.append((job_info.job.attempt, time.monotonic() - began))

    reads, writes = os.pipe()
    listen(Executor, EventWriter(writes), seconds=0.2)
    began = time.monotonic()
    executor = Executor()
    for attempt in (1, 2, 3):  # the third is the last one
        executor.report_job_error(Submission(Job(attempt), None), msg="refused\n  sbatch call: x")
    assert [attempt for attempt, _ in reported] == [3]
    while len(reported) < 3:
        time.sleep(0.01)
    assert [attempt for attempt, _ in reported] == [3, 1, 2]
    assert reported[1][1] >= 0.2
    assert reported[2][1] >= 0.4
    assert "job 10 was not submitted; next attempt in 0 s: refused\n" in capsys.readouterr().err
    executor.report_job_submission(Submission(Job(1), "70"))
    executor.report_job_error(Submission(Job(1), "70"), msg="failed")
    assert len(reported) == 5
    os.close(writes)
    with os.fdopen(reads) as lines:
        state = state_of(*lines)
    assert (state.run, state.submitted, state.refused) == (f"d3_{UUID}", {"70": "10"}, set())


def test_an_exception_outside_of_jobs_is_shown(tmp_path: Path) -> None:
    state = state_of(event("error", "WorkflowError:\nno such account", exception="WorkflowError"))
    assert "Snakemake stopped: WorkflowError: no such account" in screen([], tmp_path, {}, state.exception)


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
    assert expected in screen(list(state_of(job_error()).errors.values()), tmp_path, {})


def queued(number: int, folder: Path | str, state: str, name: str = f"d3_{UUID}") -> str:
    """Return a line of squeue."""
    return f"{number}|{name}|{state}|0:10|n1|None|{folder}|rule_grades"


def test_jobs_of_the_folder_are_found_by_their_names(tmp_path: Path, fake: Fake) -> None:
    lines = [
        queued(70, tmp_path, "RUNNING"),
        queued(71, tmp_path, "PENDING", UUID),
        queued(72, "/another", "RUNNING"),
        queued(73, tmp_path, "RUNNING", "interactive"),
        queued(74, tmp_path, "COMPLETED"),
    ]
    fake("squeue", "cat <<'END'\n" + "\n".join(lines) + "\nEND")
    assert [(job.id, job.waits) for job in orphans.living_jobs(tmp_path)] == [("70", False), ("71", True)]


def test_waiting_jobs_are_cancelled_and_running_ones_waited_for(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "POLL_SECONDS", 0.01)
    asked = tmp_path / "asked"
    lines = f"{queued(70, tmp_path, 'RUNNING')}\\n{queued(71, tmp_path, 'PENDING')}\\n"
    fake("squeue", f"echo x >> {asked}; [ $(wc -l < {asked}) -gt 2 ] || printf '{lines}'")
    fake("scancel", f'echo "$@" >> {tmp_path}/cancelled')
    orphans.settle(tmp_path, cancel_running=False, patience=1)
    assert (tmp_path / "cancelled").read_text() == "71\n"
    assert asked.read_text().count("x") == 3


def test_silence_of_slurm_is_an_error_of_its_own(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(orphans, "POLL_SECONDS", 0.01)
    fake("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmSilentError, match="Unable to contact"):
        orphans.settle(tmp_path, cancel_running=False, patience=0.05)
    assert capsys.readouterr().err.count("trying again") == 1


def watched(fake: Fake, state: str, reason: str = "None") -> Head:
    fake("squeue", f"echo '70|{state}|{reason}'")
    fake("scancel", "true")
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    watching = Head([], Options(forgotten=0.0, stuck=0.0, every=0.1), program)
    watching.state.run, watching.state.submitted = f"d3_{UUID}", {"70": "1"}
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
    assert watching.stuck == {"70": "PartitionTimeLimit"}
    assert watching.forgotten == []
    watching.process.kill()
    watching.wait()


def test_a_job_that_waits_for_its_turn_is_not(fake: Fake) -> None:
    watching = watched(fake, "PENDING", "Priority")
    watching.watch(1.0)
    assert watching.stuck == {}
    watching.process.kill()
    watching.wait()


# --- the driver with a real Snakemake and a workflow of one job ------------------------------------------------------

WORKFLOW = """\
rule all:
    input: "a.txt"
rule a:
    output: "a.txt"
    log: "logs/a.log"
    shell: "{command}"
"""


def write_workflow(folder: Path, command: str) -> list[str]:
    """Write a workflow of one job; return the arguments that name it."""
    (folder / "Snakefile").write_text(WORKFLOW.format(command=command))
    (folder / "run").mkdir()
    return ["--snakefile", str(folder / "Snakefile"), "--directory", str(folder / "run"), "--cores", "1"]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "d3", "run", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
        start_new_session=True,
    )


def driver(*words: str) -> tuple[int, str]:
    """Run the driver to its end; return its exit code and what it printed."""
    process = start(*words)
    try:
        said = process.communicate(timeout=120)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.05)


@pytest.mark.snakemake
def test_what_cannot_start_is_exit_code_2(tmp_path: Path, fake: Fake) -> None:
    fake("squeue", "true")
    code, said = driver("--configfile", str(tmp_path / "missing.yaml"), "--directory", str(tmp_path))
    assert code == run.NOT_STARTED, said
    assert said.startswith(f"d3 run: error: {tmp_path}/missing.yaml: no such file; ")


@pytest.mark.snakemake
def test_a_failed_job_is_exit_code_1_with_a_screen(tmp_path: Path) -> None:
    code, said = driver(*write_workflow(tmp_path, "echo 'd3 a: error: broken; mend it' > {log}; false"))
    assert code == run.FAILED, said
    assert "d3 run: 1 job failed: 1 x a" in said
    assert "why    broken; mend it" in said


@pytest.mark.snakemake
def test_a_refused_submission_is_exit_code_1_with_the_remedy(tmp_path: Path, fake: Fake) -> None:
    for name in ("squeue", "sacct", "sinfo", "scontrol", "sacctmgr", "sshare", "scancel"):
        fake(name, "true")
    fake("sbatch", f"echo '{LIMIT}' >&2; exit 1")
    words = write_workflow(tmp_path, "touch {output}")[:4]
    slurm = ["--executor", "slurm", "--jobs", "2", "--default-resources", "slurm_account=x", "slurm_partition=y"]
    code, said = driver(*words, *slurm, "runtime=1", "mem_mb=1", "--slurm-init-seconds-before-status-checks", "1")
    assert code == run.FAILED, said
    assert "set `jobs:` in the profile below the site's limit" in said
    assert "QOSMaxSubmitJobPerUserLimit" in said.partition("d3 run: 1 job failed")[2]


@pytest.mark.snakemake
def test_ctrl_c_is_an_interruption_and_no_failure(tmp_path: Path) -> None:
    process = start(*write_workflow(tmp_path, "touch begun; sleep 60"))
    wait_for(tmp_path / "run" / "begun")
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == run.INTERRUPTED, said
    assert "d3 run: interrupted" in said
    assert "failed:" not in said


@pytest.mark.snakemake
def test_the_same_command_resumes_after_the_whole_tree_was_killed(tmp_path: Path) -> None:
    words = write_workflow(tmp_path, "if [ ! -e begun ]; then touch begun; sleep 60; fi; touch {output}")
    process = start(*words, "--", "all")
    wait_for(tmp_path / "run" / "begun")
    kill_tree(process)
    assert any((tmp_path / "run" / ".snakemake" / "locks").iterdir())
    code, said = driver(*words, "--", "all")
    assert code == run.DONE, said
    assert (tmp_path / "run" / "a.txt").exists()


def test_the_demo_is_started_by_what_resumes() -> None:
    lines = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ".venv/bin/d3 run --configfile config/demo.yaml --quiet all\n" in lines
    assert "snakemake" not in lines


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with run_lock(tmp_path.resolve()) as other:
        assert not other
        code, said = driver("--directory", str(tmp_path))
    assert code == run.OTHER_HEAD
    assert f"process {os.getpid()}" in said


@pytest.mark.snakemake
def test_a_dry_run_is_never_refused(tmp_path: Path) -> None:
    words = write_workflow(tmp_path, "touch {output}")
    with run_lock(tmp_path / "run"):
        assert driver(*words, "-np")[0] == run.DONE
    assert not (tmp_path / "run" / "a.txt").exists()


@pytest.mark.snakemake
def test_a_process_with_snakemake_among_its_words_does_no_harm(tmp_path: Path) -> None:
    words = write_workflow(tmp_path, "touch {output}")
    folder = tmp_path / "run"
    (folder / ".snakemake" / "locks").mkdir(parents=True)
    (folder / ".snakemake" / "locks" / "0.input.lock").touch()
    reader = [sys.executable, "-c", "import time; time.sleep(60)", "snakemake"]
    with subprocess.Popen(reader, cwd=folder) as process:
        try:
            code, said = driver(*words)
        finally:
            process.kill()
    assert code == run.DONE, said
    assert (folder / "a.txt").exists()


@pytest.mark.snakemake
def test_a_plain_snakemake_in_the_folder_is_seen(tmp_path: Path) -> None:
    words = write_workflow(tmp_path, "touch begun; sleep 60")
    command = [sys.executable, "-m", "snakemake", *words]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            wait_for(tmp_path / "run" / "begun")
            code, said = driver(*words)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert code == run.OTHER_HEAD
    assert f"Snakemake, process {process.pid}" in said


@pytest.mark.parametrize(
    ("host", "started", "taken_over", "expected"),
    [
        (socket.gethostname(), start_time(os.getpid()), False, "process"),
        (socket.gethostname(), 1, False, ""),
        ("another", 1, False, "add --take-over"),
        ("another", 1, True, ""),
    ],
)
def test_the_record_decides_where_no_lock_can(
    tmp_path: Path, host: str, started: int, taken_over: bool, expected: str
) -> None:
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / LOCK).write_text(json.dumps([host, os.getpid(), started]))
    with run_lock(tmp_path, take_over=taken_over) as other:
        assert expected in other
        assert bool(expected) == bool(other)


@pytest.mark.snakemake
def test_a_local_run_does_not_wait_for_a_slurm_that_is_down(tmp_path: Path, fake: Fake) -> None:
    fake("squeue", f"touch {tmp_path}/asked; sleep 60")
    words = write_workflow(tmp_path, "touch {output}")
    assert driver(*words)[0] == run.DONE
    assert not (tmp_path / "asked").exists()


def test_a_local_run_looks_for_the_slurm_jobs_that_an_earlier_one_has_left(tmp_path: Path, fake: Fake) -> None:
    fake("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    words = write_workflow(tmp_path, "touch {output}")
    mark = tmp_path / "run" / ".snakemake" / "incomplete" / "YS50eHQ="
    mark.parent.mkdir(parents=True)
    mark.write_text('{"external_jobid": "70"}')
    code, said = driver(*words)
    assert code == run.SILENT
    assert "Unable to contact slurm controller" in said
    mark.write_text('{"external_jobid": null}')
    assert not orphans.recorded_jobs(tmp_path / "run")


def test_the_executor_comes_from_the_arguments_or_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    assert executor([], tmp_path) == "local"
    assert executor(["--profile", str(ROOT / "profiles" / "slurm")], tmp_path) == "slurm"
    assert executor([f"--profile={ROOT / 'profiles' / 'slurm'}", "-e", "local"], tmp_path) == "local"
    monkeypatch.setenv("SNAKEMAKE_PROFILE", str(ROOT / "profiles" / "slurm"))
    assert executor([], tmp_path) == "slurm"


@pytest.mark.parametrize(("word", "expected"), [("-n", True), ("-np", True), ("-pn", True), ("-dnone", False)])
def test_dry_runs_are_known(word: str, expected: bool) -> None:
    assert runs_nothing(["dataset", word]) == expected


ELSEWHERE = ["--snakefile", str(SNAKEFILE), "--workflow-profile", str(ROOT / "profiles" / "default")]
"""What comes first in a folder without profiles."""


def test_another_folder_has_the_default_profile_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert complete(["-n"]) == [*ELSEWHERE, "-n"]
    assert complete(["--workflow-profile", "none", "-n"]) == [*ELSEWHERE[:2], "--workflow-profile", "none", "-n"]
    assert complete(["--snakefile", "mine", "-n"]) == ["--snakefile", "mine", "-n"]
    (tmp_path / "profiles" / "default").mkdir(parents=True)
    assert complete(["-n"]) == [*ELSEWHERE[:2], "-n"]
    assert executor([*ELSEWHERE, "--profile", str(ROOT / "profiles" / "slurm")], tmp_path) == "slurm"


def test_profiles_are_named_by_their_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    words = complete(["--profile", "site", "-d", "other"])
    assert words == [*ELSEWHERE, "--profile", str(tmp_path / "site"), "-d", "other"]
    assert working_folder(["--profile", "x", "-d", "other"]) == tmp_path / "other"
    assert working_folder([]) == tmp_path


def test_a_configuration_is_named_as_for_every_other_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d3.yaml").write_text("run: mine\n")
    front = ELSEWHERE
    assert complete(["--config", "d3.yaml", "-n"]) == [*front, "--configfile", "d3.yaml", "-n"]
    assert complete(["--config=d3.yaml"]) == [*front, "--configfile=d3.yaml"]
    for same in (["--config", "run=mine", "seed=2"], ["--config=run=mine"], ["--configfile", "d3.yaml"]):
        assert complete(same) == [*front, *same]
    for wrong in (["--config", "no.yaml"], ["--config"], ["--config=no.yaml"], ["--configfile", "no.yaml"]):
        with pytest.raises(ConfigError, match="no such file; name a configuration"):
            complete(wrong)


def test_the_watchdog_is_more_patient_than_the_plugin() -> None:
    assert Options().forgotten > 180 + 300
    assert Options().stuck > watchdog.WATCH_SECONDS


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "d3"),
        (["--configfile", "mine.yaml"], "mine"),
        (["--configfile=mine.yaml", "--config", "run=other", "seed=2"], "other"),
        (["--configfile", "broken.yaml"], "d3"),
        (["--configfile", "none.yaml"], "d3"),
    ],
)
def test_the_run_that_arguments_name(
    words: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("run: mine\n")
    Path("broken.yaml").write_text("run: [\n")
    assert run_name(words) == name


def test_a_run_ends_with_its_report_and_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "äöü and space"
    report = folder / "results" / "runs" / "mine" / "report.html"
    assert run.where_the_report_is(folder, ["--config", "run=mine"]) == []
    report.parent.mkdir(parents=True)
    report.touch()
    lines = run.where_the_report_is(folder, ["--config", "run=mine"])
    assert report.as_uri() in lines[1]
    assert " " not in lines[1].split(":", 1)[1].strip()
    assert shlex.split(lines[2].split(":", 1)[1])[0] == "scp"
    assert shlex.split(lines[3].split(":", 1)[1]) == ["d3", "numbers", str(report.with_name("numbers.json"))]
    assert run.where_the_report_is(folder, ["--config", "run=other"]) == []


@pytest.mark.parametrize(
    ("words", "silent"),
    [
        (["--quiet", "all"], True),
        (["-q", "rules", "all", "--cores", "2"], True),
        (["--quiet", "rules", "host", "--cores", "all"], False),
        (["all"], False),
    ],
)
def test_a_run_that_prints_nothing_is_known(words: list[str], silent: bool) -> None:
    assert run.is_silent(words) == silent
