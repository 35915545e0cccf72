"""Forgetting a repository in a finished run: its rows leave everything, the rest stays as it is, and it is proved."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from d3.config.load import parse_config
from d3.pipeline.pipeline import Chain
from helpers.corpus_tables import stack_row, write_shard
from helpers.workflow_run import d3, digests, run, tiny_config, write_config

SECRET = "ann/secret"


def program(name: str) -> str:
    doc = f'"""Give the area of one {name} square of its own."""'
    lines = [doc, f"wanted_{name} = side * side + {len(name)}", f"print('the {name} square is done')"]
    body = "\n".join(f"    {line}" for line in [*lines, f"return wanted_{name}"])
    return f"import os\n\n\ndef area_{name}(side):\n{body}\n\n\nprint(area_{name}(os.getpid()))"


def write_shards(folder: Path) -> None:
    folder.mkdir()
    for shard in ("a", "b", "c"):
        rows = [stack_row(program(f"{shard}_{number}"), max_stars_repo_name=f"bob/{number}") for number in range(4)]
        if shard == "a":
            rows += [stack_row(program(f"secret_{number}"), max_stars_repo_name=SECRET) for number in range(4)]
            rows.append(stack_row(program("shared"), max_stars_repo_name=SECRET))
        if shard == "b":
            rows.append(stack_row(program("shared"), max_stars_repo_name="cyd/copy"))
        write_shard(folder / f"{shard}.parquet", rows)


def values(model: Path, **changes: Any) -> dict[str, Any]:
    tiny = tiny_config(model)
    return {
        **tiny,
        "source": {"shards": ["shards/*.parquet"], "name": "mine", "opt_out": "opt-out.txt"},
        "corpus": {"min_lines": 3, "sample": None, "held_out": 0.4},
        "pairs": {"sample": None},
        "grades": {"mode": "none"},
        "labels": {**tiny["labels"], "sub_trajectories": 1},
        **changes,
    }


def targets(settings: dict[str, Any]) -> list[str]:
    chain = Chain(parse_config(settings))
    examples = [f"{chain.folder('sft_data')}/{name}.parquet" for name in ("a", "b", "c")]
    return ["dataset", f"{chain.folder('tokens')}/a.npy", f"{chain.folder('midtrain')}/model", *examples]


def of_another_configuration(folder: Path) -> list[Path]:
    """Leave diffs and journal entries as a run with other settings does."""
    key = next((folder / "results" / "diffs").iterdir()).name
    other = folder / "results" / "diffs" / "0123456789ab"
    shutil.copytree(folder / "results" / "diffs" / key, other)
    for path in other.glob("*.prov.json"):
        path.write_text(path.read_text().replace(key, other.name))
    return sorted(other.glob("a.*"))


def forget(folder: Path, config: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return d3("forget", SECRET, "--config", config.name, *more, cwd=folder)


def stamps(folder: Path) -> dict[Path, int]:
    """Return when each result was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "results").rglob("*.*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, Path, list[str]]:
    """Return the folder, the configuration and the targets of a run over two shards."""
    folder = tmp_path_factory.mktemp("forget")
    write_shards(folder / "shards")
    (folder / "opt-out.txt").write_text("# nobody yet\n")
    os.chdir(folder)
    settings = values(tiny_model)
    config = write_config(folder, settings)
    wanted = targets(settings)
    done = run(folder, config, "--", *wanted)
    assert done.returncode == 0, done.stdout[-6000:]
    return folder, config, wanted


@pytest.fixture(autouse=True)
def in_folder(monkeypatch: pytest.MonkeyPatch, made: tuple[Path, Path, list[str]]) -> None:
    monkeypatch.chdir(made[0])


@pytest.mark.timeout(1800)
def test_a_repository_is_forgotten(made: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    folder, config, wanted = made
    others = of_another_configuration(folder)
    assert len(others) == 2
    before = stamps(folder)
    (folder / "logs" / "quote.log").write_text("as in `    print('the secret_1 square is done')`\n")

    listed = forget(folder, config)
    assert listed.returncode == 1, listed.stderr
    assert f"added to the list: repo:{SECRET}" in listed.stdout
    assert "rows of the source that match: 5, different files: 4" in listed.stdout
    assert "1 of their files stay" in listed.stdout
    assert "LEFT results/corpus" in listed.stdout
    assert "LEFT results/tokens" in listed.stdout
    (model,) = (path.relative_to(folder) for path in folder.glob("results/midtrain/*/model"))
    assert f"model trained on them: {model} (still the old one)" in listed.stdout
    weights = digests(folder / model)
    assert "run the workflow, then this command again: " in listed.stdout
    assert not (folder / "logs" / "quote.log").exists()
    assert "LEFT work" not in listed.stdout
    assert not any(path.exists() for path in others)
    assert (others[0].parent / "c.parquet").exists()

    rebuilt = forget(folder, config, "--run", "--target", *wanted)
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr[-6000:]
    assert rebuilt.stdout.endswith("nothing is left\n")
    assert f"model trained on them: {model} (trained again)" in rebuilt.stdout
    assert digests(folder / model)["model.safetensors"] != weights["model.safetensors"]
    assert "added to the list: nothing new" in rebuilt.stdout
    after = stamps(folder)
    of_all = ("duplicates", "pair_duplicates", "pair_contamination")  # one job writes the lists of all batches
    untouched = {path for path in before if path.name.startswith("c.") and path.parts[-3] not in of_all}
    assert len(untouched) >= 18
    assert {path: after[path] for path in untouched} == {path: before[path] for path in untouched}

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "shards").symlink_to(folder / "shards")
    (scratch / "opt-out.txt").write_text(f"repo:{SECRET}\n")
    done = run(scratch, config, "--", *wanted)
    assert done.returncode == 0, done.stdout[-6000:]
    made_anew, expected = (
        {path: digest for path, digest in digests(place / "results").items() if path.split("/")[0] != "lineage"}
        for place in (folder, scratch)
    )
    assert {path: digest for path, digest in made_anew.items() if "0123456789ab" not in path} == expected

    again = forget(folder, config)
    assert again.returncode == 0, again.stdout
    assert "removed: 0 entries of journals, 0 files" in again.stdout
