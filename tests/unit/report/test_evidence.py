"""What the report shows beside its counts: chosen by content, bounded, and true to the tables."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest

from d3.core.example_format import example_completion, example_prompt
from d3.core.ids import file_digest
from d3.core.unified_diff import make_diff
from d3.errors import InputError
from d3.pipeline.job import Job
from d3.report import evidence
from d3.report.charts import MOST_POINTS, draw
from d3.report.results import paired_interval
from d3.report.steps import colored, steps
from helpers.report_run import Made, programs


def test_the_diffs_of_an_answer_are_replayed_from_the_start_file() -> None:
    before, after, last = programs(3)[1:4]
    diffs = [make_diff(before, after), make_diff(after, last)]
    prompt = example_prompt("a.py", before, "Go on. <code>")
    raw = example_completion("", diffs)
    assert evidence.written_steps(prompt, raw) == {"start": before, "diffs": diffs}
    assert evidence.steps_of(before, diffs)[-1] == last
    torn = raw.replace(diffs[1].split("\n")[0], "@@ nonsense @@")
    assert evidence.written_steps(prompt, torn) == {"start": before, "diffs": diffs[:1]}
    assert evidence.written_steps("no prompt", "no diff") == {"start": "", "diffs": []}


def test_steps_mark_what_each_diff_changes() -> None:
    texts = ["", "a = 1", "a = 1\nb = '<b>'", "b = '<b>'"]
    shown = steps("", [make_diff(before, after) for before, after in pairwise(texts)])
    assert [page.count('class="l add"') for page in shown] == [1, 1, 0]
    assert [page.count('class="l del"') for page in shown] == [0, 0, 1]
    assert "&lt;b&gt;" in shown[1]
    assert "<b>'" not in shown[1]
    assert steps("", ["@@ -5,1 +5,1 @@\n-x\n+y"]) == []


@pytest.mark.parametrize("text", ["", "x = 1", "\n\nx = 1\n\n", '"""\na\n"""', "def f(:\n\t'", "# é \U0001f600\n\n"])
def test_colored_lines_are_those_of_the_program(text: str) -> None:
    from markupsafe import Markup

    lines = [Markup(line).striptags() if line.strip() else line for line in colored(text)]
    assert len(lines) == text.count("\n") + 1
    assert [line.strip() for line in lines] == [line.strip() for line in text.split("\n")]


def test_lengths_of_documents_come_from_the_bounds_beside_the_tokens(tmp_path: Path) -> None:
    manifest = tmp_path / "s0.json"
    manifest.write_text("{}")
    job = Job("report", config=None)
    assert evidence.token_lengths(job, [manifest]) == []
    with gzip.open(tmp_path / "s0.csv.gz", "wt") as lines:
        lines.write("0,5,a,s,1\n5,10,b,s,2\n10,100,c,s,3\n")
    bins = evidence.token_lengths(job, [manifest])
    assert sum(row["count"] for row in bins) == 3
    assert bins[0] == {"low": 5, "high": 7, "count": 2}
    assert bins[-1]["low"] <= 90 <= bins[-1]["high"]
    (tmp_path / "s0.csv.gz").write_bytes(gzip.compress(b"a,b\n"))
    with pytest.raises(InputError, match="bounds"):
        evidence.token_lengths(job, [manifest])


def test_the_interval_of_a_difference_is_paired() -> None:
    before = {f"t{number}": float(number < 50) for number in range(100)}
    after = {**before, **{f"t{number}": 1.0 for number in range(50, 60)}}
    interval = paired_interval([before, after], 1, 0.95)
    assert 0.01 < interval["low"] < 0.07 < 0.1 < interval["high"] < 0.2  # unpaired it would span about +-0.14
    same = paired_interval([before, before], 1, 0.95)
    assert same["low"] < 0 < same["high"]
    assert paired_interval([{}, before], 1, 0.95) == {"low": None, "high": None, "confidence": 0.95}


def test_files_have_the_digest_of_their_statements(tmp_path: Path) -> None:
    made = Made(tmp_path, files=8, tasks=1)
    numbers = json.loads(made.write_report()["numbers"].read_text())
    listed = {row["name"]: row for row in numbers["files"]}
    for path in made.paths["corpus"]:
        row = next(row for name, row in listed.items() if name.endswith(f"corpus/{path.name}"))
        assert (row["sha256"], row["bytes"]) == (file_digest(path), path.stat().st_size)
    assert all(row["sha256"] is None for row in numbers["files"] if row["stage"] == "tokens")  # none wrote a statement


def test_no_file_counts_twice_in_the_funnel_and_none_is_gained(tmp_path: Path) -> None:
    numbers = json.loads(Made(tmp_path).write_report()["numbers"].read_text())
    files = [row["files"] for row in numbers["funnel"]]
    assert files == sorted(files, reverse=True)
    assert files[-1] == numbers["dataset"]["programs"] > 0


def test_curves_have_held_out_losses_where_there_are_some(tmp_path: Path) -> None:
    made = Made(tmp_path, files=8, tasks=1, steps=2000)
    path = made.paths["midtrain"] / "training.json"
    record = json.loads(path.read_text())
    record["record"][-1]["held_out_loss"] = 2.5
    path.write_text(json.dumps(record))
    figures = draw(json.loads(made.write_report()["numbers"].read_text()))
    loss = figures["loss-midtrain"]["data"]["values"]
    assert [row["value"] for row in loss if row["run"].endswith("held out")] == [2.5]
    assert MOST_POINTS * 0.9 < len(loss) <= MOST_POINTS + 1
    assert loss[-2]["step"] == 2000
    assert {name for name in figures if name.startswith("grad_norm")} == {"grad_norm-midtrain", "grad_norm-sft"}


def test_losses_of_held_out_documents_are_drawn_where_there_are_some(tmp_path: Path) -> None:
    numbers = json.loads(Made(tmp_path, files=8, tasks=1).write_report()["numbers"].read_text())
    assert "held-out" not in draw(numbers)
    models = [
        {"model": "base", "loss": 2.5, "low": 2.4, "high": 2.6, "documents": 9},
        {"model": "d3", "loss": 2.0, "low": None, "high": None, "documents": 1},
    ]
    figure = draw({**numbers, "learning": {"held_out": {"models": models}}})["held-out"]
    assert [(row["model"], row["low"], row["high"]) for row in figure["data"]["values"]] == [
        ("base", 2.4, 2.6),
        ("d3", 2.0, 2.0),
    ]
