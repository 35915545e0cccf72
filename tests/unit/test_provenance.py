"""The digest of a stage's code changes with the code that the stage runs, and with nothing else."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d3 import provenance
from d3.provenance import BESIDE_THE_POINT, code_digest, code_modules, file_digest, module_path, modules_of

MODULES = {
    "__init__.py": '"""The package."""\n',
    "stage.py": (
        '"""A stage."""\n\nfrom d3.inner import helper\nfrom d3.inner.deep import double\nimport d3.plain\n'
        'import json\n\n\ndef run(x):\n    """Run it."""\n    # twice\n    return double(x) + helper.ONE\n'
        '\n\nclass A:\n    """A."""\n\n    size = 1\n    """Its size."""\n'
    ),
    "plain.py": "def late():\n    from d3.late import z\n    return z\n",
    "late.py": "z = 1\nCOMMAND = ['-m', 'd3.started']\n",
    "started.py": "s = 1\n",
    "inner/__init__.py": "",
    "inner/helper.py": "from . import sibling\nONE = sibling.ONE\n",
    "inner/sibling.py": "from ..up import ONE\n",
    "inner/deep.py": "def double(x):\n    return 2 * x\n",
    "up.py": "ONE = 1\n",
    "foreign.py": "import d3.stage\nx = 1\n",
    "page.py": "from d3 import plain\nTEMPLATE = 'page.html.jinja'\nOTHER = 'absent.jinja'\n",
    "page.html.jinja": "<p>{{ x }}</p>\n",
    "errors.py": "from d3.silent import x\n",
    "silent.py": "x = 1\n",
}

Edit = Callable[[str, str, str], str]


def forget() -> None:
    provenance._parse.cache_clear()
    modules_of.cache_clear()


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Replace a text in a module of a small package; gives the digest of its stage."""
    for name, code in MODULES.items():
        path = tmp_path / "d3" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "d3")

    def change(name: str, old: str, new: str) -> str:
        path = tmp_path / "d3" / name
        code = path.read_text()
        assert old in code
        path.write_text(code.replace(old, new))
        forget()
        return code_digest("d3.stage")

    yield change
    forget()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A stage."""', '"""Another\n\ntext."""'),
        ('"""A stage."""', ""),
        ('    """Run it."""\n', '    """Run it twice."""\n'),
        ('    """Run it."""\n', ""),
        ('"""Its size."""', '"""Its size, in bytes."""'),
        ("# twice", "# two times"),
        ("return double(x) + helper.ONE", "return (\n        double( x )+helper . ONE\n    )"),
        ("size = 1", "size = 0x1"),
        ("import json", "import json  # why"),
    ],
)
def test_texts_comments_and_formatting_do_not_count(edit: Edit, old: str, new: str) -> None:
    before = edit("stage.py", "", "")
    assert edit("stage.py", old, new) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stage.py", "helper.ONE", "helper.TWO"),
        ("stage.py", "size = 1", "size = 2"),
        ("stage.py", "size = 1", 'size = "1"'),
        ("stage.py", "import json", "import json as j"),
        ("inner/deep.py", "2 * x", "3 * x"),
        ("inner/helper.py", "sibling.ONE", "sibling.ONE + 1"),
        ("inner/__init__.py", "", "import os\n"),
        ("__init__.py", '"""The package."""', "VERSION = 2"),
        ("plain.py", "return z", "return -z"),
        ("late.py", "z = 1", "z = 2"),
        ("started.py", "s = 1", "s = 2"),
        ("inner/sibling.py", "import ONE", "import ONE as ONE"),
        ("up.py", "ONE = 1", "ONE = 2"),
    ],
)
def test_code_of_the_stage_and_of_what_it_imports_counts(edit: Edit, name: str, old: str, new: str) -> None:
    before = edit("stage.py", "", "")
    if old:
        assert edit(name, old, new) != before
    else:
        (provenance.PACKAGE / name).write_text(new)
        assert edit("stage.py", "", "") != before


def test_code_that_the_stage_does_not_import_does_not_count(edit: Edit) -> None:
    before = edit("stage.py", "", "")
    assert edit("foreign.py", "x = 1", "x = 2") == before
    (provenance.PACKAGE / "new.py").write_text("y = 1\n")
    assert edit("stage.py", "", "") == before
    assert {name for name, _ in code_modules("d3.stage")} == {
        "d3", "d3.stage", "d3.plain", "d3.late", "d3.inner", "d3.inner.helper", "d3.inner.sibling", "d3.inner.deep",
        "d3.up", "d3.started",
    }  # fmt: skip


def test_templates_that_a_module_names_count(edit: Edit) -> None:
    before = code_digest("d3.page")
    assert dict(code_modules("d3.page"))["d3/page.html.jinja"]
    edit("page.html.jinja", "<p>", "<b>")
    assert code_digest("d3.page") != before


def test_modules_beside_the_point_and_what_only_they_import_do_not_count(edit: Edit) -> None:
    before = edit("plain.py", "def late", "import d3.errors\ndef late")
    assert edit("errors.py", "import x", "import x as y") == before
    assert edit("silent.py", "x = 1", "x = 2") == before
    assert edit("plain.py", "import d3.errors\n", "") != before


def test_every_module_beside_the_point_exists() -> None:
    assert all(module_path(name) for name in BESIDE_THE_POINT)


def test_a_module_that_is_not_there_has_no_digest(edit: Edit) -> None:
    with pytest.raises(ValueError, match=r"d3\.nothing"):
        code_digest("d3.nothing")


def test_the_digest_is_that_of_the_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    before = code_digest("d3.corpus.stage")
    shutil.copytree(provenance.PACKAGE, tmp_path / "elsewhere")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "elsewhere")
    forget()
    assert code_digest("d3.corpus.stage") == before
    (tmp_path / "elsewhere" / "corpus" / "filters.py").open("a").write("\nX = 1\n")
    forget()
    assert code_digest("d3.corpus.stage") != before
    forget()


def test_every_module_that_the_interpreter_loads_for_a_stage_is_counted() -> None:
    import subprocess
    import sys

    program = "import sys, d3.corpus.stage; print(*[name for name in sys.modules if name.split('.')[0] == 'd3'])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "d3.tables" in loaded
    assert set(loaded) <= {name for name, _ in code_modules("d3.corpus.stage")} | set(BESIDE_THE_POINT)


def test_modules_are_found_as_files_and_as_packages() -> None:
    assert module_path("d3") == provenance.PACKAGE / "__init__.py"
    assert module_path("d3.corpus") == provenance.PACKAGE / "corpus" / "__init__.py"
    assert module_path("d3.corpus.read") == provenance.PACKAGE / "corpus" / "read.py"
    assert module_path("d3.corpus.read.Broken") is None


def test_the_digest_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    for folder, order in (("a", "xyz"), ("b", "zyx")):
        (tmp_path / folder / "inner").mkdir(parents=True)
        for name in order:
            (tmp_path / folder / "inner" / name).write_text(name)
    digest = file_digest(tmp_path / "a")
    assert file_digest(tmp_path / "b") == digest
    (tmp_path / "b" / "inner" / "x").rename(tmp_path / "b" / "x")
    assert file_digest(tmp_path / "b") != digest
    (tmp_path / "a" / "inner" / "x").write_text("X")
    assert file_digest(tmp_path / "a") != digest


def test_the_digest_of_the_diffs_sees_the_process_that_samples() -> None:
    assert {"d3.lintseq.worker", "d3.lintseq.sampler", "d3.diffs"} <= {
        name for name, _ in code_modules("d3.lintseq.stage")
    }
