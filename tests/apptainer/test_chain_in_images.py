"""A small chain, once outside and once with every job in its image: the same bytes."""

import shutil
import subprocess
from pathlib import Path

from d3.cluster.build import write_record
from d3.images import record, record_path
from helpers.paths import ROOT
from helpers.real_images import require_apptainer
from helpers.run_folder import Place, copy_checkout
from helpers.workflow_run import command, digests, run, tiny_config, write_config

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


def rebuild(image: Path, checkout: Path, post: str) -> None:
    """Build the image of the dolma environment again, from itself and some commands, in the place of the old one."""
    recipe, built = checkout / "again.def", checkout / "again.sif"
    recipe.write_text(f"Bootstrap: localimage\nFrom: {image}\n\n%post\n    {post}\n")
    fast = ["--mksquashfs-args", "-comp zstd -Xcompression-level 1"]
    done = subprocess.run(
        ["apptainer", "build", "--fakeroot", *fast, built, recipe],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    place = checkout / "containers" / image.name
    place.unlink()
    built.rename(place)
    write_record(place, "dolma", "cpu", base=None, log=None, named=place)


def test_an_image_is_known_by_what_is_in_it(images: dict[str, Path], tiny_model: Path, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "code")
    for image in images.values():
        for path in (image, record_path(image)):
            (checkout / "containers" / path.name).symlink_to(path)
    quiet = {"grades": {"mode": "none"}, "labels": {"mode": "none"}, "source": {"embedded_shards": 1}}
    place = Place(tmp_path / "run", tiny_config(tiny_model, **quiet), checkout)
    place.folder.mkdir(exist_ok=True)
    profile = ("--profile", str(checkout / "profiles" / "apptainer"))
    assert place.run(*profile, "--until", "tokens", "--", "models")["tokens/stdlib-00000-of-00001"] == 1
    tokens = str(place.find("tokens", "stdlib-00000-of-00001.npy").relative_to(place.folder))

    first = record(images["dolma"])
    rebuild(images["dolma"], checkout, "true")
    again = record(checkout / "containers" / images["dolma"].name)
    assert first is not None
    assert again is not None
    assert (again["identity"], again["sha256"] == first["sha256"]) == (first["identity"], False)
    assert place.would_run(*profile, "--", tokens) == set()

    packages = "/opt/d3/venv/lib/python3.11/site-packages"
    more = f"mkdir {packages}/more-1.0.dist-info; printf 'Metadata-Version: 2.1\\nName: more\\nVersion: 1.0\\n'"
    write = "/opt/d3/venv/bin/python /opt/d3/manifest.py > /opt/d3/manifest.json"
    rebuild(images["dolma"], checkout, f"{more} > {packages}/more-1.0.dist-info/METADATA; {write}")
    states = place.states(*profile, "--", tokens)
    stale = {name: item["reasons"] for name, item in states.items() if item["state"] != "fresh"}
    assert stale == {"tokens/stdlib-00000-of-00001": ["image dolma: package more absent -> 1.0"]}
    assert set(place.run(*profile, "--", tokens)) == {"tokens/stdlib-00000-of-00001"}
    assert place.would_run("--", tokens) == set()
    assert "results were made in images and this run is without" in place.output


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
