"""`d3 plan`: rates of one real run predict another of other sizes; defaults where nothing was measured.

`recorded_runs.jsonl` holds the statements of two real runs of the whole chain with a tiny model, `a`
and `b`, which differ in shards, samples, sub-trajectories, steps, sequence length, tasks and tokens.
"""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from d3.audit.statements import read_finished
from d3.cli import main
from d3.config.load import load_config, parse_config
from d3.config.models import Config
from d3.errors import ConfigError
from d3.operate import cost_defaults, cost_model
from d3.operate.cost_model import Seconds, fit, measured
from d3.operate.pending import lines, pending
from d3.operate.plan import Plan, expected_room, plan
from d3.operate.plan_table import hours, plan_table, size
from d3.pipeline.pipeline import Chain
from d3.pipeline.why import JobState
from d3.provenance.statement import STATEMENT_TYPE, settings_digest
from helpers.demo import DEMO, over_demo
from helpers.paths import ROOT

FACTOR = 1.5
Run = dict[str, Any]


def whole_statement(recorded: Run) -> Run:
    """Return a recorded statement, which was cut to what costs follow from, in the form of a whole one."""
    build = recorded["predicate"]["buildDefinition"]
    counts = recorded["predicate"]["runDetails"]["byproducts"][0]["content"]
    subject = [item | {"digest": {"sha256": "0" * 64}} for item in recorded["subject"]]
    outer = {"stage": counts["stage"], "config": settings_digest({}), "prompts": {}}
    build = {"externalParameters": outer, "resolvedDependencies": [], **build}
    whole = {"_type": STATEMENT_TYPE, "subject": subject}
    return whole | {"predicate": {**recorded["predicate"], "buildDefinition": build}}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Run]:
    """The two runs, each in a folder of its own; the working folder is an empty one."""
    model = tmp_path / "model"
    model.mkdir()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    found = {}
    for line in Path(__file__).with_name("recorded_runs.jsonl").read_text().replace("MODEL", str(model)).splitlines():
        run = json.loads(line)
        for name, content in {**run["statements"], **run["records"]}.items():
            path = tmp_path / run["run"] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(whole_statement(content) if name in run["statements"] else content))
        found[run["run"]] = run | {"folder": tmp_path / run["run"]}
    return found


LATER = {
    "grade_repeats",
    "judge_health",
    "fingerprints",
    "near_duplicates",
    "file_counts",
    "contamination",
    "pair_contamination",
    "label_contamination",
    "gate",
    "run_record",
}
"""Stages that these runs did not have."""


def chain_of(run: Run) -> Chain:
    return Chain(parse_config(over_demo(run["config"])))


def really(run: Run) -> dict[str, float]:
    """What a run really took."""
    finished = {name: read_finished(run["folder"] / name) for name in run["statements"]}
    asked = [figures.usage for figures in finished.values() if figures]
    tokens = sum(usage.get("prompt_tokens", 0) + usage.get("answer_tokens", 0) for usage in asked)
    trained = sum(record["tokens"] for name, record in run["records"].items() if "training" in name)
    return {
        "jobs": len(finished),
        "cpu_seconds": sum(usage["cpu_seconds"] for usage in asked),
        "bytes": sum(figures.bytes for figures in finished.values() if figures),
        "rows": sum(figures.rows for name, figures in finished.items() if figures and "/source/" not in name),
        "asked": tokens,
        "trained": trained,
        "files": run["files"],
    }


def foreseen(found: Plan) -> dict[str, float]:
    """What a plan says of the same; a benchmark was copied before these runs, which compared nothing with it."""
    stages = {stage.stage: stage for stage in found.stages if stage.stage not in {"benchmark", *LATER}}
    without_rows = {"source", "tokens", "scores", "midtrain", "sft"}
    return {
        "jobs": sum(stage.jobs for stage in stages.values()),
        "cpu_seconds": sum(stage.cpu_hours for stage in stages.values()) * 3600,
        "bytes": sum(stage.bytes for stage in stages.values()),
        "rows": sum(stage.rows_out for name, stage in stages.items() if name not in without_rows),
        "asked": sum(stage.prompt_tokens + stage.answer_tokens for stage in stages.values()),
        "trained": stages["midtrain"].tokens + stages["sft"].tokens,
        "files": sum(stage.files for stage in stages.values()),
    }


def off(one: float, other: float) -> float:
    return max(one / other, other / one)


