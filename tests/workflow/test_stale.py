"""What must and must not rerun: twenty changes, each made on a copy of a finished run.

`make scorecard` prints these cases beside what Snakemake alone does in them.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d3.core import schemas
from d3.core.ids import content_id, digest_of
from d3.core.tables import read_rows
from d3.provenance.images import built_path, record_path
from helpers.corpus_tables import MANY, stack_rows, write_shard, write_small_shards
from helpers.paths import ROOT
from helpers.run_folder import CERTIFICATE, Place, copy_checkout
from helpers.tiny_models import chat_model
from helpers.workflow_run import d3, digests, small_config

STAGES = ("contamination", "corpus", "fingerprints", "grades", "diffs", "labels", "label_contamination", "dataset")
EVERY = {f"{stage}/{shard}" for stage in STAGES for shard in ("many", "few")} | {
    *("duplicates", "near_duplicates/near_duplicates", "benchmarks")
}
OLD = 1_000_000_000
"""A time in 2001, in seconds."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Place:
    """Return a finished run over two shards, up to the dataset."""
    folder = tmp_path_factory.mktemp("original") / "run"
    write_small_shards(folder / "shards")
    shutil.copytree(tiny_model, folder / "model")
    (folder / "opt-out.txt").write_text("# nobody yet\n")
    checkout = copy_checkout(folder.parent / "code")
    place = Place(folder, small_config("model"), checkout)
    assert set(place.run("dataset")) == EVERY
    assert place.usage("grades", "many.parquet")["asked"] == MANY
    return place


@pytest.fixture
def finished(original: Place, tmp_path: Path) -> Place:
    """Return a copy of the finished run, with its times, that a test may change."""
    return original.copy(tmp_path / "run")


def ids(path: Path) -> set[str]:
    return {row["id"] for row in pq.read_table(path, columns=["id"]).to_pylist()}


# --- code -------------------------------------------------------------------------------------------


def test_case_01_an_edited_module_reruns_the_stages_that_import_it(finished: Place) -> None:
    finished.edit("workflow/d3/stages/dataset.py", "def run(", "EDITED = 1\n\n\ndef run(")
    assert set(finished.run("dataset")) == {"dataset/many", "dataset/few"}
    assert "module d3.stages.dataset is new" not in finished.output
    assert "module d3.stages.dataset changed" in finished.output
    assert not finished.run("dataset")


def test_case_01_an_edit_beside_the_point_reruns_nothing(finished: Place) -> None:
    finished.edit("workflow/d3/errors.py", "class D3Error", "EDITED = 1\n\n\nclass D3Error")
    finished.edit("workflow/d3/core/progress.py", "class Progress", "EDITED = 1\n\n\nclass Progress")
    finished.edit("workflow/d3/config/fields.py", "class Section", "EDITED = 1\n\n\nclass Section")
    finished.edit("workflow/d3/stages/labels.py", '"""', '"""Another text. ')
    finished.edit("workflow/d3/stages/dataset.py", "def run(", "# a comment\ndef run(")
    assert finished.would_run("dataset") == set()


def test_case_02_and_03_new_times_of_the_code_rerun_nothing(finished: Place) -> None:
    finished.checkout = copy_checkout(finished.folder.parent / "code", finished.checkout)
    for path in finished.checkout.rglob("*"):
        if path.is_file() and not path.is_symlink() and ".venv" not in str(path):
            path.touch()
    assert finished.would_run("dataset") == set()
    rules = [path.read_text() for path in (ROOT / "workflow").rglob("*.smk")]
    assert rules
    assert not any(re.search(r"^\s*(script|notebook):", text, re.MULTILINE) for text in rules)


def test_case_13_white_space_in_a_shell_block_reruns_nothing(finished: Place) -> None:
    finished.edit("workflow/rules/labels.smk", "        d3 --env", "        # a comment\n        d3   --env")
    assert finished.would_run("dataset") == set()


def test_case_14_the_wave_stops_where_bytes_are_the_same(finished: Place) -> None:
    assert finished.find("corpus", "few.parquet").stat().st_size > 1_000_000
    finished.edit("workflow/d3/stages/corpus/filters.py", "def examine(", "EDITED = 1\n\n\ndef examine(")
    assert len(finished.would_run("dataset")) > 2  # nobody knows before that the bytes will be the same
    assert set(finished.run("dataset")) == {"corpus/many", "corpus/few"}
    assert "Unchanged inputs, not run: grades" in finished.output
    assert not finished.run("dataset")


