"""The diffs stage: every file ends in a row, whatever it holds and however the work is divided."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3.cli import main
from d3.config.data import Diffs
from d3.config.load import parse_config
from d3.core import schemas
from d3.core.ids import content_id, normalise
from d3.core.journal import verify
from d3.core.unified_diff import apply_diffs
from d3.errors import ConfigError, InputError, ToolError
from d3.lintseq import pinned_versions
from d3.lintseq.pool import Pool, Task, _epitaph, unfit
from d3.pipeline.pipeline import Chain
from d3.stages import diffs
from helpers.lintseq_programs import HOSTILE, real_files
from helpers.paths import ROOT

pytestmark = pytest.mark.slow

FILES = real_files(12, 30)[:14]


def write(path: Path, texts: list[str], **columns: Any) -> Path:
    rows = [{"id": content_id(text), "text": text, **columns} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def counts(path: Path) -> dict[str, Any]:
    statement = json.loads(path.with_name(path.name + ".prov.json").read_text())
    found: dict[str, Any] = statement["predicate"]["runDetails"]["byproducts"][0]["content"]
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("expected")
    diffs.run(parse_config({}), [write(folder / "in.jsonl", FILES)], folder / "out.jsonl", workers=1)
    return read(folder / "out.jsonl")


def test_rows_are_in_order_and_round_trip(expected: list[dict[str, Any]]) -> None:
    assert [row["id"] for row in expected] == sorted(content_id(text) for text in FILES)
    texts = {content_id(text): text for text in FILES}
    for row in expected:
        assert row["status"] == "ok"
        assert apply_diffs("", row["diffs"]) == texts[row["id"]]


def test_workers_and_order_change_nothing(tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    shuffled = FILES[:]
    random.Random(1).shuffle(shuffled)
    diffs.run(parse_config({}), [write(tmp_path / "in.jsonl", shuffled)], tmp_path / "out.jsonl", workers=2)
    assert read(tmp_path / "out.jsonl") == expected


def test_seven_shards_change_nothing(tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    rows = []
    for shard in range(7):
        path = write(tmp_path / f"{shard}.jsonl", FILES[shard::7])
        diffs.run(parse_config({}), [path], tmp_path / f"out{shard}.jsonl", workers=1)
        rows += read(tmp_path / f"out{shard}.jsonl")
    assert sorted(rows, key=lambda row: str(row["id"])) == expected


def test_more_samples_leave_the_first_as_it_was(tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    path = write(tmp_path / "in.jsonl", FILES[:4])
    diffs.run(parse_config({"diffs": {"samples": 2}}), [path], tmp_path / "out.jsonl", workers=1)
    rows = read(tmp_path / "out.jsonl")
    assert [row["sample"] for row in rows] == [0, 1] * 4
    assert [row for row in rows if row["sample"] == 0] == [
        row for row in expected if row["id"] in {content_id(text) for text in FILES[:4]}
    ]


def test_a_killed_job_goes_on_where_it_was(tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    path = write(tmp_path / "in.jsonl", FILES)
    out, journal = tmp_path / "out.jsonl", tmp_path / "journal"
    program = (
        "import sys; from pathlib import Path; from d3.config.load import parse_config; from d3.stages import diffs\n"
        "diffs.FLUSH_SECONDS = 0\n"
        "diffs.run(parse_config({}), [Path(sys.argv[1])], Path(sys.argv[2]), journal=Path(sys.argv[3]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(diffs.__file__).parents[2])}
    job = subprocess.Popen([sys.executable, "-c", program, str(path), str(out), str(journal)], env=environment)
    deadline = time.monotonic() + 120
    while verify(journal).entries < 3 and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not out.exists()
    kept = verify(journal).entries
    assert 3 <= kept < len(FILES)
    asked: list[str] = []
    original = Pool.run

    def run(self: Pool, tasks: Any) -> Any:
        listed = list(tasks)
        asked.extend(task.id for task in listed)
        return original(self, listed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "run", run)
        diffs.run(parse_config({}), [path], out, journal=journal)
        assert len(asked) == len(FILES) - kept
        assert read(out) == expected
        asked.clear()
        write(path, [*FILES[1:], FILES[0] + "\nx = 1"])
        diffs.run(parse_config({}), [path], out, journal=journal)
        assert asked == [content_id(FILES[0] + "\nx = 1")]
        asked.clear()
        diffs.run(parse_config({"diffs": {"max_depth": 3}}), [path], out, journal=journal)
        assert len(asked) == len(FILES)


def test_what_is_not_sampled_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", FILES[:4], split="midtrain")
    held = write(tmp_path / "held.jsonl", FILES[4:6], split="sft")
    scores = [3, 1, None]
    grades = tmp_path / "grades.jsonl"
    grades.write_text(
        "".join(
            json.dumps({"id": content_id(text), "score": score}) + "\n"
            for text, score in zip(FILES[:3], scores, strict=True)
        )
    )
    config = parse_config({"grades": {"threshold": 2}})
    diffs.run(config, [path, held], tmp_path / "out.jsonl", grades=grades)
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == [content_id(FILES[0])]
    assert counts(tmp_path / "out.jsonl") == {
        "stage": "diffs",
        "read": 6,
        "kept": 1,
        "dropped": {"below_threshold": 1, "held_out": 2, "ungraded": 2},
    }


def test_a_row_without_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": null}\n')
    with pytest.raises(InputError, match="no text"):
        diffs.run(parse_config({}), [tmp_path / "in.jsonl"], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_hostile_files_each_end_in_a_row(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in HOSTILE.items()))
    config = parse_config({"diffs": {"max_cpu_seconds": 30, "max_memory_mb": 1500}})
    diffs.run(config, [path], tmp_path / "out.jsonl", workers=2)
    rows = {row["id"]: row for row in read(tmp_path / "out.jsonl")}
    assert sorted(rows) == sorted(HOSTILE)
    refused = {name: row["status"] for name, row in rows.items() if row["status"] != "ok"}
    assert refused == {
        "too_long": "too_many_lines",
        "form_feed": "line_breaks",
        "separator": "line_breaks",
        "comments": "no_candidate_lines",
        "empty": "no_candidate_lines",
        "blank": "no_candidate_lines",
    }
    for name, row in rows.items():
        if row["status"] == "ok":
            assert apply_diffs("", row["diffs"]) == normalise(HOSTILE[name])


def big(functions: int) -> str:
    return "\n\n\n".join(
        f"def run{n}(x, y=None):\n    z = [x, y, {n}]\n    return str(z) + repr(x)" for n in range(functions)
    )


def answers(settings: Diffs, *texts: str) -> list[tuple[str, str | None]]:
    tasks = [Task(id=str(number), sample=0, text=text, seed=number) for number, text in enumerate(texts)]
    with Pool(settings, 1) as pool:
        found = {task.id: answer for task, answer in pool.run(tasks)}
    return [(found[task.id]["status"], found[task.id]["detail"]) for task in tasks]


def test_time_is_limited_and_the_next_file_is_sampled() -> None:
    found = answers(Diffs(max_cpu_seconds=1.5), "x = 1\nprint(x)", big(300), "x = 1\nprint(x)")
    assert [status for status, _ in found] == ["ok", "timeout", "ok"]
    assert "CPU" in str(found[1][1])


@pytest.mark.parametrize(
    ("code", "status"),
    [(-signal.SIGSEGV, "lint_crash"), (4, "lint_crash"), (-signal.SIGKILL, "memory"), (-signal.SIGALRM, "timeout")],
)
def test_what_a_dead_worker_means(code: int, status: str) -> None:
    assert _epitaph(code, Diffs())["status"] == status


def test_a_worker_that_is_killed_is_replaced_and_its_file_is_sampled() -> None:
    tasks = [Task(id=str(number), sample=0, text=big(20), seed=number) for number in range(3)]
    statuses = []
    with Pool(Diffs(), 1) as pool:
        for number, (_, answer) in enumerate(pool.run(tasks)):
            statuses.append(answer["status"])
            if number == 0:
                assert pool._server is not None
                for worker in descendants(pool._server.pid):
                    os.kill(worker, signal.SIGKILL)
    assert statuses == ["ok"] * 3


def test_the_samples_of_a_file_share_its_time() -> None:
    """One sample of the middle file fits into its limit on CPU time, ten do not; the next file has its own."""
    texts = ["x = 1\nprint(x)", big(20), "y = 1\nprint(y)"]
    tasks = [
        Task(id=str(number), sample=sample, text=text, seed=sample)
        for number, text in enumerate(texts)
        for sample in range(10)
    ]
    with Pool(Diffs(max_cpu_seconds=1e4), 1) as pool:
        once = [answer["status"] for _, answer in pool.run(tasks[10:11])]
        assert once == ["ok"]
    with Pool(Diffs(max_cpu_seconds=0.8), 1) as pool:
        found = {(task.id, task.sample): answer["status"] for task, answer in pool.run(tasks)}
    assert len(found) == len(tasks)
    middle = [found["1", sample] for sample in range(10)]
    assert "timeout" in middle
    first = middle.index("timeout")
    assert middle == ["ok"] * first + ["timeout"] * (10 - first)
    assert {found[file, sample] for file in "02" for sample in range(10)} == {"ok"}


def test_wall_time_is_limited_too() -> None:
    found = answers(Diffs(max_wall_seconds=1.5), "x = 1\nprint(x)", big(300), "x = 1\nprint(x)")
    assert [status for status, _ in found] == ["ok", "timeout", "ok"]
    assert "wall" in str(found[1][1])


def descendants(parent: int) -> set[int]:
    """Return the living processes below one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, above = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(path.parent.name)] = int(above)
    below = {parent}
    while more := {child for child, above in parents.items() if above in below} - below:
        below |= more
    return below - {parent}


