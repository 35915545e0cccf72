"""Fault drills on the sandbox: `make drills`, or `make drills ARGS=NAME`.

Every drill takes the inputs of one stage from a finished local run, lets SLURM make the stage with
`d3 run`, breaks something on the way, and compares the result with that of the undisturbed run. It ends
in complete and byte-identical files, at once or after a clear exit code and a second call of the same
command. Needs root, the sandbox of `start-cluster.sh`, and 3 to 40 minutes; every drill can be named alone.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from d3.provenance.images import image_path
from helpers.slurm_cluster import slurm, write_site
from helpers.slurm_run import drive, start
from helpers.workflow_run import digests, run, tiny_config, write_config

BOX = Path(os.environ.get("SLURM_SANDBOX", "/var/tmp/slurm-sandbox"))
TARGETS = {"grades": "results/grades", "midtrain": "results/midtrain"}
WATCH = ("--watch-every", "5", "--forgotten-after", "60", "--stuck-after", "20")


class Outcome(NamedTuple):
    """How a drill ended."""

    codes: list[int]
    """Exit codes of the calls of `d3 run`, in order."""
    said: str
    """All that they printed."""
    expected: tuple[str, ...]
    """What must be among it."""
    expected_codes: tuple[int, ...]


class Bench:
    """A folder whose earlier stages are finished, and the stage that a drill makes."""

    def __init__(self, folder: Path, reference: Path, stage: str, *, rules: dict[str, Any] | None = None, **site: Any):
        self.folder, self.stage = folder, stage
        shutil.copytree(reference, folder, ignore=shutil.ignore_patterns("log", "locks"), dirs_exist_ok=True)
        later = [stage, *("midtrain", "tokens", "dataset", "labels", "diffs") * (stage == "grades")]
        if stage == "corpus":  # in an image, which must not be mixed with the reference's environments
            later = [path.name for path in (folder / "results").iterdir() if path.name not in ("source", "lineage")]
        for name in later:
            shutil.rmtree(folder / "results" / name, ignore_errors=True)
            shutil.rmtree(folder / "work" / "journal" / name, ignore_errors=True)
        shutil.rmtree(folder / "work" / stage, ignore_errors=True)
        options = {"retries": 0, **site}
        self.site = write_site(folder, rules=rules, **options)
        self.codes: list[int] = []
        self.said = ""

    def target(self) -> str:
        """Return the file or folder that the stage makes."""
        return next(path for path in self._reference_files if f"/{self.stage}/" in path)

    _reference_files: tuple[str, ...] = ()

    def begin(self) -> subprocess.Popen[str]:
        """Start the driver."""
        return start(self.folder, self.site, *WATCH, self.target())

    def end(self, process: subprocess.Popen[str], timeout: float = 900) -> int:
        """Wait for the driver and keep what it said."""
        self.codes.append(process.wait(timeout))
        self.said = (self.folder / "run.log").read_text(errors="replace")
        return self.codes[-1]

    def call(self, *more: str) -> int:
        """Run the driver to its end."""
        done = drive(self.folder, self.site, *WATCH, *more, self.target())
        self.said += done.stdout
        self.codes.append(done.returncode)
        return done.returncode

    def job(self, *, state: str = "RUNNING", after: int = 0) -> str:
        """Wait until a job of this folder with a number above `after` has a state; give its number."""
        for _ in range(600):
            for line in slurm("squeue", "-h", "--states=all", "--format=%i|%T|%Z").splitlines():
                number, now, workdir = line.split("|", 2)
                if workdir == str(self.folder) and now == state and int(number) > after:
                    return number
            time.sleep(0.5)
        raise TimeoutError(f"no job of {self.folder} is {state}")

    def working(self, seconds: float = 300) -> None:
        """Wait until the stage itself has begun its work: its journal or its checkpoints are there."""
        place = self.folder / "work" / ("journal/grades" if self.stage == "grades" else "midtrain")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.stage == "grades" and any(path.stat().st_size for path in place.rglob("*") if path.is_file()):
                return
            if self.stage == "midtrain" and any(place.rglob("checkpoint-*")):
                return
            time.sleep(0.3)
        raise TimeoutError(f"nothing in {place}")

    def hang(self) -> None:
        """Stop the stage's processes, so that the job never ends by itself."""
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if (process / "cwd").resolve() == self.folder and words[1:4] == [b"-m", b"d3", self.stage.encode()]:
                    os.kill(int(process.name), signal.SIGSTOP)

    def outcome(self, *expected: str, codes: tuple[int, ...] = (0,)) -> Outcome:
        """Return how the drill ended."""
        return Outcome(self.codes, self.said, expected, codes)