@pytest.mark.parametrize(("of", "by"), [("b", "a"), ("a", "b"), ("a", "a")])
def test_one_run_predicts_another_of_other_sizes(runs: dict[str, Run], of: str, by: str) -> None:
    chain = chain_of(runs[of])
    found = plan(chain, measured(chain, runs[by]["folder"] / "results"))
    expected, seen = really(runs[of]), foreseen(found)
    wrong = {name: (seen[name], expected[name]) for name in expected if off(seen[name], expected[name]) > FACTOR}
    assert not wrong
    assert seen["jobs"] == expected["jobs"]
    used = {stage.stage: stage.rates for stage in found.stages if stage.stage not in LATER}
    assert {stage for stage, kind in used.items() if kind == "default"} == {"benchmark"}


def test_every_long_stage_is_predicted_by_itself(runs: dict[str, Run]) -> None:
    chain = chain_of(runs["b"])
    found = plan(chain, measured(chain, runs["a"]["folder"] / "results"))
    seconds: dict[str, float] = {}
    for name in runs["b"]["statements"]:
        figures = read_finished(runs["b"]["folder"] / name)
        stage = name.split("/")[1]
        seconds[stage] = seconds.get(stage, 0) + (figures.cpu if figures else 0)
    for stage in found.stages:
        if seconds.get(stage.stage, 0) > 4:
            assert off(stage.cpu_hours * 3600, seconds[stage.stage]) < FACTOR, stage


def test_measurements_of_the_same_settings_go_first(runs: dict[str, Run]) -> None:
    chain, results = chain_of(runs["a"]), runs["a"]["folder"] / "results"
    (folder,) = (results / "grades").iterdir()
    folder.rename(results / chain.folder("grades").removeprefix("results/"))
    foreign = results / "grades" / "foreign"
    foreign.mkdir()
    (foreign / "x.parquet.prov.json").write_text("{}")
    seen = measured(chain, results)
    assert seen["grades"].same_settings
    assert not seen["labels"].same_settings
    used = {stage.stage: stage.rates for stage in plan(chain, seen).stages}
    assert (used["grades"], used["labels"]) == ("measured", "measured elsewhere")


def test_answers_out_of_the_journal_and_retried_jobs_tell_no_times(runs: dict[str, Run]) -> None:
    name = next(name for name in runs["a"]["statements"] if "/grades/" in name)
    path = runs["a"]["folder"] / name
    statement = json.loads(path.read_text())
    usage = statement["predicate"]["runDetails"]["byproducts"][1]["content"]
    usage["journal"], usage["asked"] = usage["asked"], 0
    path.write_text(json.dumps(statement))
    chain = chain_of(runs["a"])
    seen = measured(chain, runs["a"]["folder"] / "results")
    assert (len(seen["grades"].observations), len(seen["grades"].timed())) == (2, 1)
    statement["predicate"]["buildDefinition"]["internalParameters"]["attempts"] = 3
    usage["journal"], usage["asked"] = 0, 12
    path.write_text(json.dumps(statement))
    assert len(measured(chain, runs["a"]["folder"] / "results")["grades"].timed()) == 1


def test_times_of_another_model_are_not_taken(runs: dict[str, Run], tmp_path: Path) -> None:
    other = tmp_path / "other-7B"
    other.mkdir()
    text = yaml.safe_load(json.dumps(runs["a"]["config"]))
    text["grades"]["engine"] = {**text["grades"]["engine"], "model": str(other)}
    text["model"] = {"path": str(other)}
    chain = Chain(parse_config(text))
    used = {stage.stage: stage.rates for stage in plan(chain, measured(chain, runs["a"]["folder"] / "results")).stages}
    assert [used[stage] for stage in ("grades", "midtrain", "labels")] == ["default", "default", "measured elsewhere"]


def test_the_demo_without_any_measurement(runs: dict[str, Run]) -> None:
    found = plan(Chain(DEMO))
    # 641 CPU-seconds and 144 rows of the dataset: the README's figures of the demo.
    assert off(found.total("cpu_hours") * 3600, 641) < FACTOR
    stages = {stage.stage: stage for stage in found.stages}
    assert off(stages["dataset"].rows_out, 162) < FACTOR
    assert off(stages["grades"].rows_out, 48) < FACTOR
    assert {stage.rates for stage in found.stages} == {"default"}
    assert found.warnings == ["the source tells no number of rows: they are guessed from its size"]


def shards(folder: Path, count: int, rows: int) -> None:
    folder.mkdir()
    for number in range(count):
        pq.write_table(pa.table({"content": [""] * rows}), folder / f"data_{number:05d}.parquet")