# --- images -----------------------------------------------------------------------------------------


APPTAINER = """#!/usr/bin/env python3
import os, sys
words = sys.argv[1:]
if words[:1] == ["--version"]:
    print("apptainer version 1.4.0")
    sys.exit()
image = next(number for number, word in enumerate(words) if word.endswith(".sif"))
if words[image + 1 : image + 2] == ["cat"]:
    print(open(words[image]).read())
    sys.exit()
os.environ["APPTAINER_CONTAINER"] = words[image]
for name in [name for name in os.environ if name.startswith("APPTAINERENV_")]:
    os.environ[name.removeprefix("APPTAINERENV_")] = os.environ[name]
os.execvp(words[image + 1], words[image + 1 :])
"""
"""Stands for Apptainer: runs the command outside of any image. Real images have tests of their own."""


def build_image(checkout: Path, name: str, manifest: dict[str, object], remark: str = "") -> None:
    """Write what stands for an image: its manifest, and a remark that changes its bytes and nothing else."""
    path = checkout / "containers" / built_path(name, "gpu").name
    path.write_text(json.dumps(manifest) + remark)
    sha256 = digests(path.parent)[path.name]
    record_path(path).write_text(json.dumps({"identity": digest_of(manifest), "sha256": sha256}))


def test_case_04_05_and_20_images_are_known_by_their_content(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apptainer").write_text(APPTAINER)
    (tools / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{ROOT / '.venv-dolma' / 'bin'}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}")
    checkout = copy_checkout(tmp_path / "code")
    (tools / "python3").write_text(
        f'#!/bin/sh\n[ "$D3_ENVIRONMENT" = dolma ] && exec {ROOT}/.venv-dolma/bin/python "$@"\n'
        f'exec {ROOT}/.venv/bin/python "$@"\n'
    )
    (tools / "python3").chmod(0o755)
    for name in ("data", "dolma"):
        build_image(checkout, name, {"python": "3.11.7", "packages": {name: "1"}})
    folder = tmp_path / "run"
    write_shard(folder / "shards" / "few.parquet", stack_rows(["a = 1\nb = 2\nc = 3\n", "d = 4\ne = 5\n"], "few"))
    shutil.copytree(tiny_model, folder / "model")
    (folder / "opt-out.txt").touch()
    config = small_config("model") | {"grades": {"mode": "none"}, "labels": {"mode": "constant", "constant": "Do it."}}
    place = Place(folder, config, checkout)
    first = place.run("--sdm", "apptainer", "--until", "tokens", "--", "models")
    assert first["tokens/few"] == 1
    tokens = str(place.find("tokens", "few.npy").relative_to(folder))
    targets = ["--sdm", "apptainer", "--", tokens]
    told = place.statement("tokens", "few.npy")["predicate"]["buildDefinition"]["internalParameters"]["environment"]
    assert (told["kind"], told["name"]) == ("image", "dolma")
    assert not place.run(*targets)

    build_image(checkout, "dolma", {"python": "3.11.7", "packages": {"dolma": "1"}}, remark=" built again")
    assert place.would_run(*targets) == set()  # case 5

    build_image(checkout, "dolma", {"python": "3.11.7", "packages": {"dolma": "2"}})
    states = place.states(*targets)
    assert {name for name, item in states.items() if item["state"] != "fresh"} == {"tokens/few"}  # case 4
    assert "image dolma: package" in states["tokens/few"]["reasons"][0]
    assert set(place.run(*targets)) == {"tokens/few"}

    assert place.would_run("--", tokens) == set()  # case 20
    assert "results were made in images and this run is without" in place.output
    assert "Add --sdm apptainer" in place.output


# --- inputs -----------------------------------------------------------------------------------------


def test_case_06_and_16_a_changed_file_is_found_whatever_its_time_and_is_all_that_is_asked(finished: Place) -> None:
    shard = finished.folder / "shards" / "many.parquet"
    rows = list(read_rows(shard, schemas.STACK))
    rows[7]["content"] += "\n# one more line\n"
    write_shard(shard, rows)
    os.utime(shard, (OLD, OLD))
    ran = set(finished.run("dataset"))
    chain = {f"{stage}/many" for stage in STAGES}
    assert chain <= ran <= chain | {"duplicates", "near_duplicates/near_duplicates"}
    for stage in ("grades", "diffs", "labels"):
        usage = finished.usage(stage, "many.parquet")
        assert 0 < usage["asked"] <= 0.011 * (usage["asked"] + usage["journal"]), (stage, usage)
    assert not finished.run("dataset")


def test_case_07_a_touched_shard_reruns_nothing(finished: Place) -> None:
    shard = finished.folder / "shards" / "few.parquet"
    assert shard.stat().st_size > 1_000_000
    made = [path for path in finished.folder.glob("results/**/*.parquet") if path.exists()]  # links may dangle
    for path in [shard, *made, *(finished.folder / "model").iterdir()]:
        path.touch()
    assert not finished.run("dataset")
    assert "Nothing to be done" in finished.output


def test_the_certificate_of_the_judge_is_renewed_with_the_grades_and_not_without(finished: Place) -> None:
    before = finished.attempts()
    finished.config["labels"]["sub_trajectories"] = 0
    assert finished.run("dataset")
    assert not (finished.attempts() - before).keys() & set(CERTIFICATE)
    finished.edit("config/prompts/grade.jinja", "", "Be strict. ")
    assert finished.run("dataset")
    assert (finished.attempts() - before).keys() >= set(CERTIFICATE)


def test_case_15_tampering_is_found_and_rebuilt(finished: Place) -> None:
    data = finished.find("dataset", "data/few.parquet")
    sound, status = data.read_bytes(), data.stat()
    position = len(sound) // 2
    data.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))  # nothing shows but the content
    found = d3("verify", data.relative_to(finished.folder), cwd=finished.folder)
    assert found.returncode == 1
    assert data.name in found.stdout
    d3("verify", "--rebuild", data.relative_to(finished.folder), cwd=finished.folder)
    assert set(finished.run("dataset")) == {"dataset/few"}
    assert data.read_bytes() == sound

    labels = finished.find("labels", "few.parquet")
    sound = labels.read_bytes()
    labels.write_bytes(sound[:-9])  # cut off, and it has a new time: no request is needed
    assert set(finished.run("dataset")) == {"labels/few"}
    assert "is not what the job wrote" in finished.output
    assert labels.read_bytes() == sound


