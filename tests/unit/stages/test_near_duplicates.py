"""Near-duplicates: which copies are found, which file stays, and that no layout decides it."""

import random
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from d3.config.data import NearDuplicates
from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id, normalise
from d3.core.tables import Row, read_rows
from d3.errors import D3Error
from d3.pipeline.checks import FinishedJob
from d3.provenance.statement import read_statement, statement_path
from d3.stages import duplicates, fingerprints, near_duplicates
from d3.stages.inputs import standard_library
from d3.stages.shingles import blinded_words, jaccard, shingles, words
from helpers.corpus_tables import corpus_row, write_rows
from helpers.near_copies import near_copies

COPIES = 5


def settings(**near: object) -> Config:
    return parse_config({"near_duplicates": near})


def program(*names: str, comment: str = "") -> str:
    return normalise("\n".join(f"def {name}(a, b):{comment}\n    return a.{name} + b.{name}_other" for name in names))


def rows_of(texts: Sequence[str], stars: Sequence[int | None] = (), shard: str = "s") -> list[Row]:
    found = []
    for number, text in enumerate(texts):
        metadata = dict.fromkeys(schemas.METADATA.names) | {"max_stars_count": stars[number] if stars else None}
        found.append(corpus_row(text, number, shard=shard, metadata=metadata))
    return found


def find(folder: Path, tables: Sequence[Iterable[Row]], config: Config | None = None) -> list[Row]:
    """Run both stages over corpus tables."""
    paths = []
    for number, rows in enumerate(tables):
        corpus = write_rows(folder / "corpus" / f"{number}.parquet", schemas.CORPUS, rows)
        paths.append(folder / "fingerprints" / corpus.name)
        fingerprints.run(config or Config(), corpus, paths[-1])
    out = folder / "near_duplicates.parquet"
    near_duplicates.run(config or Config(), paths, out)
    return list(read_rows(out, schemas.NEAR_DUPLICATES))


# --- shingles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""Doc."""\nx = 1  # note', "x 1"),
        ("def f():\n    r'''Doc\n    more'''\n    return 'a b'", "def f return a b"),
        ('x = f("one"\n      "two")', "x f one two"),
        ("x = (\n    'kept'\n)", "x kept"),
        ("x = \\\n    'kept'", "x kept"),
        ("x = 1; y = 'a # b'", "x 1 y a b"),
        ('class A:\n    """It\'s "quoted"."""\n    z = "\\""', "class A z"),
        ("x = f'a {b}'", "x a b"),
        ("d = {\n    'k': 'v',\n}", "d k v"),
    ],
)
def test_words_are_those_of_code(text: str, expected: str) -> None:
    assert " ".join(words(text)) == expected


def test_names_are_blinded_and_attributes_are_not() -> None:
    assert blinded_words("import os\nfor x in range(3):\n    y.append(x + os.name)") == [
        *("for", "_", "in", "range", "3", "_", "append", "_", "+", "_", "name"),
    ]


def test_the_hash_of_a_shingle_never_drifts() -> None:
    hashes = shingles(["a", "b", "c", "a", "b", "c"], 5).tolist()
    assert hashes == [
        6720756178663892927,
        17215823745012302873,
    ]
    [bands] = fingerprints.signature_bands([shingles(words(program("a", "b", "c")), 5)], 256)
    assert bands[:2] == [
        17580945968352869948,
        9928040882958374795,
    ]
    assert len(shingles(["a"] * 4, 5)) == 0
    assert not set(shingles(list("abcde"), 5)) & set(shingles(list("edcba"), 5))


# --- which copies are found -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts() -> list[str]:
    found = []
    for path, data in standard_library():
        text = normalise(data.decode("utf-8", "replace"))
        if path.split("/")[-1][0] in "abc" and 40 <= text.count("\n") <= 300:
            found.append(text)
    return found


@pytest.mark.slow
def test_planted_copies_are_found(texts: list[str], tmp_path: Path) -> None:
    for kind, pairs in near_copies(texts, COPIES).items():
        assert len(pairs) == COPIES, kind
        both = [list(map(normalise, pair)) for pair in pairs]
        found = {}
        for blinded in (False, True):
            rows = find(tmp_path / kind / str(blinded), [rows_of([text for pair in both for text in pair])],
                        settings(blinded=blinded))  # fmt: skip
            dropped = {frozenset((row["id"], row["survivor"])) for row in rows}
            found[blinded] = sum(frozenset(map(content_id, pair)) in dropped for pair in both)
        assert found[kind == "renamed variables"] >= COPIES - 1, (kind, found)
        assert kind != "renamed variables" or found[False] < COPIES // 2  # so the blinded view is what finds them


