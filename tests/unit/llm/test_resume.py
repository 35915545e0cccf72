"""Journals of the LLM stages: what decides an answer decides whether it is asked again."""

import re
from pathlib import Path
from typing import Any

import pytest

from d3.config.data import Grades
from d3.config.engine import Engine, Sampling
from d3.config.models import Config
from d3.llm.prompt import find_template
from d3.stages import grades
from helpers.corpus_tables import write_corpus
from helpers.tiny_models import chat_model

FILES = 100


@pytest.fixture
def model(tiny_model: Path) -> str:
    return str(tiny_model)


TEXTS = [f"def times_{number}(value):\n    return value * {number}" for number in range(FILES)]


class Runs:
    """Grades with one journal, again and again."""

    def __init__(self, folder: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.model, self.capsys = folder, model, capsys
        self.corpus = write_corpus(folder / "corpus.parquet", TEXTS)

    def __call__(self, *, model: str | None = None, corpus: Path | None = None, seed: int = 0, **section: Any) -> Any:
        """Run, and give (requests asked, answers from the journal)."""
        engine = Engine(**{"batch": 4, "max_length": 1800, **section.pop("engine", {})})
        sampling = Sampling(**{"max_tokens": 2, "temperature": 1.0, **section.pop("sampling", {})})
        settings = Config(seed=seed, grades=Grades(engine=engine, sampling=sampling, **section))
        output = self.folder / "grades.parquet"
        files = corpus or self.corpus
        grades.run(settings, files, output, model=model or self.model, journal=self.folder / "journal")
        said = self.capsys.readouterr().err
        found = re.search(r"grades: (\d+) asked, (\d+) from the journal", said)
        assert found, said
        return int(found[1]), int(found[2])


@pytest.fixture
def runs(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> Runs:
    made = Runs(tmp_path, model, capsys)
    assert made() == (FILES, 0)
    return made


def test_the_same_run_asks_nothing(runs: Runs) -> None:
    assert runs() == (0, FILES)


@pytest.mark.parametrize("changed", [1, 5])
def test_a_share_of_changed_files_asks_that_share(runs: Runs, changed: int) -> None:
    texts = [text + "\n# changed" if at < changed else text for at, text in enumerate(TEXTS)]
    corpus = write_corpus(runs.folder / "other.parquet", texts[::-1])  # the order does not matter
    assert runs(corpus=corpus) == (changed, FILES - changed)
    assert runs() == (0, FILES)  # back again costs nothing


def test_another_model_never_replays(runs: Runs, tmp_path: Path) -> None:
    other = str(chat_model(tmp_path / "other", seed=1))
    assert runs(model=other) == (FILES, 0)
    assert runs() == (0, FILES)


def test_a_model_that_was_trained_on_in_its_folder_never_replays(runs: Runs, tmp_path: Path) -> None:
    folder = chat_model(tmp_path / "trained")
    assert runs(model=str(folder)) == (0, FILES)  # the same bytes in another folder are the same model
    chat_model(folder, seed=2)
    assert runs(model=str(folder)) == (FILES, 0)


def test_another_template_never_replays(runs: Runs, tmp_path: Path) -> None:
    text = find_template("grade.jinja").read_text(encoding="utf-8")
    path = tmp_path / "grade.jinja"
    path.write_text(text, encoding="utf-8")
    assert runs(prompt=str(path)) == (0, FILES)  # the same words in another file are the same template
    path.write_text(text.replace("outstanding", "excellent"), encoding="utf-8")
    assert runs(prompt=str(path)) == (FILES, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": {"temperature": 0.9}},
        {"sampling": {"temperature": 0.0}},
        {"sampling": {"top_p": 0.9}},
        {"sampling": {"max_tokens": 3}},
        {"engine": {"dtype": "bfloat16"}},
        {"read_out": "parse"},
        {"seed": 1},
    ],
    ids=str,
)
def test_other_settings_that_decide_answers_never_replay(runs: Runs, change: dict[str, Any]) -> None:
    assert runs(**change) == (FILES, 0)


@pytest.mark.parametrize(
    "change", [{"threshold": 3}, {"engine": {"batch": 8}}, {"engine": {"max_length": 1900}}], ids=str
)
def test_settings_that_decide_no_answer_ask_nothing(runs: Runs, change: dict[str, Any]) -> None:
    assert runs(**change) == (0, FILES)