def test_case_17_an_opt_out_leaves_every_artefact(finished: Place) -> None:
    (finished.folder / "opt-out.txt").write_text("repo:nobody/known\n")
    assert finished.would_run("dataset") == set()
    gone = next(iter(read_rows(finished.folder / "shards" / "few.parquet", schemas.STACK)))
    (finished.folder / "opt-out.txt").write_text(f"repo:{gone['max_stars_repo_name']}\n")
    before = ids(finished.find("corpus", "few.parquet"))
    ran = set(finished.run("dataset"))
    chain = {f"{stage}/few" for stage in STAGES if stage != "contamination"}  # which reads the shard alone
    assert chain <= ran <= chain | {"duplicates", "near_duplicates/near_duplicates"}
    assert all(finished.usage(stage, "few.parquet")["asked"] == 0 for stage in ("grades", "diffs", "labels"))
    (identifier,) = before - ids(finished.find("corpus", "few.parquet"))
    for stage in ("grades", "diffs", "labels"):
        assert identifier not in ids(finished.find(stage, "few.parquet"))
    assert not finished.run("dataset")


def test_case_18_one_shard_more_reruns_its_chain_and_what_looks_at_all(finished: Place) -> None:
    shutil.copy(finished.folder / "later.parquet", finished.folder / "shards" / "later.parquet")
    ran = set(finished.run("dataset"))
    assert ran == {f"{stage}/later" for stage in STAGES} | {"duplicates", "near_duplicates/near_duplicates"}
    assert ids(finished.find("grades", "later.parquet")).isdisjoint(ids(finished.find("grades", "few.parquet")))


# --- settings ---------------------------------------------------------------------------------------


