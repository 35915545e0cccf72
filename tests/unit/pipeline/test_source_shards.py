"""Which files `source.shards` stands for, and which names are refused before any job starts."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.errors import ConfigError
from d3.operate.container_binds import check_checkout
from d3.pipeline.hub_files import hub_files
from d3.pipeline.pipeline import Chain
from d3.pipeline.source_shards import check_shards, find_shards

COMMIT = "0a" * 20


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shards(*patterns: str) -> dict[str, str]:
    return find_shards(patterns, "hub")


def refused(*patterns: str) -> str:
    with pytest.raises(ConfigError) as caught:
        shards(*patterns)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["b[1]", "a*b", "what?", "a b", "o'neil", "$HOME", "#1", "a,b;c", "é", "id=5", "~x", "!"]
)
def test_a_name_that_is_there_is_no_pattern(folder: Path, name: str) -> None:
    for other in (name, "b1", "axb", "whatx"):
        (folder / f"{other}.parquet").touch()
    assert shards(f"{name}.parquet") == {name: f"{name}.parquet"}


@pytest.mark.parametrize(
    "name", ["a{b}", "{shard}", "a\nb", "a\x1b[31m", "a\u202eb", "back\\slash", "-x", ".hidden", " a", "x" * 151]
)
def test_a_name_that_something_resolves_is_refused(folder: Path, name: str) -> None:
    (folder / f"{name}.jsonl").touch()
    message = refused(f"{name}.jsonl")
    assert message.startswith("source.shards: ")
    assert "rename the file" in message
    assert message.isprintable()


def test_a_name_that_is_no_text_is_refused(folder: Path) -> None:
    name = b"caf\xe9.jsonl".decode("utf-8", "surrogateescape")
    (folder / name).touch()
    refused("*.jsonl").encode()


@pytest.mark.parametrize("setting", ["opt_out", "model"])
def test_other_paths_with_braces_are_refused_too(folder: Path, setting: str) -> None:
    (folder / "a{b}").mkdir() if setting == "model" else (folder / "a{b}").touch()
    chain = Chain(parse_config({"source": {"opt_out": "a{b}"}} if setting == "opt_out" else {}))
    with pytest.raises(ConfigError, match=r"must not contain '\{'"):
        _ = chain.opt_out if setting == "opt_out" else chain.model_path("a{b}", None)


def test_a_link_to_nowhere_and_a_folder_of_parts_are_named(folder: Path) -> None:
    (folder / "snap").mkdir()
    (folder / "snap" / "a.jsonl").touch()
    (folder / "snap" / "b.jsonl").symlink_to("nowhere")
    assert "snap/b.jsonl is a link to a file that is not there" in refused("snap/*.jsonl")
    assert "b.jsonl is a link to a file that is not there" in refused("snap/b.jsonl")
    (folder / "x.parquet").mkdir()
    assert "x.parquet: must be a file (got a folder); name the files in it: x.parquet/*" in refused("x.parquet")
    assert "no file matches 'y*.parquet'" in refused("y*.parquet")
    (folder / "a.csv").touch()
    assert "a.csv: not a table" in refused("a.csv")


def test_one_file_by_two_names_is_one_shard_and_two_of_one_name_are_refused(folder: Path) -> None:
    (folder / "a.jsonl").touch()
    assert shards("*.jsonl", "./a.jsonl", str(folder / "a.jsonl")) == {"a": "a.jsonl"}
    (folder / "a.json.gz").touch()
    assert "a.jsonl and a.json.gz share a name" in refused("a.jsonl", "a.json.gz")


def test_the_home_folder_is_understood_wherever_a_path_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    for name in ("a.jsonl", "out.txt"):
        (folder / name).touch()
    (folder / "model").mkdir()
    chain = Chain(
        parse_config({"source": {"shards": ["~/*.jsonl"], "opt_out": "~/out.txt"}, "model": {"path": "~/model"}})
    )
    assert chain.shards == {"a": f"{folder}/a.jsonl"}
    assert chain.opt_out == f"{folder}/out.txt"
    assert chain.answering("sft") == "model"


def test_a_folder_is_a_shard_of_its_name(folder: Path) -> None:
    (folder / "src").mkdir()
    assert shards("src/") == {"src": "src/"}
    check = {"src": "src/"}
    with pytest.raises(ConfigError, match="contains no Python file"):
        check_shards(check, {})
    (folder / "src" / "a.py").touch()
    check_shards(check, {})


def test_columns_are_checked_before_any_job(folder: Path) -> None:
    pq.write_table(pa.table({"content": ["x"]}), "a.parquet")
    Path("b.jsonl").write_text(json.dumps({"body": "x"}) + "\n")
    check_shards({"a": "a.parquet"}, {})
    with pytest.raises(ConfigError, match=r"source.shards: b.jsonl: has no column .*got body"):
        check_shards(shards("*.parquet", "*.jsonl"), {})
    check_shards(shards("*.jsonl"), {"content": "body"})
    Path("c.parquet").write_bytes(b"damaged: the job says so")
    check_shards(shards("c.parquet", f"hf://datasets/o/n@{COMMIT}/not/there.parquet"), {})


def test_shards_that_are_all_empty_are_refused_and_a_single_one_is_not(folder: Path) -> None:
    pq.write_table(pa.table({"content": pa.array([], pa.string())}), "a.parquet")
    Path("b.jsonl").write_text("\n\n")
    with pytest.raises(ConfigError, match=r"source.shards: a.parquet has no rows; check"):
        check_shards(shards("a.parquet"), {})
    with pytest.raises(ConfigError, match=r"the 2 shards have no rows"):
        check_shards(shards("*.parquet", "*.jsonl"), {})
    Path("c.jsonl").write_text("\n" * 200 + json.dumps({"content": "x"}) + "\n")
    for other in ("c.jsonl", "hf://datasets/o/n@" + COMMIT + "/not/there.parquet"):
        check_shards(shards("*.parquet", "b.jsonl", other), {})


def test_files_of_the_hub_are_named_by_commit_and_range() -> None:
    address = f"hf://datasets/bigcode/the-stack-dedup@{COMMIT}/data/python/data-{{08..10}}-of-144.parquet"
    folder = f"hub/bigcode--the-stack-dedup@{COMMIT}/data/python"
    assert shards(address) == {f"data-{n}-of-144": f"{folder}/data-{n}-of-144.parquet" for n in ("08", "09", "10")}


@pytest.mark.parametrize(
    "address",
    [
        "hf://datasets/o/n/data/a.parquet",
        "hf://datasets/o/n@main/a.parquet",
        f"hf://datasets/o/n@{COMMIT}/*.parquet",
        f"hf://datasets/o/n@{COMMIT}/../a.parquet",
        f"hf://datasets/o/n@{COMMIT}//a.parquet",
        f"hf://models/o/n@{COMMIT}/a.parquet",
        f"hf://datasets/o/n@{COMMIT}/a-{{5..3}}.parquet",
        f"hf://datasets/o/n@{COMMIT}/a-{{0..999999999}}.parquet",
        f"hf://datasets/o/n@{COMMIT}/a-{{0..9}}-{{0..9}}.parquet",
    ],
)
def test_other_addresses_of_the_hub_are_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.shards"):
        list(hub_files(address))


def test_the_checkout_may_lie_anywhere_but_where_search_paths_and_images_cannot_name_it() -> None:
    for odd in ("/a b/o'neil/{x}/$y", "/plain"):
        check_checkout(images=False, checkout=Path(odd))
    check_checkout(images=True, checkout=Path("/plain/{x}"))
    for odd, images in (("/a:b", False), ("/a b", True), ("/o'neil", True), ("/a,b", True)):
        with pytest.raises(ConfigError, match="must not contain"):
            check_checkout(images=images, checkout=Path(odd))
