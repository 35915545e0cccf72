"""Equal files in different batches: one winner, whatever the batches and whenever a shard came."""

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import Row, read_notes, read_rows
from d3.errors import InputError
from d3.pipeline.job import Job
from d3.provenance.statement import read_statement, statement_path
from d3.stages import duplicates, grades
from d3.stages.corpus.sampling import order_key
from d3.stages.corpus.stage import run
from d3.stages.diffs import run as lintseq
from d3.stages.duplicates import ids_elsewhere
from d3.stages.pairs import run as write_pairs
from helpers.corpus_tables import OPEN, corpus_row, stack_row, write_rows, write_shard

pytestmark = pytest.mark.slow

UNGRADED = {"grades": {"mode": "none"}, "diffs": {"lint": False}}


def config(**corpus: object) -> Config:
    return parse_config({"corpus": {**OPEN["corpus"], **corpus}, **UNGRADED})


def program(name: object) -> str:
    doc = '    """Give the area of one square."""'
    return f"import os\n\n\ndef area_{name}(side):\n{doc}\n    return side * side\n\n\nprint(area_{name}(os.getpid()))"


def shards(folder: Path, count: int = 4, seed: int = 0) -> list[Path]:
    """Shards that share half of their files, some of them from the same repository."""
    folder.mkdir()
    draw = random.Random(seed)
    paths = []
    for number in range(count):
        names = [f"only_{number}_{file}" for file in range(4)] + [f"shared_{file}" for file in range(6)]
        rows = []
        for name in names:
            repository = draw.choice([f"owner/{number}", "owner/same", "a/a", None])
            rows.append(
                stack_row(program(name), max_stars_repo_name=repository, max_stars_repo_path=draw.choice(["x", "y"]))
            )
        paths.append(write_shard(folder / f"s{number}.parquet", rows))
    return paths


def chain(settings: Config, paths: Sequence[Path], size: int, folder: Path) -> dict[str, Path]:
    """Run the stages from the corpus to the diffs batch by batch; gives the folder of every stage."""
    folders = {stage: folder / stage for stage in ("corpus", "rejected", "duplicates", "grades", "diffs", "pairs")}
    folders |= {stage: folder / stage for stage in ("pair_duplicates", "pair_diffs")}
    batches = {paths[start].stem: paths[start : start + size] for start in range(0, len(paths), size)}
    for name, members in batches.items():
        run(settings, members, folders["corpus"] / f"{name}.parquet", folders["rejected"] / f"{name}.parquet")
    corpora = [folders["corpus"] / f"{name}.parquet" for name in batches]
    duplicates.run(Config(), corpora, folders["duplicates"])
    for name, corpus in zip(batches, corpora, strict=True):
        elsewhere = folders["duplicates"] / f"{name}.txt"
        graded = folders["grades"] / f"{name}.parquet"
        grades.run(settings, corpus, graded, model=None, duplicates=elsewhere)
        lintseq(settings, [corpus], folders["diffs"] / f"{name}.parquet", grades=graded, duplicates=elsewhere)
        write_pairs(settings, corpus, folders["pairs"] / f"{name}.parquet", duplicates=elsewhere)
    pairs = [folders["pairs"] / f"{name}.parquet" for name in batches]
    duplicates.pair_duplicates(Config(), pairs, folders["pair_duplicates"])
    for name, table in zip(batches, pairs, strict=True):
        elsewhere = folders["pair_duplicates"] / f"{name}.txt"
        lintseq(settings, [table], folders["pair_diffs"] / f"{name}.parquet", duplicates=elsewhere)
    return folders


def rows_of(folder: Path, schema: object) -> list[Row]:
    return [line for path in sorted(folder.glob("*.parquet")) for line in read_rows(path, schema)]


def bytes_of(folders: dict[str, Path]) -> dict[str, bytes]:
    files = [(stage, path) for stage, folder in folders.items() for path in folder.iterdir()]
    return {f"{stage}/{path.name}": path.read_bytes() for stage, path in files if not path.name.endswith(".prov.json")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], dict[str, Path]]:
    """Four shards, each its own batch, and what the chain made of them."""
    folder = tmp_path_factory.mktemp("alone")
    paths = shards(folder / "shards")
    return paths, chain(config(held_out=0.4), paths, 1, folder / "results")


