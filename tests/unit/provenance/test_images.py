"""Names of images, what decides them, and the records beside them; nothing is built here."""

import json
import os
import re
from pathlib import Path

import pytest

from d3.errors import ConfigError, ToolError
from d3.provenance import images

ENVS = images.REPOSITORY / "envs"
PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a folder with one image of one definition, one copied file and two locks."""
    for folder in ("containers", "envs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "containers" / "x.def").write_text("%files\n    {{ LOCK }} /lock\n    envs/tool.sh /tool\n\n%post\n")
    for name in ("tool.sh", "x.lock", "x-cpu.lock"):
        (tmp_path / "envs" / name).write_text(name)
    monkeypatch.setattr(images, "REPOSITORY", tmp_path)
    monkeypatch.setattr(images, "IMAGES", tmp_path / "containers")
    monkeypatch.setattr(images, "RECIPES", {"x": images.Recipe("x", ".venv", "x-cpu")})
    images.image_key.cache_clear()
    return tmp_path


@pytest.mark.parametrize("changed", ["containers/x.def", "envs/tool.sh", "envs/x.lock"])
def test_an_image_is_named_by_its_definition_and_all_that_it_copies_in(recipes: Path, changed: str) -> None:
    first = images.image_path("x").name
    assert re.fullmatch(r"x-[0-9a-f]{12}\.sif", first)
    path = recipes / changed
    path.write_text(path.read_text() + "# more\n")
    images.image_key.cache_clear()
    assert images.image_path("x").name != first


def test_another_lock_names_no_other_image(recipes: Path) -> None:
    first = images.image_path("x").name
    (recipes / "envs" / "x-cpu.lock").write_text("other")
    images.image_key.cache_clear()
    assert images.image_path("x").name == first


def test_the_cpu_build_is_taken_only_where_it_alone_was_built(recipes: Path) -> None:
    whole, small = (images.built_path("x", variant) for variant in images.VARIANTS)
    assert small.name.startswith("x-cpu-")
    assert images.image_path("x") == whole
    small.touch()
    assert images.image_path("x") == small
    whole.touch()
    assert images.image_path("x") == whole


def test_an_unknown_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="data, train, dolma, llm, eval"):
        images.image_path("main")


def write_record(image: Path, **changes: object) -> None:
    known = {"identity": "i", "sha256": images.file_sha256(image)}
    images.record_path(image).write_text(json.dumps(known | changes))


def test_an_image_is_known_by_its_record_and_by_its_bytes_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "x-0123456789ab.sif"
    with pytest.raises(ToolError, match="make images"):
        images.image_identity(image)
    image.write_bytes(b"SIF")
    sha256 = images.file_sha256(image)
    assert images.image_identity(image) == {"identity": sha256, "sha256": sha256}
    write_record(image)
    assert images.image_identity(image) == {"identity": "i", "sha256": sha256}
    os.utime(image, (0, 0))
    assert images.image_identity(image) == {"identity": "i", "sha256": sha256}


def test_a_damaged_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "x-0123456789ab.sif"
    image.write_bytes(b"SIF")
    write_record(image)
    before = image.stat()
    assert images.image_identity(image)["identity"] == "i"
    image.write_bytes(b"sif")
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ToolError, match="not what was built"):
        images.image_identity(image)


# --- the locks ------------------------------------------------------------------------------------


def pins(name: str) -> set[tuple[str, str]]:
    return set(PIN.findall((ENVS / f"{name}.lock").read_text()))


@pytest.mark.parametrize("name", ["data", "train", "train-cpu", "eval"])
def test_images_and_the_environment_outside_have_the_same_versions(name: str) -> None:
    assert pins(name) <= pins("main") | pins("torch") | pins("cuda")


@pytest.mark.parametrize("name", ["data", "train", "train-cpu", "eval", "dolma", "vllm", "vllm-cpu"])
def test_everything_in_a_lock_of_an_image_has_a_hash(name: str) -> None:
    entries = re.findall(r"^[a-zA-Z0-9].*?(?=^[a-zA-Z0-9]|\Z)", (ENVS / f"{name}.lock").read_text(), re.M | re.S)
    assert len(entries) > 5
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("name", ["train-cpu", "vllm-cpu"])
def test_the_builds_for_cpus_hold_no_gpu_libraries(name: str) -> None:
    assert [package for package, _ in pins(name) if re.match(r"nvidia-|cuda-|triton$", package)] == []
    assert ("torch", "2.13.0") in pins(name)
