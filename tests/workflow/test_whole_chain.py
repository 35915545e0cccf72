"""The whole chain on real files with a tiny model: complete, repeatable, and safe to kill."""

import json
from pathlib import Path

import pytest

from d3.core import schemas
from d3.core.tables import read_rows
from d3.core.unified_diff import apply_diffs
from helpers.crash_drill import drill
from helpers.workflow_run import run

KILLS = 6


def rows_of(folder: Path, pattern: str, schema: object) -> list[dict[str, object]]:
    return [row for path in sorted(folder.glob(f"results/{pattern}")) for row in read_rows(path, schema)]


def test_every_stage_left_its_files(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    stages = {path.name for path in (folder / "results").iterdir()}
    expected = {
        "source",
        "corpus",
        "fingerprints",
        "near_duplicates",
        "duplicates",
        "grades",
        "diffs",
        "labels",
        "dataset",
        "tokens",
        "midtrain",
    }
    expected |= {
        "file_counts",
        "pairs",
        "pair_duplicates",
        "pair_diffs",
        "sft_data",
        "sft",
        "generate",
        "execute",
        "scores",
        "runs",
    }
    expected |= {"contamination", "pair_contamination", "label_contamination", "gate", "grade_repeats", "judge_health"}
    assert stages - {"lineage"} == expected
    assert (folder / "results/runs/tiny/report.html").stat().st_size > 10_000


def test_the_report_of_snakemake_has_the_page_with_its_category_and_caption(
    finished_run: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, config = finished_run
    out = tmp_path / "report.html"
    done = run(folder, config, "--report", str(out))
    assert done.returncode == 0, done.stdout[-3000:]
    text = out.read_text()
    for expected in (
        *("report with all figures", "rows by stage and reason", "Results", "Everything about the run tiny"),
        *("Figures", "Training", "losses, learning rate, gradients and throughput", "Curves of every training"),
        *("scores with intervals, verdicts and tasks", "files, scores, diff sequences, labels and tokens"),
    ):
        assert expected in text


def test_no_file_is_lost_between_stages(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    kept = rows_of(folder, "corpus/*/*.parquet", schemas.CORPUS)
    rejected = rows_of(folder, "corpus/*/rejected/*.parquet", schemas.REJECTED)
    source = rows_of(folder, "source/*/*.parquet", schemas.STACK)
    assert len(kept) + len(rejected) == len(source) > 500
    candidates = {row["id"] for row in kept if row["split"] == "midtrain"}
    assert {row["id"] for row in rows_of(folder, "grades/*/*.parquet", schemas.GRADES)} == candidates
    assert len(candidates) == 6


def test_every_sequence_replays_to_its_file(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    texts = {row["id"]: row["text"] for row in rows_of(folder, "corpus/*/*.parquet", schemas.CORPUS)}
    sequences = [row for row in rows_of(folder, "diffs/*/*.parquet", schemas.DIFFS) if row["status"] == "ok"]
    assert sequences
    for row in sequences:
        assert apply_diffs("", row["diffs"]) == texts[row["id"]]


def test_scores_count_every_task(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    files = [path for path in folder.glob("results/scores/*/*/*.json") if ".prov" not in path.suffixes]
    scores = [json.loads(path.read_text()) for path in files]
    assert sorted(score["arm"] for score in scores) == ["baseline", "d3"]
    verdicts = rows_of(folder, "execute/*/*/*.parquet", schemas.VERDICTS)
    assert len(verdicts) == 4


def test_a_second_run_does_nothing(finished_run: tuple[Path, Path]) -> None:
    folder, config = finished_run
    again = run(folder, config)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout


def test_no_result_holds_a_path_of_this_machine(finished_run: tuple[Path, Path]) -> None:
    folder, _ = finished_run
    for path in (folder / "results").rglob("*"):
        if path.is_file() and path.suffix in {".json", ".tsv"} and not path.name.endswith(".prov.json"):
            assert str(folder) not in path.read_text(), path


@pytest.mark.slow
def test_killed_runs_end_in_the_same_files(finished_run: tuple[Path, Path], tmp_path: Path) -> None:
    undisturbed, config = finished_run
    said = list(drill(undisturbed, config, tmp_path, KILLS, 1, (4, 25)))
    assert len(said) > KILLS
