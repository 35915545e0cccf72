"""Names and texts from outside in what commands and jobs print: they set no terminal and forge no line."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from d3.core.progress import Progress
from d3.operate.failures import Failure, screen
from d3.operate.plan import Plan
from d3.operate.plan_table import plan_table
from d3.operate.status import Active, Survey, status_table
from d3.report.numbers import key_numbers

NAME = "a\x1b[2J\x07\u202eb\n0 failed"


def status(_: Path) -> str:
    running = Active(stage="grades", job=NAME, state="running", seconds=1.0, node=NAME, progress=NAME)
    failed = Failure(stage="grades", job=NAME, reason=NAME, attempts=2, log=NAME)
    return status_table(Survey(run=NAME, head="is running", slurm=NAME, active=[running], failures=[failed]))


def plan(_: Path) -> str:
    return plan_table(Plan(run=NAME, source_known=True, warnings=[NAME]))


def progress(_: Path) -> str:
    stream = io.StringIO()
    Progress(NAME, 3, NAME, stream=stream).close()
    return stream.getvalue()


def failures(_: Path) -> str:
    return screen([], Path(), {}, NAME)


def numbers(folder: Path) -> str:
    path = folder / "numbers.json"
    path.write_text(json.dumps({"run": NAME, "seed": 1, "demo": [], "key": [{"label": NAME, "value": 1}]}))
    return key_numbers(path)


@pytest.mark.parametrize("printed", [status, plan, progress, failures, numbers])
def test_no_name_reaches_the_terminal_as_it_is(printed: Callable[[Path], str], tmp_path: Path) -> None:
    text = printed(tmp_path)
    assert not set("\x1b\x07\u202e") & set(text)
    assert not [line for line in text.splitlines() if line.startswith("0 failed")]
    assert "a<U+001B>[2J<U+0007><U+202E>b" in text
