"""Command blocks of the documentation are run, or say what they need; those that read a run are in `tests/workflow`."""

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from d3.config.load import parse_config
from d3.config.models import Config
from helpers.doc_blocks import NEEDS, PAGES, Block, blocks, reads_a_run, run_commands, shortened
from helpers.paths import ROOT

RUN = [block for block in blocks() if not block.needs and not all(map(reads_a_run, block.commands))]
MINE = {"run": "mine", "source": {"shards": ["shard.jsonl"], "name": "mine"}}
PROGRAM = "import os\n\n" + "".join(f"def name_{n}(value):\n    return os.name * {n} + value\n\n\n" for n in range(5))
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder like a checkout, with the files that the blocks name."""
    for name in ("workflow", "config", "profiles", "envs", "containers", "Makefile", ".venv", ".venv-dolma"):
        (tmp_path / name).symlink_to(ROOT / name)
    row = {"id": "a", "text": "def f(x):\n    y = x\n    return y\n", "content": PROGRAM}
    (tmp_path / "files.jsonl").write_text(json.dumps({name: row[name] for name in ("id", "text")}) + "\n")
    (tmp_path / "shard.jsonl").write_text(json.dumps(row) + "\n")
    pq.write_table(
        pa.table({"content": [row["content"]], "max_stars_repo_licenses": [["MIT"]]}), tmp_path / "shard.parquet"
    )
    task = {"task_id": "add", "entry_point": "add", "test": "assert add(1, 2) == 3"}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    sample = {"task_id": "add", "solution": "def add(a, b):\n    return a + b\n"}
    (tmp_path / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    for name in ("mine", "other"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(MINE | {"run": name}))
    return tmp_path


def test_blocks_are_found_and_say_only_needs_that_are_known() -> None:
    found = list(blocks())
    assert len(found) > 25
    assert {block.needs for block in found if block.needs} <= NEEDS
    assert sum(block.needs is None for block in found) > 20


def test_every_block_of_shell_commands_is_one_of_them() -> None:
    fences = sum(len(re.findall(r"^```(?:sh|bash|shell|console)$", page.read_text(), re.MULTILINE)) for page in PAGES)
    assert fences == len(list(blocks()))


@pytest.mark.slow
@pytest.mark.snakemake
@pytest.mark.parametrize("block", RUN, ids=map(str, RUN))
def test_a_block_runs(block: Block, checkout: Path) -> None:
    if any(command.startswith("git clone") for command in block.commands) and not shutil.which("git"):
        pytest.skip("no git")
    lines = [line for line in block.commands if not reads_a_run(line)]
    parts = [" && ".join(map(shortened, line.split(" && "))) for line in lines]
    run_commands("\n".join(parts), checkout, names={"REPOSITORY_URL": str(ROOT)})


@pytest.mark.slow
def test_a_block_that_fails_is_found(checkout: Path) -> None:
    with pytest.raises(AssertionError, match="no such key"):
        run_commands("d3 config --set corpus.smple=3\ntrue", checkout)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_configuration_have_keys_that_exist(page: Path) -> None:
    for text in YAML.findall(page.read_text()):
        values = yaml.safe_load(text.replace("COMMIT", "a" * 40))
        if set(values) <= set(Config.model_fields):
            parse_config(values)
        else:
            assert set(values) <= {"set-resources"}, page
