"""An engine is one module and one row: a copy of the package with the example of CONTRIBUTING grades files."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from d3.config.engine_kinds import ENGINE_KINDS
from d3.core import schemas
from d3.core.ids import content_id
from d3.core.tables import read_rows
from d3.provenance.code_digest import modules_of
from helpers.corpus_tables import write_corpus
from helpers.paths import ROOT

pytestmark = [pytest.mark.model, pytest.mark.slow]

EXAMPLE = (ROOT / "CONTRIBUTING.md").read_text().partition("<!-- worked example: engine -->")[2]
ENGINE, DIFF = re.findall(r"^```(?:python|diff)\n(.*?)^```$", EXAMPLE.partition("\n## ")[0], re.DOTALL | re.MULTILINE)
ROW = re.sub(r"^\+", "", DIFF, flags=re.MULTILINE)
END_OF_TABLE = "    )\n}\n"
TEXTS = [f"def times_{number}(value):\n    return value * {number}" for number in range(5)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package and its configuration with the new engine."""
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("workflow", "config"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "workflow/d3/llm/engines/echo.py").write_text(ENGINE)
    table = tree / "workflow/d3/config/engine_kinds.py"
    assert table.read_text().count(END_OF_TABLE) == 1
    table.write_text(table.read_text().replace(END_OF_TABLE, ROW + END_OF_TABLE))
    return tree


def python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree / "workflow")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )


def test_a_new_engine_is_small() -> None:
    assert len((ENGINE + ROW).splitlines()) < 60


def test_a_new_engine_grades_files(tree: Path, tiny_model: Path) -> None:
    write_corpus(tree / "corpus.parquet", TEXTS)
    config = tree / "echo.json"
    config.write_text(json.dumps({"grades": {"engine": {"kind": "echo"}, "sampling": {"max_tokens": 4}}}))
    options = ["--corpus", "corpus.parquet", "--out", "grades.parquet", "--model", str(tiny_model)]
    done = python(tree, "-m", "d3", "grades", "--config", str(config), *options, "--journal", "journal")
    assert done.returncode == 0, done.stderr
    assert "grades: 5 asked" in done.stderr
    rows = list(read_rows(tree / "grades.parquet", schemas.GRADES))
    assert [row["id"] for row in rows] == sorted(map(content_id, TEXTS))
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["rationale"] and row["expected_score"] == 2 for row in rows)


def test_what_lists_kinds_lists_the_new_one(tree: Path) -> None:
    program = """
from d3.pipeline.pipeline import Chain
from d3.pipeline.resources import needs
from d3.config.models import Config
from d3.config.generate_docs import config_files
from d3.config.load import parse_config
from d3.errors import ConfigError
from d3.provenance.code_digest import modules_of

config = parse_config({"grades": {"engine": {"kind": "echo"}}})
chain = Chain(config)
assert chain.environment("grades") == "data"
assert needs(chain, "grades").gpus == 0
assert "d3.llm.engines.echo" in modules_of("d3.stages.grades")
(schema,) = [text for path, text in config_files().items() if path.suffix == ".json"]
assert schema.count('"echo"') == 1 and "`echo`: repeats the prompt" in schema
try:
    parse_config({"grades": {"engine": {"kind": "magic"}}})
except ConfigError as error:
    print(error)
"""
    done = python(tree, "-c", program)
    assert done.returncode == 0, done.stderr
    kinds = "'transformers', 'vllm', 'openai', 'openai_batch', 'replay' or 'echo'"
    assert f"given 'magic', allowed is {kinds}" in done.stdout


@pytest.mark.parametrize("stage", ["d3.stages.grades", "d3.stages.labels", "d3.stages.topics", "d3.evals.generate"])
def test_the_code_of_every_engine_counts_for_the_stages_that_ask(stage: str) -> None:
    assert {kind.module for kind in ENGINE_KINDS.values()} <= modules_of(stage).keys()
