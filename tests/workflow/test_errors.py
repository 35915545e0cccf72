"""What a user sees when something is wrong: one line, before any job, never a traceback."""

from pathlib import Path

import pytest
import yaml

from d3.config.generate_docs import config_files
from d3.config.load import load_config
from helpers.paths import ROOT
from helpers.workflow_run import d3, run, tiny_config, write_config


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"corpus": {"min_lnes": 3}}, "corpus.min_lnes: no such key, allowed are filters"),
        ({"seed": -1}, "seed: given -1"),
        ({"grades": {"engine": {"kind": "magic"}}}, "grades.engine.kind: given 'magic'"),
        ({"source": {"shards": ["nowhere/*.parquet"]}}, "no file matches 'nowhere/*.parquet'"),
        ({"model": {"path": "nobody/nothing"}}, "has no revision"),
        ({"labels": {"program_prompt": "absent.jinja"}}, "labels.program_prompt: no template"),
    ],
)
def test_wrong_settings_are_answered_before_any_job(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    config = write_config(tmp_path, tiny_config(tmp_path) | change)
    answer = run(tmp_path, config, "--dry-run")
    assert answer.returncode != 0
    assert expected in answer.stdout
    assert "Traceback" not in answer.stdout
    assert not (tmp_path / "results").exists()


def test_a_broken_shard_is_one_line(tmp_path: Path) -> None:
    shard = tmp_path / "shard.parquet"
    shard.write_bytes(b"PAR1 this is no Parquet file")
    answer = d3("corpus", "--shard", shard, "--out", tmp_path / "k.parquet", "--rejected", "r.parquet", cwd=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert answer.stderr.startswith(f"d3 corpus: error: {shard}: ")
    assert list(tmp_path.iterdir()) == [shard]


def test_generated_configuration_files_are_current() -> None:
    for path, text in config_files().items():
        assert path.read_text() == text, f"{path} is out of date: run `python -m d3 config --write`"


@pytest.mark.parametrize("name", ["config.yaml", "demo.yaml", "d3.yaml"])
def test_shipped_configurations_are_valid(name: str) -> None:
    path = ROOT / "config" / name
    config = load_config(path)
    assert set(yaml.safe_load(path.read_text())) <= set(type(config).model_fields)
