"""Labels: one row per part, the sentence that was asked for, and a reason where there is none."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from d3.config.data import Labels
from d3.config.engine import Engine, Sampling
from d3.config.models import Config
from d3.core import schemas
from d3.core.example_format import Part
from d3.core.ids import content_id
from d3.core.tables import read_notes, read_rows
from d3.core.unified_diff import make_diff
from d3.errors import ConfigError, InputError
from d3.llm.ask import Outcome
from d3.llm.engine import Answer
from d3.stages import labels
from d3.stages.labels import clean
from d3.stages.labels import run as label_run
from helpers.corpus_tables import corpus_row, write_rows
from helpers.tiny_models import library_texts

TEMPLATE = " read the python program below and write the instruction one imperative sentence what the program does "


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("Add a parser for dates.", "Add a parser for dates."),
        (" add a parser for dates\n", "Add a parser for dates"),
        ('"Add a parser for dates."', "Add a parser for dates."),
        ('Commit message: "Add a parser for dates."', "Add a parser for dates."),
        ("**Commit message:** Add a parser for dates.", "Add a parser for dates."),
        ("Instruction: Write a `main` function", "Write a `main` function"),
        ("Wrap the call in `main`", "Wrap the call in `main`"),
        ("`Wrap` the call in `main`", "`Wrap` the call in `main`"),
        ("- Add a parser for dates", "Add a parser for dates"),
        ("Add a parser. It reads dates. It is fast.", "Add a parser."),
        ("Add a parser, e.g. for dates, i.e. days. And more.", "Add a parser, e.g. for dates, i.e. days."),
        ("Read version 3.11 of the file. Done.", "Read version 3.11 of the file."),
        ("Sure! Here is the commit message:\n\nCommit message: Add a parser", "Add a parser"),
        ("Here is the instruction: Write a parser for dates.", "Write a parser for dates."),
        ("Sure, here's one:\nWrite a parser for dates.\nIt is good.", "Write a parser for dates."),
        ("Write a parser:\n```python\nx = 1\n```", "Write a parser:"),
        ("Read from the I/O buffer of my_module", "Read from the I/O buffer of my_module"),
        ("Add  a\tparser for dates", "Add a parser for dates"),
    ],
)
def test_the_sentence_is_taken_out(raw: str, label: str) -> None:
    assert clean(raw, "", "stop", TEMPLATE) == (label, "")


@pytest.mark.parametrize(
    ("raw", "finish", "reason"),
    [
        ("", "stop", "empty"),
        (" \n.\n", "stop", "empty"),
        ("Commit message:", "stop", "empty"),
        ("Parser", "stop", "empty"),
        ("```python\nx = 1\n```", "stop", "code_fence"),
        ("Sure. Add a parser for dates.", "stop", "several_sentences"),
        ("Done.\nAdd a parser for dates.", "stop", "several_sentences"),
        ("Add a parser that reads dates and", "length", "cut_off"),
        ("I would add a parser for dates.", "stop", "first_person"),
        ("In this change we add a parser.", "stop", "first_person"),
        ("I'm adding a parser.", "stop", "first_person"),
        ("Read the Python program below and write the instruction.", "stop", "prompt_echo"),
        ("Add the text </issue> to the page.", "stop", "marker"),
        ("Print <|diff|> before every step.", "stop", "marker"),
        ("_", "stop", "empty"),
        ("*_*", "stop", "empty"),
        ("Add a parser\x00 that reads dates.", "stop", "control_character"),
        ("Add a \x1b[2Jparser that reads dates.", "stop", "control_character"),
    ],
)
def test_what_is_no_label_has_a_reason(raw: str, finish: str, reason: str) -> None:
    assert clean(raw, "", finish, TEMPLATE) == ("", reason)


def test_tokens_that_run_out_after_the_sentence_do_no_harm() -> None:
    assert clean("Add a parser. It reads", "", "length", TEMPLATE) == ("Add a parser.", "")


@pytest.mark.parametrize("raw", [" reads dates.", "reads dates.", ' reads dates."'])
def test_how_the_answer_was_begun_belongs_to_the_label(raw: str) -> None:
    begun = "Instruction: Write a program that"
    assert clean(raw, begun, "stop", TEMPLATE) == ("Write a program that reads dates.", "")


def test_a_beginning_alone_is_no_label() -> None:
    assert clean("", "Instruction: Write a Python program that", "stop", TEMPLATE) == ("", "empty")
    assert clean(" ...", "Instruction: Write a Python program that", "stop", TEMPLATE) == ("", "empty")


# --- the stage ----------------------------------------------------------------------------------


@pytest.fixture
def model(tiny_model: Path) -> str:
    return str(tiny_model)


def small_config(**labels: Any) -> Config:
    engine = Engine(batch=4, max_length=1200)
    sampling = Sampling(max_tokens=6, temperature=1.0)
    return Config(labels=Labels(**{"engine": engine, "sampling": sampling, **labels}))


def write_inputs(folder: Path, count: int = 3) -> tuple[Path, Path]:
    """Write files and their growth by blocks as corpus and diffs; one more sequence has no diffs."""
    files, sequences = [], []
    for row, text in sorted(enumerate(library_texts(count + 1)), key=lambda found: content_id(found[1])):
        files.append(corpus_row(text, row))
        lines = text.split("\n")
        cuts = [*range(8, len(lines), 8), len(lines)]
        programs = ["", *("\n".join(lines[:cut]) for cut in cuts)]
        steps = [make_diff(old, new) for old, new in pairwise(programs)]
        grown = {"status": "ok", "edits": [[]] * len(steps), "diffs": steps}
        stuck = {"status": "timeout", "detail": "slow", "edits": [], "diffs": []}
        sequences.append({"id": content_id(text), "sample": 0, **(stuck if row == count else grown)})
    corpus = write_rows(folder / "corpus.parquet", schemas.CORPUS, files)
    return corpus, write_rows(folder / "diffs.parquet", schemas.DIFFS, sequences)


def labels_of(folder: Path, model: str, settings: Config, **options: Any) -> list[dict[str, Any]]:
    corpus, diffs = write_inputs(folder)
    output = folder / "labels.parquet"
    labels.run(settings, corpus, diffs, output, model=model, **options)
    return list(read_rows(output, schemas.LABELS))


def test_every_part_gets_one_row(tmp_path: Path, model: str) -> None:
    rows = labels_of(tmp_path, model, small_config())
    assert [(row["id"], row["sample"], row["part"]) for row in rows] == sorted(
        (row["id"], 0, part) for row in rows[::5] for part in range(5)
    )
    assert len(rows) == 15
    sequences = {row["id"]: row for row in read_rows(tmp_path / "diffs.parquet", schemas.DIFFS)}
    for row in rows:
        length = len(sequences[row["id"]]["diffs"])
        assert 0 <= row["start"] < row["end"] <= length
        if row["part"] == 0:
            assert (row["start"], row["end"]) == (0, length)
        assert (row["label"] is None) == (row["status"] != "ok")
        assert row["label"] is not None or row["verb_first"] is None
        assert (row["raw"] is None) == (row["status"] in ("repeated", "too_long"))
    seen = Counter((row["id"], row["start"], row["end"]) for row in rows if row["status"] != "repeated")
    assert set(seen.values()) == {1}
    again = [row for row in rows if row["status"] == "repeated"]
    assert all((row["id"], row["start"], row["end"]) in seen for row in again)
    counts = read_notes(tmp_path / "labels.parquet")
    assert (counts["read"], counts["kept"], counts["dropped"]) == (4, 3, {"timeout": 1})


def test_equal_runs_give_equal_bytes_and_the_journal_answers_the_second(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = small_config()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        labels_of(tmp_path / name, model, settings, journal=tmp_path / "journal")
    asked = re.findall(r"^labels: (\d+) asked", capsys.readouterr().err, re.MULTILINE)
    assert asked[0] != "0"
    assert asked[1:] == ["0"]
    assert (tmp_path / "one/labels.parquet").read_bytes() == (tmp_path / "two/labels.parquet").read_bytes()


def test_modes(tmp_path: Path, model: str) -> None:
    rows = labels_of(tmp_path, model, small_config(whole_program=False, sub_trajectories=2, ends="authors"))
    assert {row["part"] for row in rows} == {1, 2}
    lengths = {row["id"]: len(row["diffs"]) for row in read_rows(tmp_path / "diffs.parquet", schemas.DIFFS)}
    assert all(row["end"] < lengths[row["id"]] for row in rows)


@pytest.mark.parametrize(("mode", "label"), [("none", ""), ("constant", "Do what is missing.")])
def test_modes_without_a_model_label_the_same_parts(tmp_path: Path, model: str, mode: str, label: str) -> None:
    rows = labels_of(tmp_path, model, small_config())
    other = Config(labels=Labels(mode=mode, constant="Do what is missing."))
    plain = tmp_path / "plain.parquet"
    label_run(other, tmp_path / "corpus.parquet", tmp_path / "diffs.parquet", plain, model=None)
    without = list(read_rows(plain, schemas.LABELS))
    names = ("id", "sample", "part", "start", "end")
    assert [[row[name] for name in names] for row in without] == [[row[name] for name in names] for row in rows]
    again = [row["status"] == "repeated" for row in rows]
    assert [row["status"] == "repeated" for row in without] == again
    for row in without:
        assert row["raw"] is None
        if row["status"] != "repeated":
            assert (row["status"], row["label"], row["verb_first"]) == ("ok", label, True if label else None)
    assert read_notes(plain) == read_notes(tmp_path / "labels.parquet")


def test_a_writer_needs_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model; .*--model"):
        label_run(Config(), *write_inputs(tmp_path), tmp_path / "labels.parquet", model=None)


def test_programs_without_room_are_cut_or_too_long(tmp_path: Path, model: str) -> None:
    short = small_config(engine=Engine(batch=4, max_length=700))
    rows = labels_of(tmp_path, model, short)
    assert all(row["prompt_tokens"] <= 694 for row in rows if row["prompt_tokens"])
    assert max(row["prompt_tokens"] or 0 for row in rows) > 600  # something was cut to fit
    whole = labels_of(tmp_path, model, small_config(engine=Engine(batch=4, max_length=2048)))
    assert not any(row["truncated"] for row in whole)
    cut = [(row["prompt_tokens"] or 0) < (other["prompt_tokens"] or 0) for row, other in zip(rows, whole, strict=True)]
    cut = [was and row["status"] != "too_long" for was, row in zip(cut, rows, strict=True)]
    assert [row["truncated"] for row in rows] == cut
    assert any(cut)
    none = small_config(engine=Engine(batch=4, max_length=100))
    assert {row["status"] for row in labels_of(tmp_path, model, none)} <= {"too_long", "repeated"}


@pytest.mark.parametrize("mode", ["model", "constant"])
def test_diffs_in_another_order_are_refused(tmp_path: Path, model: str, mode: str) -> None:
    corpus, diffs = write_inputs(tmp_path)
    rows = list(read_rows(diffs, schemas.DIFFS))
    write_rows(diffs, schemas.DIFFS, reversed(rows))
    with pytest.raises(InputError, match=r"rows must be in the order of \(id, sample\)"):
        labels.run(small_config(mode=mode), corpus, diffs, tmp_path / "labels.parquet", model=model)
    assert not (tmp_path / "labels.parquet").exists()


def test_diffs_of_another_shard_are_refused(tmp_path: Path, model: str) -> None:
    (tmp_path / "other").mkdir()
    corpus, _ = write_inputs(tmp_path / "other", count=1)
    _, diffs = write_inputs(tmp_path)
    with pytest.raises(InputError, match="no file of the corpus shard"):
        labels.run(small_config(), corpus, diffs, tmp_path / "labels.parquet", model=model)
    assert not (tmp_path / "labels.parquet").exists()


@pytest.mark.parametrize(
    ("begun", "text", "first"),
    [
        ("Write a Python program that", " reads dates.", None),  # the verb is the template's
        ("Write a Python program that", " x. Label: Added a parser.", False),  # the model began anew
        ("Commit message:", " Add a parser for dates.", True),  # a frame is no part of the sentence
        ("Commit message:", " Added a parser for dates.", False),
        ("", "Add a parser for dates.", True),
        ("", "Added a parser for dates.", False),
    ],
)
def test_a_verb_of_the_template_is_not_counted_for_the_model(begun: str, text: str, first: bool | None) -> None:
    piece = labels.Piece(identifier="a", sample=0, part=Part(number=0, start=0, end=1), begun=begun)
    answer = Answer(text=text, finish_reason="stop", prompt_tokens=9, answer_tokens=9)
    row = labels.label_row(Outcome(row=piece, status="ok", answer=answer), "")
    assert (row["status"], row["verb_first"]) == ("ok", first)
