"""The sandbox is a folder that needs nothing else of this package."""

import shutil
import subprocess
import sys
from pathlib import Path

from d3.evals import sandbox

PROGRAM = """
from d3.evals.sandbox import Limits, Sandbox
with Sandbox(Limits(timeout_seconds=20)) as place:
    for sum in ("a + b", "a - b"):
        print(place.judge(f"def add(a, b):\\n    return {sum}", "assert add(1, 2) == 3", "add").verdict)
"""


def test_the_sandbox_runs_without_this_package(tmp_path: Path) -> None:
    shutil.copytree(Path(sandbox.__file__).parent, tmp_path / "d3" / "evals" / "sandbox")
    (tmp_path / "judge.py").write_text(PROGRAM)
    command = [sys.executable, "-E", "judge.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["passed", "failed"], done.stderr
