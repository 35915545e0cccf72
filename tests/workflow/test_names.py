"""Names of the user's own, wherever they stand, in a real run: the checkout, the folder, the shards, the hub."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.dry_run import job_counts
from helpers.paths import ROOT, SNAKEMAKE
from helpers.workflow_run import run, write_config

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = "import os\n\n\ndef area_{}(side):\n    return side * os.getpid()\n"
SETTINGS = {
    "run": "odd",
    "corpus": {"sample": None, "min_lines": 1, "max_lines": 100, "held_out": 0.0, "licenses": None},
    "grades": {"mode": "none"},
    "labels": {"mode": "constant"},
}


def write_shard(path: Path, *numbers: int) -> None:
    path.write_text("".join(json.dumps({"text": CODE.format(number)}) + "\n" for number in numbers))


@pytest.mark.slow
def test_a_dataset_is_made_whatever_the_checkout_the_folder_and_the_shards_are_called(tmp_path: Path) -> None:
    checkout = tmp_path / "sp ace" / "o'neil {x} $HOME"
    for name in ("workflow", "profiles", "config", "containers", "envs"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "*.sif"))
    (checkout / ".venv").symlink_to((ROOT / ".venv").resolve())
    folder = tmp_path / "id=5" / "w[1]"
    folder.mkdir(parents=True)
    names = ["b1", "b[1]", "a*b? $x#'q"]
    for number, name in enumerate(names):
        write_shard(folder / f"{name}.jsonl", number, 7)
    config = write_config(folder, {**SETTINGS, "source": {"shards": [f"{name}.jsonl" for name in names]}})
    line = [SNAKEMAKE, "--snakefile", checkout / "workflow" / "Snakefile", "--cores", "2", "--configfile", config]
    line += ["--workflow-profile", checkout / "profiles" / "default", "dataset"]
    done = subprocess.run(list(map(str, line)), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path.stem for path in folder.glob("results/dataset/*/data/*.parquet")} == set(names)
    lists = [path.read_text().split() for path in folder.glob("results/duplicates/*/*.txt")]
    assert sorted(map(len, lists)) == [0, 1, 1]


@pytest.mark.parametrize(
    ("shards", "words"),
    [
        (["ids.jsonl"], "contains ids of Software Heritage and no texts"),
        (["a{b}.jsonl"], "a path must not contain '{'"),
        (["hf://datasets/o/n@main/a.parquet"], "with the 40 digits of a commit"),
    ],
)
def test_what_cannot_be_read_is_named_before_any_job(tmp_path: Path, shards: list[str], words: str) -> None:
    (tmp_path / "ids.jsonl").write_text('{"blob_id": "ab", "path": "a.py"}\n')
    write_shard(tmp_path / "a{b}.jsonl", 1)
    config = write_config(tmp_path, {**SETTINGS, "source": {"shards": shards}})
    answer = run(tmp_path, config, "--dry-run")
    assert answer.returncode != 0
    assert "source.shards: " in answer.stdout
    assert words in answer.stdout
    assert "Traceback" not in answer.stdout


def test_files_of_the_hub_become_jobs_beside_snakemake(tmp_path: Path) -> None:
    address = f"hf://datasets/o/n@{COMMIT}/data/s-{{0..2}}.parquet"
    config = write_config(tmp_path, {**SETTINGS, "source": {"shards": [address]}})
    answer = run(tmp_path, config, "--dry-run", "dataset")
    assert answer.returncode == 0, answer.stdout[-3000:]
    assert job_counts(answer.stdout)["hub_dataset"] == 3
    assert f"resources/datasets/o--n@{COMMIT}/data/s-2.parquet" in answer.stdout


def test_nothing_kept_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": 7}) + "\n")
    config = write_config(tmp_path, {**SETTINGS, "source": {"shards": ["a.jsonl"]}})
    answer = run(tmp_path, config, "--cores", "1", "dataset")
    assert answer.returncode == 1
    assert "a.jsonl: corpus keeps none of 1 rows: 1 wrong_type (column content is 7, not string)" in answer.stdout
    assert not list(tmp_path.glob("results/corpus/*/*.parquet"))
