"""The log of verdicts outlives its process, and only what is abandoned is removed."""

import subprocess
import sys
from pathlib import Path

from d3.evals.verdict_log import Line, VerdictLog, read_logs

WRITER = """
import os, signal, sys
from pathlib import Path
from d3.evals.verdict_log import Line, VerdictLog
log = VerdictLog(Path(sys.argv[1]))
log.append(Line("a", {"verdict": "passed", "detail": ""}, ["t"]))
log.append(Line("b", {"verdict": "failed", "detail": "assert"}, ["t"]))
os.write(log._file, b'["torn", {"verd')
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_entries_of_a_killed_process_are_read_and_torn_ones_left_out(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], check=False)
    lines, abandoned = read_logs(tmp_path)
    assert [(line.key, line.value["verdict"], line.about) for line in lines] == [
        ("a", "passed", ["t"]),
        ("b", "failed", ["t"]),
    ]
    assert len(abandoned) == 1


def test_the_log_of_a_living_process_is_read_and_not_abandoned(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path)
    log.append(Line("a", {}, []))
    assert read_logs(tmp_path) == ([Line("a", {}, [])], [])
    log.remove()
    assert read_logs(tmp_path) == ([], [])
    assert list(tmp_path.iterdir()) == []
