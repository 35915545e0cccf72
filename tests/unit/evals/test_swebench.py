"""SWE-bench's instances: files out of their prompts, and programs as patches that Git applies."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from d3.cli import main
from d3.config.evaluation import Benchmark
from d3.config.load import parse_config
from d3.errors import ConfigError, InputError
from d3.evals import execute, gate
from d3.evals.benchmarks.swebench import oracle_file
from d3.evals.predictions import Instance, patch_of, read_instances
from d3.evals.task_file import TaskLine
from d3.evals.tasks import load_tasks
from helpers.benchmark_files import write_samples, written

CONTENT = "\n\nimport os\n\n\ndef area(r):\n    return r + r\n\n\ndef end():\n    return '\x0c\u2028'\n"
PATCH = "--- a/lib/a.py\n+++ b/lib/a.py\n@@ -7 +7 @@\n-    return r + r\n+    return r * r\n"


def text(name: str, content: str) -> str:
    numbered = "\n".join(f"{number} {line}" for number, line in enumerate(content.split("\n"), start=1))
    readme = "[start of README.md]\n1 # lib\n[end of README.md]"
    return (
        f"You will be provided with a partial code base.\n<issue>\nWrong.\n</issue>\n\n<code>\n{readme}\n"
        f"[start of {name}]\n{numbered}\n[end of {name}]\n</code>\n\nRespond below:"
    )


def instance(number: int = 1, **changes: Any) -> dict[str, Any]:
    row = {
        "instance_id": f"lib__lib-{number}",
        "problem_statement": "The area is wrong.\n",
        "patch": PATCH,
        "text": text("lib/a.py", CONTENT),
    }
    return {**row, **changes}


def line(**changes: Any) -> TaskLine:
    return TaskLine(Path("x"), 1, instance(**changes))


def test_an_instance_is_asked_with_its_file(tmp_path: Path) -> None:
    (task,) = load_tasks(Benchmark(kind="swebench"), written(tmp_path / "swe.jsonl", instance(), instance(2, patch="")))
    assert (task.task_id, task.name, task.instruction) == ("lib__lib-1", "lib/a.py", "The area is wrong.")
    assert task.start == CONTENT.strip("\n")
    assert oracle_file(line()) == ("lib/a.py", CONTENT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"patch": PATCH + PATCH.replace("a.py", "b.py")}, "its reference changes 2 files"),
        ({"patch": ""}, "its reference changes 0 files"),
        ({"patch": PATCH.replace("a.py", "a.rst")}, "lib/a.rst is not Python"),
        ({"text": text("lib/b.py", CONTENT)}, "field text does not show lib/a.py"),
        ({"text": text("lib/a.py", CONTENT).replace("\n3 ", "\n4 ")}, "the lines of lib/a.py are not numbered"),
        ({"text": text("lib/a.py", CONTENT).replace("\n3 ", "\n...\n3 ")}, "the lines of lib/a.py are not numbered"),
        ({"text": text("lib/a.py", CONTENT.replace("os", "os\r"))}, "lib/a.py has carriage returns"),
    ],
)
def test_instances_that_cannot_be_asked_are_named_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    assert oracle_file(line(**changes)) == reason


@pytest.mark.parametrize("content", [CONTENT, CONTENT.rstrip("\n"), "x = 1", "x = 1\n", f"{CONTENT}\n\n"])
@pytest.mark.parametrize("change", [("r + r", "r * r"), ("x = 1", "x = 2"), ("import os", "import re"), None])
def test_git_applies_the_patch(content: str, change: tuple[str, str] | None, tmp_path: Path) -> None:
    program = content.strip("\n")
    changed = "" if change is None else program.replace(*change)
    patch = patch_of(Instance("lib/a.py", content), changed)
    if changed == program:
        assert patch == ""
        return
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_bytes(content.encode())
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch.encode(), check=True)
    found = (tmp_path / "lib" / "a.py").read_bytes().decode() if (tmp_path / "lib" / "a.py").exists() else ""
    assert found.strip("\n") == changed
    if changed:
        assert (found.endswith("\n"), found.startswith("\n")) == (content.endswith("\n"), content.startswith("\n"))


def test_predictions_are_lines_of_the_official_harness(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = written(tmp_path / "swe.jsonl", instance(1), instance(2), instance(3, patch=""))
    program = CONTENT.strip("\n").replace("r + r", "r * r")
    rows = [("lib__lib-1", 0, program, "ok"), ("lib__lib-1", 1, None, "no_diff"), ("lib__lib-2", 0, None, "no_diff")]
    samples, out = write_samples(tmp_path / "samples.parquet", rows), tmp_path / "predictions.jsonl"
    words = ["predictions", "--tasks", str(tasks), "--samples", str(samples), "--name", "d3", "--out", str(out)]
    assert main(words) == 0
    first, second = [json.loads(row) for row in out.read_text().splitlines()]
    assert first == {
        "instance_id": "lib__lib-1",
        "model_name_or_path": "d3",
        "model_patch": patch_of(Instance("lib/a.py", CONTENT), program),
    }
    assert "-    return r + r\n+    return r * r\n" in first["model_patch"]
    assert second["model_patch"] == ""
    assert capsys.readouterr().err == "lib__lib-3 is skipped: its reference changes 0 files\n"
    assert main([*words, "--sample", "2"]) == 0
    assert json.loads(out.read_text())["model_patch"] == ""
    assert main([*words, "--sample", "9"]) == 1
    assert "contains no sample 9 (counted from 1)" in capsys.readouterr().err
    other = write_samples(tmp_path / "other.parquet", [("lib__lib-3", 0, program, "ok")])
    words[4] = str(other)
    assert main(words) == 1
    assert "'lib__lib-3' is not in the file of instances, or cannot be asked" in capsys.readouterr().err


def test_malformed_instances_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1 field text must be text"):
        read_instances(written(tmp_path / "swe.jsonl", instance(text=None)))


def test_it_is_not_judged_here(tmp_path: Path) -> None:
    config = parse_config({"benchmarks": {"swe": {"kind": "swebench", "path": "x"}}})
    words = r"judged by swebench.harness.run_evaluation; run `d3 generate`, then `d3 predictions`"
    with pytest.raises(ConfigError, match=words):
        gate.run(config, tmp_path / "x", tmp_path / "g.json", benchmark="swe")
    with pytest.raises(ConfigError, match=words):
        execute.run(config, tmp_path / "x", tmp_path / "s.parquet", tmp_path / "v.parquet", benchmark="swe")