@pytest.mark.slow
def test_the_list_is_that_of_all_pairs_compared(texts: list[str], tmp_path: Path) -> None:
    copies = [normalise(text) for pairs in near_copies(texts, 3).values() for pair in pairs for text in pair]
    some = sorted({*texts[:60], *copies}, key=content_id)
    sets = {content_id(text): shingles(words(text), 5) for text in some}
    similar = {
        frozenset(pair)
        for pair in combinations(sets, 2)
        if min(len(sets[name]) for name in pair) >= 10 and jaccard(*(sets[name] for name in pair)) >= 0.7
    }
    kept: list[str] = []
    for identifier in sorted(sets):
        if not any(frozenset((identifier, other)) in similar for other in kept):
            kept.append(identifier)
    found = find(tmp_path, [rows_of(some)])
    assert {row["id"] for row in found} == set(sets) - set(kept)
    assert len(found) >= 6
    for row in found:
        assert row["similarity"] == round(jaccard(sets[row["id"]], sets[row["survivor"]]), 4)


def test_signatures_estimate_as_those_of_datasketch() -> None:
    datasketch = pytest.importorskip("datasketch")
    numbers = np.random.default_rng(0).integers(0, 2**63, 1000, dtype=np.uint64)
    for common in (950, 800, 500):
        sets = [numbers[:common], numbers[1000 - common :]]
        bands = fingerprints.signature_bands(sets, 256)
        sketches = [datasketch.MinHash(256) for _ in sets]
        for sketch, values in zip(sketches, sets, strict=True):
            sketch.update_batch([value.tobytes() for value in values])
        ours = (np.mean([one == other for one, other in zip(*bands, strict=True)])) ** (1 / fingerprints.ROWS)
        assert abs(ours - sketches[0].jaccard(sketches[1])) < 0.15


# --- which file stays -------------------------------------------------------------------------------

NAMES = [f"name_{number}" for number in range(20)]


def family() -> list[str]:
    """Return programs of which each is similar to the next one, but the first not to the last."""
    return [program(*NAMES[start : start + 14]) for start in range(0, 6, 2)]


def test_stars_decide_and_then_ids(tmp_path: Path) -> None:
    same = [program(*NAMES), program(*NAMES, comment="  # one"), program(*NAMES, comment="  # two")]
    ids = [content_id(text) for text in same]
    found = find(tmp_path / "stars", [rows_of(same, [1, 5, None])])
    assert {(row["id"], row["survivor"]) for row in found} == {(ids[0], ids[1]), (ids[2], ids[1])}
    found = find(tmp_path / "ids", [rows_of(same)])
    assert {row["survivor"] for row in found} == {min(ids)}
    assert [row["id"] for row in found] == sorted(set(ids) - {min(ids)})


def test_each_file_is_dropped_for_one_that_is_kept(tmp_path: Path) -> None:
    one, two, three = family()
    ids = [content_id(text) for text in (one, two, three)]
    found = find(tmp_path / "ends", [rows_of([one, two, three], [3, 2, 1])], settings(similarity=0.6))
    assert [(row["id"], row["survivor"]) for row in found] == [(ids[1], ids[0])]
    found = find(tmp_path / "middle", [rows_of([one, two, three], [1, 3, 1])], settings(similarity=0.6))
    assert {(row["id"], row["survivor"]) for row in found} == {(ids[0], ids[1]), (ids[2], ids[1])}


@pytest.mark.slow
def test_no_layout_and_no_order_decides(tmp_path: Path) -> None:
    draw = random.Random(0)
    texts = [program(*draw.sample(NAMES, 18), comment=f"  # {number % 3}") for number in range(30)] + family()
    stars = [draw.choice([None, 0, 1, 9]) for _ in texts]
    rows = rows_of(texts, stars)
    expected = find(tmp_path / "one", [rows], settings(similarity=0.3))
    assert len(expected) > 10
    for number, size in enumerate((1, 7, 20)):
        draw.shuffle(rows)
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        assert find(tmp_path / f"again{number}", batches, settings(similarity=0.3)) == expected


def test_equal_files_have_the_stars_of_the_one_that_stays(tmp_path: Path) -> None:
    """A batch drops equal files before anybody counts stars; in batches of their own they decide the same."""
    [first], [second] = rows_of([program(*NAMES)], [1]), rows_of([program(*NAMES)], [9])
    [rival] = rows_of([program(*NAMES, comment="  # rival")], [5])
    first["metadata"]["max_stars_repo_name"], second["metadata"]["max_stars_repo_name"] = "a/a", "b/b"
    together = find(tmp_path / "together", [[first, rival]])  # as the corpus stage leaves one batch
    apart = find(tmp_path / "apart", [[second], [first], [rival]])
    assert together == apart
    assert [row["survivor"] for row in apart] == [rival["id"]]


