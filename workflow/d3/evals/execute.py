"""Judge every sample by its task's tests, in the sandbox: one verdict a sample, in the samples' order."""

import os
import platform
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Self

from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import digest_of
from d3.core.journal import Journal
from d3.core.printable import printable
from d3.core.progress import Progress
from d3.core.tables import Row
from d3.errors import ConfigError, InputError, ToolError

# The two inner sides are text to the sandbox; imported here, they count as code of this stage.
from d3.evals import sandbox
from d3.evals.processor_time import children, processor_seconds
from d3.evals.sandbox import program_side, server, tests_side  # noqa: F401
from d3.evals.tasks import Task, check_judged_here, load_tasks
from d3.evals.time_limit import TimeLimits
from d3.evals.verdict_log import Line, VerdictLog, read_logs
from d3.pipeline.checks import Faults, FinishedJob, read_columns
from d3.pipeline.job import Job
from d3.provenance.code_digest import code_digest

NO_PROGRAM = "no_program"
ATTEMPTS = 3
"""Times that a check runs a program before it calls its verdict wrong."""
NOT_RUN = "not_run"
TEST_PACKAGES = ("numpy",)
"""Installed packages that benchmarks' tests import; MBPP+'s extended tests do."""


def run(
    config: Config,
    tasks: Path,
    samples: Path,
    out: Path,
    *,
    benchmark: str | None = None,
    workers: int = 1,
    journal: Path | None = None,
) -> int:
    """Run the solutions of a benchmark against its tests inside bubblewrap.

    Write a `schemas.VERDICTS` row for every `schemas.SAMPLES` row. Without `benchmark`, all three files are plain
    JSON lines, and no configuration is needed: tasks with task_id, entry_point and test, samples with task_id and
    solution (or completion); docs/evaluation.md shows them.

    `workers` programs run at the same time; it changes no verdict unless the machine is so loaded
    that programs miss their deadline. `journal` is a folder in which verdicts are kept, so that a killed
    run judges only what is left. Raises ToolError when there is no working sandbox, or when programs
    could not be run; the verdicts of the others are kept.

    Example: d3 execute --benchmark humaneval --tasks tasks.jsonl.gz --samples samples.parquet
        --out verdicts.parquet --workers 8

    Example: d3 execute --tasks tasks.jsonl --samples samples.jsonl --out verdicts.jsonl --workers 8
    """
    if benchmark is None:
        from d3.evals.plain_rows import execute_rows

        return execute_rows(config, tasks, samples, out, workers=workers, journal=journal)
    if benchmark not in config.benchmarks:
        raise ConfigError("no such benchmark", where=benchmark, remedy=f"one of {', '.join(config.benchmarks)}")
    section = config.benchmarks[benchmark]
    check_judged_here(section.kind)
    with Job("execute", config=config) as job:
        # All tasks: which of them were asked, and from which start, is the samples' business.
        whole = section.model_copy(update={"complete": False, "tasks": None})
        by_id = {task.task_id: task for task in load_tasks(whole, job.input(tasks))}
        verdicts = job.table(out, schemas.VERDICTS)
        rows = [_needed(row, by_id, samples) for row in job.rows(samples, schemas.SAMPLES)]
        limits = limits_of(config)
        progress = Progress(f"execute {benchmark}", len(rows), "programs")
        not_run: list[sandbox.Verdict] = []
        try:
            with Verdicts(journal, limits) as kept:
                judged = judge_all(rows, by_id, limits, workers, kept)
                for row, verdict in zip(rows, judged, strict=True):
                    if verdict.verdict == NOT_RUN:
                        not_run.append(verdict)
                    strict = sandbox.Verdict(NO_PROGRAM, "repaired") if row["status"] == "repaired" else verdict
                    verdicts.write(
                        {
                            "task_id": row["task_id"],
                            "sample": row["sample"],
                            "verdict": strict.verdict,
                            "detail": printable(strict.detail) or None,
                            "lenient_verdict": verdict.verdict,
                        }
                    )
                    job.keep()
                    progress.advance()
        except sandbox.SandboxError as error:
            raise ToolError(error.reason, where="sandbox", remedy=error.remedy) from None
        progress.close()
        if not_run:
            reason = f"{len(not_run)} programs were not run: {not_run[0].detail}"
            raise ToolError(reason, where="sandbox", remedy="run the same command again; the other verdicts are kept")
    return 0


def limits_of(config: Config) -> sandbox.Limits:
    """Return the limits of a configuration."""
    settings = config.execute
    return sandbox.Limits(
        timeout_seconds=settings.timeout_seconds,
        memory_mb=settings.memory_mb,
        processes=settings.processes,
        time_zones=settings.time_zones,
        interpreter=settings.interpreter,
    )


