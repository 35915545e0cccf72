"""`d3 status`: what it says of runs that are fresh, on, dead or done, with and without SLURM."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from d3.cli import main
from d3.config.load import parse_config
from d3.config.models import Config
from d3.core.progress import Progress
from d3.operate import logs
from d3.operate.clean import delete, find_unused
from d3.operate.failures import SILENT
from d3.operate.slurm import read_job, read_queue, read_seconds
from d3.operate.status import StageStatus, Survey, job_arguments, status_table, survey
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.stages.inputs import source
from helpers.fake_programs import only_path, program
from helpers.fake_run import finish, jobs_by_name, record_attempts, write_log

RUN = "d3_2f021887-5961-490c-9325-3435ec137b8b"
FIRST, SECOND = "stdlib-00000-of-00002", "stdlib-00001-of-00002"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder on a machine without SLURM; `bin` in it is on PATH."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    program(tmp_path / "bin", "nothing", "true")
    monkeypatch.setenv("PATH", only_path(tmp_path / "bin"))
    return tmp_path / "bin"


def squeue(folder: Path, *rows: str) -> None:
    program(folder, "squeue", "cat <<'END'\n" + "\n".join(rows).replace("@", str(Path.cwd())) + "\nEND")


def stage(found: Survey, name: str) -> StageStatus:
    return next(status for status in found.stages if status.stage == name)


def test_a_fresh_folder_has_everything_before_it(place: Path) -> None:
    found = survey(Chain(Config()), read_queue())
    assert (found.done, found.jobs, found.slurm) == (0, 46, "none")
    assert found.head == "is not running"
    assert not found.active
    assert not found.failures
    assert all(status.eta_seconds is None for status in found.stages)


@pytest.mark.slow
def test_rows_come_from_statements_and_the_footers_of_the_source(place: Path) -> None:
    chain = Chain(Config())
    source(Config(), [Path(path) for path in chain.shards.values()])
    found = survey(chain, None)
    total = stage(found, "corpus").rows_total
    assert total == stage(found, "source").rows > 500
    assert not stage(found, "corpus").rows_estimated
    works = jobs_by_name(chain)
    finish(works["corpus", FIRST], read=367, rows=100, seconds=50)
    found = survey(chain, None)
    corpus, grades = stage(found, "corpus"), stage(found, "grades")
    assert (corpus.done, corpus.rows, corpus.rows_total) == (1, 367, total)
    assert corpus.rate == pytest.approx(367 / 50)
    assert (grades.rows, grades.rows_total, grades.rows_estimated) == (0, 200, True)
    assert stage(found, "labels").rows_total is None
    finish(works["corpus", SECOND], read=367, rows=60)
    assert stage(survey(chain, None), "grades").rows_total == 160


def test_running_waiting_and_failed_jobs_of_slurm(place: Path) -> None:
    chain = Chain(Config())
    works = jobs_by_name(chain)
    for shard in (FIRST, SECOND):
        finish(works["corpus", shard], read=300, rows=100)
    write_log(works["grades", FIRST], "grades: 25/50 answers (50 %), 2.0 answers/s, 0:00:12 so far, ETA 0:00:13")
    write_log(works["pairs", SECOND], "Traceback (most recent call last):", "MemoryError")
    squeue(
        place,
        f"12|{RUN}|RUNNING|1:02:03|n1|None|@|rule_grades_wildcards_{FIRST}",
        f"13|{RUN}|PENDING|0:00||Resources|@|rule_grades_wildcards_{SECOND}",
        f"11|{RUN}|TIMEOUT|2:00:00|n2|None|@|rule_pairs_wildcards_{FIRST}",
        f"10|{RUN}|OUT_OF_MEMORY|0:30|n2|None|@|rule_pairs_wildcards_{SECOND}",
        f"15|{RUN}|RUNNING|0:30|n2|None|/elsewhere|rule_diffs_wildcards_{FIRST}",
        f"14|someone|RUNNING|0:30|n2|None|@|rule_diffs_wildcards_{SECOND}",
    )
    found = survey(chain, read_queue())
    grades = stage(found, "grades")
    assert (grades.running, grades.queued, grades.rows, grades.rows_total) == (1, 1, 50, 200)
    assert (grades.rate, grades.unit) == (2.0, "answers")
    assert grades.eta_seconds == pytest.approx(1.5 * 50 / 2)
    running, waiting = sorted(found.active, key=lambda job: job.slurm)
    assert (running.node, running.seconds, running.progress) == ("n1", 3723, "25 of 50 answers")
    assert (waiting.state, waiting.why, waiting.seconds) == ("pending", "Resources", None)
    reasons = {failure.job: (failure.reason, failure.slurm, failure.node) for failure in found.failures}
    assert reasons[FIRST] == ("over its time limit", "11", "n2")
    assert reasons[SECOND] == ("out of memory: MemoryError", "10", "n2")
    assert stage(found, "diffs").running == 0
    shown = status_table(found)
    assert f"grades {FIRST}, job 12, on n1, 1:02:03, 25 of 50 answers" in shown
    assert f"grades {SECOND}, job 13, Resources" in shown
    assert f"pairs {FIRST} (job 11 on n2): over its time limit; see logs/pairs/{FIRST}.log" in shown


def test_a_requeued_job_counts_as_running_although_it_failed_before(place: Path) -> None:
    chain = Chain(Config())
    squeue(
        place,
        f"20|{RUN}|RUNNING|0:10|n1|None|@|rule_pairs_wildcards_{FIRST}",
        f"21|{RUN}|FAILED|0:10|n1|NonZeroExitCode|@|rule_pairs_wildcards_{FIRST}",
    )
    found = survey(chain, read_queue())
    assert stage(found, "pairs").running == 1
    assert not found.failures


def test_a_finished_job_that_runs_again_is_not_done(place: Path) -> None:
    chain = Chain(Config())
    finish(jobs_by_name(chain)["corpus", FIRST])
    squeue(place, f"20|{RUN}|RUNNING|0:10|n1|None|@|rule_corpus_wildcards_{FIRST}")
    corpus = stage(survey(chain, read_queue()), "corpus")
    assert (corpus.done, corpus.running) == (0, 1)


def test_attempts_tell_why_jobs_failed_after_the_run_died(place: Path) -> None:
    chain = Chain(Config())
    works = jobs_by_name(chain)
    record_attempts(works["corpus", FIRST], "", "disk full", "a.parquet: row 7: broken; check the file")
    record_attempts(works["corpus", SECOND], None)
    record_attempts(works["source", ""], "no space", "")
    finish(works["source", ""])
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    found = survey(chain, None)
    assert found.head.startswith("left its lock behind")
    first, second = found.failures
    assert (first.reason, first.attempts) == ("a.parquet: row 7: broken; check the file", 2)
    assert (second.reason, second.attempts) == (SILENT, 1)


def test_results_that_were_taken_away_are_no_failure(place: Path) -> None:
    chain = Chain(Config())
    record_attempts(jobs_by_name(chain)["corpus", FIRST], "")
    assert not survey(chain, None).failures


def test_the_log_of_slurm_tells_what_the_jobs_own_does_not(place: Path) -> None:
    chain = Chain(Config())
    squeue(place, f"20|{RUN}|FAILED|0:10|n1|NonZeroExitCode|@|rule_corpus_wildcards_{FIRST}")
    log = Path(f"logs/slurm/rule_corpus/{FIRST}/20.log")
    log.parent.mkdir(parents=True)
    log.write_text("slurmstepd: error: Exceeded job memory limit\n[notice] bye\n")
    (failure,) = survey(chain, read_queue()).failures
    assert failure.reason == "failed: slurmstepd: error: Exceeded job memory limit"


def test_logs_of_another_configuration_are_no_failure(place: Path) -> None:
    chain = Chain(Config())
    work = jobs_by_name(chain)["corpus", FIRST]
    write_log(work, "d3 corpus: error: shard.parquet: broken; check the file")
    assert not survey(chain, None).failures
    snakemake = Path(".snakemake/log/2026-01-01T000000.0.snakemake.log")
    snakemake.parent.mkdir(parents=True)
    snakemake.write_text(f"Error in rule corpus:\n    jobid: 2\n    output: {work.output}, other\n    log: x\n")
    (failure,) = survey(chain, None).failures
    assert failure.reason == "shard.parquet: broken; check the file"


def test_a_job_on_this_machine_is_seen_by_its_process(place: Path) -> None:
    chain = Chain(Config())
    work = jobs_by_name(chain)["corpus", SECOND]
    record_attempts(work, None)
    script = "import time; print('here', flush=True); time.sleep(60)"
    words = [sys.executable, "-c", script, "d3", "corpus", "--out", str(work.output)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as job:
        try:
            assert job.stdout is not None
            assert job.stdout.readline() == "here\n"
            found = survey(chain, None)
        finally:
            job.kill()
    assert stage(found, "corpus").running == 1
    assert not found.failures
    assert [failure.job for failure in survey(chain, None).failures] == [SECOND]


def test_a_finished_job_whose_output_another_one_reads_is_done(place: Path) -> None:
    chain = Chain(Config())
    works = jobs_by_name(chain)
    finish(works["corpus", FIRST])
    script = "import sys; print('here', flush=True); sys.stdin.read()"
    files = ["--corpus", str(works["corpus", FIRST].output), "--out", str(works["grades", FIRST].output)]
    words = [sys.executable, "-c", script, "d3", "grades", *files]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "here\n"
        found = survey(chain, None)
        job.communicate("")
    assert (stage(found, "corpus").done, stage(found, "corpus").running) == (1, 0)
    assert stage(found, "grades").running == 1


def test_a_snakemake_of_the_folder_is_seen_by_the_log_that_it_writes(place: Path) -> None:
    log = Path(".snakemake/log/1.snakemake.log")
    log.parent.mkdir(parents=True)
    script = f"import sys; log = open('{log}', sys.argv[1]); print('here', flush=True); sys.stdin.read()"
    for mode, expected in (("w", "is running"), ("r", "is not running")):
        words = [sys.executable, "-c", script, mode]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            assert survey(Chain(Config()), None).head == expected
            process.communicate("")


def test_the_target_of_a_run_is_no_job(place: Path) -> None:
    script = "import sys; print('here', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", script, "d3", "run", "a.parquet"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert not {command for command, _ in job_arguments(Path())} & set(STAGES)
        process.communicate("")


def test_squeue_that_fails_or_hangs_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(place, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; false")
    assert "Unable to contact" in survey(Chain(Config()), read_queue()).slurm
    monkeypatch.setattr("d3.operate.slurm.SECONDS", 0.2)
    program(place, "squeue", "sleep 5")
    assert "no answer" in status_table(survey(Chain(Config()), read_queue()))


def test_twelve_hundred_jobs_take_less_than_two_seconds(place: Path) -> None:
    config = parse_config({"source": {"embedded_shards": 135}})
    chain = Chain(config)
    works = jobs_by_name(chain)
    assert len(works) > 1200
    half = list(works.values())[:600]
    for work in half:
        finish(work)
    for work in list(works.values())[600:700]:
        record_attempts(work, "boom")
    start = time.process_time()
    found = survey(Chain(config), None)
    text = status_table(found)
    assert time.process_time() - start < 0.5  # measured: 0.25
    assert (found.done, len(found.failures)) == (600, 100)
    assert "and 80 more" in text


def test_the_command_prints_a_table_or_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--set", "run=mine"]) == 0
    assert capsys.readouterr().out.startswith("Run mine: 0 of 46 jobs done, Snakemake is not running\n")
    assert main(["status", "--json", "--directory", "."]) == 0
    found = json.loads(capsys.readouterr().out)
    keys = {"run", "head", "slurm", "stages", "active", "failures", "jobs", "done", "orphaned_checkpoints"}
    assert keys == set(found)
    assert [status["stage"] for status in found["stages"]][:4] == ["source", "model", "benchmark", "contamination"]
    assert main(["status", "--directory", "nowhere"]) == 1


@pytest.mark.parametrize("total", [None, 40])
def test_progress_lines_are_read_as_they_are_written(total: int | None) -> None:
    stream = io.StringIO()
    progress = Progress("pairs a: b", total, "files", every=0, stream=stream)
    for batch in (1, 2, 3):
        progress.advance(10)
        found = logs.last_progress(stream.getvalue().splitlines())
        assert found is not None
        assert (found.done, found.total, found.unit) == (10 * batch, total, "files")
        # the first two batches tell nothing of the pace
        assert (found.eta is not None) == (total is not None and batch > 2)


def test_the_reason_is_ours_before_pythons_before_the_systems() -> None:
    lines = ["slurmstepd: error: Exceeded job memory limit", "ValueError: x", "d3 corpus: error: broken; mend it", "y"]
    assert logs.reason_of(lines) == "broken; mend it"
    assert logs.reason_of(lines[:2]) == "ValueError: x"
    assert logs.reason_of(lines[:1]) == lines[0]
    assert logs.reason_of(["all is well"]) == ""


@pytest.mark.parametrize(("text", "expected"), [("0:07", 7), ("1:02:03", 3723), ("2-00:00:01", 172801), ("INVALID", 0)])
def test_times_of_slurm(text: str, expected: int) -> None:
    assert read_seconds(text) == expected


def test_lines_of_other_programs_are_passed_over() -> None:
    assert read_job("1|other|RUNNING|0:01|n1|None|/x|") is None
    assert read_job("nonsense") is None
    job = read_job(f"7_3|{RUN}|COMPLETED|0:01|n1|None|/x|rule_grades_wildcards_a|b")
    assert job is not None
    assert job.comment == "rule_grades_wildcards_a|b"


def test_checkpoints_of_other_configurations_are_listed_with_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine, other = Chain(parse_config({})), Chain(parse_config({"midtrain": {"batch": 8}}))
    works = {name: Path("work", Path(chain.folder("midtrain")).relative_to("results")) for name, chain in
             (("mine", mine), ("other", other))}  # fmt: skip
    for folder in works.values():
        (folder / "checkpoints" / "checkpoint-2").mkdir(parents=True)
        (folder / "checkpoints" / "checkpoint-2" / "states.pt").write_bytes(b"x" * 2_000_000)
    found = survey(mine, None)
    assert found.orphaned_checkpoints == [{"path": str(works["other"]), "bytes": 2_000_000}]
    text = status_table(found)
    assert f"{works['other']}, 2.0 MB" in text
    assert str(works["mine"]) not in text
    json.dumps(found.plain())
    delete(find_unused([mine], alone=True))
    assert survey(mine, None).orphaned_checkpoints == []
    assert works["mine"].exists()