Drill = Callable[[Callable[..., Bench]], Outcome]
DRILLS: dict[str, Drill] = {}


def drill(function: Drill) -> Drill:
    """Register a drill by its name."""
    DRILLS[function.__name__.replace("_", "-")] = function
    return function


@drill
def time_limit(bench: Callable[..., Bench]) -> Outcome:
    """A job hangs and is killed at its time limit; with a longer one the second call goes on from the journal."""
    at = bench("grades", rules={"grades": {"runtime": 1}})
    process = at.begin()
    at.job()
    at.working()
    at.hang()
    at.end(process)
    at.site = write_site(at.folder, retries=0)
    at.call()
    assert " 0 from the journal" not in (at.folder / f"logs/grades/{Path(at.target()).stem}.log").read_text()
    return at.outcome("over its time limit (TIMEOUT)", "raise `runtime`", codes=(1, 0))


@drill
def memory(bench: Callable[..., Bench]) -> Outcome:
    """A job over its memory; the second attempt gets more."""
    at = bench("grades", rules={"grades": {"mem_mb": "450 if attempt == 1 else 3000"}}, retries=1)
    at.call()
    logs = "".join(path.read_text() for path in at.folder.glob("logs/slurm/rule_grades/**/*.log"))
    assert "Exceeded job memory limit" in logs, logs
    return at.outcome("Trying to restart")


@drill
def scancel(bench: Callable[..., Bench]) -> Outcome:
    """Somebody cancels a job; the second call completes."""
    at = bench("grades")
    process = at.begin()
    job = at.job()
    at.working()
    slurm("scancel", job)
    at.end(process)
    at.call()
    return at.outcome("cancelled (CANCELLED)", codes=(1, 0))


@drill
def requeue(bench: Callable[..., Bench]) -> Outcome:
    """SLURM puts a running job back into the queue; it goes on by itself."""
    at = bench("grades", slurm_requeue=True)
    process = at.begin()
    job = at.job()
    at.working()
    slurm("scontrol", "requeue", job)
    at.end(process)
    return at.outcome()


@drill
def node_down(bench: Callable[..., Bench]) -> Outcome:
    """The node of a job is set down; the next attempt runs on the other one."""
    at = bench("grades", retries=2, slurm_no_requeue=True)
    process = at.begin()
    job = at.job()
    at.working()
    node = slurm("squeue", "-h", "-j", job, "--format=%N")
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=drill")
    try:
        at.end(process)
    finally:
        with contextlib.suppress(RuntimeError):  # it may have come back by itself
            slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    return at.outcome("Trying to restart")


@drill
def slurmctld_restart(bench: Callable[..., Bench]) -> Outcome:
    """The controller is gone for 40 seconds while a job runs."""
    at = bench("grades")
    process = at.begin()
    at.job()
    at.working()
    daemon = int((BOX / "run" / "slurmctld.pid").read_text())
    os.kill(daemon, signal.SIGTERM)
    time.sleep(40)
    subprocess.run(["slurmctld"], check=True)
    at.end(process)
    return at.outcome()


@drill
def slurmdbd_stopped(bench: Callable[..., Bench]) -> Outcome:
    """The accounting is down from before the job starts until after it ends."""
    at = bench("grades")
    daemon = int((BOX / "run" / "slurmdbd.pid").read_text())
    os.kill(daemon, signal.SIGTERM)
    try:
        time.sleep(3)
        at.call()
    finally:
        subprocess.run(["slurmdbd"], check=True)
    return at.outcome()


