"""The command `d3` as a whole: its groups, names, help, errors and start-up time."""

import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from d3.cli import main, parser_of
from d3.commands.index import FORMER_NAMES, commands, help_text
from d3.commands.parser import is_config, is_raw
from d3.report import numbers
from helpers.paths import ROOT

START_SECONDS = {"--help": 0.5, "corpus --help": 0.4, "trace --help": 0.4, "diffs --help": 0.4}
"""CPU time of a command until its help is printed; measured: 0.25, 0.17, 0.17 and 0.18."""
HEAVY = ["pyarrow", "torch", "transformers", "pylint", "astroid", "numpy", "duckdb", "jinja2", "snakemake"]
RULE = re.compile(r"^ *(?:d3(?: --env \S+)? |\"d3 |)([a-z][a-z-]+) (?=--)", re.MULTILINE)


def run(*words: str, stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "d3", *words]
    return subprocess.run(line, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


def parsed() -> list[str]:
    return [name for name, command in commands().items() if not is_raw(command.head)]


# --- help -------------------------------------------------------------------------------------------


def test_help_shows_every_command_once_in_its_group() -> None:
    group, shown = "", {}
    for line in help_text().splitlines():
        if re.fullmatch(r"\w+:", line):
            group = line[:-1]
        elif re.match(r"  \w", line) and group:
            name, text = line.split(maxsplit=1)
            assert len(text) > 20
            shown[name] = group
    assert shown == {name: command.group for name, command in commands().items()}
    assert list(dict.fromkeys(shown.values())) == ["Stages", "Run", "Audit"]
    assert not FORMER_NAMES.keys() & shown.keys()


@pytest.mark.parametrize("name", commands())
def test_a_command_has_a_summary_of_one_line(name: str) -> None:
    head = commands()[name].head
    assert head.doc.split("\n")[0].endswith(".")
    assert 20 < len(head.summary) <= 90


@pytest.mark.parametrize("name", commands())
def test_a_command_has_an_example_that_it_can_parse(name: str) -> None:
    command = commands()[name]
    assert command.head.examples
    for example in command.head.examples:
        program, word, *words = shlex.split(example)
        assert (program, word) == ("d3", name)
        if not is_raw(command.head):
            parser_of(command).parse(words)


@pytest.mark.parametrize("name", parsed())
def test_every_command_has_the_common_options(name: str) -> None:
    command = commands()[name]
    options = parser_of(command).format_help()
    assert "--directory PATH" in options
    reads = any(map(is_config, command.head.signature.parameters.values()))
    assert not reads or {"--config", "--set", "--settings"} <= set(parser_of(command).flags)
    assert "--debug" in options
    assert f"example:\n  d3 {name}" in options


@pytest.mark.parametrize("columns", [60, 72, 80])
def test_help_fits_a_narrow_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    texts = {"": help_text(), **{name: parser_of(commands()[name]).format_help() for name in parsed()}}
    wide = {name: line for name, text in texts.items() for line in text.splitlines() if len(line) > columns}
    assert wide == {}


def test_an_example_that_is_broken_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = parser_of(commands()["report"]).format_help()
    example = text.partition("example:\n")[2]
    assert shlex.split(example.replace("\\\n", " "))[:2] == ["d3", "report"]
    assert example.rstrip().count("\n") == example.count(" \\\n") > 2


def test_reading_commands_print_json() -> None:
    writing = {"run", "forget", "export", "release", "sign", "completion", "predictions"}
    names = {name for name, command in commands().items() if command.group != "Stages"} - writing
    assert [name for name in names if "--json" not in parser_of(commands()[name]).flags] == []


def test_help_of_verify_ends_with_what_it_does_not_cover() -> None:
    assert "What is not covered:\n  - " in parser_of(commands()["verify"]).format_help()


@pytest.mark.parametrize("words", START_SECONDS)
def test_help_takes_little_time(words: str) -> None:
    process = subprocess.Popen([sys.executable, "-m", "d3", *words.split()], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_utime + usage.ru_stime < START_SECONDS[words]


def test_help_and_usage_errors_import_no_module_of_a_stage() -> None:
    script = f"""
import sys
from d3.cli import main
for words in {[[name, "--wrong"] for name in parsed()]}:
    try:
        main(words)
    except SystemExit as left:
        assert left.code == 2
print(*(name for name in {HEAVY} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def completed(script: str, *words: str) -> list[str]:
    """Return what bash offers for the last word of a command line."""
    line = f'{script}\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _d3; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert completed(script, "d3", "") == [*commands(), "--help", "--version", "--debug"]
    assert completed(script, "d3", "ver") == ["verify"]
    assert completed(script, "d3", "--debug", "plan", "--me") == ["--measured"]
    assert completed(script, "d3", "plan", "--config", "con") == []  # files
    assert completed(script, "d3", "stauts", "--") == []
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.endswith(f"bashcompinit\n{script}")


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("former", "name"), FORMER_NAMES.items())
def test_former_names_are_aliases(former: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([former, "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: d3 {name} ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stauts"], "d3: error: unknown command stauts; did you mean status?; see `d3 --help`\n"),
        (["xyzzy"], "d3: error: unknown command xyzzy; see `d3 --help`\n"),
        (["--debgu", "status"], "d3: error: unknown option --debgu; did you mean --debug?; see `d3 --help`\n"),
    ],
)
def test_a_misspelt_command_is_answered_with_the_nearest(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == message


def test_no_command_at_all_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr() == ("", help_text() + "\n")


def test_the_version_names_the_commit(capsys: pytest.CaptureFixture[str]) -> None:
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert main(["--version"]) == 0
    assert re.fullmatch(rf"d3 \d+\.\d+\.\d+ \(commit {commit[:12]}(, modified)?\)\n", capsys.readouterr().out)


@pytest.mark.parametrize("rules", sorted((ROOT / "workflow" / "rules").glob("*.smk")), ids=lambda path: path.stem)
def test_rules_call_commands_with_flags_that_exist(rules: Path) -> None:
    known = commands()
    for block in re.split(r"^ *rule ", rules.read_text(), flags=re.MULTILINE)[1:]:
        line = block.split("shell:", 1)[1]
        found = RULE.search(line) or re.search(r"d3 ([a-z-]+)", line)
        assert found, block
        name = FORMER_NAMES.get(found[1], found[1])
        flags = set(re.findall(r"--[a-z][a-z-]*", line[found.end() :]))
        flags |= {"--opt-out"} if "{params.opt_out" in line else set()
        flags |= {"--model"} if "{params.model:" in line else set()
        flags |= {"--midtrained"} if "{params.midtrained}" in line else set()
        assert flags <= set(parser_of(known[name])._option_string_actions), found[1]


def test_every_stage_is_called_by_a_rule_or_is_one_of_the_inputs() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    called = {FORMER_NAMES.get(name, name) for name in RULE.findall(text)}
    stages = {name for name, command in commands().items() if command.group == "Stages"}
    assert stages - called <= {"pair-diffs"}


@pytest.mark.parametrize("words", [["{}"], ["--numbers", "{}"], ["--numbers={}"]])
def test_former_flags_are_read(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(numbers, "key_numbers", lambda path: f"numbers of {path}")
    file = tmp_path / "numbers.json"
    assert main(["numbers", *(word.format(file) for word in words)]) == 0
    assert capsys.readouterr().out == f"numbers of {file}\n"


# --- configuration and working folder ---------------------------------------------------------------


def test_the_configuration_is_read_where_the_command_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "mine.yaml").write_text("run: mine\n")
    assert main(["config", "--directory", "run", "--config", "mine.yaml", "--set", "seed=3"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("run: mine\nseed: 3\n")
    assert Path.cwd() == tmp_path / "run"


def test_a_file_of_settings_takes_the_place_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"run": "mine"}')
    assert main(["config", "--settings", str(settings)]) == 0
    assert capsys.readouterr().out.startswith("run: mine\n")
    settings.write_text('{"run"')
    assert main(["config", "--settings", str(settings)]) == 1
    assert f"d3 config: error: {settings}: not JSON" in capsys.readouterr().err
    assert main(["config", "--settings", str(tmp_path / "none")]) == 1
    assert "cannot be read (No such file or directory)" in capsys.readouterr().err


# --- errors -----------------------------------------------------------------------------------------


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(path: Path) -> str:
        raise error

    monkeypatch.setattr(numbers, "key_numbers", fail)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "No space left on device; free space"),
        (errno.EDQUOT, "Disk quota exceeded; free space within your quota"),
        (errno.EACCES, "Permission denied; check the owner"),
        (errno.EROFS, "Read-only file system; choose a folder"),
        (errno.ESTALE, "Stale file handle; the network file system"),
        (errno.ENOTCONN, "Transport endpoint is not connected; run again with --debug"),
    ],
)
def test_an_error_of_the_system_is_one_line(
    number: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, OSError(number, os.strerror(number), "results/a.parquet"))
    assert main(["numbers", "n.json"]) == 1
    printed, error = capsys.readouterr()
    assert error.startswith(f"d3 numbers: error: results/a.parquet: {words}")
    assert (printed, error.count("\n")) == ("", 1)


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    raising(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "a"))
    for words in (["--debug", "numbers", "n.json"], ["numbers", "n.json", "--debug"]):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert error.startswith("Traceback")
        assert error.splitlines()[-1].startswith("d3 numbers: error: a: Permission denied")


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    assert main(["numbers", "n.json"]) == 130
    assert capsys.readouterr().err == "d3 numbers: interrupted\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["numbers", "n.json"])


def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = run("config", stdout=full)
    finally:
        os.close(full)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("d3 config: error: No space left on device; free space")


@pytest.mark.parametrize("words", ["config", "--help"])
def test_a_reader_that_goes_away_is_no_error(words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(words, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = run("diff", str(tmp_path / "a"), str(tmp_path / "b"), "--directory", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"d3 diff: error: {tmp_path}/none: No such file or directory; check the path\n"
