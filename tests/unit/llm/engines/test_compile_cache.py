"""Where vLLM compiles: one folder for each model with its options, one job at a time, none from half a folder."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from d3.config.engine import Engine
from d3.llm.engine import EngineError, Request
from d3.llm.engines.compile_cache import WHOLE, cache_folder, compile_cache
from d3.llm.open_engine import open_engine
from helpers.tiny_models import chat_model

MODEL = {"kind": "vllm", "digest": "a" * 64}
NAMES = ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def start(environment: dict[str, str], identity: Any = MODEL) -> dict[str, str]:
    with compile_cache(identity, environment):
        return {name: environment[name] for name in NAMES}


def test_each_model_with_its_options_has_folders_of_its_own(tmp_path: Path) -> None:
    first = start({"XDG_CACHE_HOME": str(tmp_path)})
    root = Path(first["VLLM_CACHE_ROOT"])
    assert root.parent == tmp_path / "vllm" / "d3"
    assert (first["TORCHINDUCTOR_CACHE_DIR"], first["TRITON_CACHE_DIR"]) == (f"{root}/inductor", f"{root}/triton")
    assert start({"XDG_CACHE_HOME": str(tmp_path)}) == first
    for more in ({"options": {"block_size": 16}}, {"digest": "b" * 64}, {"versions": {"vllm": "1"}}):
        other = start({"XDG_CACHE_HOME": str(tmp_path)}, MODEL | more)
        assert not set(other.values()) & set(first.values())


def test_the_users_variables_are_kept_and_a_second_engine_has_its_own(tmp_path: Path) -> None:
    environment = {"VLLM_CACHE_ROOT": str(tmp_path), "TRITON_CACHE_DIR": "/mine"}
    environment["TORCHINDUCTOR_CACHE_DIR"] = "/tmp/torchinductor_me"  # what torch sets itself
    first = start(environment)
    assert first["TORCHINDUCTOR_CACHE_DIR"].startswith(first["VLLM_CACHE_ROOT"])
    assert Path(first["VLLM_CACHE_ROOT"]).parent == tmp_path / "d3"
    assert first["TRITON_CACHE_DIR"] == "/mine"
    second = start(environment, MODEL | {"dtype": "bfloat16"})
    assert Path(second["VLLM_CACHE_ROOT"]).parent == tmp_path / "d3"
    assert second["VLLM_CACHE_ROOT"] != first["VLLM_CACHE_ROOT"]
    assert second["TORCHINDUCTOR_CACHE_DIR"].startswith(second["VLLM_CACHE_ROOT"])


def test_what_a_job_compiled_is_there_for_the_next_and_half_of_it_is_not(tmp_path: Path) -> None:
    environment = {"VLLM_CACHE_ROOT": str(tmp_path)}
    folder = cache_folder(MODEL, environment)

    def fail() -> None:
        with compile_cache(MODEL, environment):
            (folder / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not (folder / WHOLE).exists()
    with compile_cache(MODEL, environment):
        assert not (folder / "half").exists()
        (folder / "compiled").mkdir()
    with compile_cache(MODEL, environment):
        assert (folder / "compiled").exists()


JOB = """
import os, sys, time
from pathlib import Path
from d3.llm.engines.compile_cache import compile_cache
log = Path(sys.argv[1])
with compile_cache({"kind": "vllm"}, os.environ) as folder:
    warm = (folder / "compiled").exists()
    with log.open("a") as file: file.write(f"{os.getpid()} {'warm' if warm else 'cold'}\\n")
    if not warm:
        (folder / "half").touch()
        time.sleep(float(sys.argv[2]))
        assert len(list(folder.iterdir())) == 1, "another job is at work in this folder"
        (folder / "half").rename(folder / "compiled")
"""


def job(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "VLLM_CACHE_ROOT": str(tmp_path / "cache")}
    line = [sys.executable, "-c", JOB, str(tmp_path / "log"), str(seconds)]
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)


def test_one_of_the_jobs_compiles_and_the_others_wait_and_start_warm(tmp_path: Path) -> None:
    jobs = [job(tmp_path, 0.5) for _ in range(4)]
    said = [one.communicate(timeout=60)[1] for one in jobs]
    assert [one.returncode for one in jobs] == [0] * 4, said
    lines = (tmp_path / "log").read_text().split("\n")
    assert sorted(line.partition(" ")[2] for line in lines if line) == ["cold", "warm", "warm", "warm"]
    assert any("waiting for another job, which compiles the same model" in text for text in said)


def test_a_job_that_is_killed_while_it_compiles_leaves_nothing_torn(tmp_path: Path) -> None:
    killed = job(tmp_path, 60)
    until = time.monotonic() + 30
    while not list(tmp_path.glob("cache/d3/*/half")) and time.monotonic() < until:
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    following = job(tmp_path, 0.1)
    assert following.communicate(timeout=60)[1] == ""
    assert following.returncode == 0
    assert (tmp_path / "log").read_text().count("cold") == 2


def test_without_locks_a_job_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    first, second = (start({"VLLM_CACHE_ROOT": str(tmp_path)})["VLLM_CACHE_ROOT"] for _ in range(2))
    assert first != second
    assert not Path(first).is_relative_to(tmp_path / "d3")


@pytest.mark.model
def test_vllm_starts_with_these_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine with a stand-in for vLLM, which notes the environment that it starts in."""
    seen: list[dict[str, str | None]] = []

    def start_model(**options: Any) -> Any:
        seen.append({name: os.environ.get(name) for name in NAMES})
        if options["dtype"] == "float16":
            raise ValueError("no")
        return SimpleNamespace()

    platforms = SimpleNamespace(current_platform=SimpleNamespace(is_cpu=lambda: False))
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=start_model, platforms=platforms, __version__="9"))
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "cache"))
    model = str(chat_model(tmp_path / "model", length=256))
    for options in ({}, {}, {"tensor_parallel": 2}, {"options": {"block_size": 16}}):
        engine: Any = open_engine(Engine(kind="vllm", **options), model)
        assert engine._llm is engine._llm
    roots = [one["VLLM_CACHE_ROOT"] or "" for one in seen]
    assert roots[0] == roots[1]
    assert len(set(roots)) == 3
    for one, root in zip(seen, roots, strict=True):
        assert Path(root).parent == tmp_path / "cache" / "d3"
        assert (one["TORCHINDUCTOR_CACHE_DIR"], one["TRITON_CACHE_DIR"]) == (f"{root}/inductor", f"{root}/triton")
    broken: Any = open_engine(Engine(kind="vllm", dtype="float16"), model)
    with pytest.raises(EngineError, match="vLLM does not start"):
        broken.ask([Request(key="r", ids=(20, 21), max_tokens=2)])
    assert not Path(seen[-1]["VLLM_CACHE_ROOT"] or "", WHOLE).exists()
