"""Statements: their shape and size, what jobs share, attempts, and no secrets anywhere."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from d3.errors import D3Error, InputError
from d3.pipeline.job import Job
from d3.provenance import runtime
from d3.provenance.attempts import attempt, attempts_path, count_attempts, read_attempts
from d3.provenance.redact import MARK, scrub
from d3.provenance.statement import FACTS, read_statement, settings_digest, shared_facts, statement_path

SCHEMA = pa.schema([("id", pa.string())])
SECRETS = {
    "HF_TOKEN": "hf_" + "Ab3" * 11,
    "OPENAI_API_KEY": "sk-proj-" + "x1Y" * 9,
    "MY_SERVICE_PASSWORD": "correct horse battery",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the working folder of a workflow that this process is a job of."""
    run = {"invocation": "i-1", "git": {"commit": "c" * 40, "dirty": True}}
    monkeypatch.setenv("D3_RUN", json.dumps(run))
    monkeypatch.chdir(tmp_path)
    runtime.run_facts.cache_clear()
    runtime.environment.cache_clear()
    yield tmp_path
    runtime.run_facts.cache_clear()
    runtime.environment.cache_clear()


def job(name: str = "a", *, engine: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """Run a job with one input and two outputs; return its statement."""
    folder = Path("results/test/0123456789ab")
    folder.mkdir(parents=True, exist_ok=True)
    Path("source.jsonl").write_text('{"id": "1"}\n')
    with Job("corpus", config=None, settings=settings, engine=engine) as running:
        first, second = (running.table(folder / f"{name}.{kind}", SCHEMA) for kind in ("parquet", "jsonl"))
        for row in running.rows(Path("source.jsonl"), SCHEMA):
            first.write(row)
            second.write(row)
            running.keep()
    return read_statement(statement_path(folder / f"{name}.parquet"))


def test_what_jobs_share_is_kept_once(workflow: Path) -> None:
    first, second = job("a"), job("b")
    build = first["predicate"]["buildDefinition"]
    digest = build["internalParameters"]["facts"]
    assert digest == second["predicate"]["buildDefinition"]["internalParameters"]["facts"]
    assert [path.name for path in (workflow / FACTS).iterdir()] == [f"{digest}.json"]
    facts = shared_facts(first, workflow)
    assert facts["git"] == {"commit": "c" * 40, "dirty": True}
    assert facts["packages"]["pyarrow"] == pa.__version__
    assert {"d3.stages.corpus.stage", "d3.core.tables"} <= set(facts["code"])
    assert "d3.config.models" not in facts["code"]
    (workflow / FACTS / f"{digest}.json").unlink()
    assert shared_facts(first, workflow) == {}


def test_a_statement_has_the_agreed_shape_in_2_kilobytes(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"JOB_ID": "77", "JOB_PARTITION": "gpu"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    settings = {"seed": 7, "grades": {"mode": "model", "engine": {"model": "owner/judge"}}}
    statement = job(engine={"kind": "vllm"}, **settings)
    path = next(workflow.glob("results/test/*/*.prov.json"))
    assert path.stat().st_size < 2000
    assert [item["name"] for item in statement["subject"]] == [
        "results/test/0123456789ab/a.parquet",
        "results/test/0123456789ab/a.jsonl",
    ]
    build, details = (statement["predicate"][name] for name in ("buildDefinition", "runDetails"))
    assert build["externalParameters"] == {"stage": "corpus", "config": settings_digest(settings), "prompts": {}}
    assert shared_facts(statement)["config"] == settings
    internal = build["internalParameters"]
    assert internal["seed"] == 7
    assert internal["slurm"] == {"job": "77", "node": "node7", "partition": "gpu"}
    assert internal["gpu"]["visible"] == "0,1"
    assert internal["attempts"] == 1
    assert internal["environment"]["kind"] == "venv"
    assert len(internal["environment"]["identity"]) == 64
    assert shared_facts(statement)["engine"] == {"kind": "vllm"}
    assert build["resolvedDependencies"][0]["name"] == "source.jsonl"
    assert details["metadata"]["invocationId"] == "i-1"
    times = [details["metadata"][name] for name in ("startedOn", "finishedOn")]
    assert all(time.strptime(text[:19] + text[-1], "%Y-%m-%dT%H:%M:%SZ") for text in times)
    assert details["byproducts"][0]["content"] == {"stage": "corpus", "read": 1, "kept": 1, "dropped": {}}


def test_a_command_that_runs_alone_leaves_nothing_but_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("D3_RUN", raising=False)
    monkeypatch.chdir(tmp_path)
    runtime.run_facts.cache_clear()
    statement = job()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "source.jsonl"]
    assert sorted(path.name for path in tmp_path.glob("results/*/*/*")) == [
        "a.jsonl",
        "a.parquet",
        "a.parquet.prov.json",
    ]
    assert "d3.stages.corpus.stage" in shared_facts(statement)["code"]
    assert not (tmp_path / FACTS).exists()
    statement["predicate"]["buildDefinition"]["internalParameters"]["shared"] = 5
    assert shared_facts(statement) == {}


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "nonsense", '{"_type": "https://in-toto.io/Statement/v1"}', '{"_type": "other"}']
)
def test_what_is_no_statement_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.prov.json"
    path.write_text(text)
    with pytest.raises(InputError, match="is no statement"):
        read_statement(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_statement(tmp_path / "absent")


# --- secrets ----------------------------------------------------------------------------------------


def test_no_planted_secret_enters(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    planted = {
        **SECRETS,
        "unset": "ghp_" + "Zz9" * 12,
        "named": "only-known-by-its-name",
        "in_url": "url-password-1",
        "in_query": "query-key-22",
    }
    settings: dict[str, Any] = {
        "labels": {
            "engine": {
                "model": planted["HF_TOKEN"],
                "base_url": f"https://me:{planted['in_url']}@host:8000/v1?api_key={planted['in_query']}",
                "api_key_env": "OPENAI_API_KEY",
                "api_key": planted["named"],
            },
            "constant": f"say {planted['MY_SERVICE_PASSWORD']} and {planted['unset']}",
            planted["OPENAI_API_KEY"]: [planted["AWS_SECRET_ACCESS_KEY"]],
        }
    }
    job(**settings, engine={"token": planted["named"], "address": f"http://x:{planted['in_url']}@host"})
    with pytest.raises(D3Error), attempt("labels", Path("results/labels/k/a.parquet")):
        raise D3Error(f"401 for key {planted['OPENAI_API_KEY']}", where=planted["HF_TOKEN"])
    written = [path for path in workflow.rglob("*") if path.is_file()]
    assert len(written) == 6
    for path in written:
        content = path.read_bytes()
        for name, secret in planted.items():
            assert secret.encode() not in content, (path, name)
    config = shared_facts(job(**settings))["config"]["labels"]
    assert config["engine"]["base_url"] == "https://host:8000/v1"
    assert config["engine"]["api_key_env"] == "OPENAI_API_KEY"
    assert config["engine"]["api_key"] == MARK


def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG_KEY", "1")
    values = {
        "path": "results/grades/0123456789ab/key-00001-of-00010.parquet",
        "address": "http://localhost:8000/v1",
        "keys": 3,
        "nothing": None,
        "tokens": {"tokenizer": "embedded", "max_tokens": 11},
        "text": "a task-skill, sk-learn, hf_hub and 1 key",
    }
    assert scrub(values) == values


# --- attempts ---------------------------------------------------------------------------------------


def test_failed_and_killed_attempts_are_kept_and_counted(workflow: Path) -> None:
    output = Path("results/test/0123456789ab/a.parquet")
    with pytest.raises(ValueError, match="broken"), attempt("test", output):
        raise ValueError("broken")
    code = f"""
import os
from pathlib import Path
from d3.provenance.attempts import attempt
with attempt("test", Path({str(output)!r})):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with attempt("test", output):
        assert job()["predicate"]["buildDefinition"]["internalParameters"]["attempts"] == 3
    lines = read_attempts(output)
    assert [line["event"] for line in lines] == ["start", "end", "start", "start", "end"]
    assert [line.get("status") for line in lines] == [None, "failed", None, None, "ok"]
    assert lines[1]["error"] == "ValueError: broken"
    assert attempts_path(output) == Path("work/attempts/test/0123456789ab/a.parquet.jsonl")
    assert count_attempts(output) == 1
    with attempts_path(output).open("a") as file:
        file.write('{"event": "sta')
    assert len(read_attempts(output)) == 5


def test_commands_outside_of_a_workflow_note_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("D3_RUN", raising=False)
    monkeypatch.chdir(tmp_path)
    with attempt("test", Path("a.parquet")):
        pass
    assert os.listdir(tmp_path) == []


def test_the_digest_of_a_module_is_no_secret() -> None:
    code = {"d3.core.example_tokens": "1" * 64, "d3.stages.tokens": "2" * 64}
    assert scrub({"code": code}) == {"code": code}
    assert scrub({"example_tokens": "x"}) == {"example_tokens": "[secret]"}
