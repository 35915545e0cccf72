"""Ids are the content's, and randomness belongs to what it is drawn for."""

import hashlib
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d3.core.ids import (
    LINE_BREAKS,
    canonical_json,
    content_id,
    derive_seed,
    digest_of,
    file_digest,
    folder_files,
    normalise,
    program_number,
    unit_interval,
)


def test_an_id_does_not_see_marks_line_ends_and_edges() -> None:
    plain = "def f():\n    return 1\n\n\nx = f()"
    for text in ("\ufeff" + plain, plain.replace("\n", "\r\n"), "\n\n" + plain + " \n", "\ufeff\r\n" + plain + "\r\n"):
        assert normalise(text) == plain
    assert normalise(plain.replace("return 1", "return  1")) != plain
    assert normalise("a\rb") == "a\rb"
    assert normalise(" \n\t\f") == ""


@given(st.text(st.sampled_from("a \n\t\r\ufeffé"), max_size=12))
def test_a_text_that_the_corpus_can_keep_is_its_own_normal_form(text: str) -> None:
    once = normalise(text)
    if not set(once) & set(LINE_BREAKS + "\ufeff"):
        assert normalise(once) == once


def test_line_breaks_are_all_that_splitlines_cuts_at_besides_the_newline() -> None:
    cuts = {chr(number) for number in range(0x110000) if len(f"a{chr(number)}b".splitlines()) == 2}
    assert cuts == set(LINE_BREAKS) | {"\n"}


def test_ids_and_numbers_of_a_known_text() -> None:
    identifier = content_id("print('é')")
    assert identifier == hashlib.sha256("print('é')".encode()).hexdigest()
    assert program_number(identifier) == int(bin(int(identifier, 16))[2:].zfill(256)[:63], 2)
    assert program_number("f" * 64) == 2**63 - 1
    assert program_number("0" * 15 + "1" + "0" * 48) == 0
    with pytest.raises(UnicodeEncodeError):
        content_id("\ud800")


def test_seeds_are_pinned_and_differ_by_every_name() -> None:
    # A release that draws other numbers makes other data: these must never change by accident.
    assert derive_seed(0, "stage", "id") == 5977212598330320298
    assert unit_interval(0, "stage", "id") == derive_seed(0, "stage", "id", bits=53) / 2**53
    draws = [(0, "a", 1), (1, "a", 1), (0, "a", "1"), (0, "a1"), (0, "a", 1, 1), (0, "a,1"), (0, 1, "a")]
    assert len({derive_seed(*draw) for draw in draws}) == len(draws)
    assert all(derive_seed(0, name, bits=8) < 256 for name in range(500))


def test_unit_intervals_are_uniform() -> None:
    drawn = [unit_interval(3, "test", number) for number in range(4000)]
    assert min(drawn) >= 0
    assert max(drawn) < 1
    assert abs(statistics.mean(drawn) - 0.5) < 0.015
    assert abs(statistics.pstdev(drawn) - 12**-0.5) < 0.01


def test_json_has_one_form() -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'
    assert digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])


def test_a_folder_is_known_by_the_files_behind_its_links(tmp_path: Path) -> None:
    folder, beside = tmp_path / "folder", tmp_path / "beside"
    folder.mkdir()
    beside.mkdir()
    (beside / "weights").write_text("a")
    (folder / "linked").symlink_to(beside)
    (folder / "circle").symlink_to(folder)
    assert [path.relative_to(folder).as_posix() for path in folder_files(folder)] == ["linked/weights"]
    before = file_digest(folder)
    (beside / "weights").write_text("b")
    assert file_digest(folder) != before
