"""Names, layout and neutral settings rerun nothing; what a rule executes reruns its stage."""

import re
import shutil
from pathlib import Path

import pytest

from helpers.corpus_tables import write_small_shards
from helpers.paths import ROOT
from helpers.run_folder import Place, copy_checkout
from helpers.workflow_run import small_config

EVERY = {"benchmarks", "contamination/few", "corpus/few", "duplicates", "grades/few", "diffs/few", "labels/few"} | {
    *("fingerprints/few", "near_duplicates/near_duplicates", "label_contamination/few", "dataset/few")
}
JOBS = EVERY - {"duplicates"} | {"duplicates/few"}
"""The same jobs as `Place.states` names them: by their first output."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Place:
    """Return a finished run over one small shard, up to the dataset, in a checkout of its own."""
    folder = tmp_path_factory.mktemp("original") / "run"
    write_small_shards(folder / "shards")
    (folder / "shards" / "many.parquet").unlink()
    shutil.copytree(tiny_model, folder / "model")
    (folder / "opt-out.txt").touch()
    place = Place(folder, small_config("model"), copy_checkout(folder.parent / "code"))
    assert set(place.run("dataset")) == EVERY
    return place


@pytest.fixture
def finished(original: Place, tmp_path: Path) -> Place:
    """Return a copy of the finished run that a test may change."""
    return original.copy(tmp_path / "run")


def move_module(place: Place, old: str, new: str) -> None:
    """Rename a module (`d3.core.ids`) and change every line of the code that names it, as a pure rename does."""
    place.edit("workflow/d3/errors.py", '"""', '"""')  # a checkout of its own
    package = place.checkout / "workflow"
    source, target = (package / f"{name.replace('.', '/')}.py" for name in (old, new))
    target.parent.mkdir(exist_ok=True)
    if not (target.parent / "__init__.py").exists():
        (target.parent / "__init__.py").write_text('"""A new folder."""\n')
    source.rename(target)
    parent, _, name = new.rpartition(".")
    lines = {
        rf"\bfrom {re.escape(old)} import": f"from {new} import",
        rf"\bfrom {re.escape(old.rpartition('.')[0])} import {old.rpartition('.')[2]}$": f"from {parent} import {name}",
        rf"\b{re.escape(old)}\b": new,
    }
    for path in [*package.rglob("*.py"), *package.rglob("*.smk")]:
        text = path.read_text()
        for pattern, replacement in lines.items():
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        path.write_text(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("d3.core.ids", "d3.identity"),
        ("d3.stages.dataset", "d3.parts.dataset"),
        ("d3.core.unified_diff", "d3.core.patches"),
    ],
)
def test_case_36_a_renamed_module_reruns_nothing(finished: Place, old: str, new: str) -> None:
    move_module(finished, old, new)
    assert finished.would_run("dataset") == set()
    assert "Nothing to be done" in finished.output


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        ("class Corpus(Section):", "max_digits: Share | None = None"),
        ("class Grades(Section):", "second_judge: str | None = None"),
        ("class Engine(Section):", "speculative: str | None = None"),
        ("class Diffs(Section):", "shuffle: Annotated[list[str], Neutral([])] = []"),
        ("class Labels(Section):", "language: str | None = None"),
    ],
)
def test_case_28_a_new_setting_at_its_neutral_value_reruns_nothing(finished: Place, section: str, setting: str) -> None:
    part = "engine" if "Engine" in section else "data"
    finished.edit(f"workflow/d3/config/{part}.py", section, f"{section}\n    {setting}")
    assert finished.would_run("dataset") == set()


def test_case_29_another_shell_text_of_a_rule_reruns_its_stage(finished: Place) -> None:
    finished.edit("workflow/rules/labels.smk", "--journal {params.journal:q}", "--journal {params.journal:q}/new")
    states = finished.states("dataset")
    assert {name for name, item in states.items() if item["reasons"]} == {"labels/few"}
    assert states["labels/few"]["reasons"] == ["the shell text of rule labels changed"]


def test_case_35_a_changed_start_script_reruns_what_it_starts(finished: Place) -> None:
    finished.edit("workflow/bin/d3", "set -euo pipefail", "# strict\nset -euo pipefail")
    finished.edit("workflow/bin/d3-train", "set -euo pipefail", "set -eu")
    assert finished.would_run("dataset") == set()
    finished.edit("workflow/bin/d3", "set -euo pipefail", "set -euo pipefail; export D3_NEW=1")
    states = finished.states("dataset")
    assert {name for name, item in states.items() if item["reasons"]} == JOBS
    assert "script workflow/bin/d3 changed" in states["corpus/few"]["reasons"]


def test_case_30_an_unrelated_package_reruns_nothing(finished: Place) -> None:
    finished.edit("workflow/d3/errors.py", '"""', '"""')
    site = next((ROOT / ".venv").glob("lib/python3*/site-packages"))
    environment = finished.checkout / ".venv"
    environment.unlink()
    for name in ("bin", "pyvenv.cfg"):
        environment.mkdir(exist_ok=True)
        (environment / name).symlink_to(ROOT / ".venv" / name)
    packages = environment / site.relative_to(ROOT / ".venv")
    packages.mkdir(parents=True)
    for entry in site.glob("*.dist-info"):
        (packages / entry.name).symlink_to(entry)
    (packages / "cowsay-6.0.dist-info").mkdir()
    assert finished.would_run("dataset") == set()
    (entry,) = packages.glob("pyarrow-*.dist-info")
    entry.rename(packages / "pyarrow-0.1.dist-info")
    states = finished.states("dataset")
    assert {name for name, item in states.items() if item["reasons"]} == JOBS
    assert any("pyarrow" in reason for reason in states["corpus/few"]["reasons"])


def test_case_26_and_27_the_spelling_of_a_model_and_of_a_prompt_reruns_nothing(finished: Place) -> None:
    finished.edit("workflow/d3/errors.py", '"""', '"""')
    for spelling in ("model/", "./model", str(finished.folder / "model")):
        for stage in ("grades", "labels"):
            finished.config[stage]["engine"]["model"] = spelling
        assert finished.would_run("dataset") == set(), spelling
    prompt = finished.checkout / "config" / "prompts" / "grade.jinja"
    finished.config["grades"]["prompt"] = str(prompt)
    assert finished.would_run("dataset") == set()
    prompt.write_text("{# only a remark #}\n" + prompt.read_text())
    assert finished.would_run("dataset") == set()


def test_case_32_a_model_behind_a_link_counts_by_what_the_link_leads_to(finished: Place, tmp_path: Path) -> None:
    original = finished.folder / "model"
    original.rename(finished.folder / "first")
    original.symlink_to("first")
    assert finished.would_run("dataset") == set()
    shutil.copytree(finished.folder / "first", finished.folder / "second")
    (finished.folder / "second" / "config.json").write_text("{}")
    original.unlink()
    original.symlink_to("second")
    stale = {name for name, item in finished.states("dataset").items() if item["reasons"]}
    assert stale == {"grades/few", "labels/few"}
