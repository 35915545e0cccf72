"""What users get wrong: each is one line that names the file and what to do.

In other files: Ctrl-C, two runs at once, a dead network (`operate/test_run.py`, `core/test_hub.py`); a full disk
(`commands/test_cli.py`); names with spaces and umlauts in a whole run (`tests/workflow/test_names.py`).
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3.cli import main

FOLDER = "a folder, äöü"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / FOLDER
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def line_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert "Traceback" not in line
    return line


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("corpus: {smple: 3}\n", ["corpus.smple: no such key", "did you mean sample?", "config/README.md"]),
        ("corpus:\n  sample: [1\n", ["not YAML", "line 3", "fix or remove the line"]),
        ("corpus:\n\tsample: 3\n", ["not YAML", "line 2", "fix or remove the line"]),
        ("corpus: {sample: many}\n", ["corpus.sample: given 'many'", "a valid integer"]),
        ("model: {path: no/such}\n", ["'no/such'", "not a folder here", "git ls-remote"]),
        ("source: {shards: [none.parquet]}\n", ["source.shards: no file matches 'none.parquet'", "check the path"]),
    ],
    ids=["unknown-key", "bad-yaml", "tab", "wrong-type", "missing-model", "missing-shard"],
)
def test_a_wrong_configuration(content: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(content)
    line = line_of(capsys, "plan", "--quick", "--config", "mine.yaml")
    assert [part for part in parts if part not in line] == []


@pytest.mark.parametrize(("name", "reason"), [(".", "Is a directory"), ("none.yaml", "No such file")])
def test_a_folder_or_nothing_in_place_of_a_file(name: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(capsys, "plan", "--config", name)
    assert f"{name}: cannot be read ({reason}" in line
    assert "give --config an existing file" in line


@pytest.mark.parametrize("command", ["status", "plan", "where", "verify"])
def test_another_folder_that_is_not_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in line_of(capsys, command, "--directory", "nowhere")


def test_numbers_of_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.json").write_text("[]")
    line = line_of(capsys, "numbers", "other.json", "--json")
    assert "other.json: must be the numbers of a run; give results/runs/NAME/numbers.json" in line


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "folder"])
def test_a_source_without_a_text_is_answered_before_any_job(kind: str) -> None:
    """What the Snakefile calls when it is parsed."""
    from d3.errors import ConfigError
    from d3.pipeline.source_shards import check_shards

    path = Path(f"wröng name.{kind}")
    if kind == "parquet":
        pq.write_table(pa.table({"body": ["x = 1"]}), path)
    elif kind == "jsonl":
        path.write_text(json.dumps({"body": "x = 1"}) + "\n")
    else:
        path.mkdir()
        (path / "README.md").write_text("no Python here\n")
    with pytest.raises(ConfigError, match=r"source\.shards") as caught:
        check_shards({"a": str(path)}, {})
    assert str(path) in str(caught.value)
    assert "; " in str(caught.value)
    if kind != "folder":
        check_shards({"a": str(path)}, {"content": "body"})
