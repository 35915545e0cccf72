"""Names and texts from outside, as they are printed."""

import pytest

from d3.core.printable import printable


@pytest.mark.parametrize("text", ["o/r", "größe 日本\u3000語", "a\u00a0b", "e\u0301", "🙂"])
def test_text_that_is_seen_as_itself_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jo/r", "<U+001B>[2Jo/r"),
        ("\x1b]0;title\x07", "<U+001B>]0;title<U+0007>"),
        ("a\nOK  nothing wrong", "a<U+000A>OK  nothing wrong"),
        ("a\r\x9b1mb", "a<U+000D><U+009B>1mb"),
        ("gpj.\u202eexe", "gpj.<U+202E>exe"),
        ("a\u2066b\u200bc\ufeff", "a<U+2066>b<U+200B>c<U+FEFF>"),
        ("a\u2028b\x85", "a<U+2028>b<U+0085>"),
        ("tag\U000e0041", "tag<U+E0041>"),
        ("half\udcff", "half<U+DCFF>"),
    ],
)
def test_everything_else_is_shown_as_its_code(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()


def test_what_is_kept_stays_and_other_values_are_written_as_text() -> None:
    assert printable("a\n\tb\x00", keep="\n\t") == "a\n\tb<U+0000>"
    assert printable(12) == "12"
