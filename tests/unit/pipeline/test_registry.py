"""Every stage, engine and benchmark is known everywhere; a stage that is added to the registry is too."""

import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from d3.audit.index import _kind
from d3.audit.trace import rows
from d3.config.engine import Engine
from d3.config.engine_kinds import ENGINE_KINDS
from d3.config.evaluation import Benchmark, benchmark_kinds
from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.evals.tasks import reader
from d3.operate import cost_defaults
from d3.operate.container_binds import binds, variables
from d3.operate.doctor import machine, slurm
from d3.operate.doctor.findings import Place
from d3.operate.plan import plan
from d3.operate.status import survey
from d3.pipeline.job_list import Work, jobs, outputs
from d3.pipeline.pipeline import MODEL_NAME, Chain
from d3.pipeline.registry import STAGES, before, position, stage_of_folder
from d3.pipeline.resources import needs
from d3.pipeline.stage import TARGETS, Cost, Output, Resources, Stage
from d3.provenance import images
from helpers.paths import WORKFLOW

RULES = "\n".join(path.read_text() for path in sorted((WORKFLOW / "rules").glob("*.smk")))
HUB = {"path": "somebody/large-7B", "revision": "a" * 40}
ASKING = [stage.name for stage in STAGES.values() if stage.asks]
WITHOUT_CHECK = {
    "source": "its shards are compared with their digest alone",
    "model": "a folder of somebody else's",
    "hub_model": "a folder of somebody else's",
    "hub_dataset": "a file of somebody else's",
    **dict.fromkeys(
        ("contamination", "pair_contamination", "label_contamination"), "the stages that read a list check it"
    ),
    "topics": "on request, read by no other stage",
    "topic_counts": "on request, read by no other stage",
}
COLUMNS = {
    "file": {"id"},
    "sequence": {"id", "sample"},
    "example": {"id", "sample", "part"},
    "corpus": {"id", "shard", "row", "metadata", "split"},
    "rejected": {"hexsha"},
    "rows": {"id", "sample", "part", "row"},
    "pairs": {"id", "file_id"},
}


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def whole() -> Chain:
    """Return a configuration that has jobs of every stage but those of `NOT_IN_WHOLE`."""
    graded = {"path": "graded.parquet", "name": "mine", "version": "1", "license": "MIT"}
    changes = {"pregrade": {"graded": graded}, "dataset": {"duplicate_labels": "drop"}}
    return Chain(parse_config({"model": HUB, "tokens": {"held_out": 0.1}, **changes}))


NOT_IN_WHOLE = ("hub_dataset", "adopted_grades", "adopted_labels", "adopted_dataset")
"""Stages that other inputs need."""


def setting(path: str) -> Any:
    return reduce(getattr, path.split("."), Config())


# --- the records ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_record_names_what_there_is(stage: Stage) -> None:
    assert STAGES[stage.name] is stage
    assert stage.environment in {*images.RECIPES, "main"}
    for above in (*stage.upstream, *filter(None, [stage.rows_of])):
        assert position(above) < position(stage.name)
    assert not stage.cost.same_as or STAGES[stage.cost.same_as].cost.unit == stage.cost.unit
    for path in stage.settings:
        setting(path)
    for path in stage.prompts:
        assert str(setting(path)).endswith(".jinja")
    if stage.model:
        assert isinstance(setting(stage.model), str)
        setting(stage.model.rpartition(".")[0] + ".revision")
    assert not stage.asks or isinstance(setting(f"{stage.section}.engine"), Engine)
    assert not (stage.asks or stage.trains) or stage.model
    assert stage.target in TARGETS
    assert (stage.over == "once") == ("{name}" not in stage.outputs[0].path)


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_stage_has_one_rule_of_its_name(stage: Stage) -> None:
    found = re.search(rf"^( *)rule {stage.rule}:\n(.*?)(?=^\1\w|\Z)", RULES, re.MULTILINE | re.DOTALL)
    assert found, stage.rule
    assert ("needs(CHAIN" in found[2]) != stage.local
    assert stage.local or f'needs(CHAIN, "{stage.name}").of_rule()' in found[2]
    assert f"DIR['{stage.name}']" in found[2] or stage.name in ("source", "report", "run_record")
    assert (f'journal/{stage.name}"' in found[2]) == stage.journal
    wildcards = {"shard": "{{shard}}", "arm": "{{arm}}", "benchmark": "{{benchmark}}"}
    wildcards["evaluation"] = "{{benchmark}}/{{arm}}"
    if stage.over in wildcards:
        for output in stage.outputs:
            path = output.path.rstrip("/").replace("{name}", wildcards[stage.over])
            assert f"{{DIR['{stage.name}']}}/{path}\"" in found[2]
    others = {"midtrain", "sft", "generate", "execute", "gate", "scores"}  # what reruns them depends on the wildcards
    assert stage.name in others or f'stale_when("{stage.name}"' in found[2]


