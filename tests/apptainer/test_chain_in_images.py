"""A small chain, once outside and once with every job in its image: the same bytes."""

import shutil
import subprocess
from pathlib import Path

from entering import require_apptainer

from running import ROOT, command, digests, run, tiny_config, write_config

PROFILE = ("--profile", str(ROOT / "profiles" / "apptainer"))


def test_jobs_in_images_make_the_same_files(images: dict[str, Path], tiny_model: Path, tmp_path: Path) -> None:
    assert images
    folders = {name: tmp_path / name for name in ("outside", "inside")}
    quiet = {"grades": {"mode": "none"}, "labels": {"mode": "none"}, "source": {"embedded_shards": 1}}
    for name, folder in folders.items():
        folder.mkdir()
        config = write_config(folder, tiny_config(tiny_model, **quiet))
        wanted = [*(PROFILE if name == "inside" else ()), "--until", "tokens", "--cores", "2"]
        done = run(folder, config, *wanted)
        assert done.returncode == 0, done.stdout[-3000:]
        assert ("Activating singularity image" in done.stdout) == (name == "inside")
    made = {name: digests(folder / "results") for name, folder in folders.items()}
    made = {name: {path: sha for path, sha in files.items() if "lineage" not in path} for name, files in made.items()}
    assert made["outside"] == made["inside"]
    assert len(made["inside"]) > 8

    again = run(folders["inside"], folders["inside"] / "config.yaml", *wanted)
    assert again.returncode == 0, again.stdout[-3000:]
    assert "Finished jobid" not in again.stdout, again.stdout[-3000:]


def test_images_that_are_missing_are_named_before_any_job(tiny_model: Path, tmp_path: Path) -> None:
    require_apptainer()
    copy, folder = tmp_path / "copy", tmp_path / "run"
    folder.mkdir()
    for name in ("workflow", "config", "envs", "profiles", "containers"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.sif*", "__pycache__"))
    config = write_config(folder, tiny_config(tiny_model))
    line = [
        str(copy / "workflow" / "Snakefile") if word.endswith("/Snakefile") else word
        for word in command(folder, config, *PROFILE)
    ]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "make image-data image-dolma image-eval image-train" in done.stdout + done.stderr
    assert not (folder / "results").exists()
