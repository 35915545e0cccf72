"""The scratch folder of a job in an image: of the job's own, safe from other users of the node, and removed."""

import os
import re
import socket
import stat
import subprocess
import time
from pathlib import Path

import yaml

from d3.core.paths import REPOSITORY

PROGRAM = REPOSITORY / "workflow" / "bin" / "d3-scratch"


def scratch(folder: Path, owner: int) -> Path:
    answer = subprocess.run(
        [PROGRAM, str(owner)], capture_output=True, text=True, check=True, env=os.environ | {"TMPDIR": str(folder)}
    )
    return Path(answer.stdout.rstrip("\n"))


def mine(folder: Path, pid: int) -> Path:
    return folder / f"d3-{os.getuid()}.{socket.gethostname()}.{pid}.left"


def ended() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_every_job_gets_a_folder_that_is_its_users_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as owner:
        first, second = scratch(tmp_path, owner.pid), scratch(tmp_path, owner.pid)
        assert first != second
        for folder in (first, second):
            assert folder.parent == tmp_path
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert folder.stat().st_uid == os.getuid()
        owner.kill()


def test_it_is_removed_when_the_job_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as owner:
        folder = scratch(tmp_path, owner.pid)
        (folder / "cache").mkdir()
        (folder / "cache" / "kernel.so").touch()
        time.sleep(0.5)
        assert folder.exists()
        owner.kill()
    until = time.monotonic() + 30
    while folder.exists():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_folders_of_dead_jobs_go_and_links_stay(tmp_path: Path) -> None:
    dead, living, link = mine(tmp_path, ended()), mine(tmp_path, os.getpid()), mine(tmp_path, ended() + 1)
    elsewhere = tmp_path / f"d3-{os.getuid()}.another-node.1.left"
    target = tmp_path / "target"
    for folder in (dead, living, elsewhere, target):
        folder.mkdir()
    link.symlink_to(target)
    scratch(tmp_path, os.getpid())
    assert not dead.exists()
    assert living.exists()
    assert elsewhere.exists()
    assert link.is_symlink()
    assert target.exists()


def test_profiles_name_no_folder_that_can_be_foreseen() -> None:
    profiles = [path for path in REPOSITORY.glob("profiles/*/config.yaml") if "apptainer-args" in path.read_text()]
    assert len(profiles) == 4
    for path in profiles:
        words = yaml.safe_load(path.read_text())["apptainer-args"]
        assert re.findall(r"--workdir (\S+ \S+)", words) == ['"$("$D3_BIN"/d3-scratch $$)"']


def test_the_shell_of_a_job_owns_its_folder(tmp_path: Path) -> None:
    """As Snakemake starts a job: one shell, whose process becomes Apptainer."""
    variables = {"D3_BIN": str(PROGRAM.parent), "TMPDIR": str(tmp_path)}
    line = 'test -d "$("$D3_BIN"/d3-scratch $$)" && echo $$'
    answer = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, env=os.environ | variables, timeout=20
    )
    assert int(answer.stdout) > 0
