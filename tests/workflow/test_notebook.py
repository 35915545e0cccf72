"""The notebook runs on a finished run, cell by cell."""

import json
from pathlib import Path

import pytest

from helpers.paths import ROOT


@pytest.mark.model
def test_every_cell_of_the_notebook_runs(
    finished_run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished_run[0])
    notebook = json.loads((ROOT / "notebooks" / "explore.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("results/runs/demo", "results/runs/tiny")
            exec(compile(source, "explore.ipynb", "exec"), names)
    shown = capsys.readouterr().out
    assert "python/cpython" in shown
    assert "--- after diff 1: " in shown
    assert "d3 " in shown
    assert "HumanEval/0 no_diff" in shown
