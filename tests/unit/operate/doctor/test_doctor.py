"""`d3 doctor`: each check in the real surroundings of the tests and in made-up ones."""

import json
import sys
from pathlib import Path

import pytest

from d3.cli import main
from d3.config.load import load_config, parse_config
from d3.config.models import Config
from d3.core import programs
from d3.operate import slurm
from d3.operate.doctor import doctor, findings, machine
from d3.operate.doctor import slurm as slurm_checks
from d3.operate.doctor.findings import Finding, Place
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.pipeline.stage import Resources
from helpers.fake_programs import only_path, program
from helpers.paths import ROOT

SLURM = {"executor": "slurm", "slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 20}


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, in a working folder of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setenv("PATH", only_path(folder))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return folder


def place(profile: dict[str, object] | None = None, config: Config | None = None, folder: Path | None = None) -> Place:
    return Place(Chain(config or Config()), profile or {}, folder)


@pytest.mark.slow
def test_the_real_machine_is_examined_whole() -> None:
    found = dict(doctor.examine(place()))
    assert list(found) == list(doctor.CHECKS)
    assert found["python"] == Finding("ok", f"Python {sys.version.split()[0]}")
    assert found["sandbox"].level == "ok", found["sandbox"]
    for name, finding in found.items():
        assert finding.text
        assert finding.level == "ok" or finding.remedy, name
        assert "\n" not in doctor.line(name, finding)
        assert "could not be checked" not in finding.text, (name, finding)


def test_a_broken_check_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Place) -> Finding:
        raise RuntimeError("odd machine")

    monkeypatch.setattr(doctor, "CHECKS", {"odd": broken, "python": machine.python})
    found = dict(doctor.examine(place()))
    assert found["odd"].level == "warn"
    assert "odd machine" in found["odd"].text
    assert found["python"].level == "ok"


def test_python_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    assert machine.python(place()).level == "fail"


def test_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert machine.environments(place()).level == "ok"
    monkeypatch.setattr(machine, "REPOSITORY", tmp_path)
    found = machine.environments(place(config=load_config(ROOT / "config" / "d3.yaml")))
    assert (found.level, found.remedy) == ("fail", "run: make setup && make .venv-vllm/.installed")
    assert machine.environments(place({"software-deployment-method": "apptainer"})).level == "ok"


def test_a_compiler_is_missed_where_vllm_runs_outside_of_images(
    tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "REPOSITORY", tmp_path)
    for name in (".venv", ".venv-dolma", ".venv-vllm"):
        (tmp_path / name).mkdir()
        program(tmp_path / name / "bin", "python", "true")
    config = load_config(ROOT / "config" / "d3.yaml")
    assert machine.environments(place(config=config)).remedy == "install gcc, or run in images"
    assert machine.environments(place({"software-deployment-method": "apptainer"}, config=config)).level == "ok"
    assert machine.environments(place()).level == "ok"
    program(tools, "gcc", "true")
    assert machine.environments(place(config=config)).level == "ok"


@pytest.mark.parametrize(
    ("script", "native", "images"),
    [
        ("echo apptainer version 1.4.5-2", "ok", "ok"),
        ("echo apptainer version 0.9.1", "warn", "fail"),
        ("echo broken >&2; false", "warn", "fail"),
        (None, "warn", "fail"),
    ],
)
def test_apptainer(tools: Path, script: str | None, native: str, images: str) -> None:
    if script:
        program(tools, "apptainer", script)
    assert machine.apptainer(place()).level == native
    assert machine.apptainer(place({"sdm": ["apptainer"]})).level == images


def test_user_namespaces(tools: Path) -> None:
    assert machine.namespaces(place()).level == "fail"
    program(tools, "unshare", "echo 'unshare failed: Operation not permitted' >&2; false")
    found = machine.namespaces(place())
    assert found.level == "fail"
    assert "Operation not permitted" in found.text
    program(tools, "unshare", "true")
    assert machine.namespaces(place()).level == "ok"


def test_ranges_of_subordinate_ids(tools: Path, tmp_path: Path) -> None:
    assert "newuidmap" in machine.subuids(place(), tmp_path).text
    for name in ("newuidmap", "newgidmap"):
        program(tools, name, "true")
    name, number = findings.owner()
    (tmp_path / "subuid").write_text(f"other:1:2\n{name}:200000:65536\n")
    assert machine.subuids(place(), tmp_path).text.endswith("no subgid")
    (tmp_path / "subgid").write_text(f"{number}:200000:65536\n")
    assert machine.subuids(place(), tmp_path).level == "ok"