def test_rules_and_local_rules_are_those_of_the_registry() -> None:
    rules = re.findall(r"^ *rule (\w+):", RULES, re.MULTILINE)
    assert sorted(rules) == sorted([*(stage.rule for stage in STAGES.values()), "lineage"])
    local = [
        name
        for name, text in re.findall(r"^ *rule (\w+):\n((?: +.*\n|\n)+)", RULES, re.MULTILINE)
        if "localrule: True" in text
    ]
    assert sorted(local) == sorted([*(stage.rule for stage in STAGES.values() if stage.local), "lineage"])
    snakefile = (WORKFLOW / "Snakefile").read_text()
    assert sorted(re.findall(r"^rule (\w+):", snakefile, re.MULTILINE)) == sorted(TARGETS)


def test_the_launcher_picks_the_environment_of_every_stage() -> None:
    case = re.search(r"^case \$\{1:-\} in\n.*?^esac$", (WORKFLOW / "bin" / "d3").read_text(), re.MULTILINE | re.DOTALL)
    assert case
    script = f'for stage in "$@"; do set -- "$stage"; {case[0]}; echo "$stage $name"; done'
    commands = [stage.command for stage in STAGES.values()]
    told = subprocess.run(["bash", "-c", script, "d3", *commands], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [f"{stage.command} {stage.environment}" for stage in STAGES.values()]


def test_the_registry_is_imported_without_libraries() -> None:
    heavy = {"pydantic", "pyarrow", "d3.config.models"}
    code = f"import sys, d3.pipeline.registry; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- every stage is known everywhere --------------------------------------------------------------------


def test_every_stage_has_jobs_resources_and_a_plan() -> None:
    chain = whole()
    works = list(jobs(chain, topics=True))
    stages = [name for name in STAGES if name not in NOT_IN_WHOLE]
    assert list(dict.fromkeys(work.stage for work in works)) == stages
    assert len({work.output for work in works}) == len({work.log for work in works}) == len(works)
    for work in works:
        stage = STAGES[work.stage]
        inside = work.output.relative_to(chain.folder(stage.name)).as_posix()
        assert stage.output_of(inside) == stage.outputs[0]
        assert needs(chain, stage.name).minutes > 0
        assert len(list(outputs(chain, stage, work.name))) >= len(stage.outputs)
    planned = {item.stage: item for item in plan(chain, topics=True).stages}
    assert list(planned) == stages
    for stage in map(STAGES.__getitem__, stages):
        assert planned[stage.name].hours_a_job > 0
        assert planned[stage.name].files > 0
        assert bool(planned[stage.name].prompt_tokens) == stage.asks
        assert bool(planned[stage.name].tokens) == bool(stage.record)
        assert not stage.rows_of or planned[stage.name].rows > 0
    assert [item.stage for item in survey(chain, None, topics=True).stages] == stages
    assert {work.stage for work in works} - {work.stage for work in jobs(chain)} == {"topics", "topic_counts"}
    asked = Chain(parse_config({**chain.values, "topics": {"in_report": True}}))
    assert [work.stage for work in jobs(asked)] == [work.stage for work in works]
    assert asked.folder("topics") == chain.folder("topics")


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_every_stage_is_indexed_traced_verified_and_ordered(stage: Stage) -> None:
    tables = [(output, getattr(schemas, output.schema)) for output in stage.outputs if output.schema]
    columns = {name for _, schema in tables for name in schema.names}
    for output, schema in tables:
        assert not output.ids or COLUMNS[output.ids] <= set(schema.names)
        name = "benchmark/arm" if stage.over == "evaluation" else "one"
        path = f"results/{stage.results_folder}/KEY/{output.path.format(name=name, source_shard='s', shard='s')}"
        assert _kind(path) == (output.ids or None)
    if tables:
        assert not stage.shown or set(stage.shown) <= columns
        values = dict.fromkeys(columns, 1) | {"diffs": None}
        said = list(rows._words(stage.name, values, dict.fromkeys(columns, "1")))
        assert said[: len(stage.shown)] == [f"{name} 1" for name in stage.shown]
    assert (stage.check() is None) == (stage.name in WITHOUT_CHECK)
    assert position(stage.name) == list(STAGES).index(stage.name)
    if stage.name != "run_record":  # it shares the folder of the report
        assert stage_of_folder(stage.results_folder) == (stage if stage.results_folder else None)
        assert position(stage.results_folder or stage.name) == position(stage.name)


def test_trace_shows_late_rows_first() -> None:
    order = [stage.name for stage in reversed(STAGES.values()) if stage.results_folder == stage.name]
    paths = [f"results/{stage}/KEY/one.parquet" for stage in order]
    assert sorted(set(paths), key=rows._order) == paths
    assert rows._order("resources/models/m") > rows._order(paths[-1])


def test_what_is_upstream_and_what_is_no_stage() -> None:
    assert before("dataset") == {
        *("labels", "label_contamination", "diffs", "grades", "corpus", "contamination", "duplicates"),
        *("fingerprints", "near_duplicates", "pregrader", "pregrade"),
        *("adopted_grades", "adopted_labels", "adopted_dataset"),
    }
    assert position("no such stage") == position("") == len(STAGES)


# --- every engine, wherever a model is asked ------------------------------------------------------------


@pytest.mark.parametrize("kind", ENGINE_KINDS)
@pytest.mark.parametrize("stage", ASKING)
def test_every_engine_is_known_for_every_stage_that_asks(stage: str, kind: str) -> None:
    engine = {"kind": kind, "api_key_env": "KEY", "dtype": "bfloat16"} | (
        {"served_model": "m"} if kind.startswith("openai") else {}
    )
    if kind == "vllm":
        engine |= {"tensor_parallel": 4}
    large = {"model": "somebody/judge-70B", "revision": "a" * 40}
    values: dict[str, Any] = {STAGES[stage].section: {"engine": engine | large}}
    if stage == "generate":
        values |= {"model": {"path": large["model"], "revision": "a" * 40}}
    chain = Chain(parse_config(values))
    runs_it = ENGINE_KINDS[kind].environment is not None
    assert chain.environment(stage) == (ENGINE_KINDS[kind].environment or STAGES[stage].environment)
    assert chain.environment(stage) in machine.environments_of(chain)
    assert "APPTAINERENV_KEY" in variables(chain, {"KEY": "secret"})
    assert needs(chain, stage).gpus == (0 if not runs_it else 4 if kind == "vllm" else 1)
    assert (needs(chain, stage).memory_mb > 140_000) == runs_it
    memory, gpus = machine.gpu_memory(chain)
    assert (memory > 30_000, gpus) == (runs_it, 4 if kind == "vllm" else 1)
    assert machine.wants_gpus(chain) == ENGINE_KINDS[kind].needs_gpus == cost_defaults.on_gpus(chain, stage)
    assert machine.hub_models(chain) == ["somebody/judge-70B@" + "a" * 40]
    assert "somebody--judge-70B@" + "a" * 40 in {work.name for work in jobs(chain, topics=True)}
    planned = {item.stage: item for item in plan(chain, topics=True).stages}
    assert (planned[stage].gpu_hours > 0) == ENGINE_KINDS[kind].needs_gpus


def test_an_own_model_and_own_prompts_are_bound_for_every_stage_that_asks(tmp_path: Path) -> None:
    sections = {STAGES[stage].section for stage in ASKING}
    for stage in sections:
        (tmp_path / "own" / stage).mkdir(parents=True)
    prompts = [path for stage in STAGES.values() for path in stage.prompts]
    values: dict[str, Any] = {stage: {"engine": {"model": str(tmp_path / "own" / stage)}} for stage in sections}
    values["model"] = {"path": str(tmp_path / "own" / "generate")}
    for path in prompts:
        section, field = path.split(".")
        file = tmp_path / "own" / path / "mine.jinja"
        file.parent.mkdir(exist_ok=True)
        file.touch()
        values[section][field] = str(file)
    working = tmp_path / "work"
    working.mkdir()
    bound = {bind.split(":")[0] for bind in binds(Chain(parse_config(values)), working)}
    assert bound >= {str(tmp_path / "own" / name) for name in (*sections, *prompts)}


# --- every benchmark ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", benchmark_kinds())
def test_a_benchmark_is_as_large_as_its_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tasks.jsonl.gz"
    item = Benchmark(path=str(path), tasks=None).model_copy(update={"kind": kind})
    chain = Chain(Config().model_copy(update={"benchmarks": {"mine": item}}))
    assert cost_defaults.tasks_of(chain, item) == reader(kind).SPEC.tasks_in_file
    path.write_bytes(gzip.compress(b'{"task_id": "a"}\n\n{"task_id": "b"}\n{"task_id": "c"}\n'))
    assert cost_defaults.tasks_of(chain, item) == 3
    assert cost_defaults.tasks_of(chain, item.model_copy(update={"tasks": 2})) == 2
    planned = {stage.stage: stage for stage in plan(chain).stages}
    assert planned["generate"].rows == planned["scores"].rows == 3 * len(chain.arms)
    path.write_bytes(b"torn")
    assert cost_defaults.tasks_of(chain, item) == reader(kind).SPEC.tasks_in_file


# --- a stage that is added ------------------------------------------------------------------------------

ADDED = Stage(
    name="decontaminated",
    module="made_up_stage",
    settings=("seed",),
    upstream=("dataset",),
    environment="eval",
    outputs=(Output("kept/{name}.parquet", "LABELS", ids="example"), Output("dropped/{name}.parquet", "UNUSED")),
    rows_of="dataset",
    resources=Resources(memory_mb=123_456, minutes=30),
    cost=Cost(kept=0.5, cpu_per_row=1.0, bytes_per_row=1000),
    shown=("label", "part"),
)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Add a stage after `dataset`."""
    module = ModuleType("made_up_stage")
    monkeypatch.setitem(sys.modules, "made_up_stage", module)
    before = dict(STAGES)
    items = list(before.items())
    place = list(before).index("dataset") + 1
    STAGES.clear()
    STAGES.update([*items[:place], (ADDED.name, ADDED), *items[place:]])
    yield ADDED
    STAGES.clear()
    STAGES.update(before)


def test_an_added_stage_is_taken_up_without_other_edits(added: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = whole()
    works = [work for work in jobs(chain) if work.stage == added.name]
    folder = Path(chain.folder(added.name))
    shards = list(chain.batches)
    assert [work.output for work in works] == [folder / "kept" / f"{shard}.parquet" for shard in shards]
    assert works[0].log == Path(f"logs/decontaminated/{shards[0]}.log")
    assert works[0].rule == "decontaminated"
    assert needs(chain, added.name) == added.resources
    planned = {item.stage: item for item in plan(chain).stages}
    assert planned[added.name].rows == planned["dataset"].rows_out > 0
    assert planned[added.name].rows_out == planned["dataset"].rows_out / 2
    assert planned[added.name].bytes == pytest.approx(1000 * planned[added.name].rows_out)
    assert planned[added.name].cpu_hours > planned["dataset"].cpu_hours

    monkeypatch.setattr("d3.operate.slurm.ask", lambda words: (0, "all|infinite|123000|64|gpu:8|up"))
    assert "decontaminated: no partition" in slurm.partitions(Place(chain, {})).text
    monkeypatch.setattr(machine, "STAGES", {added.name: added})
    assert machine.environments_of(chain) == {"eval"}

    path = f"results/decontaminated/KEY/kept/{shards[0]}.parquet"
    assert _kind(path) == "example"
    assert _kind(path.replace("kept", "dropped")) is None
    assert position("dataset") < position(added.name) < position("tokens")
    assert list(rows._words(added.name, {"label": 1, "part": 2}, {"label": "1", "part": "2"})) == ["label 1", "part 2"]
    assert rows._order(path) < rows._order("results/dataset/KEY/data/a.parquet")
    assert [item.stage for item in survey(chain, None).stages].count(added.name) == 1

    assert STAGES[added.name].check() is None
    monkeypatch.setattr(sys.modules[added.module], "check", lambda job: iter(()), raising=False)
    assert STAGES[added.name].check() is not None


def test_a_stage_of_the_name_of_a_target_has_another_rule() -> None:
    assert [stage.name for stage in STAGES.values() if stage.rule != stage.name] == ["dataset", "topics"]
    assert STAGES["topics"].rule == "topics_shard"
    assert STAGES["pair_diffs"].command == "pair-diffs"


def test_files_of_the_hub_have_a_job_each_and_a_place_in_plan_and_doctor() -> None:
    folder = f"bigcode/the-stack-dedup@{'0a' * 20}"
    chain = Chain(parse_config({"source": {"shards": [f"hf://datasets/{folder}/data/python/s-{{08..10}}.parquet"]}}))
    names = [f"{folder.replace('/', '--')}/data/python/s-{number}.parquet" for number in ("08", "09", "10")]
    works = [work for work in jobs(chain) if work.stage == "hub_dataset"]
    assert [work.name for work in works] == names
    assert [str(work.output) for work in works] == [f"resources/datasets/{name}" for name in names]
    assert [path for paths in chain.batches.values() for path in paths] == [str(work.output) for work in works]
    assert STAGES["hub_dataset"].output_of(names[0]) == STAGES["hub_dataset"].outputs[0]
    planned = {item.stage: item for item in plan(chain).stages}
    assert planned["hub_dataset"].jobs == 3
    assert machine.hub_models(chain) == [folder]


def test_jobs_of_models_are_named_for_their_folder() -> None:
    works: dict[str, Work] = {work.stage: work for work in jobs(whole()) if STAGES[work.stage].over == "model"}
    assert works["model"].name.startswith(f"{MODEL_NAME}@")
    assert works["hub_model"].name == "somebody--large-7B@" + "a" * 40
    assert works["hub_model"].log == Path(f"logs/hub_model/somebody--large-7B@{'a' * 40}.log")
