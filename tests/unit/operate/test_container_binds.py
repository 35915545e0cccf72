"""What is bound into images and passed to them, and who may use the network; no image is entered here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from d3.config.load import parse_config
from d3.core.paths import REPOSITORY
from d3.errors import ConfigError, ToolError
from d3.operate.container_binds import binds, check_images, open_images, variables
from d3.pipeline.network import needs_network
from d3.pipeline.pipeline import Chain
from d3.provenance import images

CODE = [f"{REPOSITORY / name}:{REPOSITORY / name}:ro" for name in ("workflow", "config")]


def chain(**values: Any) -> Chain:
    return Chain(parse_config(values))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder of a run."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def no_images(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let images lie in the working folder, where none was built."""
    for definition in images.IMAGES.glob("*.def"):
        shutil.copy(definition, run)
    monkeypatch.setattr(images, "IMAGES", run)
    images.image_key.cache_clear()
    return run


def test_a_run_without_outside_inputs_sees_its_folder_and_the_code(run: Path) -> None:
    assert binds(chain(), run) == [f"{run}:{run}", *CODE]


def test_the_folders_of_outside_inputs_are_bound_read_only_links_followed(run: Path, tmp_path: Path) -> None:
    for name in ("shards", "elsewhere", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere" / "real.parquet").touch()
    (tmp_path / "shards" / "a.parquet").symlink_to(tmp_path / "elsewhere" / "real.parquet")
    (run / "b.parquet").touch()
    (tmp_path / "opt-out.txt").touch()
    source = {"shards": [str(tmp_path / "shards" / "a.parquet"), "b.parquet"]}
    found = binds(chain(source=source, model={"path": str(tmp_path / "model")}), run)
    outside = [tmp_path / name for name in ("shards", "elsewhere", "model")]
    assert found == [f"{run}:{run}", *CODE, *[f"{path}:{path}:ro" for path in outside]]


def test_results_on_another_disk_are_bound_to_be_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (run / "results").symlink_to(tmp_path / "scratch")
    assert binds(chain(), run)[-1] == f"{tmp_path / 'scratch'}:{tmp_path / 'scratch'}"


def test_a_path_that_apptainer_would_cut_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    (tmp_path / "a,b" / "x.parquet").touch()
    with pytest.raises(ConfigError, match="comma"):
        binds(chain(source={"shards": [str(tmp_path / "a,b" / "x.parquet")]}), run)


def test_only_declared_variables_reach_a_job() -> None:
    server = {"kind": "openai", "served_model": "judge", "api_key_env": "JUDGE_KEY"}
    there = {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "7", "D3_RUN": "{}", "JUDGE_KEY": "k"}
    found = variables(chain(grades={"engine": server}), there | {"HF_TOKEN": "secret", "HOME": "/root"})
    assert found == {f"APPTAINERENV_{name}": value for name, value in there.items()}
    assert "APPTAINERENV_JUDGE_KEY" not in variables(chain(), there)


@pytest.mark.usefixtures("no_images")
def test_opening_keeps_what_the_user_bound_and_tells_the_images(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("APPTAINERENV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("APPTAINERENV_D3_RUN", "")
    monkeypatch.setenv("APPTAINER_BIND", "/data:/data:ro")
    monkeypatch.setenv("D3_RUN", '{"invocation": "x"}')
    images.image_path("eval").write_bytes(b"SIF")
    for _ in range(2):  # jobs of a cluster open again what their head opened
        open_images(chain(), run)
        assert os.environ["APPTAINER_BIND"] == ",".join(["/data:/data:ro", f"{run}:{run}", *CODE])
        told = json.loads(os.environ["APPTAINERENV_D3_RUN"])
        assert list(told["images"]) == [str(images.image_path("eval"))]
        assert told["invocation"] == "x"


@pytest.mark.usefixtures("no_images")
def test_images_that_are_missing_are_named_with_what_to_run() -> None:
    images.image_path("data").touch()
    check_images(["data", "main"])
    with pytest.raises(ToolError, match="no image for dolma, llm; build what is missing: make image-dolma image-llm"):
        check_images(["data", "llm", "dolma", "llm"])


@pytest.mark.parametrize(
    ("command", "environment", "nodes", "needed"),
    [
        ("corpus", "data", 1, False),
        ("grades", "train", 1, False),
        ("labels", "llm", 1, False),
        ("labels", "data", 1, True),
        ("midtrain", "train", 1, False),
        ("midtrain", "train", 2, True),
        ("hub-model", "main", 1, True),
        ("topic-counts", "data", 1, False),
        ("execute", "eval", 1, False),
    ],
)
def test_who_needs_the_network(command: str, environment: str, nodes: int, needed: bool) -> None:
    assert needs_network(command, environment, nodes) == needed


ALONE = """
import socket, d3.pipeline.network
d3.pipeline.network.enforce("corpus")
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname())
print(open("/proc/net/dev").read().count(":"))
"""


def test_a_job_that_is_cut_off_has_loopback_alone() -> None:
    environment = {"PYTHONPATH": str(REPOSITORY / "workflow"), "D3_OFFLINE": "1", "D3_ENVIRONMENT": "data"}
    line = [sys.executable, "-c", ALONE]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("1", "")