def survivors(folders: dict[str, Path]) -> dict[str, Row]:
    """The rows of the corpus that go on, by id."""
    found: dict[str, Row] = {}
    for path in sorted(folders["corpus"].glob("*.parquet")):
        elsewhere = set((folders["duplicates"] / f"{path.stem}.txt").read_text().split())
        for line in read_rows(path, schemas.CORPUS):
            if line["id"] not in elsewhere:
                assert line["id"] not in found
                found[line["id"]] = line
    return found


def test_one_of_equal_files_goes_on(alone: tuple[list[Path], dict[str, Path]]) -> None:
    _, folders = alone
    corpus = rows_of(folders["corpus"], schemas.CORPUS)
    expected = {
        identifier: min((line for line in corpus if line["id"] == identifier), key=order_key)
        for identifier in {line["id"] for line in corpus}
    }
    assert survivors(folders) == expected
    assert (len(corpus), len(expected)) == (40, 22)
    graded = [line["id"] for line in rows_of(folders["grades"], schemas.GRADES)]
    midtrain = {identifier for identifier, line in expected.items() if line["split"] == "midtrain"}
    assert set(graded) == midtrain
    assert len(graded) == len(midtrain)
    assert {line["id"] for line in rows_of(folders["diffs"], schemas.DIFFS)} == midtrain
    pairs = rows_of(folders["pairs"], schemas.PAIRS)
    assert {pair["file_id"] for pair in pairs} == set(expected) - midtrain


def test_rows_that_go_on_elsewhere_are_counted(alone: tuple[list[Path], dict[str, Path]]) -> None:
    _, folders = alone
    splits = {line["id"]: line["split"] for line in rows_of(folders["corpus"], schemas.CORPUS)}
    for stage, split in (("grades", "midtrain"), ("diffs", "midtrain"), ("pairs", "sft")):
        for path in folders[stage].glob("*.parquet"):
            notes = read_notes(path)
            lost = (folders["duplicates"] / f"{path.stem}.txt").read_text().split()
            assert notes["read"] == notes["kept"] + sum(notes["dropped"].values())
            assert notes["dropped"].get("duplicate_elsewhere", 0) == sum(splits[line] == split for line in lost)
    statement = read_statement(statement_path(folders["duplicates"] / "s0.txt"))
    counts = statement["predicate"]["runDetails"]["byproducts"][0]["content"]
    assert counts == {"stage": "duplicates", "read": 40, "kept": 22, "dropped": {"duplicate_elsewhere": 18}}


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_batches_decide_nothing(alone: tuple[list[Path], dict[str, Path]], tmp_path: Path, size: int) -> None:
    paths, folders = alone
    batched = chain(config(held_out=0.4), paths, size, tmp_path)
    assert survivors(batched) == survivors(folders)
    for stage, schema in (("grades", schemas.GRADES), ("diffs", schemas.DIFFS), ("pair_diffs", schemas.DIFFS)):
        found, expected = (rows_of(chosen[stage], schema) for chosen in (batched, folders))
        assert sorted(found, key=lambda line: line["id"]) == sorted(expected, key=lambda line: line["id"])


@pytest.mark.parametrize("first", [[1, 2, 3], [0, 1, 2], [3, 0]])
def test_a_shard_that_comes_later_changes_nothing(
    alone: tuple[list[Path], dict[str, Path]], tmp_path: Path, first: list[int]
) -> None:
    """Some shards, then all of them into the same folders: the files of a run from scratch."""
    paths, folders = alone
    chain(config(held_out=0.4), [paths[number] for number in first], 1, tmp_path)
    assert bytes_of(chain(config(held_out=0.4), paths, 1, tmp_path)) == bytes_of(folders)


def test_a_batch_that_loses_nothing_more_keeps_its_list(tmp_path: Path) -> None:
    one = stack_row(program("one"), max_stars_repo_name="b/b")
    two = stack_row(program("two"), max_stars_repo_name="b/b")
    lists = []
    tables = []
    for name, rows in (("a", [one]), ("b", [one, two]), ("c", [{**two, "max_stars_repo_name": "a/a"}])):
        shard = write_shard(tmp_path / f"{name}.parquet", rows)
        tables.append(tmp_path / f"{name}-kept.parquet")
        run(config(), [shard], tables[-1], tmp_path / "rejected.parquet")
        duplicates.run(Config(), tables, tmp_path / "lists")
        lists.append([len(path.read_text().split()) for path in sorted((tmp_path / "lists").glob("*.txt"))])
    assert lists == [[0], [0, 1], [0, 2, 0]]


