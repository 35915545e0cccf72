"""A remedy fits its cause: an error of the system is never answered with "fetch it again" or "delete it"."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from d3.audit import index
from d3.config.load import load_config, read_settings
from d3.core import data_base
from d3.errors import REMEDIES, ConfigError, D3Error, InputError, explain, raise_system_error
from d3.evals import compare, task_file
from d3.pipeline.pipeline import Chain
from d3.report.results import read_json

READERS: dict[str, Callable[[Path], Any]] = {
    "json of a report": read_json,
    "benchmark": lambda path: list(task_file.task_lines(path)),
    "samples": lambda path: compare.read_outcomes(path, "", ""),
    "configuration": load_config,
    "settings": read_settings,
}
BLAMES = ("fetch", "make it again", "delete", "existing file", "run the workflow", "JSONL")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("reader", READERS)
def test_a_file_is_not_blamed_for_the_system(
    reader: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}\n")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("read_text", "read_bytes", "open"):
        monkeypatch.setattr(Path, name, fail)
    for module in (compare, task_file):
        monkeypatch.setattr(module, "open_lines", fail)
    with pytest.raises((OSError, D3Error)) as caught:
        READERS[reader](path)
    found = explain(caught.value)
    assert found is not None
    assert found.remedy == REMEDIES[number]
    assert found.where == str(path)
    assert not any(word in found.remedy for word in BLAMES)


@pytest.mark.parametrize("reader", ["json of a report", "samples"])
def test_damaged_content_is_blamed(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": \n')
    with pytest.raises(InputError, match=r"a\.json"):
        READERS[reader](path)


def test_a_full_disk_and_too_little_memory_are_not_damaged_inputs(tmp_path: Path) -> None:
    for text, number in (
        (f"IO Error: {os.strerror(errno.ENOSPC)}", errno.ENOSPC),
        (os.strerror(errno.ENOMEM), errno.ENOMEM),
    ):
        with pytest.raises(D3Error) as caught, data_base.data_base(tmp_path):
            raise duckdb.Error(text)
        assert caught.value.remedy == REMEDIES[number]
    with pytest.raises(InputError, match="make its inputs again"), data_base.data_base(tmp_path):
        raise duckdb.Error("Binder Error: no column")


def test_an_index_that_another_process_writes_is_not_to_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.duckdb"
    path.write_bytes(b"x")

    def locked(*_: object, **__: object) -> None:
        raise duckdb.IOException("Could not set lock on file: Conflicting lock is held in python (PID 1)")

    monkeypatch.setattr(duckdb, "connect", locked)
    with pytest.raises(D3Error, match="another process writes the index; run the command again"):
        index.open_index(tmp_path, path)
    monkeypatch.undo()
    with pytest.raises(D3Error, match="delete it and run `d3 lineage`"):
        index.open_index(tmp_path, path)


def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_text("")
    chain = Chain(load_config(None, [f"source.opt_out={tmp_path}", f"contamination.files=[{tmp_path}]"]))
    with pytest.raises(ConfigError, match="must be a folder with a Hugging Face checkpoint"):
        chain.model_path(str(path), None)
    with pytest.raises(ConfigError, match=r"source\.opt_out: .* must be a file \(got a folder\)"):
        _ = chain.opt_out
    with pytest.raises(ConfigError, match=r"contamination\.files: .* must be a file \(got a folder\)"):
        _ = chain.task_files
    with pytest.raises(ConfigError, match=r"no file 'none\.txt'; make it"):
        _ = Chain(load_config(None, ["source.opt_out=none.txt"])).opt_out


def test_an_error_of_another_kind_is_left_to_the_caller(tmp_path: Path) -> None:
    raise_system_error(ValueError("no JSON"), tmp_path)
    raise_system_error(OSError("a library's own text"), tmp_path)
