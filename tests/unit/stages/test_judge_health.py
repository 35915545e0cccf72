"""The certificate of a judge: a random, a length-reading and an honest one are told apart, and figures are right."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy
import pytest

from d3.config.data import JudgeHealth
from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import Row
from d3.errors import D3Error, InputError
from d3.pipeline.checks import FinishedJob
from d3.stages import judge_health
from d3.stages.judge_statistics import FOLDS, agreement, better_half, confounds, kappa, median_figure
from helpers.corpus_tables import write_rows
from helpers.planted_judges import Judge, corpus_of, real_files

SEEDS = range(20)
FILES = real_files()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("corpus") / "c.parquet", schemas.CORPUS, corpus_of(FILES))


def measured(folder: Path, corpus: Path, judge: Judge, seed: int = 0, **settings: Any) -> dict[str, Any]:
    grades = write_rows(folder / "g.parquet", schemas.GRADES, judge.rows(FILES))
    repeats = write_rows(folder / "r.parquet", schemas.REPEATS, judge.repeats(FILES))
    config = Config(seed=seed, judge_health=JudgeHealth(**settings))
    judge_health.run(config, [corpus], [grades], folder / "h.json", repeats=repeats)
    return judge_health.read_health(folder / "h.json")


def broken(found: dict[str, Any]) -> set[str]:
    return {check["name"] for check in found["checks"] if check["status"] == "failed"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("random", {"entropy", "consistency"}), ("length", {"confound/length", "confound/together"}), ("honest", set())],
)
def test_three_judges_of_300_files_are_told_apart(
    tmp_path: Path, corpus: Path, kind: str, expected: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len({text for text, _ in FILES}) == 300
    found = measured(tmp_path, corpus, Judge(kind, FILES, 0))
    assert broken(found) == expected
    assert found["files"] == sum(found["scores"].values()) == 300
    said = capsys.readouterr().err
    assert said.count("judge_health: warning: ") == len(expected)
    assert ("AUC of length is 0.9" in said) == (kind == "length")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_an_honest_judge_raises_no_alarm(tmp_path: Path, corpus: Path, seed: int) -> None:
    assert broken(measured(tmp_path, corpus, Judge("honest", FILES, seed), seed)) == set()


@pytest.mark.parametrize(("kind", "words"), [("random", "mean entropy"), ("length", "AUC of length"), ("honest", "")])
def test_a_broken_bound_stops_the_stage_if_asked_to(tmp_path: Path, corpus: Path, kind: str, words: str) -> None:
    if not words:
        measured(tmp_path, corpus, Judge(kind, FILES, 1), action="stop")
        return
    with pytest.raises(D3Error, match=rf"the judge breaks 2 bounds: .*{words}.*; .*bounds of judge_health"):
        measured(tmp_path, corpus, Judge(kind, FILES, 1), action="stop")
    assert not (tmp_path / "h.json").exists()


def health(folder: Path, rows: Iterable[Row], reference: Iterable[Row] = (), **settings: Any) -> dict[str, Any]:
    """Measure grades without a corpus."""
    grades = write_rows(folder / "g.parquet", schemas.GRADES, rows)
    other = folder / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in reference))
    config = Config(judge_health=JudgeHealth(**settings))
    corpus = write_rows(folder / "none.parquet", schemas.CORPUS, [])
    judge_health.run(config, [corpus], [grades], folder / "h.json", reference=[other])
    return {check["name"]: check for check in judge_health.read_health(folder / "h.json")["checks"]}


def test_parsed_scores_of_a_judge_who_never_ends_and_always_says_two(tmp_path: Path) -> None:
    rows = [{"id": f"{n:064x}", "score": 2, "finish_reason": "length"} for n in range(40)]
    found = health(tmp_path, [*rows, {"id": "f" * 64, "score": None}])
    assert {name for name, check in found.items() if check["status"] == "failed"} == {"cut"}
    assert found["same_score"]["status"] == "unclear"  # 40 of 40 may be 91 % of all
    assert found["entropy"]["status"] == found["consistency"]["status"] == "unknown"
    assert found["cut"]["files"] == 40


def test_a_reference_by_hand(tmp_path: Path) -> None:
    rows = [{"id": f"{n:064x}", "score": n % 5} for n in range(60)]
    alike = [{"id": row["id"], "score": row["score"]} for row in rows[:50]]
    found = health(tmp_path, rows, alike)["agreement"]
    assert (found["value"], found["files"], found["status"]) == (1.0, 50, "ok")
    turned = [{**row, "score": 4 - row["score"]} for row in alike]
    assert health(tmp_path, rows, turned)["agreement"]["status"] == "failed"
    assert health(tmp_path, rows, turned, min_agreement=None)["agreement"]["status"] == "unknown"
    assert health(tmp_path, rows, [])["agreement"]["status"] == "unknown"


def test_a_file_that_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "h.json").write_text('{"checks": [{"name": 1}]}')
    with pytest.raises(InputError, match="no certificate"):
        judge_health.read_health(tmp_path / "h.json")


def test_verify_finds_a_figure_that_was_changed(tmp_path: Path) -> None:
    names = [f"results/{stage}/KEY/a.parquet" for stage in ("corpus", "grades")]
    out = "results/judge_health/KEY/judge_health.json"
    for name in (*names, out):
        (tmp_path / name).parent.mkdir(parents=True)
    write_rows(tmp_path / names[0], schemas.CORPUS, [])
    rows = [{"id": f"{n:064x}", "score": n % 5, "entropy": 1.0, "margin": 0.5} for n in range(30)]
    write_rows(tmp_path / names[1], schemas.GRADES, rows)
    judge_health.run(Config(), [tmp_path / names[0]], [tmp_path / names[1]], tmp_path / out)
    job = FinishedJob(
        root=tmp_path,
        outputs={out: ""},
        inputs=dict.fromkeys(names, ""),
        counts={},
        config={},
        code="",
        sample=9,
        draw=random.Random(0),
    )
    assert list(judge_health.check(job)) == []
    text = (tmp_path / out).read_text()
    (tmp_path / out).write_text(text.replace('"value": 1.0', '"value": 0.5'))
    assert list(judge_health.check(job)) == [(out, "its figures are not those of the grades")]


# --- the figures ----------------------------------------------------------------------------------


def kappa_by_table(one: list[int], other: list[int]) -> float:
    """Return weighted kappa as Cohen defines it: disagreement in the table over that of its margins."""
    count = len(one)
    table, rows, columns = Counter(zip(one, other, strict=True)), Counter(one), Counter(other)
    observed = sum((a - b) ** 2 * n for (a, b), n in table.items()) / count
    expected = sum((a - b) ** 2 * rows[a] * columns[b] for a in rows for b in columns) / count**2
    return 1 - observed / expected


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_the_table(seed: int) -> None:
    draws = numpy.random.default_rng(seed)
    one = draws.integers(0, 5, 80)
    other = numpy.clip(one + draws.integers(-2, 3, 80), 0, 4)
    assert kappa(one.astype(float), other.astype(float)) == pytest.approx(kappa_by_table(list(one), list(other)))


def test_agreement_has_intervals_and_nothing_without_variation() -> None:
    draws = numpy.random.default_rng(1)
    one = draws.integers(0, 5, 100)
    other = one + draws.normal(0, 1, 100)
    for figure in agreement(one.tolist(), other.tolist(), seed=3).values():
        assert figure.low < figure.value < figure.high
        assert 0.05 < figure.high - figure.low < 0.3
    assert agreement([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], seed=0)["spearman"].value is None
    assert {figure.value for figure in agreement([2.0] * 9, [2.0] * 9, seed=0).values()} == {None}
    assert {figure.value for figure in agreement([], [], seed=0).values()} == {None}


def test_the_interval_of_the_median_holds_it() -> None:
    draws = numpy.random.default_rng(2)
    held = [figure.low <= 0 <= figure.high for figure in (median_figure(draws.normal(size=101)) for _ in range(400))]
    assert 0.92 < numpy.mean(held) <= 1


def test_confounds_find_any_shape_and_nothing_in_noise() -> None:
    draws = numpy.random.default_rng(0)
    count = 1000
    length = draws.random(count)
    better = better_half((-abs(length - 0.5)).tolist())  # files of middling length are better
    folds = draws.integers(0, FOLDS, count).tolist()
    noise = [f"owner-{number}" for number in draws.integers(0, 300, count)]
    found = confounds({"length": length.tolist(), "noise": noise, "source": ["a"] * count}, better, folds)
    assert found["length"].value > 0.95
    assert found["noise"].low < 0.5 < found["noise"].high
    assert found["source"].value is None
    assert found["together"].value > 0.95
    named = confounds({"license": ["MIT" if half else "Apache" for half in better]}, better, folds)
    assert named["license"].value == 1.0


def test_unrelated_names_have_an_area_of_one_half_in_the_mean() -> None:
    draws = numpy.random.default_rng(7)
    areas = []
    for _ in range(60):
        better = draws.random(200) < 0.5
        names = [f"owner-{number}" for number in draws.integers(0, 40, 200)]
        areas.append(confounds({"a": names}, better, draws.integers(0, FOLDS, 200).tolist())["a"].value)
    assert numpy.mean(areas) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("grades", "better"),
    [
        ([0, 1, 2, 3], [False, False, True, True]),
        ([2, 2, 2, 3], [False, False, False, True]),
        ([1, 1, 1], [False, False, False]),
        ([], []),
    ],
)
def test_the_better_half(grades: list[float], better: list[bool]) -> None:
    assert better_half(grades).tolist() == better
