"""The digest of a stage's code changes with the code that the stage runs, and with nothing else."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d3.core.ids import file_digest
from d3.pipeline.pipeline import STAGES, code_of
from d3.provenance import code_digest as digests
from d3.provenance.code_digest import (
    BESIDE_THE_POINT,
    code_digest,
    code_modules,
    data_digest,
    module_path,
    modules_of,
    rule_shells,
    script_digest,
    shell_digest,
)

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
    "inner/twice.py": "def double(x):\n    return x + x\n",
    "up.py": "ONE = 1\n",
    "other.py": "TWO = ONE = 1\n",
    "foreign.py": "import d3.stage\nx = 1\n",
    "page.py": "from d3 import plain\nTEMPLATE = 'page.html.jinja'\nOTHER = 'absent.jinja'\n",
    "page.html.jinja": "<p>{{ x }}</p>\n",
    "pipeline/checks.py": "class FinishedJob: ...\n",
    "errors.py": "from d3.silent import x\n",
    "silent.py": "x = 1\n",
}

Edit = Callable[[str, str, str], str]


def forget() -> None:
    digests._outline.cache_clear()
    modules_of.cache_clear()


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Replace a text in a module of a small package; gives the digest of its stage."""
    for name, code in MODULES.items():
        path = tmp_path / "d3" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    monkeypatch.setattr(digests, "PACKAGE", tmp_path / "d3")

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
        ("import json", "import json as j"),
        ("import json", "import os"),
        ("from d3.inner import helper\n", "from d3.inner import helper, helper as h\n"),
    ],
)
def test_texts_comments_formatting_and_import_lines_do_not_count(edit: Edit, old: str, new: str) -> None:
    before = edit("stage.py", "", "")
    assert edit("stage.py", old, new) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stage.py", "helper.ONE", "helper.TWO"),
        ("stage.py", "size = 1", "size = 2"),
        ("stage.py", "size = 1", 'size = "1"'),
        ("inner/deep.py", "2 * x", "3 * x"),
        ("inner/helper.py", "sibling.ONE", "sibling.ONE + 1"),
        ("inner/__init__.py", "", "X = 1\n"),
        ("__init__.py", '"""The package."""', "VERSION = 2"),
        ("plain.py", "return z", "return -z"),
        ("late.py", "z = 1", "z = 2"),
        ("started.py", "s = 1", "s = 2"),
        ("up.py", "ONE = 1", "ONE = 2"),
        ("inner/sibling.py", "from ..up import ONE", "from ..other import ONE"),
        ("stage.py", "from d3.inner.deep import double", "from d3.inner.twice import double"),
    ],
)
def test_code_of_the_stage_and_of_what_it_imports_counts(edit: Edit, name: str, old: str, new: str) -> None:
    before = edit("stage.py", "", "")
    if old:
        assert edit(name, old, new) != before
    else:
        (digests.PACKAGE / name).write_text(new)
        assert edit("stage.py", "", "") != before


def test_what_checks_finished_files_does_not_count(edit: Edit) -> None:
    """An edited check reruns no stage; a function of the same name that checks no finished job still counts."""
    before = edit("stage.py", "", "")
    check = "def check(job: FinishedJob):\n    from d3.silent import x\n    return x\n\n\ndef run(x)"
    assert edit("stage.py", "def run(x)", f"from d3.pipeline.checks import FinishedJob\n\n\n{check}") == before
    assert edit("stage.py", "return x\n\n\ndef", "return -x\n\n\ndef") == before
    assert "d3.silent" not in dict(code_modules("d3.stage"))
    assert edit("stage.py", "job: FinishedJob", "job: int") != before


def test_code_that_the_stage_does_not_import_does_not_count(edit: Edit) -> None:
    before = edit("stage.py", "", "")
    assert edit("foreign.py", "x = 1", "x = 2") == before
    (digests.PACKAGE / "new.py").write_text("y = 1\n")
    assert edit("stage.py", "", "") == before
    assert {name for name, _ in code_modules("d3.stage")} == {
        "d3.stage", "d3.plain", "d3.late", "d3.inner.helper", "d3.inner.deep",
        "d3.up", "d3.started", "(imports)",
    }  # fmt: skip


def test_templates_that_a_module_names_count(edit: Edit) -> None:
    before = code_digest("d3.page")
    assert dict(code_modules("d3.page"))["d3/page.html.jinja"]
    edit("page.html.jinja", "<p>", "<b>")
    assert code_digest("d3.page") != before


def test_modules_beside_the_point_and_what_only_they_import_do_not_count(edit: Edit) -> None:
    before = edit("plain.py", "return z", "return z, x")
    before = edit("plain.py", "def late", "from d3.errors import x\ndef late")
    assert edit("errors.py", "import x", "import x as y") == before
    assert edit("silent.py", "x = 1", "x = 2") == before
    assert edit("plain.py", "from d3.errors import x\n", "") != before


def test_every_module_beside_the_point_exists() -> None:
    assert all(module_path(name) for name in BESIDE_THE_POINT)


def test_a_module_that_is_not_there_has_no_digest(edit: Edit) -> None:
    with pytest.raises(ValueError, match=r"d3\.nothing"):
        code_digest("d3.nothing")


