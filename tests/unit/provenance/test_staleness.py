"""Reasons in words: every kind of difference between a wish and a statement, and none where there is none."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from d3.core.ids import file_digest
from d3.pipeline.job import Job
from d3.pipeline.pipeline import code_of
from d3.provenance import runtime
from d3.provenance.code_digest import digest_of_modules
from d3.provenance.digest_cache import Cache
from d3.provenance.environments import Environment, venv
from d3.provenance.staleness import Judge, Wanted, statement_holds
from d3.provenance.statement import statement_path

OUTPUT = "results/grades/0123456789ab/a.jsonl"
INPUT = "results/corpus/ba9876543210/a.jsonl"
CONFIG = {"seed": 1, "grades": {"threshold": 2, "engine": {"model": "m"}}}


def wanted(**changes: Any) -> Wanted:
    modules = code_of("grades")
    wish = Wanted(
        stage="grades",
        config=CONFIG,
        prompts={"grades.prompt": "1" * 64},
        modules=modules,
        code=digest_of_modules(modules),
        environment=None,
        inputs={INPUT: [INPUT], "model": [], "source": []},
        outputs=[OUTPUT],
    )
    return replace(wish, **changes)


def make_input(text: str) -> None:
    """Run the job that makes the input."""
    with Job("corpus", config=None) as job:
        job.file(Path(INPUT)).write_text(text)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a finished job."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("D3_RUN", raising=False)
    runtime.run_facts.cache_clear()
    runtime.environment.cache_clear()
    Path("model/deep").mkdir(parents=True)
    Path("linked").mkdir()
    Path("model/parts").symlink_to(Path("linked").absolute())
    for name, text in {"model/a.bin": "w", "model/deep/b.bin": "x", "linked/c.bin": "c"}.items():
        Path(name).write_text(text)
        os.utime(name, (1_000_000_000, 1_000_000_000))
    Path("prompt.jinja").write_text("p")
    Path("source").write_text("source")
    make_input("input\n")
    with Job("grades", config=None, settings=CONFIG) as job:
        job.input(Path(INPUT))
        job.input(Path("model"))
        job.input(Path("source"))
        job.prompt("grades.prompt", Path("prompt.jinja"))
        job.file(Path(OUTPUT)).write_text("output\n")
    statement = json.loads(statement_path(Path(OUTPUT)).read_bytes())
    statement["predicate"]["buildDefinition"]["externalParameters"]["prompts"] = {"grades.prompt": "1" * 64}
    statement_path(Path(OUTPUT)).write_text(json.dumps(statement))
    return tmp_path


def reasons(**changes: Any) -> list[str]:
    return Judge(Cache(Path("work/digests"))).reasons(wanted(**changes))


def test_nothing_changed(run: Path) -> None:
    assert reasons() == []
    assert not Path("work").exists()  # nothing had to be read


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config": {**CONFIG, "seed": 2}}, ["setting seed was 1, is 2"]),
        ({"config": {**CONFIG, "more": [1]}}, ["setting more is new: [1]"]),
        (
            {"config": {"seed": 1, "grades": {"threshold": 3, "engine": {}}}},
            ["setting grades.engine is new: {}", "setting grades.engine.model is gone, was \"m\"",
             "setting grades.threshold was 2, is 3"],
        ),
        (
            {"config": {**CONFIG, "execute": {"timeout_seconds": 9}}},
            ["setting execute.timeout_seconds is new: 9"],
        ),
        ({"config": None}, []),
        ({"prompts": {"grades.prompt": "2" * 64}}, ["prompt grades.prompt changed"]),
        ({"prompts": {}}, ["prompt grades.prompt changed"]),
        ({"inputs": {INPUT: [], "model": [], "source": [], "b": [], "c": []}}, ["inputs b, c are new"]),
        ({"inputs": {"model": [], "source": []}}, [f"input {INPUT} is no longer read"]),
        ({"outputs": [OUTPUT, "other"]}, ["output other is missing"]),
        ({"outputs": [OUTPUT, "prompt.jinja"]}, ["output prompt.jinja is not in the statement"]),
    ],
)  # fmt: skip
def test_differences_in_words(run: Path, changes: dict[str, Any], words: list[str]) -> None:
    assert reasons(**changes) == words


def test_modules_are_named(run: Path) -> None:
    modules = {**code_of("grades"), "d3.core.ids": "0", "d3.new": "1", "d3/report/page.html.jinja": "2"}
    del modules["d3.core.tables"]
    assert reasons(modules=modules, code=digest_of_modules(modules)) == [
        "module d3.core.ids changed",
        "module d3.core.tables is gone",
        "module d3.new is new",
        "template d3/report/page.html.jinja is new",
    ]


def test_packages_are_named(run: Path) -> None:
    here = runtime.environment()
    same = Environment("venv", "x", here.identity, here.packages)
    assert reasons(environment=same) == []
    packages = {**here.packages, "pyarrow": "0.1", "brand-new": "1"}
    other = same._replace(identity="0" * 64, packages=packages)
    version = here.packages["pyarrow"]
    assert reasons(environment=other) == [f"environment x: package brand-new absent -> 1, pyarrow {version} -> 0.1"]
    assert reasons(environment=same._replace(identity=None)) == []


def test_the_other_kind_of_environment_is_no_reason_but_is_told(run: Path) -> None:
    judge = Judge()
    image = Environment("image", "data", "0" * 64, {}, "containers/data-0.sif")
    assert judge.reasons(wanted(environment=image)) == []
    assert judge.mixed == {OUTPUT: "venv"}


def in_place(path: str, text: str) -> None:
    """Write other bytes of the same size into a file and put its time back, as `cp -p` does."""
    before = Path(path).stat()
    Path(path).write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(one: str, other: str) -> None:
    Path(one).rename("aside")
    Path(other).rename(one)
    Path("aside").rename(other)


def restore(path: str, text: str) -> None:
    """Put a file in the place of another by renaming, with the same size and an older time, as `rsync -t` does."""
    Path("new").write_text(text)
    os.utime("new", (1, 1))
    Path("new").replace(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: os.utime("source"), []),
        (lambda: os.utime("source", (1, 1)), []),
        (lambda: restore("source", "source"), []),
        (lambda: Path("source").write_text("Source"), ["input source has other content"]),
        (lambda: in_place("source", "Source"), ["input source has other content"]),
        (lambda: restore("source", "Source"), ["input source has other content"]),
        (lambda: Path("source").unlink(), ["input source is missing"]),
        (lambda: in_place("model/a.bin", "v"), ["input model has other content"]),
        (lambda: restore("model/a.bin", "v"), ["input model has other content"]),
        (lambda: swap("model/a.bin", "model/deep/b.bin"), ["input model has other content"]),
        (lambda: restore("model/a.bin", "w"), []),
        (lambda: Path("model/empty").touch(), ["input model has other content"]),
        (lambda: in_place("linked/c.bin", "d"), ["input model has other content"]),
        (lambda: in_place(OUTPUT, "Output\n"), [f"output {OUTPUT} is not what the job wrote"]),
        (lambda: os.utime(OUTPUT), []),
        (lambda: Path(OUTPUT).unlink(), [f"output {OUTPUT} is missing"]),
        (lambda: statement_path(Path(OUTPUT)).unlink(), ["no statement: never finished"]),
    ],
)
def test_files_are_compared_by_content(run: Path, change: Callable[[], None], words: list[str]) -> None:
    change()
    assert reasons() == words


def test_what_another_job_has_to_make_again_is_no_reason_of_its_own(run: Path) -> None:
    for damage in (
        lambda: Path(INPUT).write_text("Input\n"),
        lambda: Path(INPUT).unlink(),
        lambda: statement_path(Path(INPUT)).unlink(),
    ):
        damage()
        assert reasons() == []
    make_input("Input\n")
    assert reasons() == [f"input {INPUT} has other content"]
    make_input("input\n")
    assert reasons() == []


def test_a_job_that_ran_again_is_looked_at_again(run: Path) -> None:
    Path(INPUT).unlink()
    judge = Judge(Cache(Path("work/digests")))
    assert judge.reasons(wanted()) == []
    make_input("Input\n")
    judge.forget([INPUT])
    assert judge.reasons(wanted()) == [f"input {INPUT} has other content"]


def test_an_output_that_never_was_is_not_missing(run: Path) -> None:
    statement_path(Path(OUTPUT)).unlink()
    Path(OUTPUT).unlink()
    assert reasons() == [f"output {OUTPUT} is not made yet"]


def test_a_paranoid_judge_reads_what_sizes_and_times_say_is_the_same(run: Path) -> None:
    paranoid = Cache(Path("work/digests"), paranoid=True)
    statement = statement_path(Path(OUTPUT))
    statement.write_text(statement.read_text().replace(file_digest(Path("source")), "1" * 64))
    assert reasons() == []  # as after a change that no time tells of
    assert Judge(paranoid).reasons(wanted()) == ["input source has other content"]


def test_a_paranoid_cache_corrects_what_was_noted(run: Path) -> None:
    believing, paranoid = Cache(Path("digests")), Cache(Path("digests"), paranoid=True)
    right = believing.digest(Path("source"))
    (entry,) = Path("digests").iterdir()
    entry.write_text(entry.read_text().replace(right, "0" * 64))
    assert believing.digest(Path("source")) == "0" * 64
    assert paranoid.digest(Path("source")) == right == believing.digest(Path("source"))


def test_a_damaged_statement_is_a_reason(run: Path) -> None:
    statement_path(Path(OUTPUT)).write_text("{")
    assert "is no statement" in reasons()[0]


def test_what_was_read_once_is_not_read_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(INPUT)
    read = []
    monkeypatch.setattr("d3.provenance.digest_cache.file_digest", lambda path: read.append(path) or "0")
    cache = Cache(Path("work/digests"))
    assert [cache.digest(Path(INPUT)) for _ in range(3)] == ["0"] * 3
    os.utime(INPUT)
    cache.digest(Path(INPUT))
    assert len(read) == 2


def test_an_input_that_its_maker_wrote_again_with_the_same_bytes_is_not_read(run: Path) -> None:
    make_input("input\n")
    assert reasons() == []
    assert not Path("work").exists()


def test_a_finished_file_is_told_from_others(run: Path) -> None:
    assert statement_holds(run, OUTPUT)
    assert statement_holds(run, str(run / OUTPUT))
    assert not statement_holds(run, "prompt.jinja")
    assert not statement_holds(run, "absent")
    Path(OUTPUT).write_text("tampered")
    assert not statement_holds(run, OUTPUT)


def test_environments_on_the_bare_machine_are_known_by_what_is_installed(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    (site / "Some_Package-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.9\n")
    first = venv("x", tmp_path, ("some-package",))
    assert first.packages == {"python": "3.11.9", "some-package": "1.0"}
    venv.cache_clear()
    (site / "Some_Package-1.0.dist-info").rename(site / "some.package-1.0.dist-info")
    assert venv("x", tmp_path, ("some-package",)).identity == first.identity
    venv.cache_clear()
    (site / "some.package-1.0.dist-info").rename(site / "some.package-2.0.dist-info")
    assert venv("x", tmp_path, ("some-package",)).identity != first.identity
    venv.cache_clear()
    assert venv("x", tmp_path / "absent").identity is None
    venv.cache_clear()
