"""The checkout under test, the programs of its environments, and real data beside it."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
TESTS = ROOT / "tests"
WORKFLOW = ROOT / "workflow"
PROFILES = ROOT / "profiles"
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
VLLM_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
VALIDATORS_PYTHON = ROOT / ".venv-validators" / "bin" / "python"
REAL_DATA = ROOT.parent / "shared" / "data"
"""Real shards and benchmark files; where there are none, tests write small ones in the same formats."""
PYTHONPATH = f"{WORKFLOW}:{TESTS}"
"""What a process needs to import the package and these helpers."""