def test_the_papers_scale_is_planned_from_footers(runs: dict[str, Run], tmp_path: Path) -> None:
    shards(tmp_path / "shards", 101, 1283)
    config = load_config(ROOT / "config" / "d3.yaml")
    source = config.source.model_copy(update={"shards": [f"{tmp_path}/shards/*.parquet"]})
    chain = Chain(config.model_copy(update={"source": source}))
    found = plan(chain)
    stages = {stage.stage: stage for stage in found.stages}
    assert found.source_known
    assert stages["corpus"].rows == 101 * 1283
    assert (stages["corpus"].gpu_hours, stages["corpus"].jobs) == (0, 68)  # at most two shards a job
    assert stages["labels"].gpu_hours == pytest.approx(4 * 68 * stages["labels"].hours_a_job)
    assert stages["hub_model"].bytes > 70e9 * 2
    # 6 N operations a token at 40 % of an H100: 42 GPU-hours for 8 billion tokens and 1.24 billion parameters.
    each = cost_defaults.training(chain, "midtrain").per_unit * config.midtrain.processes
    assert each * 8e9 / 3600 == pytest.approx(42 * cost_defaults.parameters(chain, "midtrain") / 1.24e9, rel=0.03)
    room = expected_room(chain)
    assert room is not None
    assert room[0] > found.total("bytes")
    assert room[1] == found.total("files")