def swapped(config: dict[str, dict[str, dict[str, float]]]) -> None:
    sampling = config["labels"]["sampling"]
    sampling["temperature"], sampling["top_p"] = sampling["top_p"], sampling["temperature"]


def fewer(config: dict[str, dict[str, int]]) -> None:
    config["labels"]["sub_trajectories"] = 0


@pytest.mark.parametrize(
    "change", [pytest.param(swapped, id="case_08_two_swapped"), pytest.param(fewer, id="case_09_one_stage")]
)
def test_case_08_and_09_a_setting_reruns_its_stage_and_what_follows(
    finished: Place, change: Callable[[dict[str, object]], None]
) -> None:
    before = json.dumps(finished.config)
    change(finished.config)
    after = {f"{stage}/{shard}" for stage in ("labels", "label_contamination", "dataset") for shard in ("many", "few")}
    assert finished.would_run("dataset") == after
    few = next(state for name, state in finished.states("dataset").items() if name == "dataset/few")
    assert set(finished.run("--", few["outputs"][0])) == {"labels/few", "label_contamination/few", "dataset/few"}
    finished.config = json.loads(before)
    assert not finished.run("dataset")  # switching back recomputes nothing


def test_case_10_a_changed_prompt_reruns_the_stage_that_uses_it(finished: Place) -> None:
    finished.edit("config/prompts/label_change.jinja", "", "Be brief. ")
    after = {f"{stage}/{shard}" for stage in ("labels", "label_contamination", "dataset") for shard in ("many", "few")}
    states = finished.states("dataset")
    assert {name for name, item in states.items() if item["state"] != "fresh"} == after
    assert set(finished.run("--", states["labels/few"]["outputs"][0])) == {"labels/few"}
    usage = [
        json.loads(path.read_bytes())["predicate"]["runDetails"]["byproducts"][1]["content"]
        for path in finished.folder.glob("results/labels/*/few.parquet.prov.json")
    ]
    assert sorted(item["journal"] for item in usage) == [0, 4]  # the instructions of whole programs stay


def test_case_11_another_model_reruns_every_stage_that_asks_it(finished: Place) -> None:
    for path in (finished.folder / "model").iterdir():
        path.unlink()
    chat_model(finished.folder / "model", seed=1)
    states = finished.states("dataset")
    stale = {name for name, item in states.items() if item["reasons"]}
    assert stale == {f"{stage}/{shard}" for stage in ("grades", "labels") for shard in ("many", "few")}
    assert states["grades/few"]["reasons"] == ["input model has other content"]
    assert set(finished.run("--", states["grades/few"]["outputs"][0])) == {"grades/few"}
    assert finished.usage("grades", "few.parquet")["asked"] == 4

    finished.config["grades"]["engine"] = {"model": "owner/judge", "revision": content_id("one")[:40]}
    one = finished.states("dataset")["grades/few"]["outputs"]
    finished.config["grades"]["engine"]["revision"] = content_id("two")[:40]
    assert finished.states("dataset")["grades/few"]["outputs"] != one


def test_case_12_threads_memory_and_partitions_rerun_nothing(finished: Place) -> None:
    words = ["--set-threads", "labels=1", "diffs=1", "--set-resources", "grades:mem_mb=9999"]
    words += ["labels:slurm_partition=big", "labels:gres=gpu:h100:4", "corpus:runtime=5"]
    assert finished.would_run(*words, "--", "dataset") == set()


def test_case_19_the_same_run_elsewhere_gives_the_same_bytes(original: Place, tmp_path: Path) -> None:
    folder = tmp_path / "another" / "place"
    folder.mkdir(parents=True)
    for name in ("shards", "model"):
        shutil.copytree(original.folder / name, folder / name)
    shutil.copy(original.folder / "opt-out.txt", folder)
    other = Place(folder, original.config, original.checkout)
    few = original.find("dataset", "data/few.parquet").relative_to(original.folder)
    other.run("--", str(few))
    here, there = (digests(place.folder / "results", ignore=(".prov.json",)) for place in (other, original))
    here, there = ({name: value for name, value in part.items() if "/facts/" not in name} for part in (here, there))
    assert len(here) > 6
    assert here.items() <= there.items()