def test_equal_functions_go_on_once(tmp_path: Path) -> None:
    same = program("same").split("\n\n\nprint")[0]
    rows = [stack_row(same + "\n\n\nprint(1)"), stack_row(same + "\n\n\nprint(2)")]
    paths = [write_shard(tmp_path / f"{n}.parquet", [line]) for n, line in enumerate(rows)]
    folders = chain(config(held_out=1.0), paths, 1, tmp_path / "results")
    pairs = rows_of(folders["pairs"], schemas.PAIRS)
    assert len(pairs) == 2
    assert pairs[0]["id"] == pairs[1]["id"]
    assert len(rows_of(folders["pair_diffs"], schemas.DIFFS)) == 1
    loser = max(range(2), key=lambda number: str(pairs[number]["file_id"]))
    assert (folders["pair_duplicates"] / f"{loser}.txt").read_text() == f"{pairs[0]['id']}\n"


def test_null_names_are_ordered_as_in_a_batch(tmp_path: Path) -> None:
    """The data base and Python agree about missing, empty and non-ASCII names."""
    names = [None, "", "a/a", "A/A", "é/é", "\U0001f600/x", "\uffff/x", "z/z", "a/a "]
    draw = random.Random(1)
    rows = [stack_row(program("same"), **{column: draw.choice(names) for column in COLUMNS}) for _ in range(25)]
    tables = []
    for number, line in enumerate(rows):
        shard = write_shard(tmp_path / f"{number:02}.parquet", [line])
        tables.append(tmp_path / "kept" / f"{number:02}.parquet")
        run(config(), [shard], tables[-1], tmp_path / "rejected.parquet")
    duplicates.run(Config(), tables, tmp_path / "lists")
    kept = [path.stem for path in (tmp_path / "lists").glob("*.txt") if not path.read_text()]
    corpus = [line for table in tables for line in read_rows(table, schemas.CORPUS)]
    assert kept == [min(corpus, key=order_key)["shard"]]


COLUMNS = ("max_stars_repo_name", "max_stars_repo_path", "max_stars_repo_head_hexsha", "hexsha")


def test_twins_of_names_and_damaged_tables_are_refused(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        run(
            config(),
            [write_shard(tmp_path / "a.parquet", [stack_row(program(1))])],
            tmp_path / folder / "a.parquet",
            tmp_path / folder / "rejected.parquet",
        )
    tables = [tmp_path / folder / "a.parquet" for folder in ("x", "y")]
    with pytest.raises(InputError, match="share this name"):
        duplicates.run(Config(), tables, tmp_path / "lists")
    tables[0].write_bytes(tables[0].read_bytes()[:500])
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read"):
        duplicates.run(Config(), tables[:1], tmp_path / "lists")
    assert not (tmp_path / "lists").exists() or not list((tmp_path / "lists").iterdir())


@pytest.mark.parametrize(("text", "reason"), [("ab\n", "line 1 is no id"), ("a" * 64, "ends in the middle")])
def test_a_damaged_list_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        ids_elsewhere(Job("grades", config=None), path)


def test_many_batches_are_compared_in_a_second(tmp_path: Path) -> None:
    def rows(batch: int) -> Iterator[Row]:
        metadata = dict.fromkeys(schemas.METADATA.names) | {"max_stars_repo_name": f"o/{batch}"}
        for number in range(20):
            identifier = f"{number if number < 2 else batch * 100 + number:064x}"
            yield corpus_row("x = 1", number, id=identifier, shard=f"{batch:03}", metadata=metadata)

    tables = [write_rows(tmp_path / f"{batch:03}.parquet", schemas.CORPUS, rows(batch)) for batch in range(120)]
    start = time.process_time()
    duplicates.run(Config(), tables, tmp_path / "lists")
    assert time.process_time() - start < 1.3  # measured: 0.4 to 0.65
    sizes = [len(path.read_text().split()) for path in sorted((tmp_path / "lists").glob("*.txt"))]
    assert sizes == [0] + [2] * 119


def test_names_and_folders_are_no_patterns_and_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "id=5" / "shard=7"
    names = ["b1", "b[1]", "b*", "**", "~"]
    for name in names:
        write_rows(folder / f"{name}.parquet", schemas.CORPUS, [corpus_row("x = 1", shard=name), corpus_row(name)])
    duplicates.run(Config(), [folder / f"{name}.parquet" for name in names], tmp_path / "out")
    listed = {name: (tmp_path / "out" / f"{name}.txt").read_text().split() for name in names}
    assert {name for name, ids in listed.items() if ids} == set(names) - {min(names)}
    assert {identifier for ids in listed.values() for identifier in ids} == {corpus_row("x = 1")["id"]}
