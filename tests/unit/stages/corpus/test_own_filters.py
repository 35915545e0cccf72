"""A filter of the user is one small file, named in the configuration."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.tables import read_notes, read_rows
from d3.errors import ConfigError, InputError
from d3.operate.container_binds import inputs
from d3.pipeline.pipeline import Chain
from d3.stages.corpus.own_filters import own_filters
from helpers.corpus_tables import OPEN, open_config, run_corpus, stack_row, write_shard
from helpers.paths import ROOT

GOOD = "import os\n\n\ndef area(side):\n    return side * side"
TABBED = GOOD.replace("    ", "\t")

EXAMPLE = re.compile(r"```python\n# my_filters\.py\n(.*?)```", re.DOTALL)
NO_TABS = EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text())[0]
"""The worked example of the documentation: a class."""
LICENSED = '''

ALLOWED = {"MIT"}


def licensed(text, row):
    """Reject files under another license."""
    found = sorted(set(row["max_stars_repo_licenses"]) - ALLOWED)
    return ("other_license", ", ".join(found)) if found else None
'''
FILTERS = NO_TABS + LICENSED


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a working folder with the user's filters and a shard."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_filters.py").write_text(FILTERS)
    other = stack_row(GOOD + "\n# a", max_stars_repo_licenses=["MIT", "GPL-3.0"])
    write_shard(tmp_path / "a.parquet", [stack_row(GOOD), stack_row(TABBED), other, stack_row("print 1")])
    yield tmp_path
    for name in ("my_filters", "package", "torn"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_the_command_counts_and_writes_what_it_rejects(folder: Path) -> None:
    settings = {**OPEN["corpus"], "filters": ["my_filters.py:NoTabs", "my_filters:licensed"]}
    command = [sys.executable, "-m", "d3", "corpus", "--shard", "a.parquet", "--out", "kept.parquet"]
    command += ["--rejected", "rejected.parquet", *(f"--set=corpus.{k}={json.dumps(v)}" for k, v in settings.items())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow"), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line["row"] for line in read_rows(Path("kept.parquet"), schemas.CORPUS)] == [0]
    rejected = [
        (line["row"], line["reason"], line["detail"]) for line in read_rows(Path("rejected.parquet"), schemas.REJECTED)
    ]
    assert rejected[:2] == [(1, "has_tabs", "line 5"), (2, "other_license", "GPL-3.0")]
    assert read_notes(Path("kept.parquet"))["dropped"] == {"has_tabs": 1, "other_license": 1, "syntax_error": 1}
    statement = json.loads(Path("kept.parquet.prov.json").read_text())
    (entry,) = [
        item
        for item in statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        if item["annotations"].get("role") == "filter"
    ]
    assert entry["name"] == "my_filters.py"
    assert entry["annotations"]["declared"] is False
    assert entry["digest"]["sha256"] == hashlib.sha256(FILTERS.encode()).hexdigest()


def test_held_out_files_are_judged_too(folder: Path) -> None:
    kept, rejected = run_corpus(folder / "a.parquet", open_config(held_out=1.0, filters=["my_filters.py:NoTabs"]))
    assert [line["split"] for line in kept] == ["sft", "sft"]
    assert [line["reason"] for line in rejected] == ["has_tabs", "syntax_error"]


def test_no_filters_change_no_key_and_no_byte(folder: Path) -> None:
    written = []
    for settings in (open_config(), open_config(filters=[])):
        run_corpus(folder / "a.parquet", settings)
        written.append([path.read_bytes() for path in sorted((folder / "out").glob("*.parquet"))])
    assert written[0] == written[1]
    assert Chain(parse_config({"corpus": {"filters": []}})).key("corpus") == Chain(Config()).key("corpus")
    named = parse_config({"corpus": {"filters": ["my_filters.py:NoTabs"]}})
    assert Chain(named).key("corpus") != Chain(Config()).key("corpus")


def test_the_source_of_a_filter_is_part_of_the_key(folder: Path) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    inner = folder / "package" / "inner.py"
    inner.write_text("raise SystemExit('a digest needs no import')\n")
    names = ["my_filters.py:NoTabs", "my_filters:licensed", "package.inner:f"]
    chosen = parse_config({"corpus": {"filters": names}})
    of_filters, of_inner = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "my_filters.py", inner))
    known = {f"corpus.filters {name}": of_filters for name in names} | {"corpus.filters package.inner:f": of_inner}
    assert Chain(chosen).prompts("corpus") == known
    before = Chain(chosen).key("corpus")
    inner.write_text("def f(text, row): ...\n")
    assert Chain(chosen).key("corpus") != before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such.py:F", "no such file: no_such.py; correct corpus.filters"),
        ("no_such_module:F", "module no_such_module not found; correct corpus.filters"),
        ("no_such.module:F", "cannot be imported: ModuleNotFoundError: No module named 'no_such'"),
        ("sys:F", "module sys has no source file"),
        ("my_filters.py:Other", "my_filters.py does not define Other"),
        ("my_filters:Other", "my_filters.py does not define Other"),
        ("my_filters.py:ALLOWED", "must be a function, or a class with __call__ (got set)"),
        ("broken.py:F", "cannot be imported: ZeroDivisionError: division by zero (broken.py, line 2)"),
        ("torn.py:F", "cannot be imported: SyntaxError: '(' was never closed (torn.py, line 1); correct"),
        ("torn:F", "cannot be imported: SyntaxError"),
        ("needy.py:F", "cannot be made without arguments: TypeError"),
    ],
)
def test_what_cannot_be_imported_is_named(folder: Path, name: str, words: str) -> None:
    (folder / "broken.py").write_text("\n1 / 0\n")
    (folder / "torn.py").write_text("def f(\n")
    (folder / "needy.py").write_text("class F:\n    def __init__(self, x): ...\n")
    with pytest.raises(ConfigError) as caught:
        own_filters([name])
    assert str(caught.value).startswith(f"{name}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["NoTabs", "my_filters.py:", "my_filters.py:No-Tabs", ":NoTabs", "a:b:c"])
def test_what_is_no_import_string_is_a_wrong_value(name: str) -> None:
    with pytest.raises(ConfigError, match=r"corpus\.filters\.0: given .* match pattern"):
        parse_config({"corpus": {"filters": [name]}})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return True", "returned True: must be None or a tuple of two texts"),
        ("return 'tabs'", "returned 'tabs': must be None or"),
        ("return 'tabs', 3", "returned ('tabs', 3): must be None or"),
        ("return 'Has tabs', ''", "the reason must match [a-z]"),
        ("return 'duplicate', ''", "the reason duplicate is one of the pipeline's own"),
        ("return 'too_large', ''", "the reason too_large is one of the pipeline's own"),
        ("return 'odd', '\\ud800'", "the detail contains a lone surrogate"),
        ("return {}[text[0]]", "raised KeyError: 'i' (f.py, line 2)"),
        (
            "row['lang'] = 'C'",
            "raised TypeError: 'mappingproxy' object does not support item assignment (f.py",
        ),
    ],
)
def test_a_filter_that_fails_is_named_with_the_row(folder: Path, body: str, words: str) -> None:
    (folder / "f.py").write_text(f"def f(text, row):\n    {body}\n")
    with pytest.raises(InputError) as caught:
        run_corpus(folder / "a.parquet", open_config(filters=["f.py:f"]))
    text = str(caught.value)
    assert text.startswith(f"{folder / 'a.parquet'}: row 0: filter f.py:f ")
    assert words in text
    assert "\n" not in text
    assert not list((folder / "out").glob("*.parquet"))


def test_a_file_outside_of_the_working_folder_is_bound_into_images(folder: Path) -> None:
    outside = folder / "outside" / "f.py"
    chain = Chain(parse_config({"corpus": {"filters": [f"{outside}:f", "package.module:f"]}}))
    assert outside in set(inputs(chain))
    assert not [path for path in inputs(chain) if "package" in path.name]
