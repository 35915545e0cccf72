"""The commands of the documentation that read a finished run, run in a copy of one."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from helpers.doc_blocks import Block, blocks, reads_a_run, run_commands
from helpers.paths import ROOT

READ = [block for block in blocks() if not block.needs and any(map(reads_a_run, block.commands))]


def as_documented(finished: Path, config: Path, folder: Path) -> None:
    """Copy a finished run into a folder in which the names of the documentation exist."""
    for name in ("results", "resources", "work", "logs"):
        shutil.copytree(finished / name, folder / name, symlinks=True)
    values = yaml.safe_load(config.read_text())
    values["source"] = {**values.get("source", {}), "opt_out": "opt-out.txt"}
    (folder / "opt-out.txt").touch()
    for name in ("mine", "other"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    for name in ("profiles", "config", "workflow"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".ssh").mkdir()
    key = str(folder / ".ssh" / "id_ed25519")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)


def test_there_are_such_blocks() -> None:
    assert len(READ) >= 8


@pytest.mark.parametrize("block", READ, ids=map(str, READ))
def test_a_block_that_reads_a_run(block: Block, finished_run: tuple[Path, Path], tmp_path: Path) -> None:
    as_documented(*finished_run, tmp_path)
    run = yaml.safe_load(finished_run[1].read_text())["run"]
    names = {
        **{"runs/demo/": f"runs/{run}/", "release mine": f"release {run}", "run-a run-b": f"{run} {run}"},
        "OWNER/NAME": "python/cpython",
    }
    # `forget` ends with 1 while something is left, and the run is not built again here.
    lines = [f"{line.partition(' #')[0]} || [ $? = 1 ]" if " forget " in line else line for line in block.commands]
    printed = run_commands("\n".join(filter(reads_a_run, lines)), tmp_path, names=names)
    assert printed
    assert "error:" not in printed
