"""The corpus: every filter with its reason, and a choice of files that no order of rows changes."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from d3.config.data import Corpus
from d3.core import schemas
from d3.core.ids import content_id, normalise
from d3.core.tables import read_rows
from d3.stages.corpus.filters import ROW_FILTERS, SIZE_FILTERS, TEXT_FILTERS, Rejection, examine, reject_size
from helpers.corpus_tables import open_config, run_corpus, stack_row, write_lines, write_shard
from helpers.paths import REAL_DATA

GOOD = "import os\n\n\ndef area(side):\n    return side * side"
SHARDS = sorted((REAL_DATA / "stack").glob("*.parquet"))


def programs(count: int) -> list[str]:
    return [f"{GOOD}\n\n\nvalue_{number} = area({number})" for number in range(count)]


@pytest.mark.parametrize(
    ("settings", "text", "reason"),
    [
        ({}, GOOD, None),
        ({"max_line_length": 22}, GOOD, None),
        ({"max_line_length": 21}, GOOD, "long_line"),
        ({"max_mean_line_length": 9}, "x" * 9 + "\n" + "y" * 9, None),
        ({"max_mean_line_length": 8.9}, "x" * 9 + "\n" + "y" * 9, "long_lines"),
        ({"min_alphanumeric": 0.5}, "ab+-", "syntax_error"),
        ({"min_alphanumeric": 0.51}, "ab+-", "few_alphanumerics"),
        ({"language": "C"}, GOOD, "other_language"),
        ({}, "é = 'ü'  # ñ", None),
        ({}, "print 1", "syntax_error"),
        ({}, "x = '</code>'", None),
    ],
)
def test_filters_answer_with_their_reason(settings: dict[str, object], text: str, reason: str | None) -> None:
    answer = examine(stack_row(text), open_config(**settings).corpus)
    assert answer == text if reason is None else isinstance(answer, Rejection) and answer.reason == reason


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"min_lines": 5, "max_lines": 5, "max_bytes": 56}, None),
        ({"min_lines": 6}, "too_few_lines"),
        ({"max_lines": 4}, "too_many_lines"),
        ({"max_bytes": 55}, "too_large"),
    ],
)
def test_sizes_are_counted_in_lines_and_bytes(settings: dict[str, int], reason: str | None) -> None:
    text = GOOD.replace("side", "seité")
    assert (text.count("\n") + 1, len(text), len(text.encode())) == (5, 53, 56)
    answer = reject_size(text, open_config(**settings).corpus)
    assert (answer and answer.reason) == reason


def test_every_threshold_belongs_to_one_filter() -> None:
    filters = (*ROW_FILTERS, *TEXT_FILTERS, *SIZE_FILTERS)
    used = [name for judge in filters for name in judge.settings]
    assert sorted(used) == sorted(Corpus.model_fields.keys() - {"sample", "held_out", "filters", "redact"})
    assert len({judge.reason for judge in filters}) == len(filters)


@pytest.mark.parametrize("path", [None, "a.py", "a/b.pyi", "bin/tool", "a.b/tool"])
def test_a_language_that_is_not_known_is_no_other_one(path: str | None) -> None:
    assert examine(stack_row(GOOD, lang=None, max_stars_repo_path=path), open_config().corpus) == GOOD.strip()


def test_the_path_tells_the_language_where_the_column_does_not() -> None:
    answer = examine(stack_row(GOOD, lang=None, max_stars_repo_path="a.js"), open_config().corpus)
    assert answer == Rejection("other_language", "the path is 'a.js'")
    assert isinstance(examine(stack_row(GOOD, lang="JavaScript"), open_config().corpus), Rejection)


def test_kept_rows_carry_id_metadata_and_place(tmp_path: Path) -> None:
    raw = stack_row("\ufeff" + GOOD + "\r\n", max_stars_count=7, max_forks_repo_licenses=["MIT", "BSD-3-Clause"])
    kept, _ = run_corpus(write_shard(tmp_path / "part-7.x.parquet", [stack_row(""), raw]))
    assert kept == [
        {
            "id": hashlib.sha256(GOOD.encode()).hexdigest(),
            "original": hashlib.sha256(GOOD.encode()).hexdigest(),
            "text": GOOD,
            "split": "midtrain",
            "shard": "part-7.x",
            "row": 1,
            "source": open_config().source.name,
            "metadata": {name: value for name, value in raw.items() if name != "content"},
        }
    ]


def test_the_second_of_two_equal_programs_is_a_duplicate_of_the_first(tmp_path: Path) -> None:
    rows = [stack_row(GOOD), stack_row("\n" + GOOD.replace("\n", "\r\n") + " \n"), stack_row(GOOD + "\n# other")]
    kept, rejected = run_corpus(write_shard(tmp_path / "a.parquet", rows))
    assert [line["row"] for line in kept] == [0, 2]
    assert [(line["row"], line["reason"], line["detail"]) for line in rejected] == [
        (1, "duplicate", f"of {content_id(GOOD)}")
    ]


def test_held_out_files_are_a_share_chosen_by_content(tmp_path: Path) -> None:
    rows = [stack_row(text) for text in programs(400)]
    kept, rejected = run_corpus(write_shard(tmp_path / "a.parquet", rows), open_config(held_out=0.25))
    splits = {line["id"]: line["split"] for line in kept}
    assert rejected == []
    assert 70 <= list(splits.values()).count("sft") <= 130
    again, _ = run_corpus(write_shard(tmp_path / "b.parquet", rows[::-2]), open_config(held_out=0.25))
    assert all(splits[line["id"]] == line["split"] for line in again)
    assert len(again) == 200


def test_held_out_files_may_have_any_size(tmp_path: Path) -> None:
    rows = [stack_row(text) for text in programs(60)]
    kept, rejected = run_corpus(write_shard(tmp_path / "a.parquet", rows), open_config(held_out=0.5, max_lines=3))
    assert {line["split"] for line in kept} == {"sft"}
    assert {line["reason"] for line in rejected} == {"too_many_lines"}
    assert len(kept) + len(rejected) == 60
    assert len(kept) > 10


@pytest.mark.parametrize("held_out", [0.0, 0.3])
def test_a_sample_does_not_depend_on_the_order_of_rows(tmp_path: Path, held_out: float) -> None:
    rows = [stack_row(text) for text in [*programs(50), "print 1"]]
    settings = open_config(sample=8, held_out=held_out)
    kept, rejected = run_corpus(write_shard(tmp_path / "a.parquet", rows), settings)
    assert [line["row"] for line in kept] == sorted(line["row"] for line in kept)
    assert Counter(line["split"] for line in kept)["midtrain"] == 8
    assert sorted(line["row"] for line in kept + rejected) == list(range(51))
    assert Counter(line["reason"] for line in rejected) == {"not_sampled": 50 - len(kept), "syntax_error": 1}
    turned, _ = run_corpus(write_shard(tmp_path / "b.parquet", rows[::-1]), settings)
    assert {line["id"] for line in turned} == {line["id"] for line in kept}
    other = open_config(sample=8, held_out=held_out).model_copy(update={"seed": 1})
    assert {line["id"] for line in run_corpus(tmp_path / "a.parquet", other)[0]} != {line["id"] for line in kept}


def test_a_sample_larger_than_the_shard_takes_all(tmp_path: Path) -> None:
    kept, rejected = run_corpus(
        write_shard(tmp_path / "a.parquet", [stack_row(t) for t in programs(5)]), open_config(sample=9)
    )
    assert (len(kept), rejected) == (5, [])


def test_formats_of_a_shard_do_not_matter(tmp_path: Path) -> None:
    rows = [stack_row(text) for text in [*programs(5), "print 1"]]
    parquet = run_corpus(write_shard(tmp_path / "a.parquet", rows))
    assert run_corpus(write_lines(tmp_path / "a.jsonl", [*rows])) == parquet


def test_a_second_run_gives_the_same_bytes(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.parquet", [stack_row(text) for text in [*programs(30), "print 1"]])
    outputs = []
    for _ in range(2):
        run_corpus(shard, open_config(sample=5, held_out=0.2))
        outputs.append([path.read_bytes() for path in sorted((tmp_path / "out").glob("*.parquet"))])
    assert outputs[0] == outputs[1]


@pytest.mark.slow
def test_real_shards_lose_no_row(tmp_path: Path) -> None:
    """Without the project's shards, a part of the standard library stands in for them."""
    if SHARDS:
        shard, raw = SHARDS[0], list(read_rows(SHARDS[0], schemas.STACK))
    else:
        raw = [stack_row(path.read_text("utf-8")) for path in sorted(Path(hashlib.__file__).parent.glob("*.py"))]
        shard = write_shard(tmp_path / "library.parquet", raw)
    kept, rejected = tmp_path / "kept.parquet", tmp_path / "rejected.parquet"
    from d3.stages.corpus.stage import run

    run(open_config(max_lines=200, sample=None, redact=False), [shard], kept, rejected)
    rows = list(read_rows(kept, schemas.CORPUS))
    numbers = [line["row"] for line in rows] + [line["row"] for line in read_rows(rejected, schemas.REJECTED)]
    assert sorted(numbers) == list(range(len(raw)))
    assert len(rows) > 20
    assert all(line["text"] == normalise(raw[line["row"]]["content"]) for line in rows)
    assert all(line["metadata"]["hexsha"] == raw[line["row"]]["hexsha"] for line in rows)
