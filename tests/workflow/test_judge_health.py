"""The certificate of the judge through the real workflow: a warning, or a stop."""

import json
from pathlib import Path

import pytest

from helpers.tiny_models import chat_model
from helpers.workflow_run import d3, run, tiny_config, write_config


@pytest.mark.slow
def test_a_judge_who_draws_is_named_and_stops_the_run_if_asked_to(tmp_path: Path) -> None:
    values = tiny_config(chat_model(tmp_path / "model"), judge_health={"repeats": 3})
    done = run(tmp_path, write_config(tmp_path, values), "--cores", "2", "dataset")
    assert done.returncode == 0, done.stdout[-3000:]
    (path,) = tmp_path.glob("results/judge_health/*/judge_health.json")
    found = {check["name"]: check for check in json.loads(path.read_text())["checks"]}
    assert found["entropy"]["status"] == found["cut"]["status"] == "failed"  # random weights, four tokens
    assert found["consistency"]["files"] == 3
    log = (tmp_path / "logs" / "judge_health.log").read_text()
    assert "judge_health: warning: share of cut rationales is 1 " in log
    verified = d3("verify", cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr

    values["judge_health"] |= {"action": "stop"}
    done = run(tmp_path, write_config(tmp_path, values), "--cores", "2", "dataset")
    assert done.returncode != 0
    assert "the judge breaks 3 bounds: mean entropy in bits is 2.3" in (tmp_path / "logs/judge_health.log").read_text()