@drill
def head_killed(bench: Callable[..., Bench]) -> Outcome:
    """The head process is killed with SIGKILL and started again while its job runs: the job is not run twice."""
    at = bench("grades")
    process = at.begin()
    job = at.job()
    at.working()
    process.kill()
    at.end(process)
    at.call()
    numbers = slurm("squeue", "-h", "--states=all", "--format=%i|%Z").splitlines()
    ours = [number for number, folder in (line.split("|") for line in numbers) if folder == str(at.folder)]
    ours = [number for number in ours if int(number) >= int(job)]  # SLURM remembers earlier drills too
    assert ours == [job], f"the job was run again: {ours}"
    return at.outcome("waiting for jobs of an earlier run", "Nothing to be done", codes=(-9, 0))


@drill
def head_killed_cancel(bench: Callable[..., Bench]) -> Outcome:
    """As before, but the job is cancelled (`--orphans cancel`) and its journal used."""
    at = bench("grades")
    process = at.begin()
    at.job()
    at.working()
    at.hang()
    process.kill()
    at.end(process)
    at.call("--orphans", "cancel")
    return at.outcome("cancelled job", codes=(-9, 0))


@drill
def disk_full(bench: Callable[..., Bench]) -> Outcome:
    """The disk of the run is full; after room was made, the second call completes."""
    at = bench("midtrain", tmpfs=True)
    filler = at.folder / "filler"
    free = shutil.disk_usage(at.folder).free
    with filler.open("wb") as file:
        for _ in range((free - 600_000) // 100_000):
            file.write(bytes(100_000))
    at.call()
    filler.unlink()
    at.call()
    return at.outcome("No space left on device", codes=(1, 0))


@drill
def preempted_training(bench: Callable[..., Bench]) -> Outcome:
    """SIGTERM, as before a preemption, while a model is trained; the next attempt goes on from a checkpoint."""
    at = bench("midtrain", retries=1)
    process = at.begin()
    job = at.job()
    at.working()
    slurm("scancel", "--signal=TERM", "--full", job)
    at.end(process)
    log = (at.folder / "logs" / "midtrain.log").read_text()
    assert "goes on from checkpoint-" in log, log
    return at.outcome("Trying to restart")


@drill
def preempted_grading(bench: Callable[..., Bench]) -> Outcome:
    """SIGTERM, as before a preemption, while files are graded; the next attempt goes on from the journal."""
    at = bench("grades", retries=1)
    process = at.begin()
    job = at.job()
    at.working()
    slurm("scancel", "--signal=TERM", "--full", job)
    at.end(process)
    return at.outcome("Trying to restart")


@drill
def corrupted_image(bench: Callable[..., Bench]) -> Outcome:
    """An image was damaged; nothing starts until it is whole again."""
    image = image_path("data")
    assert image.exists(), "build the images first: make images"
    at = bench("corpus", images=True)
    whole = image.with_name("whole.sif")
    image.rename(whole)
    try:
        image.write_bytes(whole.read_bytes()[:1_000_000] + bytes(100_000))
        at.call()
    finally:
        whole.replace(image)
    at.call()
    return at.outcome("the image is not what was built", "make images", codes=(2, 0))


@drill
def never_fits(bench: Callable[..., Bench]) -> Outcome:
    """A job that no partition can ever start is cancelled and reported, instead of waiting for ever."""
    at = bench("grades", rules={"grades": {"runtime": 500, "slurm_partition": "cpu"}})
    at.call()
    at.site = write_site(at.folder, retries=0)
    at.call()
    return at.outcome("can never start", "fit rule grades to a partition", codes=(1, 0))


DISKS = Path(os.environ.get("SLURM_SANDBOX", "/var/tmp/slurm-sandbox")) / "disks"  # shared with the nodes


# --- the reference and the table ------------------------------------------------------------------


def settings(model: Path) -> dict[str, Any]:
    """Return a configuration whose grading and mid-training take long enough to be disturbed."""
    values = tiny_config(model)
    values["source"], values["arms"] = {"embedded_shards": 1}, {"d3": {"midtrain": True}}
    values["corpus"] = {"sample": 24, "max_lines": 60}
    values["grades"]["engine"] = values["grades"]["engine"] | {"batch": 1}
    values["grades"]["sampling"] = {"max_tokens": 200}
    values["midtrain"] = values["midtrain"] | {"max_steps": 300, "save_steps": 20, "epochs": 100}
    return values


@contextlib.contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a small disk on a folder."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "d3-drill", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def perform(name: str, function: Drill, place: Path, reference: Path, results: dict[str, str]) -> tuple[bool, str]:
    """Do one drill; gives whether it ended as it should, and in words how."""
    files = tuple(f"results/{path}" for path in results)
    with contextlib.ExitStack() as stack:
        made: list[Bench] = []

        def bench(stage: str, *, tmpfs: bool = False, **more: Any) -> Bench:
            folder = (DISKS if tmpfs else place) / name
            if tmpfs:
                stack.enter_context(mounted(folder, 120))
            at = Bench(folder, reference, stage, **more)
            wanted = [path for path in files if f"/{stage}/" in path and not path.endswith(".prov.json")]
            if stage == "corpus":
                wanted = [path for path in wanted if "/rejected/" not in path]
            folders = {"/".join(path.split("/")[:4]) for path in wanted} if stage == "midtrain" else set(wanted)
            at._reference_files = tuple(sorted(folders))
            made.append(at)
            return at

        outcome = function(bench)
        at = made[0]
        found = digests(at.folder / "results" / at.stage)  # and no temporary file of a process that was killed
        wanted = {
            path.removeprefix(f"{at.stage}/"): value for path, value in results.items() if path.startswith(at.stage)
        }
        missing = [text for text in outcome.expected if text not in outcome.said]
        codes = tuple(dict.fromkeys(outcome.codes))
        problems = []
        if found != wanted:
            problems.append("files differ")
        if codes != outcome.expected_codes:
            problems.append(f"exit codes {outcome.codes}")
        problems += [f"not said: {text!r}" for text in missing]
        if problems:
            (place / f"{name}.txt").write_text(outcome.said)
        return not problems, ", ".join(problems) or f"exit codes {outcome.codes}, files identical"


def main() -> int:
    """Make the reference, do the drills that are named (or all), print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *DRILLS], metavar="NAME", help=", ".join(DRILLS))
    parser.add_argument("--folder", type=Path, help="where the runs lie; what is there is used again")
    options = parser.parse_args()
    from helpers.tiny_models import chat_model

    place = (options.folder or Path(tempfile.mkdtemp(prefix="d3-drills-"))).resolve()
    reference = place / "reference"
    reference.mkdir(parents=True, exist_ok=True)
    model = place / "model"
    if not model.exists():
        chat_model(model)
    config = write_config(reference, settings(model))
    done = run(reference, config, "--until", "midtrain")
    if done.returncode:
        sys.exit(done.stdout[-4000:])
    results = digests(reference / "results")
    failed = 0
    lines = []
    for name, function in DRILLS.items():
        if options.names and name not in options.names:
            continue
        shutil.rmtree(place / name, ignore_errors=True)
        began = time.monotonic()
        try:
            fine, text = perform(name, function, place, reference, results)
        except Exception as error:
            fine, text = False, f"{type(error).__name__}: {str(error)[-500:]}"
        left = [
            line.split("|")[0]
            for line in slurm("squeue", "-h", "--format=%i|%Z").splitlines()
            if line.endswith(f"/{name}")
        ]
        if left:
            subprocess.run(["scancel", *left], check=False)
        failed += not fine
        lines.append(f"| {name} | {(function.__doc__ or '').strip()} | {text} | {time.monotonic() - began:.0f} s |")
        print(f"{'ok    ' if fine else 'FAILED'} {lines[-1]}", flush=True)
    print("\n".join(["", "| drill | what happens | how it ended | took |", "|---|---|---|---|", *lines]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
