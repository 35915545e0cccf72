"""What a job in an image sees: what the run declares, and nothing else; and no network."""

import json
import socket
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.core.paths import REPOSITORY
from helpers.benchmark_files import write_samples
from helpers.real_images import Enter

LAUNCHER = REPOSITORY / "workflow" / "bin" / "d3"
CONNECT = """
import sys; sys.path.insert(0, {workflow!r})
import socket, d3.pipeline.network
if {cut}: d3.pipeline.network.enforce({command!r})
try: socket.create_connection(("127.0.0.1", {port}), 5).recv(1); print("reached")
except OSError as error: print("not reached")
"""


@pytest.mark.parametrize(
    ("command", "cut", "answer"),
    [("corpus", False, "reached"), ("corpus", True, "not reached"), ("grades", True, "reached")],
)
def test_only_a_stage_that_asks_a_server_reaches_one(
    enter: Enter, tmp_path: Path, command: str, cut: bool, answer: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = CONNECT.format(workflow=str(REPOSITORY / "workflow"), cut=cut, command=command, port=port)
        server.settimeout(0.1)
        import threading

        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    server.accept()[0].sendall(b"x")
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        done = enter("data", "env", "D3_ENVIRONMENT=data", "python3", "-c", code, folder=tmp_path)
        stop.set()
        thread.join()
    assert done.stdout.strip() == answer, done.stderr


def test_nothing_of_the_machine_is_there_but_what_is_declared(
    enter: Enter, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other") / "private.txt"
    other.write_text("private")
    look = f"env; cat {other}; touch {REPOSITORY}/workflow/planted; touch planted && echo written; ls -A /root /tmp"
    done = enter("data", "bash", "-c", look, folder=tmp_path, PLANTED_TOKEN="hf_planted", OMP_NUM_THREADS="3")
    assert "hf_planted" not in done.stdout
    assert "private" not in done.stdout.replace(str(other), "")
    assert "OMP_NUM_THREADS=3" in done.stdout
    assert "HF_HUB_OFFLINE=1" in done.stdout
    assert "written" in done.stdout
    assert (tmp_path / "planted").exists()
    assert not (REPOSITORY / "workflow" / "planted").exists()
    assert "Read-only file system" in done.stderr


def test_the_sandbox_for_model_written_code_works_inside_the_image(enter: Enter, tmp_path: Path) -> None:
    task = {
        "task_id": "t/0",
        "prompt": 'def f(x):\n    """Count on."""\n',
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(1) == 2\n",
        "canonical_solution": "    return x + 1\n",
    }
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    reach = "import socket\n    socket.create_connection(('127.0.0.1', 22), 1)"
    bodies = ["return x + 1", "return x", reach, "import os\n    return len(os.listdir('/opt/d3')) and x + 1"]
    rows = [("t/0", number, f"def f(x):\n    {body}\n", "ok") for number, body in enumerate(bodies)]
    write_samples(tmp_path / "samples.parquet", rows)
    config = parse_config({"benchmarks": {"own": {"path": str(tmp_path / "tasks.jsonl"), "tasks": None}}})
    (tmp_path / "config.yaml").write_text(config.model_dump_json())  # JSON is YAML too
    words = [LAUNCHER, "execute", "--config", tmp_path / "config.yaml", "--benchmark", "own"]
    words += ["--tasks", tmp_path / "tasks.jsonl", "--samples", tmp_path / "samples.parquet"]
    done = enter("eval", *words, "--out", tmp_path / "verdicts.parquet", "--workers", "2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    verdicts = pq.read_table(tmp_path / "verdicts.parquet")["verdict"].to_pylist()
    assert verdicts == ["passed", "failed", "error", "error"]