def test_images_that_are_not_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("d3.provenance.images.IMAGES", tmp_path)
    monkeypatch.setattr("d3.provenance.images.image_path", lambda name: tmp_path / f"{name}.sif")
    found = machine.images(place())
    assert (found.level, found.remedy) == ("warn", "run: make images")
    assert machine.images(place({"sdm": "apptainer"})).level == "fail"
    for name in ("data", "train", "dolma", "eval", "llm"):
        (tmp_path / f"{name}.sif").touch()
    assert machine.images(place()).level == "ok"


def test_the_sandbox_without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d3.evals.sandbox.supervisor.bubblewraps", list)
    found = machine.sandbox(place())
    assert found.level == "fail"
    assert "bubblewrap" in found.remedy


CARD = "NVIDIA H100 80GB HBM3, 81559, {}"


@pytest.mark.parametrize(
    ("script", "config", "level", "text"),
    [
        (f"echo '{CARD.format('580.65.06')}'", "config.yaml", "ok", "1 x NVIDIA H100 80GB HBM3, driver 580.65.06"),
        (f"echo '{CARD.format('535.1')}'", "config.yaml", "fail", "driver 535.1 is too old"),
        (f"echo '{CARD.format('580.65.06')}'", "d3.yaml", "ok", "H100"),
        ("echo 'Tesla V100-SXM2-16GB, 16384, 580.1'", "d3.yaml", "warn", "wants 4 with 20.1 GB"),
        ("echo 'Failed to initialize NVML' >&2; false", "config.yaml", "fail", "Failed to initialize NVML"),
        (None, "config.yaml", "ok", "no GPU here"),
        (None, "d3.yaml", "warn", "no GPU here"),
    ],
)
def test_gpus(tools: Path, script: str | None, config: str, level: str, text: str) -> None:
    values = load_config(ROOT / "config" / config)
    if script:
        program(tools, "nvidia-smi", script)
    chain = Chain(values.model_copy(update={"source": Config().source}))
    found = machine.gpus(Place(chain, {}))
    assert (found.level, text in found.text) == (level, True), found