def test_the_papers_scale_is_planned_before_the_download(
    runs: dict[str, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(ROOT / "config" / "d3.yaml")
    found = plan(Chain(config, estimate=True))
    stages = {stage.stage: stage for stage in found.stages}
    assert found.source_known
    assert stages["corpus"].jobs == 91
    assert stages["corpus"].rows == pytest.approx(12_962_249, abs=46)  # half a row a batch
    assert stages["labels"].gpu_hours > 500
    assert found.warnings[-1] == "no shard is there yet: rows are source.expected_rows"
    with pytest.raises(ConfigError, match="no file matches"):
        _ = Chain(config).shards
    assert main(["plan", "--config", str(ROOT / "config" / "d3.yaml")]) == 0
    assert "no shard is there yet" in capsys.readouterr().out
    unset = {"source": {"shards": ["nowhere/*.parquet"]}}
    with pytest.raises(ConfigError, match=r"set source\.expected_shards and source\.expected_rows"):
        _ = Chain(parse_config(unset), estimate=True).shards


def test_what_is_expected_of_the_source_decides_nothing(tmp_path: Path) -> None:
    shards(tmp_path / "shards", 1, 10)
    source = {"shards": [f"{tmp_path}/shards/*.parquet"]}
    chains = [
        Chain(parse_config({"source": source | more})) for more in ({}, {"expected_rows": 5, "expected_shards": 2})
    ]
    assert chains[0].key("corpus") == chains[1].key("corpus")
    assert chains[0].settings("corpus") == chains[1].settings("corpus")
    chain = Chain(chains[1].config, estimate=True)
    stages = {stage.stage: stage for stage in plan(chain).stages}
    assert (stages["corpus"].rows, stages["corpus"].jobs) == (10, 1)  # what is there counts


def test_a_job_that_takes_longer_than_its_rule_asks_for_is_named(tmp_path: Path, runs: dict[str, Run]) -> None:
    shards(tmp_path / "shards", 1, 300_000)
    config = load_config(ROOT / "config" / "d3.yaml")
    source = config.source.model_copy(update={"shards": [f"{tmp_path}/shards/*.parquet"]})
    warnings = plan(Chain(config.model_copy(update={"source": source}))).warnings
    assert not warnings
    slow = config.labels.model_copy(update={"sub_trajectories": 400})
    warnings = plan(Chain(config.model_copy(update={"source": source, "labels": slow}))).warnings
    assert [warning.split(":")[0] for warning in warnings] == ["labels", "dataset", "tokens"]
    assert "use fewer shards a job" in warnings[0]


@pytest.mark.parametrize(
    ("points", "start", "expected"),
    [
        ([(10, 12.0), (30, 32.0)], 99, Seconds(2, 1)),
        ([(10, 12.0), (10, 12.0)], 2, Seconds(2, 1)),
        ([(10, 12.0)], 100, Seconds(9.6, 0.24)),
        ([(0, 3.0), (0, 5.0)], 1, Seconds(4, 0)),
        ([(10, 5.0), (20, 40.0)], 1, Seconds(0, 1.7)),
    ],
    ids=["two sizes", "one size", "a start that is too long", "no units", "a start below zero"],
)
def test_fits(points: list[tuple[float, float]], start: float, expected: Seconds) -> None:
    found = fit(points, start)
    assert found == pytest.approx(expected)


def test_stages_of_one_kind_lend_each_other_their_rates(runs: dict[str, Run]) -> None:
    seen = measured(chain_of(runs["a"]), runs["a"]["folder"] / "results")
    del seen["pair_diffs"]
    lent = cost_model.by_stage(seen, "pair_diffs", lambda one: True)
    assert (lent.observations, lent.same_settings) == (seen["diffs"].timed(), False)
    assert not cost_model.by_stage(seen, "pair_diffs", lambda one: False).observations


def test_a_run_that_asked_nothing_does_not_measure_one_that_asks(runs: dict[str, Run]) -> None:
    """Grades of the mode `none` take a second on a CPU; those of a 70B model must not be planned by them."""
    results = runs["a"]["folder"] / "results"
    for path in (results / "grades").rglob("*.prov.json"):
        statement = json.loads(path.read_text())
        usage = statement["predicate"]["runDetails"]["byproducts"][1]["content"]
        for name in ("asked", "journal", "prompt_tokens", "answer_tokens"):
            usage.pop(name, None)
        outer = statement["predicate"]["buildDefinition"]["externalParameters"]
        outer["grades"] = {"mode": "none"}
        path.write_text(json.dumps(statement))
    config = runs["a"]["config"]
    engine = {"kind": "vllm", "model": "meta-llama/Llama-3.3-70B-Instruct", "revision": "a" * 40, "tensor_parallel": 4}
    large = Chain(parse_config({**config, "grades": {"engine": engine}, "labels": {"engine": engine}}))
    stages = {stage.stage: stage for stage in plan(large, measured(large, results)).stages}
    alone = {stage.stage: stage for stage in plan(large, {}).stages}
    for name in ("grades", "labels"):
        assert stages[name].rates == "default"
        assert stages[name].gpu_hours == stages[name].hours_a_job * stages[name].jobs * 4 > 0
        assert off(stages[name].hours_a_job, alone[name].hours_a_job) < FACTOR
    unasked = Chain(parse_config({**config, "grades": {"mode": "none"}}))
    again = {stage.stage: stage for stage in plan(unasked, measured(unasked, results)).stages}
    assert again["grades"].rates == "measured elsewhere"
    assert again["grades"].gpu_hours == 0


def test_numbers_are_written_shortly() -> None:
    assert [hours(value) for value in (0, 0.0123, 1.26, 1234.5)] == ["-", "0.012", "1.3", "1,234"]
    assert [size(value) for value in (0, 12, 1500, 12_345_678, 4e12)] == ["-", "12 B", "1.5 kB", "12 MB", "4.0 TB"]


def state(stage: str, number: int, kind: str, *reasons: str) -> JobState:
    return JobState(stage, stage, [f"results/{stage}/{number}.parquet"], kind, list(reasons), [], ["in.parquet"])


def test_what_is_stale_is_counted_by_reason() -> None:
    states = [
        state("corpus", 1, "fresh"),
        state("grades", 1, "stale", "setting grades.threshold was 2, is 3"),
        state("grades", 2, "stale", "setting grades.threshold was 2, is 3", "input in.parquet has other content"),
        state("grades", 3, "stale", "output results/grades/3.parquet is not made yet"),
        state("grades", 4, "stale", "output results/grades/4.parquet is missing"),
        state("diffs", 1, "follows"),
    ]
    grades, diffs = pending(states)
    assert (grades.jobs, grades.unmade, grades.missing, grades.stale, grades.follows) == (4, 1, 1, 2, 0)
    assert (diffs.jobs, diffs.follows) == (1, 1)
    first, second = lines([grades, diffs])
    assert first == (
        "grades: 1 not made yet, 1 missing, 2 stale: setting grades.threshold was 2, is 3 (2 jobs); "
        "input FILE has other content (1 jobs)"
    )
    assert second == "diffs: 1 only if what they read changes"
    assert lines([]) == ["Nothing is to be done."]


@pytest.mark.snakemake
def test_the_command(runs: dict[str, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "b.yaml"
    config.write_text(yaml.safe_dump(runs["b"]["config"]))
    arguments = ["plan", "--config", str(config), "--measured", str(runs["a"]["folder"])]
    assert main([*arguments, "--quick"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Run other: 0 of 57 jobs are done; figures are of all\n")
    assert re.search(r"^stage +jobs +rows ", text, re.MULTILINE)
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"]["jobs"] == 57
    assert {item["stage"]: item["unmade"] for item in found["pending"]}["corpus"] == 3
    assert plan_table(plan(Chain(Config())))


def test_journals_and_the_cost_of_requests_are_foreseen(runs: dict[str, Run]) -> None:
    free = plan(Chain(Config()))
    priced = plan(Chain(parse_config({"grades": {"engine": {"price": [2, 8]}}})))
    (grades,) = (stage for stage in priced.stages if stage.stage == "grades")
    assert grades.cost == pytest.approx((2 * grades.prompt_tokens + 8 * grades.answer_tokens) / 1e6)
    assert grades.cost > 0
    assert [stage.stage for stage in priced.stages if stage.cost is not None] == ["grades", "grade_repeats"]
    assert {stage.stage for stage in free.stages if stage.journal_bytes} >= {"grades", "labels"}
    assert "expected cost of requests" in plan_table(priced)
    assert "expected cost" not in plan_table(free)
    assert "journals of responses: about " in plan_table(free)
