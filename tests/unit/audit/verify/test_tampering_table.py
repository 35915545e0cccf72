"""The table of tamperings in the docs: complete, and no answer that the help does not give."""

from d3.audit.verify.coverage import NOT_COVERED, help_text
from helpers.tampering import DOCUMENT, KINDS, ROW, document


def test_the_table_is_that_of_the_tests() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document(text) == text, "run `PYTHONPATH=workflow:tests python -m helpers.tampering`"
    answers = dict(ROW.findall(text))
    assert answers.keys() == KINDS.keys()
    assert len(answers) >= 55


def test_the_help_names_what_is_not_found() -> None:
    text = help_text()
    excuses = {excuse for _, excuse in KINDS.values() if excuse}
    assert excuses == set(NOT_COVERED)
    assert {name for name in excuses if NOT_COVERED[name] not in text} == set()