def test_no_process_outlives_a_killed_one(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [big(300), big(301)])
    environment = {**os.environ, "PYTHONPATH": str(Path(diffs.__file__).parents[2]), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "d3", "lintseq", "--in", str(path), "--out", str(tmp_path / "out.jsonl")]
    job = subprocess.Popen([*command, "--workers", "2"], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    below: set[int] = set()
    while len(below) < 3 and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        below = descendants(job.pid)
    assert len(below) >= 3  # the server and two workers
    job.send_signal(signal.SIGKILL)
    job.wait()
    deadline = time.monotonic() + 30
    while (left := {pid for pid in below if _lives(pid)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    assert not (tmp_path / "out.jsonl").exists()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_memory_stays_flat() -> None:
    """A worker that samples the same files over and over holds what it held after the first round."""
    texts = FILES[:6]
    tasks = [
        Task(id=f"{turn}-{number}", sample=0, text=text, seed=number)
        for turn in range(12)
        for number, text in enumerate(texts)
    ]
    resident = []
    with Pool(Diffs(), 1) as pool:
        for _ in pool.run(tasks):
            resident.append(pool.resident_mb)
    assert resident[-1] - resident[3 * len(texts)] <= 3


def test_the_command_takes_settings_as_options_and_writes_parquet(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["x = 1\nprint(x)", "import nothing\nnothing.run()"]}), path)
    out = tmp_path / "out.parquet"
    options = ["--samples", "2", "--unresolved-imports", "ignore", "--max-lines", "10", "--seed", "3"]
    main(["lintseq", "--in", str(path), "--out", str(out), "--workers", "1", *options])
    table = pq.read_table(out)
    assert table.column_names == schemas.DIFFS.names
    rows = table.to_pylist()
    assert [(row["id"], row["sample"], row["status"]) for row in rows] == [
        ("a", 0, "ok"),
        ("a", 1, "ok"),
        ("b", 0, "ok"),
        ("b", 1, "ok"),
    ]
    assert all(apply_diffs("", row["diffs"]) == text for row, text in zip(rows, TEXTS_TWICE, strict=True))


TEXTS_TWICE = ["x = 1\nprint(x)"] * 2 + ["import nothing\nnothing.run()"] * 2


def test_nothing_is_left_in_a_home_or_beside_the_files(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    folder.mkdir()
    (home / ".pylintrc").write_text("[MAIN]\ndisable=all\n")
    (folder / "pylintrc").write_text("[MAIN]\ndisable=all\n")
    texts = [*FILES[:3], HOSTILE["pragmas"], HOSTILE["deep_calls"], HOSTILE["recursion"]]
    source = write(folder / "in.jsonl", [normalise(text) for text in texts])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PYLINT"))}
    done = subprocess.run(
        [sys.executable, "-m", "d3", "lintseq", "--in", str(source), "--out", "out.jsonl", "--workers", "2"],
        cwd=folder, env=environment | {"HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.name for path in home.iterdir()] == [".pylintrc"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "in.jsonl", "out.jsonl", "out.jsonl.prov.json", "pylintrc",
    ]  # fmt: skip
    rows = {row["id"]: row for row in read(folder / "out.jsonl")}
    diffs.run(parse_config({}), [source], tmp_path / "here.jsonl", workers=1)
    assert [rows[row["id"]] for row in read(tmp_path / "here.jsonl")] == list(rows.values())


def test_memory_is_limited_and_the_next_file_is_sampled() -> None:
    wide = "\n".join(f"x{n} = [" + ", ".join(["'a'"] * 8000) + "]" for n in range(20))
    found = answers(Diffs(max_memory_mb=260), "x = 1\nprint(x)", wide, "x = 1\nprint(x)")
    assert [status for status, _ in found] == ["ok", "memory", "ok"]


def test_a_lone_surrogate_is_refused() -> None:
    answer = unfit("x = '\ud800'", Diffs())
    assert answer is not None
    assert answer["status"] == "encoding"


def test_the_linter_free_ablation(tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    path = write(tmp_path / "in.jsonl", FILES)
    diffs.run(parse_config({"diffs": {"lint": False}}), [path], tmp_path / "out.jsonl", workers=2)
    rows = read(tmp_path / "out.jsonl")
    assert [row["status"] for row in rows] == ["ok"] * len(FILES)
    assert sum(len(row["diffs"]) for row in rows) > sum(len(row["diffs"]) for row in expected)
    texts = {content_id(text): text for text in FILES}
    assert all(apply_diffs("", row["diffs"]) == texts[row["id"]] for row in rows)


def test_imports_are_seen_at_a_glance() -> None:
    text = "import os, sys\nfrom xml.dom import minidom\n    import json as j\nfrom . import x\nimport numpy"
    assert diffs.imported_modules([text]) == {"os", "xml.dom", "json"}


@pytest.mark.parametrize(
    ("name", "found", "words"),
    [("pylint", "4.1.5", "needs pylint 4.1.4 exactly (got 4.1.5)"), ("astroid", None, "needs astroid 4.3.4 exactly")],
)
def test_other_versions_of_the_linter_are_refused(
    name: str, found: str | None, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = pinned_versions.version

    def version(package: str) -> str:
        if package != name:
            return installed(package)
        if found is None:
            raise pinned_versions.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(pinned_versions, "version", version)
    path = write(tmp_path / "in.jsonl", FILES[:1])
    with pytest.raises(ToolError, match=re.escape(words) + ".*; install the environment again"):
        diffs.run(parse_config({}), [path], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    diffs.run(parse_config({"diffs": {"lint": False}}), [path], tmp_path / "out.jsonl")  # needs no linter


def test_the_guarded_versions_are_those_of_every_lock() -> None:
    for lock in ("main", "data", "train", "train-cpu"):
        text = (ROOT / "envs" / f"{lock}.lock").read_text()
        locked = dict(re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE))
        assert {name: locked[name] for name in pinned_versions.PINNED} == pinned_versions.PINNED


@pytest.mark.slow
def test_pylintseq_itself_writes_the_same_rows(tmp_path: Path) -> None:
    left_out = ("too_long", "deep_calls", "recursion")  # minutes with pylint itself
    texts = [*FILES[:8], *(text for name, text in HOSTILE.items() if name not in left_out)]
    path = write(tmp_path / "in.jsonl", texts)
    for sampler in ("d3", "pylintseq"):
        diffs.run(
            parse_config({"diffs": {"samples": 2, "sampler": sampler}}),
            [path],
            tmp_path / f"{sampler}.jsonl",
            workers=2,
        )
    assert read(tmp_path / "pylintseq.jsonl") == read(tmp_path / "d3.jsonl")
    assert {row["status"] for row in read(tmp_path / "d3.jsonl")} > {"ok", "no_candidate_lines"}


def test_the_sampler_decides_nothing_by_default_and_takes_no_ablation() -> None:
    chains = [Chain(parse_config({"diffs": given})) for given in ({}, {"sampler": "d3"}, {"sampler": "pylintseq"})]
    keys = [chain.key("diffs") for chain in chains]
    assert keys[0] == keys[1] != keys[2]
    for given in ({"lint": False}, {"unresolved_imports": "ignore"}, {"packages": ["numpy"]}):
        with pytest.raises(ConfigError, match="sampler pylintseq takes only the defaults"):
            parse_config({"diffs": {"sampler": "pylintseq", **given}})
