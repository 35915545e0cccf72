"""A task as benchmarks publish them, and a program that is none."""

import json
from pathlib import Path

TASK_ID = "Own/7"
SIGNATURE = "def median_gap(values: list[float], step: int = 1) -> float:\n"
DOCSTRING = '''    """Sort the given readings of a meter and return the median of the gaps between neighbours.

    Gaps that are smaller than `step` are left out of the count, and an empty list of gaps gives zero.
    >>> median_gap([3.0, 1.0, 8.0])
    3.5
    """
'''
BODY = """    ordered = sorted(set(values))
    gaps = [later - earlier for earlier, later in zip(ordered, ordered[1:]) if later - earlier >= step]
    if not gaps:
        return 0.0
    half = len(gaps) // 2
    return sum(sorted(gaps)[half - 1 : half + 1]) / 2 if len(gaps) % 2 == 0 else sorted(gaps)[half]
"""
TASK = SIGNATURE + DOCSTRING + BODY
SOLUTION = SIGNATURE + BODY
CLEAN = '''def read_settings(path):
    """Return the settings of a file, one NAME=VALUE on each line; lines without a sign are left out."""
    with open(path, encoding="utf-8") as lines:
        pairs = (line.strip().split("=", 1) for line in lines if "=" in line)
        return {name.strip(): value.strip() for name, value in pairs}
'''


def write_tasks(path: Path) -> Path:
    """Write the task as a file of one line, in the fields of HumanEval."""
    row = {"task_id": TASK_ID, "prompt": SIGNATURE + DOCSTRING, "canonical_solution": BODY}
    path.write_text(f"{json.dumps(row)}\n")
    return path
