"""What a run will take before it starts: jobs, rows, tokens, GPU-hours, CPU-hours, disk and files of every stage.

Rows flow from the shards' footers through the chain. What part of them goes on, how many tokens they
have and what they cost is taken from the statements of an earlier run, else from documented defaults;
every line says which. Shares that were measured under other filters are only a hint.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from d3.config.fields import EMBEDDED
from d3.core.tables import count_rows
from d3.operate import cost_defaults
from d3.operate.cost_model import ANSWER_WEIGHT, Observation, StageRates, by_stage, costs, measured
from d3.operate.detectable import Detectable, detectable
from d3.operate.source_rows import source_rows
from d3.operate.training_memory import TrainingMemory, training_memory
from d3.pipeline.job_list import Work, jobs, outputs
from d3.pipeline.pipeline import MODEL_NAME, Chain
from d3.pipeline.registry import STAGES
from d3.pipeline.resources import model_mb, needs, weights_mb

MODEL_FILES = 8
"""Files of a trained or fetched model's folder, Snakemake's time stamp among them."""
BESIDE = 3
"""Files beside the outputs of a job: its statement, its log, its attempts. Snakemake adds one for every output."""
JOURNAL_FILES = 40
"""Files of a stage's journal of millions of entries: 2**20 in a file, and some smaller ones."""
JOURNAL_BYTES = (80.0, 2.0)
"""Of an entry and of each token of its answer: 200 for 60 tokens of made-up words (`make bench-journal`)."""
TRAINING_STATE = 16
"""Bytes a parameter of a checkpoint that training resumes from: weights, gradients' master copy, two moments."""


@dataclass(kw_only=True, slots=True)
class StagePlan:
    """One stage of a plan."""

    stage: str
    jobs: int
    done: int = 0
    """Jobs that are finished already; the figures count all of them."""
    rows: float = 0
    """Rows read."""
    rows_out: float = 0
    prompt_tokens: float = 0
    answer_tokens: float = 0
    tokens: float = 0
    """Tokens tokenized or trained on."""
    gpu_hours: float = 0
    cpu_hours: float = 0
    hours_a_job: float = 0
    """Wall time of one job."""
    bytes: float = 0
    files: int = 0
    journal_bytes: float = 0
    """Of `work/journal`, beside the results; its files are among `files`."""
    cost: float | None = None
    """Expected cost of all requests at `engine.price`; None without prices."""
    rates: str = "default"
    """`measured`, `measured (other settings)` or `default`."""