def test_too_little_space(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.space(place()).level == "ok"
    monkeypatch.setattr("d3.operate.plan.expected_room", lambda chain: (10**18, 10**12))
    found = machine.space(place())
    assert found.level == "fail"
    assert "GB free, the run wants" in found.text
    assert "more files, the run makes" in found.text
    monkeypatch.setenv("TMPDIR", "/nowhere/at/all")
    assert machine.space(place()).level == "fail"


def test_the_token_of_the_hub_is_never_shown(tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gated = parse_config({"model": {"path": "meta/Llama", "revision": "a" * 40}})
    assert machine.token(place()).level == "ok"
    found = machine.token(place(config=gated))
    assert (found.level, "Llama" in found.text) == ("warn", True)
    secret = "hf_" + "s" * 30
    monkeypatch.setenv("HF_TOKEN", secret)
    found = machine.token(place(config=gated))
    assert (found.level, secret in str(found)) == ("ok", False)
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "token").write_text(secret)
    found = machine.token(place(config=gated))
    assert (found.level, secret in str(found)) == ("ok", False)


def test_models_and_benchmarks(tools: Path) -> None:
    found = machine.models(place())
    assert (found.level, "SmolLM2" in found.text) == ("warn", True)
    Path(machine._models(Chain(Config()))[0]).mkdir(parents=True)
    assert machine.models(place()).level == "ok"
    lost = parse_config({"benchmarks": {"mine": {"path": "nowhere.jsonl"}}})
    assert machine.models(place(config=lost)).level == "fail"


# --- SLURM -------------------------------------------------------------------------------------------


def cluster(
    folder: Path, *, ping: str = "Slurmctld(primary) at n is UP", age: int = 300, accounts: bool = True
) -> None:
    for name in ("sbatch", "squeue", "scancel"):
        program(folder, name, "echo slurm 23.11.1")
    configured = f'echo "MinJobAge               = {age} sec"'
    answers = f'case "$*" in ping) echo "{ping}";; *config) {configured};; *) echo slurm 23.11.1;; esac'
    program(folder, "scontrol", answers)
    program(folder, "sacctmgr", "echo here" if accounts else "echo 'not running a slurmdbd' >&2; false")


def test_the_controller(tools: Path) -> None:
    assert slurm_checks.controller(place()).level == "ok"
    assert slurm_checks.controller(place(SLURM)).level == "fail"
    cluster(tools)
    assert slurm_checks.controller(place(SLURM)) == Finding("ok", "slurm 23.11.1 answers")
    cluster(tools, ping="Slurmctld(primary) at n is DOWN")
    assert slurm_checks.controller(place(SLURM)).level == "fail"
    assert slurm_checks.controller(place()).level == "warn"


def test_a_controller_that_hangs(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "ask", lambda words: programs.ask(words, 0.2))
    program(tools, "sbatch", "sleep 5")
    assert "no answer" in slurm_checks.controller(place(SLURM)).text


def test_how_long_ended_jobs_are_remembered(tools: Path) -> None:
    cluster(tools)
    assert slurm_checks.accounting(place(SLURM)).level == "ok"
    cluster(tools, age=30)
    found = slurm_checks.accounting(place(SLURM))
    assert (found.level, found.remedy) == ("fail", "set slurm-init-seconds-before-status-checks to 10 or less")
    cluster(tools, accounts=False)
    assert "none are needed" in slurm_checks.accounting(place(SLURM)).text
    assert slurm_checks.accounting(place(SLURM | {"slurm-status-command": "sacct"})).level == "fail"


SINFO = """\
cpu*|2-00:00:00|250000+|64|(null)|up
gpu|1-00:00:00|1000000|96|gpu:h100:8(S:0-1)|up
gpu|1-00:00:00|500000|32|gpu:a100:4|up
old|infinite|64000|16|(null)|down
"""


def test_partitions_are_read_at_their_best() -> None:
    cpu, gpu, old = slurm.read_partitions(SINFO)
    assert cpu == ("cpu", 2880, 250000, 64, 0, True)
    assert gpu == ("gpu", 1440, 1000000, 96, 8, True)
    assert (old.minutes, old.up) == (None, False)
    assert slurm.read_partitions("debug|30:00|1000|2|(null)|up")[0].minutes == 30


def test_time_limits_and_sizes_of_partitions(tools: Path, tmp_path: Path) -> None:
    program(tools, "sinfo", f"cat <<'END'\n{SINFO}END")
    assert slurm_checks.partitions(place(SLURM)).level == "ok"
    slow = SLURM | {"set-resources": {"midtrain": {"runtime": 4320}}}
    found = slurm_checks.partitions(place(slow))
    assert (found.level, found.text) == ("fail", "midtrain: takes up to 4,320 min, its partitions allow 1,440")
    large = SLURM | {"set-resources": {"grades": {"gres": "gpu:h100:16"}}}
    assert "grades: no partition has 16 GPUs" in slurm_checks.partitions(place(large)).text
    wide = SLURM | {"set-threads": {"diffs": 500}}
    assert "500 cores" in slurm_checks.partitions(place(wide)).text
    (tmp_path / "partitions.yaml").write_text("partitions: {cpu: {}, gpu: {}, gone: {}}\n")
    named = place(SLURM | {"slurm-partition-config": "partitions.yaml"}, folder=tmp_path)
    assert "no partition of this cluster: gone" in slurm_checks.partitions(named).text
    only = place(SLURM | {"default-resources": {"slurm_partition": "cpu"}})
    assert "grades: no partition has 1 GPUs" in slurm_checks.partitions(only).text


def test_a_job_without_a_limit_fits() -> None:
    there = [slurm.Partition("long", None, 10**6, 64, 8, True)]
    assert slurm_checks.misfit(STAGES["grades"], Resources(gpus=8, memory_mb=1000, minutes=10**6), {}, there) == ""


# --- the command -------------------------------------------------------------------------------------


def test_profiles_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor.place_of(Chain(Config()), ROOT / "profiles" / "slurm")
    assert found.slurm
    assert found.folder == ROOT / "profiles" / "slurm"
    assert main(["doctor", "--profile", str(tmp_path / "nowhere")]) == 1
    assert "the profile cannot be read" in capsys.readouterr().err


def test_the_command_and_its_exit_code(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--profile", str(ROOT / "profiles" / "slurm")]) == 1
    found = {item["check"]: item for item in json.loads(capsys.readouterr().out)}
    assert list(found) == list(doctor.CHECKS)
    assert found["slurm"]["level"] == "fail"
    assert {"check", "level", "text", "remedy"} == set(found["slurm"])


def test_the_command_says_ok_or_what_to_do(
    tools: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"token": machine.token, "models": machine.models}
    monkeypatch.setattr(doctor, "CHECKS", chosen)
    assert main(["doctor"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("ok    token")
    assert second.startswith("warn  models")
    assert " -> start where there is a network" in second
