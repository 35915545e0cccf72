"""Errors of the operating system as errors that a user can act on."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d3 import cli
from d3.cli import main
from d3.commands.index import commands
from d3.commands.parser import CommandParser
from d3.config.models import Config
from d3.core import tables
from d3.errors import PHRASES, REMEDIES, D3Error, InputError, explain, from_os_error
from helpers.corpus_tables import stack_rows, write_shard
from helpers.tiny_models import library_texts


@pytest.mark.parametrize("number", REMEDIES)
def test_an_error_names_file_reason_and_remedy(number: int) -> None:
    line = str(from_os_error(OSError(number, os.strerror(number), "a/b")))
    assert line == f"a/b: {os.strerror(number)}; {REMEDIES[number]}"


def test_both_files_of_a_rename_are_named() -> None:
    assert str(from_os_error(OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"))).startswith("a -> b: ")


def test_the_number_is_found_in_the_text_of_a_library() -> None:
    text = "Error writing bytes to file. Detail: [errno 28] No space left on device"
    assert str(from_os_error(OSError(text))) == f"{text}; {REMEDIES[errno.ENOSPC]}"


def test_an_error_without_text_has_its_name() -> None:
    assert str(from_os_error(TimeoutError())) == "TimeoutError; run again with --debug for the traceback"


def test_a_missing_package_is_named_with_its_environment() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("no_such_package")
    line = str(explain(caught.value))
    assert line.startswith(f"the package no_such_package is not installed in the environment {sys.prefix}; run")


def test_an_error_with_a_remedy_stays_as_it_is() -> None:
    error = InputError("not Parquet", where="a", remedy="fix it")
    assert explain(error) is error


FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ESTALE, errno.EIO, errno.EFBIG)


def wrapped(number: int) -> Exception:
    """Return what a library makes of an error of the operating system."""
    try:
        try:
            raise OSError(number, os.strerror(number), "a/b")
        except OSError as error:
            raise RuntimeError("the writer stopped") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("number", FAULTS)
def test_every_command_says_in_one_line_what_the_machine_refused(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a command does, a full disk is a line with file and remedy: also through `d3 run`, and wrapped."""
    monkeypatch.setattr(cli, "MORE_HELP", {})
    for name, command in commands().items():
        for error in (OSError(number, os.strerror(number), "a/b"), wrapped(number)):

            def fail(*words: object, _error: Exception = error, **named: object) -> None:
                raise _error

            monkeypatch.setattr(cli, "load", lambda target, fail=fail: fail)
            monkeypatch.setattr(cli, "read_config", lambda values: Config())
            monkeypatch.setattr(CommandParser, "parse", lambda parser, words: {"out": Path("a"), "debug": False})
            assert cli._run(command, [], debug=False) == 1
            assert capsys.readouterr().err == (f"d3 {name}: error: a/b: {os.strerror(number)}; {REMEDIES[number]}\n"), (
                name
            )


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*words: object, **named: object) -> None:
        raise KeyError("a column that must be there")

    monkeypatch.setattr(cli, "load", lambda target: fail)
    with pytest.raises(KeyError):
        main(["numbers", "numbers.json"])
    assert explain(ValueError("a disk of full size")) is None


@pytest.mark.parametrize("phrase", PHRASES)
def test_exceptions_of_libraries_are_known_by_their_words(phrase: str) -> None:
    line = explain(RuntimeError(f"IO Error: {phrase}\n(code 13)"))
    assert isinstance(line, D3Error)
    assert str(line) == f"IO Error: {phrase} (code 13); {REMEDIES[PHRASES[phrase]]}"


WRITER = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from d3.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 400, 5_000])
@pytest.mark.parametrize("suffix", ["parquet", "jsonl.zst"])
def test_a_stage_that_may_write_no_more(tmp_path: Path, suffix: str, limit: int) -> None:
    """A real refusal of the kernel, EFBIG, after any number of bytes: the line names the output, nothing is left."""
    names = ["kept", "rejected"] if limit else ["rejected", "kept"]
    kept, rejected = (tmp_path / f"{name}.{suffix}" for name in names)
    shard = write_shard(tmp_path / "shard.parquet", stack_rows(library_texts(200), "stdlib"))
    words = ["corpus", "--shard", str(shard), "--out", str(kept), "--rejected", str(rejected)]
    words += ["--set", "corpus.sample=null"]
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(limit), *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"d3 corpus: error: {tmp_path}/")
    assert last.endswith(f"File too large; {REMEDIES[errno.EFBIG]}")
    assert [path.name for path in tmp_path.iterdir()] == ["shard.parquet"]


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_shard(tmp_path / "shard.parquet", stack_rows(["x = 1"], "s"))

    def refuse(*given: object, **named: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    with pytest.raises(PermissionError) as caught:
        tables.open_parquet(table)
    assert str(explain(caught.value)) == f"{table}: Permission denied; {REMEDIES[errno.EACCES]}"
