"""The images that come out of the definitions: their tests, what is in them, and what is said of them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from d3 import __version__
from d3.core.paths import REPOSITORY
from d3.provenance import images as recipes
from d3.provenance.environments import of_manifest
from d3.provenance.images import file_sha256, image_identity, lock_path, record, record_path
from helpers.real_images import build as build_images
from helpers.real_images import require_apptainer, standard_libraries


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_an_image_passes_its_own_test_and_has_the_packages_of_its_lock(images: dict[str, Path], name: str) -> None:
    done = subprocess.run(["apptainer", "test", images[name]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    labels = subprocess.run(["apptainer", "inspect", images[name]], capture_output=True, text=True, check=True).stdout
    assert f"org.opencontainers.image.title: d3-{name}" in labels
    lock = lock_path(name, "cpu")
    assert f"d3.lock: {lock.relative_to(REPOSITORY)}" in labels
    assert f"d3.lock.sha256: {file_sha256(lock)}" in labels
    assert f"org.opencontainers.image.version: {__version__}" in labels


def test_the_record_beside_an_image_tells_what_is_in_it(images: dict[str, Path]) -> None:
    image = images["data"]
    text = subprocess.run(
        ["apptainer", "--silent", "exec", image, "cat", "/opt/d3/manifest.json"], capture_output=True, check=True
    ).stdout
    manifest = json.loads(text)
    known = record(image)
    assert known is not None
    assert known["sha256"] == recipes.file_sha256(image)
    assert known["identity"] == of_manifest(manifest, "data", None, None).identity == image_identity(image)["identity"]
    assert manifest["packages"]["pylint"] == "4.1.4"
    assert "ca-certificates" in manifest["system"]
    assert not {"torch", "snakemake", "pytest"} & manifest["packages"].keys()


def test_the_linter_finds_the_same_standard_library_inside_and_outside(images: dict[str, Path]) -> None:
    inside, outside = standard_libraries(images["data"])
    assert inside == outside


def test_images_that_are_there_are_left_alone(images: dict[str, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in images.values()}
    done = build_images(*images)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is there") == len(images)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_is_missing_or_damaged_is_told(
    images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from d3.operate import build_images

    for path in (images["eval"], record_path(images["eval"])):
        shutil.copy2(path, tmp_path)
    for definition in recipes.IMAGES.glob("*.def"):
        shutil.copy2(definition, tmp_path)
    monkeypatch.setattr(recipes, "IMAGES", tmp_path)
    monkeypatch.setattr(build_images, "IMAGES", tmp_path)
    copy = tmp_path / images["eval"].name
    assert [(line.name, line.state) for line in build_images.image_states(["eval", "llm"])] == [
        ("eval", "ok"),
        ("llm", "missing"),
    ]
    with copy.open("r+b") as file:
        file.seek(copy.stat().st_size // 2)
        file.write(b"damage")
    assert [line.state for line in build_images.image_states(["eval"])] == ["damaged"]
    record_path(copy).unlink()
    assert [line.state for line in build_images.image_states(["eval"])] == ["unrecorded"]
    (tmp_path / "data-000000000000.sif").touch()
    assert build_images.leftovers() == ["data-000000000000.sif"]


def test_a_build_that_fails_names_its_log_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_apptainer()
    from d3.errors import ToolError
    from d3.operate import build_images

    (tmp_path / "x.def").write_text(
        "Bootstrap: localimage\nFrom: /nowhere\n\n%post\n"
        "    false {{ LOCK }} {{ LOCK_SHA256 }} {{ REVISION }} {{ VERSION }}\n"
    )
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "x.lock").write_text("a==1\n")
    for module in (recipes, build_images):
        monkeypatch.setattr(module, "IMAGES", tmp_path)
        monkeypatch.setattr(module, "REPOSITORY", tmp_path)
        monkeypatch.setattr(module, "RECIPES", {"x": recipes.Recipe("x", ".venv")})
    with pytest.raises(ToolError, match=r"x-[0-9a-f]{12}\.sif\.log: the build failed: .*/nowhere"):
        build_images.build("x", variant="cpu", base=None, compression="zstd")
    assert [path.name for path in tmp_path.glob("*.sif")] == []
    assert list(tmp_path.glob(".*.part")) == []
