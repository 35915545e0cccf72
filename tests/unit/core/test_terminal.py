"""Text for a reader: as wide as the terminal, plain where nobody can see colors, and never markup of a run's own."""

import builtins
import io
import os
import re
from types import SimpleNamespace
from typing import Any

import pytest

from d3.core import terminal
from d3.core.progress import Progress
from d3.core.terminal import Branch, columns, error_line, is_styled, print_text, table_text, tree_text, wrapped_line

ROWS = [("stage", "rows", "note"), ("grades", "1,234", "asked"), ("diffs", "5", "")]
PLAIN = "stage    rows  note\ngrades  1,234  asked\ndiffs       5"
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Have standard output and standard error be a terminal of 80 columns."""
    made = Screen()
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(stdout=made, stderr=made))
    monkeypatch.setattr(terminal.shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    return made


def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def importing(name: str, *more: Any, **names: Any) -> Any:
        if name.partition(".")[0] == "rich":
            raise ImportError(name)
        return load(name, *more, **names)

    monkeypatch.setattr(builtins, "__import__", importing)


def test_a_pipe_has_plain_tables_of_any_width() -> None:
    assert columns() is None
    assert table_text(ROWS, right={1}) == PLAIN
    assert table_text([("a" * 300, "b")], head=False) == f"{'a' * 300}  b"


def test_a_terminal_has_styles_and_the_same_words(screen: Screen) -> None:
    text = table_text(ROWS, right={1})
    assert "\x1b[1m" in text
    plain = [line.rstrip() for line in CODES.sub("", text).splitlines()]
    assert plain == PLAIN.splitlines()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color_is_honored(screen: Screen, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert not is_styled()
    assert table_text(ROWS, right={1}) == PLAIN
    assert error_line("d3 plan: error: no") == "d3 plan: error: no"
    assert tree_text(Branch(text="a", children=[Branch(text="b")])) == "a\n└─ b"
    progress = Progress("grades", 4, stream=screen)
    progress.close()
    assert CODES.findall(screen.getvalue()) == ["\x1b[K"]


def test_without_rich_text_is_plain(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    without_rich(monkeypatch)
    assert table_text(ROWS, right={1}) == PLAIN
    assert error_line("d3 plan: error: no") == "d3 plan: error: no"


def test_a_table_that_is_too_wide_becomes_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert table_text(ROWS, right={1}) == PLAIN
    wide = [(*row, "words " * 3) for row in ROWS]
    text = table_text(wide, right={1})
    assert max(map(len, text.splitlines())) <= 20
    assert text.startswith("grades\n  rows 1,234, note")


def test_the_last_column_is_broken_where_there_is_room(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "45")
    wide = [(*ROWS[0], "why"), *((*row, "words " * 9) for row in ROWS[1:])]
    styled = [line.rstrip() for line in CODES.sub("", table_text(wide, right={1})).splitlines()]
    monkeypatch.setenv("NO_COLOR", "1")
    plain = table_text(wide, right={1}).splitlines()
    assert plain == styled
    assert max(map(len, plain)) <= 45
    assert plain[2] == " " * 22 + "words words words words"[:23].strip()


def test_lines_are_broken_between_words_but_paths_are_not() -> None:
    assert wrapped_line("short", 20) == ["short"]
    assert wrapped_line("long " * 9, None) == ["long " * 9]
    for line in ("word " * 30, "  indented " + "word " * 30, "│  ├─ " + "word " * 30):
        assert max(map(len, wrapped_line(line, 60))) <= 60
    assert wrapped_line("│  ├─ " + "word " * 30, 60)[1].startswith("│  │    word")
    path = "results/" + "a" * 80
    assert wrapped_line(f"no such file {path} here", 60)[1] == f"  {path}"


@pytest.mark.parametrize("width", ["60", "80"])
def test_printed_text_fits(width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", width)
    print_text("head\n" + "word " * 50 + "\n  more " + "word " * 50)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= int(width)


def test_texts_of_a_run_are_neither_styles_nor_markup(screen: Screen) -> None:
    attack = "[bold red]x[/] :smile: \x1b[2J\x07"
    for text in (
        table_text([("a", "b"), (attack, attack)]),
        tree_text(Branch(text=attack, notes=[attack], children=[Branch(text=attack)])),
        error_line(f"d3 plan: error: {attack}"),
    ):
        assert "\x1b[2J" not in text
        assert "\x07" not in text
        assert "[bold red]x[/] :smile: <U+001B>[2J<U+0007>" in CODES.sub("", text)


def test_progress_fits_the_line_that_it_rewrites(screen: Screen) -> None:
    progress = Progress("a stage with a long name", 400, "answers of the judge", stream=screen)
    progress.every = 0
    progress.note = "and more " * 10
    progress.advance(100)
    progress.close()
    for line in screen.getvalue().replace("\n", "").split("\r")[1:]:
        assert 20 < len(CODES.sub("", line)) < 80
    assert "━" in screen.getvalue()


def test_progress_in_a_log_is_plain_lines() -> None:
    stream = io.StringIO()
    Progress("grades", 4, stream=stream).close()
    assert stream.getvalue().startswith("grades: 0/4 rows (0 %), ")
    assert stream.getvalue().endswith("\n")
