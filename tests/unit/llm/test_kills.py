"""Kill drill of the LLM stages: 20 kills -9, the same bytes, and no finished request asked twice.

Once with chunks of requests, and with fewer kills for an engine that takes requests while it answers others.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from d3.core import schemas
from d3.core.tables import read_rows
from helpers.corpus_tables import write_corpus
from helpers.paths import PYTHONPATH
from helpers.tiny_models import chat_model

pytestmark = [pytest.mark.model, pytest.mark.slow]

FILES = 200
KILLS = 20
BATCH = 2
CHUNK = 4 * BATCH

DRIVER = '''
"""Run `d3 grades` in forked children and kill them; every request and every flush leaves a line in a log."""
import json, os, random, signal, sys, time
from pathlib import Path

import torch
torch.set_num_threads(1)

from d3 import cli
from d3.stages import grades
from d3.core.journal import Journal
from d3.llm import ask as asking
from d3.llm.engines.transformers import TransformersEngine

folder, model, settings, kills = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
rolling = sys.argv[5] == "rolling"
asking.SAVE_SECONDS = 0.1
log = folder / "log.jsonl"
log.touch()
(folder / "config.yaml").write_text(settings)
arguments = ["grades", "--config", str(folder / "config.yaml"), "--model", model]
arguments += ["--corpus", str(folder / "corpus.parquet")]
arguments += ["--journal", str(folder / "journal"), "--out", str(folder / "grades.parquet")]


def write(attempt, kind, requests=()):
    line = json.dumps([attempt, kind, [f"{request.key} {request.seed}" for request in requests]]) + "\\n"
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.write(file, line.encode())
    os.close(file)


class Rolling(TransformersEngine):
    """Takes requests while it answers others; the newest is answered first, so they end in another order."""

    chunk = 20

    def submit(self, request):
        self.tickets = getattr(self, "tickets", 0) + 1
        self.__dict__.setdefault("open", {})[self.tickets] = request
        return self.tickets

    def collect(self):
        ticket = max(self.open)
        return [(ticket, self.ask([self.open.pop(ticket)])[0])]


def child(attempt):
    opened, flush = grades.open_engine, Journal.flush

    def open_engine(*given):
        engine = Rolling(*given) if rolling else opened(*given)
        engine.chunk = Rolling.chunk if rolling else engine.chunk
        ask = engine.ask

        def logged(requests):
            write(attempt, "ask", requests)
            return ask(requests)

        engine.ask = logged
        return engine

    def flushed(journal):
        flush(journal)
        write(attempt, "flushed")

    grades.open_engine, Journal.flush = open_engine, flushed
    os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os._exit(cli.main(arguments))


def lines():
    return log.read_bytes().count(b"\\n")


draw = random.Random(1)
killed = finished = attempt = 0
while True:
    attempt += 1
    begin = lines()
    process = os.fork()
    if process == 0:
        child(attempt)
    if killed < kills:
        wanted = begin + draw.choice((0, 0, 1, 2, 3, 4))
        while lines() < wanted and os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.4 if wanted == begin else 0.06))
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        killed += 1
    elif os.WEXITSTATUS(status):
        sys.exit(f"attempt {attempt} failed")
    elif killed == kills:
        break
    else:  # a machine so slow that the run ended before its kill: look at the journal's side of it once more
        finished += 1
        (folder / "grades.parquet").unlink()
print(json.dumps({"killed": killed, "finished": finished, "attempts": attempt}))
'''


SETTINGS = {
    "grades": {"engine": {"batch": BATCH, "max_length": 1800}, "sampling": {"max_tokens": 4, "temperature": 1.0}}
}


def storm(folder: Path, model: str, kills: int, way: str) -> dict[str, int]:
    """Run with so many kills, and give the driver's counts."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder), model, json.dumps(SETTINGS), str(kills), way],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )
    assert done.returncode == 0, done.stderr + (folder / "stderr").read_text()[-2000:]
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def write_files(folder: Path) -> Path:
    folder.mkdir()
    texts = [f"def times_{row}(value):\n    return value * {row}" for row in range(FILES)]
    write_corpus(folder / "corpus.parquet", texts)
    return folder


@pytest.mark.parametrize(("way", "kills"), [("chunks", KILLS), ("rolling", 8)])
def test_kills_change_no_byte_and_ask_nothing_finished_twice(tmp_path: Path, way: str, kills: int) -> None:
    model = str(chat_model(tmp_path / "model"))
    calm, stormy = write_files(tmp_path / "calm"), write_files(tmp_path / "stormy")
    assert storm(calm, model, 0, way) == {"killed": 0, "finished": 0, "attempts": 1}
    counts = storm(stormy, model, kills, way)
    assert counts["killed"] == kills

    asked: list[tuple[int, str]] = []
    flight: dict[int, list[str]] = {}
    done: dict[str, int] = {}
    twice = []
    for line in (stormy / "log.jsonl").read_text().splitlines():
        attempt, kind, requests = json.loads(line)
        if kind == "ask":
            twice += [request for request in requests if request in done]
            asked += [(attempt, request) for request in requests]
            flight.setdefault(attempt, []).extend(requests)
        else:
            done.update(dict.fromkeys(flight.pop(attempt, []), attempt))
    different = {request for _, request in asked}
    again = len(asked) - len(different)
    lost = sum(len(requests) for requests in flight.values())
    attempts = sorted({attempt for attempt, _ in asked})
    print(
        f"\n{way}: {FILES} files, {counts['killed']} kills in {counts['attempts']} attempts, "
        f"{len(attempts)} of which asked: "
        f"{len(different)} different requests asked {len(asked)} times; {again} again, all of them in flight at a kill "
        f"({lost} were); {len(twice)} after they were finished"
    )
    assert twice == []
    assert len(different) >= FILES
    assert again <= lost <= kills * (CHUNK if way == "chunks" else FILES)
    assert len(attempts) >= kills // 4  # the kills did fall into the work
    assert again > 0
    assert (stormy / "grades.parquet").read_bytes() == (calm / "grades.parquet").read_bytes()
    assert len(list(read_rows(stormy / "grades.parquet", schemas.GRADES))) == FILES
    assert not [path for path in stormy.iterdir() if path.name.endswith(".part")]
