"""Parsers that are derived from signatures."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from d3.commands import heads
from d3.commands.heads import Head, read_head
from d3.commands.index import commands
from d3.commands.parser import CommandParser, arguments_of, enter
from d3.commands.stages import setting_flags
from d3.config.data import Diffs
from d3.config.models import Config


def head_of(function: Callable[..., Any]) -> Head:
    return Head(inspect.signature(function), inspect.getdoc(function) or "")


def stage(
    config: Config,
    corpus: Sequence[Path],
    in_: Path,
    *,
    opt_out: Path | None = None,
    model: str | None,
    workers: int = 3,
    share: Annotated[float, "share of 100 %"] = 0.5,
    json_: bool = False,
    kind: Annotated[Literal["gpu", "cpu"], "which one"] = "gpu",
    trained: Mapping[str, Path],
    written: Mapping[tuple[str, str], Path],
) -> None:
    """Do the work of a stage.

    More about it.

    Example: d3 stage --corpus a b
        --in c
    """


def view(target: Annotated[str, "what"], more: Annotated[Sequence[int], "which"] = (), /, *, results: Path) -> None:
    """Look."""


NEEDED = ["--corpus", "a", "b", "--in", "c", "--trained", "d3=m/d3", "--written", "humaneval/d3=s"]


def call(function: Callable[..., Any], *words: str) -> tuple[list[Any], dict[str, Any]]:
    head = head_of(function)
    return arguments_of(head, CommandParser("stage", head).parse(words), "CONFIG")


def test_values_have_the_types_of_the_signature() -> None:
    words = [*NEEDED, "--opt-out", "o", "--model", "m", "--workers", "8", "--share", ".25", "--json", "--kind", "cpu"]
    assert call(stage, *words) == (
        [],
        {
            "config": "CONFIG",
            "corpus": [Path("a"), Path("b")],
            "in_": Path("c"),
            "opt_out": Path("o"),
            "model": "m",
            "workers": 8,
            "share": 0.25,
            "json_": True,
            "kind": "cpu",
            "trained": {"d3": Path("m/d3")},
            "written": {("humaneval", "d3"): Path("s")},
        },
    )


def test_what_is_left_out_has_the_default_of_the_signature() -> None:
    _, values = call(stage, *NEEDED)
    left_out = {name: values[name] for name in ("opt_out", "model", "workers", "share", "json_", "kind")}
    assert left_out == {"opt_out": None, "model": None, "workers": 3, "share": 0.5, "json_": False, "kind": "gpu"}


def test_parameters_before_the_slash_have_no_flag() -> None:
    assert call(view, "a", "1", "2", "--results", "r") == (["a", [1, 2]], {"results": Path("r")})
    assert call(view, "a", "--results", "r") == (["a", ()], {"results": Path("r")})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (NEEDED[3:], "the following arguments are required: --corpus"),
        ([*NEEDED, "--workers", "many"], "argument --workers: must be a whole number from 1 (got 'many')"),
        ([*NEEDED, "--kind", "tpu"], "invalid choice: 'tpu'"),
        ([*NEEDED, "--worker", "2"], "unknown option --worker; did you mean --workers?"),
        ([*NEEDED, "--workres=2"], "unknown option --workres; did you mean --workers?"),
        ([*NEEDED, "--trained", "m"], "'m' must be written KEY=PATH"),
        ([*NEEDED, "--written", "d3=s"], "'d3=s' must be written A/B=PATH"),
        ([*NEEDED, "--settings", "s", "--set", "seed=1"], "--settings cannot be combined"),
        ([*NEEDED, "--settings", "s", "--config", "c"], "--settings cannot be combined"),
    ],
)
def test_a_wrong_command_line_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        call(stage, *words)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("d3 stage: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_help_comes_from_the_docstring_the_annotations_and_the_glossary() -> None:
    text = " ".join(CommandParser("stage", head_of(stage)).format_help().split())
    assert "Do the work of a stage. More about it." in text
    assert "--share X share of 100 % (default: 0.5)" in text
    assert "--workers N processes that run at the same time (default: 3)" in text
    assert "example: d3 stage --corpus a b --in c" in text
    assert "Example:" not in text


def test_settings_become_overrides() -> None:
    parser = CommandParser("stage", head_of(stage))
    parser.add_settings("diffs", {"diffs.max_depth": "depth", "seed": "seed"})
    values = parser.parse([*NEEDED, "--set", "run=mine", "--max-depth", "4", "--seed", "7"])
    assert values["set"] == ["run=mine", "diffs.max_depth=4", "seed=7"]


def unexplained(color: Path) -> None:
    """Lack help."""


def untyped(out: Annotated[bytes, "output"]) -> None:
    """Lack a type that a command line can express."""


@pytest.mark.parametrize(("function", "message"), [(unexplained, "color has no help"), (untyped, "bytes")])
def test_a_signature_that_no_parser_fits_is_an_error(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        CommandParser("stage", head_of(function))


def test_paths_stay_relative_to_where_they_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    values: dict[str, Any] = {"out": Path("o"), "search": [Path("a"), Path("/b")], "target": "results/x"}
    enter(Path("run"), values)
    assert Path.cwd() == tmp_path / "run"
    assert values == {"out": tmp_path / "o", "search": [tmp_path / "a", Path("/b")], "target": "results/x"}


@pytest.mark.parametrize("name", commands())
def test_a_head_is_read_as_python_reads_it(name: str) -> None:
    from d3.cli import load

    command = commands()[name]
    read = read_head(command.target)
    function = load(command.target)
    theirs = str(inspect.signature(function)).replace("'Config'", "d3.config.models.Config")
    assert str(read.signature).replace("d3.commands.heads.Config", "d3.config.models.Config") == theirs
    assert read.doc == inspect.getdoc(function)


def test_the_flags_of_a_section_are_its_fields() -> None:
    flags = setting_flags("diffs")
    fields = {f"diffs.{name}": field.description for name, field in Diffs.model_fields.items()}
    assert flags == {path: (text or "").split("\n")[0] for path, text in fields.items()} | {"seed": "seed of the run"}


def test_a_head_with_other_names_is_read_from_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "made_up"
    package.mkdir()
    (package / "__init__.py").touch()
    source = 'from decimal import Decimal\n\n\ndef run(out: Decimal) -> None:\n    """Write."""\n'
    (package / "stage.py").write_text(source)
    monkeypatch.setattr(heads, "PACKAGE", package)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_head("made_up.stage:run").signature.parameters["out"].annotation.__name__ == "Decimal"


def test_the_working_folder_is_left_alone_without_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from d3.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["config"]) == 0
    assert os.getcwd() == str(tmp_path)


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "x", "\u0663", "1" * 5000])
def test_a_number_of_things_is_at_least_one(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call(stage, *NEEDED, f"--workers={number}")
    assert ended.value.code == 2
    assert "--workers: must be a whole number from 1 (got " in capsys.readouterr().err
