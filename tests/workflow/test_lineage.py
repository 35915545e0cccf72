"""Lineage of a real, finished run: trace, verify against tampering, diff, exports, and what it costs."""

import itertools
import json
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from d3.audit.job_graph import load
from d3.audit.verify.data import check_data
from d3.audit.verify.statements import check_statement
from d3.audit.verify.verify import rebuild, verify
from d3.report import page
from helpers.paths import ROOT, VALIDATORS_PYTHON
from helpers.tampering import DOCUMENT, KINDS, ROW
from helpers.workflow_run import d3, digests, run, tiny_config, write_config


def ask(folder: Path, *arguments: str) -> str:
    done = d3(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(finished_run: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return a copy of the finished run that a test may change."""
    folder = tmp_path / "run"
    for name in ("results", "resources", "work"):
        shutil.copytree(finished_run[0] / name, folder / name, symlinks=True)
    return folder


# --- index and trace ----------------------------------------------------------------------------------


def test_the_target_makes_the_index_and_reads_only_what_is_new(finished_run: tuple[Path, Path]) -> None:
    folder, config = finished_run
    done = run(folder, config, "--", "lineage")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 new, 0 gone" in ask(folder, "lineage")


def test_a_number_leads_to_source_files_and_licences(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    text = ask(folder, "trace", "results/runs/tiny/numbers.json#pass@1/humaneval/d3")
    words = {"humaneval pass@1, arm d3", "midtrain", "tokens", "dataset", "labels", "labels.program_prompt"}
    words |= {"grades", "corpus", "source files behind this: PSF-2.0", "python/cpython", "HumanEval", "MIT"}
    assert {word for word in words if word not in text} == set()
    baseline = ask(folder, "trace", "pass@1/humaneval/baseline")
    assert "sft_data" in baseline
    assert "dataset" not in baseline
    counted = ask(folder, "trace", "results/runs/tiny/numbers.json#tokens")
    assert counted.startswith("Tokens: ")


def test_every_dataset_row_leads_to_its_stack_row(finished_run: tuple[Path, Path]) -> None:
    import pyarrow.parquet as pq

    folder, _ = finished_run
    for path in sorted(folder.glob("results/dataset/*/data/*.parquet")):
        rows = pq.read_table(path, columns=["metadata"]).to_pylist()
        name = path.relative_to(folder).as_posix()
        for number, row in list(enumerate(rows))[:2]:
            answer = json.loads(ask(folder, "trace", f"{name}#{number}", "--json"))
            stacks = [node for node in answer["nodes"].values() if node["text"].startswith("Stack row")]
            assert [node["hexsha"] for node in stacks] == [row["metadata"]["hexsha"]]
            stages = {node["text"].split("  ")[0] for node in answer["nodes"].values()}
            assert stages >= {"dataset", "labels", "diffs", "grades", "corpus", "Stack row"}


def test_a_file_id_leads_to_the_models_that_were_trained_on_it(finished_run: tuple[Path, Path]) -> None:
    import pyarrow.parquet as pq

    folder, _ = finished_run
    rows = next(path for path in sorted(folder.glob("results/dataset/*/rows/*.parquet")))
    identifier = pq.read_table(rows, columns=["id"]).to_pylist()[0]["id"]
    text = ask(folder, "trace", identifier[:16])
    assert "Stack row" in text
    assert "model trained on it  results/midtrain/" in text
    hexsha = text.split("hexsha ")[1].split()[0]
    assert ask(folder, "trace", hexsha).split("\n")[0] == f"file {identifier}"


def test_a_model_leads_to_its_data_as_text_and_as_a_flowchart(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    model = next(folder.glob("results/midtrain/*/model")).relative_to(folder)
    assert "python/cpython" in ask(folder, "trace", str(model))
    assert ask(folder, "trace", str(model), "--mermaid").startswith("flowchart LR\n")


def test_an_unknown_target_is_an_error_of_one_line(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    for target in ("nowhere", "f" * 64, "results/runs/tiny/numbers.json#pass@9/x/y"):
        done = d3("trace", target, cwd=folder)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1


# --- verify -------------------------------------------------------------------------------------------


def test_a_finished_run_is_clean(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    done = d3("verify", cwd=folder)
    assert done.returncode == 0, done.stdout
    assert "nothing wrong" in done.stderr
    model = next(folder.glob("results/midtrain/*/model")).relative_to(folder)
    assert d3("verify", str(model), cwd=folder).returncode == 0


@pytest.fixture(scope="module")
def rendered_once() -> Iterator[None]:
    """Draw the page of the same numbers only once: most kinds leave them alone."""
    with pytest.MonkeyPatch.context() as patch:
        known: dict[str, str] = {}
        render = page.render

        def draw(numbers: dict[str, Any], *parts: Any) -> str:
            key = json.dumps([numbers, *map(repr, parts)])
            return known.get(key) or known.setdefault(key, render(numbers, *parts))

        patch.setattr(page, "render", draw)
        yield


@pytest.mark.parametrize(("kind", "answer"), ROW.findall(DOCUMENT.read_text()))
def test_every_line_of_the_table_of_tamperings_is_true(copy: Path, kind: str, answer: str, rendered_once: None) -> None:
    KINDS[kind][0](copy)
    wrong = verify(copy).wrong
    assert bool(wrong) == (answer == "found"), [str(finding) for finding in wrong]


def test_an_input_removed_from_any_statement_is_found(finished_run: tuple[Path, Path], rendered_once: None) -> None:
    run = load(finished_run[0])
    missed = []
    for statement in run.statements.values():
        for item in statement.inputs:
            less = replace(statement, inputs=tuple(other for other in statement.inputs if other != item))
            found = itertools.chain(check_statement(run, less), check_data(less, sample=100, draw=Random(0)))
            missed += [] if any(not finding.note for finding in found) else [(statement.path, item.path)]
    assert missed == []


def test_what_is_damaged_is_made_again(copy: Path, finished_run: tuple[Path, Path]) -> None:
    for kind in ("flip a byte of labels", "change a score and fix its digest", "remove a statement",
                 "flip a byte of the report"):  # fmt: skip
        KINDS[kind][0](copy)
    found = verify(copy).wrong
    removed, left = rebuild(copy, found)
    assert removed
    assert left == []
    assert not any((copy / path).exists() for path in removed)
    done = run(copy, finished_run[1])
    assert done.returncode == 0, done.stdout[-4000:]
    assert [str(finding) for finding in verify(copy).wrong] == []
    aside = (".prov.json", ".duckdb", ".snakemake_timestamp")
    mine, theirs = (digests(place / "results", ignore=aside) for place in (copy, finished_run[0]))
    facts = {name for name in {*mine, *theirs} if name.startswith("lineage/")}
    assert {name: mine[name] for name in set(mine) - facts} == {name: theirs[name] for name in set(theirs) - facts}


def test_a_signature_says_who_and_covers_what_hashes_cannot(copy: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f", key], check=True)
    ask(copy, "sign", "--key", str(key), "--name", "ann")
    allowed = copy / "results/lineage/signed/allowed_signers"
    allowed.write_text(f"ann@example.org {key.with_suffix('.pub').read_text()}")
    clean = d3("verify", cwd=copy)
    assert clean.returncode == 0, clean.stdout
    assert "signed by ann@example.org" in clean.stderr
    KINDS["backdate a statement"][0](copy)
    assert any("than was signed" in str(finding) for finding in verify(copy).wrong)
    listing = copy / "results/lineage/signed/ann.txt"
    listing.write_text(listing.read_text() + "x")
    assert any("does not hold" in str(finding) for finding in verify(copy).wrong)


# --- diff and export ----------------------------------------------------------------------------------


def test_a_diff_names_the_cause_of_every_changed_number(
    finished_run: tuple[Path, Path], tiny_model: Path, copy: Path, tmp_path: Path
) -> None:
    folder, _ = finished_run
    values = tiny_config(tiny_model, run="other")
    values["labels"]["sub_trajectories"] = 1
    values["scores"] = {"confidence": 0.9}
    done = run(copy, write_config(tmp_path, values))
    assert done.returncode == 0, done.stdout[-4000:]
    assert "No stage differs." in ask(folder, "diff", "tiny", "tiny")
    found = json.loads(ask(folder, "diff", f"{folder}/results", f"{copy}/results:other", "--json"))
    causes = {stage: [cause["name"] for cause in item["causes"]] for stage, item in found["stages"].items()}
    assert causes["labels"] == ["labels.sub_trajectories"]
    assert causes["dataset"] == causes["tokens"] == causes["midtrain"] == []
    assert "corpus" not in causes
    numbers = {change["name"]: why for change, why in found["numbers"]}
    assert numbers["labels"] == numbers["tokens"] == ["labels"]
    text = ask(folder, "diff", f"{folder}/results", f"{copy}/results:other")
    assert "setting labels.sub_trajectories: 2 -> 1" in text


def test_the_crate_passes_the_official_validator(finished_run: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = finished_run
    crate, croissant, events = (tmp_path / name for name in ("crate", "croissant.json", "events.jsonl"))
    said = ("--author", "Ann", "--affiliation", "Example", "--affiliation-url", "https://example.org")
    more = ("--croissant", str(croissant), "--openlineage", str(events), "--code-url", "https://example.org/d3")
    ask(folder, "export", "--crate", str(crate), *more, *said)
    script = ROOT / "tests/helpers/crate_validator.py"
    checked = subprocess.run(
        [VALIDATORS_PYTHON, script, crate, "RECOMMENDED"], capture_output=True, text=True, check=False, timeout=300
    )
    issues = {line.split(" ", 1)[1] for line in checked.stdout.splitlines()}
    # The workflow is a file of the crate, so its id is no absolute address: the two profiles contradict each other.
    unreached = "RECOMMENDED The SoftwareApplication id SHOULD be an absolute URI"
    kinds = ("http://schema.org/SoftwareSourceCode", "https://bioschemas.org/ComputationalWorkflow")
    assert issues == {f"{unreached} [{kind}]" for kind in kinds}, checked.stderr
    read = "import mlcroissant, sys; print(mlcroissant.Dataset(jsonld=sys.argv[1]).metadata.issues.report())"
    described = subprocess.run([VALIDATORS_PYTHON, "-c", read, croissant], capture_output=True, text=True, check=True)
    assert described.stdout.strip() == ""
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert len(lines) == 2 * len(list(folder.glob("re*/**/*.prov.json")))
    assert {line["eventType"] for line in lines} == {"START", "COMPLETE"}


# --- what it costs ------------------------------------------------------------------------------------


def test_statements_and_index_cost_little(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    sizes = sorted(path.stat().st_size for path in folder.glob("re*/**/*.prov.json"))
    mean = sum(sizes) / len(sizes)
    shared = sum(path.stat().st_size for path in folder.glob("results/lineage/facts/*.json"))
    (folder / "results/lineage/index.duckdb").unlink(missing_ok=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    ask(folder, "lineage")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{len(sizes)} statements of {mean:.0f} B on average (most {sizes[-1]}), facts {shared} B together; "
        f"index from nothing {seconds:.2f} CPU-s, {time.monotonic() - began:.2f} s"
    )
    assert mean < 2200  # the report's and the training's, which read every shard, are larger
    assert seconds < 5.68  # 1 % of the demo's 568 CPU-seconds