def _needed(row: Row, by_id: dict[str, Task], samples: Path) -> Row:
    """Return the columns of a sample that are used here; raises InputError for an unknown task."""
    if row["task_id"] not in by_id:
        raise InputError(
            f"sample {row['sample']} is of task {row['task_id']!r}, which the benchmark does not have",
            where=str(samples),
            remedy="generate the samples again",
        )
    return {name: row[name] for name in ("task_id", "sample", "program", "status")}


def package_folders(names: Iterable[str]) -> list[Path]:
    """Return the folders of installed packages and of the shared libraries that their wheels bring along."""
    folders: list[Path] = []
    for name in names:
        spec = find_spec(name)
        for place in (spec.submodule_search_locations or []) if spec else []:
            folders += [path for path in (Path(place), Path(f"{place}.libs")) if path.is_dir()]
    return folders


class Verdicts:
    """Verdicts kept in a journal by everything that decides them; without a folder none are."""

    def __init__(self, folder: Path | None, limits: sandbox.Limits) -> None:
        self._journal = None if folder is None else Journal(folder)
        self._log = None if folder is None else VerdictLog(folder)
        if self._journal is not None:
            self._take_over(self._journal)
        self._base = [code_digest(__name__), platform.python_version(), asdict(limits)]
        self._lock = Lock()
        self._limits = TimeLimits()

    def _take_over(self, journal: Journal) -> None:
        """Read what killed processes have left, and what others are writing now."""
        lines, abandoned = read_logs(journal.folder)
        for line in lines:
            journal.put(line.key, line.value, about=line.about)
        journal.flush()
        for path in abandoned:
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the verdicts themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left to the disk."""
        if self._journal is not None and self._log is not None:
            self._journal.close()
            self._log.remove()

    def open(self, limits: sandbox.Limits, packages: list[Path]) -> sandbox.Sandbox:
        """Return a sandbox that stands; raise SandboxError if there is none."""
        return sandbox.Sandbox(limits, packages=packages).__enter__()

    def judge(self, place: sandbox.Sandbox, task: Task, program: str) -> sandbox.Verdict:
        """Return a kept verdict, or judge a program and keep its verdict."""
        key = self._key(task.test, task.entry_point, program)
        if self._journal is not None:
            with self._lock:
                found = self._journal.get(key)
            if found is not None:
                self.recall(task, program, found)
                return sandbox.Verdict(found["verdict"], found["detail"])
        try:
            verdict, more = self.run(place, task, program)
        except sandbox.SandboxError as error:
            return sandbox.Verdict(NOT_RUN, f"{error.reason}; {error.remedy}")
        if self._journal is not None and self._log is not None:
            with self._lock:
                value = {**verdict._asdict(), **more}
                self._log.append(Line(key, value, [task.task_id]))
                self._journal.put(key, value, about=[task.task_id])
        return verdict

    def _key(self, *texts: str) -> str:
        """Return the key of a verdict, also of texts with half of a surrogate pair, which no JSON file can hold."""
        try:
            return digest_of([*self._base, *texts])
        except UnicodeEncodeError:
            return digest_of([*self._base, "ascii", *map(ascii, texts)])

    def run(self, place: sandbox.Sandbox, task: Task, program: str) -> tuple[sandbox.Verdict, Row]:
        """Judge a program; return its verdict and what else is kept of it. Raise SandboxError."""
        return self._limits.judge(place, task, program), {}

    def recall(self, task: Task, program: str, entry: Row) -> None:
        """Take note of a kept verdict."""


class MeasuredVerdicts(Verdicts):
    """Verdicts with the wall and processor time that they took."""

    def __init__(self, folder: Path | None, limits: sandbox.Limits) -> None:
        super().__init__(folder, limits)
        self._seconds: dict[tuple[str, str], tuple[float | None, float | None]] = {}
        self._processes: dict[int, set[int]] = {}

    def open(self, limits: sandbox.Limits, packages: list[Path]) -> sandbox.Sandbox:
        """Return a sandbox, of which the processes are known."""
        before = children()
        place = super().open(limits, packages)
        self._processes[id(place)] = children() - before
        return place

    def run(self, place: sandbox.Sandbox, task: Task, program: str) -> tuple[sandbox.Verdict, Row]:
        """Judge a program and measure it."""
        processes = self._processes.get(id(place), set())
        begin, used = time.monotonic(), processor_seconds(processes)
        verdict, _ = super().run(place, task, program)
        wall = round(time.monotonic() - begin, 4)
        still = processes and processes <= children()  # else the sandbox was started again
        cpu = round(max(0.0, processor_seconds(processes) - used), 4) if still else None
        self._seconds[task.task_id, program] = wall, cpu
        return verdict, {"wall": wall, "cpu": cpu}

    def recall(self, task: Task, program: str, entry: Row) -> None:
        """Take the times of a kept verdict."""
        self._seconds[task.task_id, program] = entry.get("wall"), entry.get("cpu")

    def measured(self, task_id: str, program: str | None) -> tuple[float | None, float | None]:
        """Return wall and processor seconds of a program; None of what was not run, or not measured."""
        return self._seconds.get((task_id, program), (None, None)) if program is not None else (None, None)


def judge_all(
    rows: Iterable[Row],
    by_id: dict[str, Task],
    limits: sandbox.Limits,
    workers: int,
    kept: Verdicts | None = None,
) -> Iterator[sandbox.Verdict]:
    """Yield the verdict of each row, in order; equal programs of a task are run once.

    Rows need `task_id`, `status` and `program`. A program whose sandbox does not start is `not_run`.
    Raises SandboxError if no sandbox starts at all.
    """
    verdicts = kept or Verdicts(None, limits)
    idle: SimpleQueue[sandbox.Sandbox] = SimpleQueue()
    opened: list[sandbox.Sandbox] = []
    pool = ThreadPoolExecutor(workers)
    packages = package_folders(TEST_PACKAGES)

    def judge(task: Task, program: str) -> sandbox.Verdict:
        place = idle.get()
        try:
            return verdicts.judge(place, task, program)
        finally:
            idle.put(place)

    try:
        known: dict[tuple[str, str], Future[sandbox.Verdict]] = {}
        waiting: list[Future[sandbox.Verdict] | sandbox.Verdict] = []
        for row in rows:
            program = row["program"]
            if program is None:
                waiting.append(sandbox.Verdict(NO_PROGRAM, str(row["status"])))
                continue
            if not opened:  # at least one program: now a sandbox has to be there
                for _ in range(workers):
                    opened.append(verdicts.open(limits, packages))
                    idle.put(opened[-1])
            key = (row["task_id"], program)
            if key not in known:
                known[key] = pool.submit(judge, by_id[row["task_id"]], program)
            waiting.append(known[key])
        for result in waiting:
            yield result.result() if isinstance(result, Future) else result
    finally:
        pool.shutdown(cancel_futures=True)
        for place in opened:
            place.close()


def check(job: FinishedJob) -> Faults:
    """Check that the samples that were judged are those that were generated, and judge some of them again."""
    samples = read_columns(job.inputs_of("generate"), schemas.SAMPLES, "task_id", "sample", "status")
    statuses = {(row["task_id"], row["sample"]): row["status"] for row in samples}
    seen: set[tuple[str, int]] = set()
    for row in read_columns([job.path()], schemas.VERDICTS, "task_id", "sample", "verdict"):
        key = (row["task_id"], row["sample"])
        seen.add(key)
        if (statuses.get(key) == "ok") != (row["verdict"] != NO_PROGRAM):
            reason = f"{key[0]}, sample {key[1]}: {row['verdict']} for a sample with the status {statuses.get(key)}"
            yield job.name(), reason
    if seen != set(statuses):
        yield job.name(), "judges other samples than were generated"
    if job.config:  # lost facts are a finding of their own
        yield from _check_verdicts(job)


def _check_verdicts(job: FinishedJob) -> Faults:
    """Judge some samples again; programs that were or are too slow are left out, since that depends on the machine."""
    verdicts = {
        (row["task_id"], row["sample"]): row["verdict"] for row in job.sample_rows(job.path(), schemas.VERDICTS)
    }
    samples = read_columns(job.inputs_of("generate"), schemas.SAMPLES, "task_id", "sample", "program", "status")
    left = [row for row in samples if row["program"] is not None and (row["task_id"], row["sample"]) in verdicts]
    if not left:
        return
    config = Config.model_validate(job.config)
    section = config.benchmarks[job.path().parent.name.rpartition("-")[0]]
    whole = section.model_copy(update={"complete": False, "tasks": None})
    by_id = {task.task_id: task for task in load_tasks(whole, job.inputs_from_outside()[0])}
    limits = sandbox.Limits(timeout_seconds=config.execute.timeout_seconds, memory_mb=config.execute.memory_mb)
    try:
        for _ in range(ATTEMPTS):  # a program may behave differently from time to time
            found = zip(left, judge_all(left, by_id, limits, len(os.sched_getaffinity(0))), strict=True)
            kinds = [(row, {verdict.verdict, verdicts[row["task_id"], row["sample"]]}) for row, verdict in found]
            left = [row for row, kind in kinds if len(kind) > 1 and "timeout" not in kind]
    except sandbox.SandboxError as error:
        job.notes.append((job.name(), f"its verdicts were not checked: {error.reason}; {error.remedy}"))
        return
    for row in left:
        key = row["task_id"], row["sample"]
        yield job.name(), f"{key[0]}, sample {key[1]}: {verdicts[key]}, but its program does not come to that verdict"