def test_the_digest_is_that_of_the_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    before = code_digest("d3.stages.corpus.stage")
    shutil.copytree(digests.PACKAGE, tmp_path / "elsewhere")
    monkeypatch.setattr(digests, "PACKAGE", tmp_path / "elsewhere")
    forget()
    assert code_digest("d3.stages.corpus.stage") == before
    (tmp_path / "elsewhere" / "stages" / "corpus" / "filters.py").open("a").write("\nX = 1\n")
    forget()
    assert code_digest("d3.stages.corpus.stage") != before
    forget()


@pytest.mark.slow
def test_every_module_that_the_interpreter_loads_for_a_stage_is_counted() -> None:
    import subprocess
    import sys

    program = "import sys, d3.stages.corpus.stage; print(*[name for name in sys.modules if name.split('.')[0] == 'd3'])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "d3.core.tables" in loaded
    followed = {name for name, _, _ in digests._decisive("d3.stages.corpus.stage")}
    beside = [digests._outline(path) for name in BESIDE_THE_POINT if (path := module_path(name))]
    followed |= set(BESIDE_THE_POINT) | {name for found in beside for name in found.imported}
    assert set(loaded) <= followed | {name.rpartition(".")[0] for name in followed}


def test_modules_are_found_as_files_and_as_packages() -> None:
    assert module_path("d3") == digests.PACKAGE / "__init__.py"
    assert module_path("d3.stages.corpus") == digests.PACKAGE / "stages" / "corpus" / "__init__.py"
    assert module_path("d3.stages.corpus.sampling") == digests.PACKAGE / "stages" / "corpus" / "sampling.py"
    assert module_path("d3.stages.corpus.sampling.Choice") is None


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
    assert {"d3.lintseq.worker", "d3.lintseq.sampler", "d3.core.unified_diff"} <= {
        name for name, _ in code_modules("d3.stages.diffs")
    }


# --- names and layout -------------------------------------------------------------------------------


def rename(old: str, new: str) -> None:
    """Move a module of the small package and change every line that imports it, as a pure rename does."""
    package = digests.PACKAGE
    (package / f"{new}.py").parent.mkdir(exist_ok=True)
    (package / f"{old}.py").rename(package / f"{new}.py")
    was, now = old.replace("/", "."), new.replace("/", ".")
    for path in package.rglob("*.py"):
        code = (
            path.read_text()
            .replace(f"from d3.{was} import", f"from d3.{now} import")
            .replace(f"d3.{was}'", f"d3.{now}'")
        )
        if "." not in was:
            code = code.replace(f"from ..{was} import", f"from ..{now} import")
        path.write_text(code)
    forget()


@pytest.mark.parametrize(
    ("old", "new"),
    [("up", "down"), ("late", "core/later"), ("started", "core/begun"), ("inner/deep", "inner/shallow")],
)
def test_a_renamed_module_changes_no_digest(edit: Edit, old: str, new: str) -> None:
    before = edit("stage.py", "", "")
    names = set(modules_of("d3.stage"))
    rename(old, new)
    assert code_digest("d3.stage") == before
    assert set(modules_of("d3.stage")) != names


def test_a_module_of_another_name_that_does_something_else_counts(edit: Edit) -> None:
    before = edit("stage.py", "", "")
    rename("up", "down")
    assert edit("down.py", "ONE = 1", "ONE = 1.0") != before


# --- rules and scripts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("d3 corpus --in {input:q} --out {output:q}", True),
        ("\n    d3  corpus \\\n --in {input:q} \\\n   --out {output:q}  # why\n\n", True),
        ("d3 corpus --in {input:q} --out {log:q}", False),
        ("d3 corpus --in {input:q}\n--out {output:q}", False),
    ],
)
def test_the_words_of_a_shell_text_count_and_not_its_layout(text: str, same: bool) -> None:
    assert (shell_digest(text) == shell_digest("d3 corpus --in {input:q} --out {output:q}")) is same


def test_comments_and_indentation_of_a_script_do_not_count(tmp_path: Path) -> None:
    script = tmp_path / "run"
    digests = []
    for text in ("a\nb\n", "# why\na\n\n  b\n", "a\nb # c\n"):
        script.write_text(text)
        digests.append(script_digest(script))
    assert digests[0] == digests[1] != digests[2]


def test_comments_of_a_template_do_not_count(tmp_path: Path) -> None:
    digests = []
    for number, text in enumerate(("a {{ b }}\nc", "{# why #}\na {{b}}\nc", "a {{ b }}\n\nc", "a {{ d }}\nc")):
        path = tmp_path / f"{number}.jinja"
        path.write_text(text)
        digests.append(data_digest(path))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.slow
def test_every_rule_of_a_stage_is_found_in_the_rule_files() -> None:
    for stage in STAGES:
        found = code_of(stage)
        assert f"rule {STAGES[stage].rule}" in found
        assert "workflow/bin/d3" in found
    assert "workflow/bin/d3-train" in code_of("midtrain")
    assert rule_shells()["scores"].split()[:3] == ["d3", "scores", "--settings"]