def test_short_files_and_files_without_code_are_near_duplicates_of_none(tmp_path: Path) -> None:
    texts = ["x = 1", "x = 1  # again", "# a\n# b", program("a", "b"), program("a", "b", comment="  # c")]
    assert len(find(tmp_path, [rows_of(texts)])) == 1
    assert find(tmp_path / "none", [rows_of(texts)], settings(similarity=None)) == []
    assert find(tmp_path / "many", [rows_of(texts)], settings(min_shingles=50)) == []


def test_many_copies_of_one_band_are_compared_with_the_first(tmp_path: Path) -> None:
    texts = [program(*NAMES, f"only_{number}") for number in range(3 * near_duplicates.MOST_OF_BAND)]
    found = find(tmp_path, [rows_of(texts)])
    assert len(found) == len(texts) - 1
    assert {row["survivor"] for row in found} == {min(map(content_id, texts))}


# --- what follows from the list ---------------------------------------------------------------------


def test_lists_name_the_reason_and_the_held_out_side_has_no_copy(tmp_path: Path) -> None:
    copies = [program(*NAMES), program(*NAMES, comment="  # held out")]
    other = program("a", "b", "c")
    rows = rows_of([*copies, other])
    rows[1]["split"] = "sft"
    tables = [[rows[0], rows[2]], [rows[1], rows[2]]]
    find(tmp_path, tables)
    corpora = [tmp_path / "corpus" / f"{number}.parquet" for number in range(2)]
    near = tmp_path / "near_duplicates.parquet"
    duplicates.run(Config(), corpora, tmp_path / "duplicates", near_duplicates=near)
    lists = [(tmp_path / "duplicates" / f"{number}.txt").read_text().splitlines() for number in range(2)]
    lines = [line.partition(" ") for lines in lists for line in lines]
    ids = [content_id(text) for text in copies]
    assert sorted((name, reason) for name, _, reason in lines) == sorted(
        [(max(ids), "near_duplicate"), (rows[2]["id"], "")]
    )
    counts = read_statement(statement_path(tmp_path / "duplicates" / "0.txt"))["predicate"]["runDetails"]
    assert counts["byproducts"][0]["content"]["dropped"] == {"duplicate_elsewhere": 1, "near_duplicate": 1}


def test_other_signatures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        ALGORITHM_VERSION = 3

    monkeypatch.setattr(fingerprints, "RMinHash", Other)
    with pytest.raises(D3Error, match=r"version 3, expected rensa-2; install the version of envs/data.lock"):
        find(tmp_path, [rows_of(["x = 1"])])


def test_checks_find_what_was_changed(tmp_path: Path) -> None:
    find(tmp_path / "results" / "x", [rows_of([program(*NAMES), program(*NAMES, comment="  # b")])])
    names = {"corpus": "corpus/0", "fingerprints": "fingerprints/0", "near_duplicates": "near_duplicates"}
    corpus, found, near = (f"results/{stage}/k/{Path(name).name}.parquet" for stage, name in names.items())
    for name, source in zip((corpus, found, near), names.values(), strict=True):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / "results" / "x" / f"{source}.parquet").rename(tmp_path / name)

    def job(output: str, *inputs: str) -> FinishedJob:
        parts = {"counts": {}, "config": {}, "code": "", "sample": 9, "draw": random.Random(0)}
        return FinishedJob(root=tmp_path, outputs={output: ""}, inputs=dict.fromkeys(inputs, ""), **parts)

    assert list(fingerprints.check(job(found, corpus))) == []
    assert list(near_duplicates.check(job(near, found))) == []
    rows = list(read_rows(tmp_path / found, schemas.FINGERPRINTS))
    write_rows(tmp_path / found, schemas.FINGERPRINTS, [{**rows[0], "shingles": [1]}, rows[1]])
    assert [fault for _, fault in fingerprints.check(job(found, corpus))]
    write_rows(tmp_path / found, schemas.FINGERPRINTS, rows[:1])
    assert [fault for _, fault in fingerprints.check(job(found, corpus))]
    assert [fault for _, fault in near_duplicates.check(job(near, found))]


def test_defaults_are_the_documented_ones() -> None:
    assert NearDuplicates() == NearDuplicates(similarity=0.7, ngram=5, min_shingles=10, permutations=256, blinded=False)
