"""What files contain decides, not what the file system says of them; cases of the scorecard."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.corpus_tables import stack_rows, write_shard
from helpers.paths import ROOT
from helpers.run_folder import Place, copy_checkout
from helpers.workflow_run import small_config

NAMES = ("one", "two")
STAGES = ("corpus", "fingerprints", "contamination", "grades", "diffs", "labels", "label_contamination", "dataset")
EVERY = {f"{stage}/{name}" for stage in STAGES for name in NAMES} | {
    *("benchmarks", "duplicates", "near_duplicates/near_duplicates")
}
OLD = 1_000_000_000
"""A time in 2001, in seconds."""
WEIGHTS = "model/model.safetensors"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Place:
    """Return a finished run over two shards of two programs, one of which is opted out."""
    folder = tmp_path_factory.mktemp("original") / "run"
    for name in NAMES:
        programs = [f"{name}_{n} = {n}\nprint({name}_{n})\nprint('{name}', {n})\n" for n in range(3)]
        write_shard(folder / "shards" / f"{name}.parquet", stack_rows(programs, name))
    shutil.copytree(tiny_model, folder / "model")
    for path in (folder / "model").iterdir():
        os.utime(path, (OLD, OLD))
    shutil.copy(folder / WEIGHTS, folder / "model" / "weights-2.bin")
    _change_one_byte(folder / "model" / "weights-2.bin")
    (folder / "opt-out.txt").write_text("repo:one-owner/0\nrepo:nobody/known\n")
    config = small_config("model")
    config["source"]["shards"] = [f"shards/{name}.parquet" for name in NAMES]
    config["labels"] = {"mode": "constant", "constant": "Do it.", "sub_trajectories": 1}
    place = Place(folder, config, copy_checkout(folder.parent / "code"))
    assert set(place.run("dataset")) == EVERY
    assert place.would_run("dataset") == set()
    read = "".join(path.read_text() for path in (folder / "work" / "digests").iterdir())
    assert not re.search("results/|shards/", read), "files were read again that nobody had changed"
    return place


@pytest.fixture
def finished(original: Place, tmp_path: Path) -> Place:
    """Return a copy of the finished run that a test may change."""
    return original.copy(tmp_path / "run")


def stale(place: Place) -> dict[str, list[str]]:
    """Return the jobs that are stale for reasons of their own, with these."""
    states = place.states("dataset")
    return {name: item["reasons"] for name, item in states.items() if item["reasons"]}


def _change_one_byte(path: Path) -> None:
    """Change a byte in the middle of a file; size and time stay, as after `cp -p` or `rsync -t` of such a file."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _swap(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "aside")
    (folder / "model" / "weights-2.bin").rename(folder / WEIGHTS)
    (folder / "aside").rename(folder / "model" / "weights-2.bin")


def _restore_older(folder: Path) -> None:
    shutil.copy2(folder / WEIGHTS, folder / "older")
    _change_one_byte(folder / "older")
    os.utime(folder / "older", (OLD - 9, OLD - 9))
    (folder / "older").rename(folder / WEIGHTS)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: _change_one_byte(folder / WEIGHTS), id="case_21"),
        pytest.param(_swap, id="case_22"),
        pytest.param(_restore_older, id="case_23"),
    ],
)
def test_other_weights_in_the_folder_of_a_model_rerun_what_asks_it(
    finished: Place, change: Callable[[Path], None]
) -> None:
    change(finished.folder)
    assert stale(finished) == {f"grades/{name}": ["input model has other content"] for name in NAMES}


def test_case_24_a_shard_of_equal_size_and_time_is_read(finished: Place) -> None:
    shard = finished.folder / "shards" / "one.parquet"
    _change_one_byte(shard)
    reasons = ["input shards/one.parquet has other content"]
    assert stale(finished) == {"corpus/one": reasons, "contamination/one": reasons}


def test_case_25_a_missing_intermediate_is_made_again_and_stops_there(finished: Place) -> None:
    labels = finished.find("labels", "one.parquet")
    content = labels.read_bytes()
    labels.unlink()
    states = finished.states("dataset")
    assert {name: item["state"] for name, item in states.items() if item["state"] != "fresh"} == {
        "labels/one": "stale",
        "label_contamination/one": "follows",
        "dataset/one": "follows",
    }
    (reason,) = states["labels/one"]["reasons"]
    assert reason.endswith("labels/" + "/".join(labels.parts[-2:]) + " is missing")
    assert set(finished.run("dataset")) == {"labels/one"}
    assert "Unchanged inputs, not run: dataset" in finished.output
    assert labels.read_bytes() == content


def test_case_31_another_python_minor_reruns_what_runs_in_it(finished: Place) -> None:
    finished.edit("workflow/d3/errors.py", '"""', '"""')
    environment = finished.checkout / ".venv"
    environment.unlink()
    packages = environment / "lib" / "python3.99" / "site-packages"
    packages.mkdir(parents=True)
    (environment / "bin").symlink_to(ROOT / ".venv" / "bin")
    (environment / "pyvenv.cfg").write_text("version = 3.99.0\n")
    site = next((ROOT / ".venv").glob("lib/python3*/site-packages"))
    for entry in site.glob("*.dist-info"):
        (packages / entry.name).symlink_to(entry)
    found = stale(finished)
    assert {"duplicates" if name == "duplicates/one" else name for name in found} == EVERY
    assert all("package python 3." in reason and "-> 3.99.0" in reason for (reason,) in found.values())


def test_case_33_a_withdrawn_opt_out_brings_its_rows_back(finished: Place) -> None:
    before = finished.statement("corpus", "one.parquet")["subject"][0]["annotations"]["rows"]
    (finished.folder / "opt-out.txt").write_text("repo:one-owner/0\n")
    assert stale(finished) == {}
    (finished.folder / "opt-out.txt").write_text("repo:nobody/known\n")
    assert list(stale(finished)) == ["corpus/one"]
    corpus = str(finished.find("corpus", "one.parquet").relative_to(finished.folder))
    assert set(finished.run("--", corpus)) == {"corpus/one"}
    assert finished.statement("corpus", "one.parquet")["subject"][0]["annotations"]["rows"] == before + 1


def test_case_34_the_order_of_the_shards_reruns_nothing(finished: Place) -> None:
    finished.config["source"]["shards"].reverse()
    assert finished.would_run("dataset") == set()
    finished.config["source"]["shards"] = ["shards/*.parquet"]
    assert finished.would_run("dataset") == set()