@dataclass(kw_only=True, slots=True)
class Plan:
    """A run before it starts."""

    run: str
    source_known: bool
    stages: list[StagePlan] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    trainings: list[TrainingMemory] = field(default_factory=list)
    """What the trainings take."""
    detectable: list[Detectable] = field(default_factory=list)
    """What the evaluation can show."""

    def total(self, name: str) -> float:
        """Return the sum of a figure over all stages."""
        return float(sum(getattr(stage, name) for stage in self.stages))

    def plain(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        names = ("jobs", "done", "gpu_hours", "cpu_hours", "bytes", "files")
        trainings = [training.plain() for training in self.trainings]
        return {**asdict(self), "trainings": trainings, "total": {name: self.total(name) for name in names}}


def plan(chain: Chain, rates: Mapping[str, StageRates] | None = None, *, topics: bool = False) -> Plan:
    """Work out what a configuration takes; `rates` are those of an earlier run, by default of this folder's."""
    works = list(jobs(chain, topics=topics))
    return _Planner(chain, dict(measured(chain) if rates is None else rates), works).plan()


def expected_room(chain: Chain) -> tuple[float, int] | None:
    """Return bytes and files that a run makes, the state of its training included; None for an unknown source."""
    found = plan(chain)
    if not found.source_known:
        return None
    weights = weights_mb(chain, chain.config.model.path, chain.config.model.revision) * 1e6
    return found.total("bytes") + TRAINING_STATE * weights / 2, int(found.total("files"))


class _Planner:
    """The figures of a plan while they are worked out, stage after stage."""

    def __init__(self, chain: Chain, rates: dict[str, StageRates], works: list[Work]) -> None:
        self.chain, self.config, self.rates = chain, chain.config, rates
        self.works = Counter(work.stage for work in works)
        self.models = [(work.stage, _model(work)) for work in works if STAGES[work.stage].over == "model"]
        self.done = Counter(work.stage for work in works if work.statement.exists())
        self.stages: dict[str, StagePlan] = {}

    def plan(self) -> Plan:
        source = source_rows(self.chain)
        rows = float(sum(source.by_batch.values()))
        known = bool(rows)
        seen = self.rates.get("source")
        if not known and self.chain.embedded_source and seen:
            rows, known = seen.total("read") / len(seen.observations), True
        if not known:
            rows = source.bytes / STAGES["source"].cost.bytes_per_row or 740.0  # files of a standard library
        flow: dict[str, Callable[[], None]] = {
            "source": lambda: self.add("source", rows, rows),
            "corpus": lambda: self.corpus(rows),
            "grades": self.grades,
            "grade_repeats": self.grade_repeats,
            **{f"adopted_{kind}": partial(self.adopted, kind) for kind in ("grades", "labels", "dataset")},
            "diffs": self.diffs,
            "labels": self.labels,
            "tokens": self.tokens,
            "midtrain": self.midtrain,
            "pairs": self.pairs,
            "pair_diffs": lambda: self.passed("pair_diffs", self.config.diffs.samples),
            "sft": self.sft,
            "generate": self.generate,
        }  # stages whose settings decide how many rows they write; the others pass a share of them on
        for stage in self.works:
            if stage in flow:
                flow[stage]()
            else:
                self.passed(stage)
        ordered = [self.stages[stage] for stage in self.works]
        found = Plan(run=self.config.run, source_known=known, stages=ordered)
        found.trainings = [training_memory(self.chain, stage) for stage in self.works if STAGES[stage].trains]
        found.detectable = detectable(self.chain)
        found.warnings = [text for stage in ordered if (text := self.too_long(stage))]
        if self.chain.expects_source:
            found.warnings.append("no shard is there yet: rows are source.expected_rows")
        if not known:
            found.warnings.append("the source tells no number of rows: they are guessed from its size")
        return found

    # --- rows --------------------------------------------------------------------------------------

    def share(self, stage: str, default: float) -> float:
        """Return the rows that a stage's first output has for each row that it reads."""
        seen = self.rates.get(stage)
        found = seen.ratio("rows") if seen else None
        return default if found is None else found

    def corpus(self, rows: float) -> None:
        seen, config = self.rates.get("corpus"), self.config.corpus
        fit, held_out = STAGES["corpus"].cost.kept, config.held_out
        if seen and seen.total("read"):
            fitting = seen.total("kept") + seen.dropped("not_sampled")
            fit = fitting / seen.total("read")
            held_out = self.held_share(fitting, seen)
        graded = rows * fit * (1 - held_out)
        if config.sample is not None:
            graded = min(graded, float(config.sample * len(self.chain.shards)))
        self.graded, self.held_out = graded, rows * fit * held_out
        self.add("corpus", rows, graded + self.held_out)

    def held_share(self, fitting: float, seen: StageRates) -> float:
        """Return the share of files that are held out: whole repositories are, so few large ones move it."""
        wanted, grades = self.config.corpus.held_out, self.rates.get("grades")
        before = [one.figures.config.get("corpus", {}).get("held_out") for one in seen.observations]
        if not grades or not fitting or not before or not before[0]:
            return wanted
        # Jobs of both stages may have been counted in part: compare per job.
        held = grades.dropped("held_out") / len(grades.observations)
        return min(held * len(seen.observations) / fitting * wanted / float(before[0]), 1.0)

    def grades(self) -> None:
        spared = self.graded * self.spared() if "pregrade" in self.works else 0.0
        self.add("grades", self.graded + self.held_out, self.graded, requests=self.graded - spared)

    def spared(self) -> float:
        """Return the share of files that the pre-grader leaves out: that of an earlier run, else none."""
        seen = self.rates.get("pregrade")
        rows = seen.total("read") - seen.dropped("held_out") if seen else 0
        return seen.dropped("pregrade") / rows if seen and rows else 0.0

    def adopted(self, kind: str) -> None:
        """Add the stage of a table made outside of the pipeline, whose rows are counted."""
        rows = float(sum(count_rows(Path(path)) for path in self.chain.adopted_files(f"adopt.{kind}")))
        self.add(f"adopted_{kind}", rows, rows)

    def grade_repeats(self) -> None:
        repeats = 2 * min(self.graded, float(self.config.judge_health.repeats))
        self.add("grade_repeats", self.graded, repeats, requests=repeats)

    def diffs(self) -> None:
        seen, threshold = self.rates.get("diffs"), self.config.grades.threshold
        passing = 1.0 if self.config.grades.mode == "none" else cost_defaults.share_scored(threshold)
        if seen and seen.same_settings:
            candidates = seen.total("read") - seen.dropped("held_out")
            passing = seen.total("kept") / candidates if candidates else passing
        sequences = self.graded * passing * self.config.diffs.samples
        self.add("diffs", self.graded + self.held_out, sequences, units=sequences)

    def labels(self) -> None:
        sequences, config = self.stages["diffs"].rows_out, self.config.labels
        asked = config.whole_program + config.sub_trajectories
        seen = self.rates.get("labels")
        usable = seen.ratio("kept") if seen else None
        usable = STAGES["labels"].cost.kept if usable is None else usable
        self.add("labels", sequences, sequences * usable * asked, requests=sequences * usable * asked)

    def passed(self, stage: str, times: float = 1) -> None:
        """Add a stage that reads another's rows and passes its usual share of them on."""
        rows_of = STAGES[stage].rows_of
        above = self.stages.get(rows_of) or (self.stages.get("adopted_dataset") if rows_of == "labels" else None)
        rows = above.rows_out if above else 0.0
        kept = STAGES[stage].cost.kept
        share = self.share(stage, kept) if STAGES[stage].outputs[0].schema else kept
        found = rows * times * share
        self.add(stage, rows, found, requests=found if STAGES[stage].asks else 0)

    def pairs(self) -> None:
        seen = self.rates.get("pairs")
        read = self.stages["corpus"].rows_out
        share = STAGES["pairs"].cost.kept
        if seen and seen.total("read"):
            files = seen.total("read") - seen.dropped("not_held_out")
            share = seen.total("rows") / files if files else share
        found = self.held_out * share
        if self.config.pairs.sample is not None:
            most = float(self.config.pairs.sample * len(self.chain.shards))
            # A sample that was full says only that there were at least so many.
            found = min(most, self.held_out) if seen else min(most, found)
        self.add("pairs", read, found)

    # --- tokens ------------------------------------------------------------------------------------

    def tokens(self) -> None:
        rows = self.stages["dataset"].rows_out
        seen = self.rates.get("tokens")
        each = cost_defaults.example_tokens(self.chain)
        if seen and seen.total("read"):
            each = sum(one.tokens[0] for one in seen.observations) / seen.total("read")
        self.add("tokens", rows, rows, tokens=rows * each)

    def midtrain(self) -> None:
        settings = self.config.midtrain
        available = self.stages["tokens"].tokens * settings.epochs
        step = float(settings.batch * settings.sequence_length)
        tokens = available if settings.max_steps is None else min(available, settings.max_steps * step)
        self.add("midtrain", self.stages["dataset"].rows_out, 0, tokens=tokens, units=tokens)

    def sft(self) -> None:
        settings, arms = self.config.sft, self.works["sft"]
        rows = self.stages["sft_data"].rows_out
        known = [one.row_tokens for one in self.rates["sft"].observations] if "sft" in self.rates else []
        each = sum(known) / len(known) if any(known) else cost_defaults.SFT_TOKENS
        each = min(each, settings.sequence_length)
        tokens = rows * settings.epochs * each
        if settings.max_steps is not None:
            sequence = settings.sequence_length if settings.packing == "best_fit" else each
            tokens = min(tokens, float(settings.max_steps * settings.batch * sequence))
        tokens *= arms
        longer = sum(arm.same_tokens for arm in self.config.arms.values())
        tokens += longer * self.stages["midtrain"].tokens if longer else 0.0
        self.add("sft", rows * arms, 0, tokens=tokens, units=tokens)

    def generate(self) -> None:
        tasks = 0.0
        for _, item in self.chain.benchmarks.values():
            tasks += cost_defaults.tasks_of(self.chain, item)
        samples = tasks * self.config.generate.samples * len(self.chain.arms)
        self.add("generate", samples, samples, requests=samples)

    # --- what they cost ----------------------------------------------------------------------------

    def add(
        self, stage: str, rows: float, rows_out: float, *,
        requests: float = 0, tokens: float = 0, units: float | None = None,
    ) -> None:  # fmt: skip
        """Put a stage into the plan: `requests` ask a language model, `units` decide its time, else rows do."""
        planned = StagePlan(
            stage=stage, jobs=self.works[stage], done=self.done[stage], rows=rows, rows_out=rows_out, tokens=tokens
        )
        if self.chain.asks(stage):
            prompt, answer = self.request(stage)
            planned.prompt_tokens, planned.answer_tokens = requests * prompt, requests * answer
            units = planned.prompt_tokens + ANSWER_WEIGHT * planned.answer_tokens
            planned.journal_bytes = requests * (JOURNAL_BYTES[0] + JOURNAL_BYTES[1] * answer)
            price = self.chain.engine(stage).price
            if price is not None:
                planned.cost = (planned.prompt_tokens * price[0] + planned.answer_tokens * price[1]) / 1e6
        self.time(planned, rows if units is None else units)
        self.room(planned)
        self.stages[stage] = planned

    def request(self, stage: str) -> tuple[float, float]:
        """Return the mean tokens of a prompt and of its answer."""
        seen, most = self.rates.get(stage), float(self.limit(stage))
        asked = sum(one.figures.usage.get("asked", 0) for one in seen.observations) if seen else 0
        if not seen or not asked:
            return cost_defaults.request_tokens(self.chain, stage, most)
        prompt = sum(one.tokens[0] for one in seen.observations) / asked
        answer = sum(one.tokens[1] for one in seen.observations) / asked
        old = [limit for one in seen.observations if (limit := _limit(one.figures.config, stage))]
        if old and answer > 0.8 * max(old):  # it was the limit that ended the answers
            return prompt, answer * most / max(old)
        return prompt, min(answer, most)

    def limit(self, stage: str) -> int:
        """Return the most tokens of an answer."""
        return _limit(self.config.model_dump(), stage)

    def time(self, planned: StagePlan, units: float) -> None:
        stage, count = planned.stage, planned.jobs
        seen = by_stage(self.rates, stage, lambda one: self.comparable(stage, one))
        if (found := costs(seen, STAGES[stage].cost.start)) is not None:
            cpu, wall = found
            planned.rates = "measured" if seen.same_settings else "measured elsewhere"
            planned.cpu_hours = cpu.of(count, units) / 3600
            planned.hours_a_job = wall.of(1, units / count) / 3600
            if any(one.figures.gpu for one in seen.observations):
                planned.gpu_hours = planned.hours_a_job * count * needs(self.chain, stage).gpus
            return
        cost = cost_defaults.seconds(self.chain, stage)
        planned.hours_a_job = cost.of(1, units / count) / 3600
        planned.cpu_hours = planned.hours_a_job * count
        if cost_defaults.on_gpus(self.chain, stage):
            planned.gpu_hours = planned.hours_a_job * count * needs(self.chain, stage).gpus

    def comparable(self, stage: str, seen: Observation) -> bool:
        """Return whether a measured time holds here: the same model, engine and number of GPUs, asked or not."""
        config = seen.figures.config
        if STAGES[stage].trains:
            names: tuple[str, ...] = ("dtype", "processes", "gradient_checkpointing")
            mine, old = getattr(self.config, stage).model_dump(), {**(config.get(stage) or {}), **(seen.machine or {})}
            same_model = config.get("model") in (None, self.config.model.model_dump())
            return same_model and all(old.get(name) == mine[name] for name in names)
        if not STAGES[stage].asks:
            return True
        if not (seen.asked and self.chain.asks(stage)):
            return seen.asked == self.chain.asks(stage)
        names = ("kind", "model", "revision", "dtype", "quantization", "tensor_parallel")
        mine = self.chain.engine(stage).model_dump()
        engines = [
            section["engine"] for section in config.values() if isinstance(section, dict) and "engine" in section
        ]
        return all(old.get(name) == mine[name] for old in engines for name in names)

    def room(self, planned: StagePlan) -> None:
        """Work out bytes and files."""
        stage, count = STAGES[planned.stage], planned.jobs
        declared = len(list(outputs(self.chain, stage, stage.name)))
        written = MODEL_FILES if stage.outputs[0].is_folder else declared
        planned.files = count * (written + declared + BESIDE) + 1  # and facts that jobs share
        planned.files += min(count, JOURNAL_FILES) * stage.journal
        seen = self.rates.get(stage.name)
        counts_read = stage.over == "once" or not stage.outputs[0].schema  # the first output does not hold all rows
        if stage.over == "model":
            made = [weights_mb(self.chain, *model) for name, model in self.models if name == stage.name]
            planned.bytes = 1e6 * sum(made)
        elif stage.trains and seen and all(self.comparable(stage.name, one) for one in seen.timed()):
            planned.bytes = count * seen.total("bytes") / len(seen.observations)
        elif stage.trains:
            wide = 2 if getattr(self.config, stage.name).dtype == "float32" else 1
            planned.bytes = count * 1e6 * model_mb(self.chain, stage.name) * wide
        elif planned.rows and counts_read and seen and seen.total("read"):
            planned.bytes = planned.rows * seen.total("bytes") / seen.total("read")
        elif planned.rows_out and seen and seen.total("rows"):
            planned.bytes = planned.rows_out * seen.total("bytes") / seen.total("rows")
        elif planned.rows_out:
            planned.bytes = planned.rows_out * stage.cost.bytes_per_row
        elif seen:
            planned.bytes = count * seen.total("bytes") / len(seen.observations)

    def too_long(self, planned: StagePlan) -> str:
        """Warn of jobs that take longer than their rule asks for."""
        limit = needs(self.chain, planned.stage).minutes / 60
        if STAGES[planned.stage].local or planned.hours_a_job <= limit:
            return ""
        return (
            f"{planned.stage}: a job takes about {planned.hours_a_job:,.1f} h, its rule asks for {limit:,.0f} h; "
            "use fewer shards a job, or raise `runtime` in the profile"
        )


def _model(work: Work) -> tuple[str, str | None]:
    """Return the name and the commit of the model that a job makes or fetches."""
    name, _, revision = work.output.name.partition("@")
    return (EMBEDDED, None) if name == MODEL_NAME else (name.replace("--", "/", 1), revision)


def _limit(config: Mapping[str, Any], stage: str) -> int:
    """Return the most tokens of an answer under the settings of an earlier run."""
    section = config.get(STAGES[stage].section) or {}
    return int(section.get("max_tokens") or (section.get("sampling") or {}).get("max_tokens") or 0)
