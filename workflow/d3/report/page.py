"""The report stage: result files in, one self-contained HTML page, its numbers and an attrition table out.

The page is rendered from the numbers file's values alone. It has no outside resource and no time, and runs no script
but those whose hashes its content security policy names. Text out of source files and models is escaped, and
characters that a reader cannot see (controls, changes of writing direction) are shown as their code
(`d3.core.printable`).
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml

from d3.config.models import Config
from d3.core.printable import printable
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job
from d3.pipeline.registry import LISTS_OF_MATCHES
from d3.report.charts import described, draw, speed_name
from d3.report.data import Files
from d3.report.execution import file_name
from d3.report.lineage_graph import drawing
from d3.report.numbers import Numbers, collect, percent, said
from d3.report.steps import code, steps

TEMPLATE = Path(__file__).with_name("page.html.jinja")
STYLE = Path(__file__).with_name("page.css")
SCRIPTS = tuple(
    Path(__file__).with_name(name) for name in ("vega.min.js", "vega-lite.min.js", "vega-interpreter.js", "page.js")
)
"""The first three as published on npm; `config/versions.tsv` has their versions and checksums."""
LICENSE = Path(__file__).with_name("vega-license.txt")
"""That of all three: a page carries it with them."""
INTERPRETER = """(() => {{
const {{ ascending, isString, DisallowedObjectProperties }} = vega;
{text}
globalThis.vegaInterpreter = {{ expressionInterpreter: expression }};
}})();"""
"""An ES module as a plain script: a page without a server cannot load modules."""
SECTIONS = (
    "key",
    "attrition",
    "data",
    "sequences",
    "training",
    "evaluation",
    "compare",
    "lineage",
    "config",
    "glossary",
)
PARTS = {"data": ("key", "data", "sequences"), "training": ("training",), "evaluation": ("evaluation",)}
"""Pages with some sections of the whole one, which `snakemake --report` lists: the figures and what explains them."""
MOST_STEPS_HTML = 1_200_000
"""Characters of all diff sequences on the page; later ones show their last program alone."""


def run(
    config: Config,
    *,
    contamination: Sequence[Path],
    corpus: Sequence[Path],
    rejected: Sequence[Path],
    grades: Sequence[Path] = (),
    diffs: Sequence[Path] = (),
    labels: Sequence[Path] = (),
    dataset: Sequence[Path],
    tokens: Sequence[Path],
    midtrained: Path | None,
    trained: Mapping[str, Path],
    written: Mapping[tuple[str, str], Path],
    judged: Mapping[tuple[str, str], Path],
    scores: Sequence[Path],
    out: Path,
    numbers: Path,
    attrition: Path,
    losses: Path | None = None,
    topics: Path | None = None,
    figures: Annotated[Path | None, "output: folder of pages with the figures alone, for `snakemake --report`"] = None,
    metrics: Annotated[Mapping[str, Path] | None, "metrics of training runs, for their throughput"] = None,
    judge_health: Annotated[Path | None, "figures of `judge-health`"] = None,
) -> None:
    """Write the report of a run: page, numbers and attrition table.

    Equal inputs produce equal bytes, but for the section `execution` (times, machines, cost), which is read from the
    statements beside the inputs and from `metrics`.

    `tokens` are the manifests of the token shards, `midtrained` and `trained` model folders with a
    `training.json`; `written` and `judged` go by (benchmark, arm). `out` is the HTML page,
    `numbers` the JSON with every number on it, `attrition` tab-separated rows by stage and reason,
    `losses` those of held-out rows, `judge_health` the figures about the judge, `topics` the counts of `topic-counts`,
    `metrics` files by training run.
    Raises InputError for a file that is not what it must be.

    Example: d3 report --contamination contaminated.jsonl --corpus kept.parquet --rejected rejected.parquet
        --grades grades.parquet --diffs diffs.parquet --labels labels.parquet --dataset data.parquet
        --tokens tokens.json --trained d3=models/d3 --written humaneval/d3=samples.parquet
        --judged humaneval/d3=verdicts.parquet --scores scores.json --out report.html
        --numbers numbers.json --attrition attrition.tsv
    """
    files = Files(
        contamination=contamination,
        corpus=corpus,
        rejected=rejected,
        grades=grades,
        diffs=diffs,
        labels=labels,
        dataset=dataset,
        tokens=tokens,
        midtrain=midtrained,
        sft=trained,
        samples=written,
        verdicts=judged,
        scores=scores,
        losses=losses,
        topics=topics,
        metrics=metrics or {},
        judge_health=judge_health,
    )
    with Job("report", config=config) as job:
        page, values, table = job.file(out), job.file(numbers), job.file(attrition)
        text = json.dumps(collect(config, job, files), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        values.write_text(text, encoding="utf-8")
        shown = json.loads(text)
        table.write_text(attrition_table(shown), encoding="utf-8")
        page.write_text(render(shown), encoding="utf-8")
        if figures is not None:
            for name in PARTS:
                job.file(figures / f"{name}.html").write_text(render(shown, name), encoding="utf-8")


def attrition_table(numbers: Numbers) -> str:
    """Return the attrition of all stages as tab-separated text: one row for each reason of a stage.

    A stage that dropped nothing has one row with an empty reason and 0 rows, so that the rows of a
    stage always add up to read - kept.
    """
    import pandas

    rows = [
        (stage["stage"], stage["read"], stage["kept"], reason, rows)
        for stage in numbers["attrition"]
        for reason, rows in (stage["dropped"] or {"": 0}).items()
    ]
    table = pandas.DataFrame(rows, columns=["stage", "read", "kept", "reason", "rows"])
    return table.to_csv(sep="\t", index=False, lineterminator="\n")


def render(numbers: Numbers, part: str | None = None) -> str:
    """Return the page for the numbers of a run, or one of `PARTS` of it."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[..., Any]] = {
        "number": lambda value: _data(value, _number),
        "percent": lambda value: _data(value, percent),
        "points": lambda value: _data(value, lambda share: f"{100 * share:.1f} pp"),
        "signed": lambda value: _data(value, lambda share: f"{100 * share:+.1f} pp".replace("-", "−")),
        "level": lambda value: _data(value, lambda share: f"{100 * share:g} %"),
        "loss": lambda value: _data(value, lambda loss: f"{loss:.3f}"),
        "duration": lambda value: _data(value, duration),
        "yaml": lambda value: yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100),
        "said": said,
        "code": code,
        "script": script_data,
    }
    environment.filters |= filters
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    shown = _visible(numbers)
    scripts = page_scripts()
    page = template.render(
        numbers=shown,
        whole=part is None,
        part=part,
        sections=SECTIONS if part is None else PARTS[part],
        figures={name: {"spec": spec, "text": described(name, spec)} for name, spec in draw(shown).items()},
        steps=Steps(),
        facts=list(_facts(shown)),
        tasks=task_table,
        speeds={speed_name(run): speed_of(shown, run) for run in shown["training"]},
        speed_name=speed_name,
        files=file_table(shown["files"]),
        own={"run": shown["run"], "key": {row["label"]: row for row in shown["key"]}},
        graph=Markup(drawing(shown["lineage"])),  # our own SVG, escaped where it was drawn
        style=Markup(STYLE.read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        hashes=Markup(" ".join(f"'sha256-{_hash(script)}'" for script in scripts)),
    )
    return page + "\n"


class Steps:
    """Diff sequences as HTML, until the page has enough of them."""

    def __init__(self) -> None:
        self.left = MOST_STEPS_HTML

    def __call__(self, start: str, diffs: Sequence[str]) -> list[Any]:
        """Return the program after every diff; only the last one once the page is large."""
        found = steps(start, diffs)
        self.left -= sum(map(len, found))
        return found if self.left > 0 else found[-1:]


def page_scripts() -> list[str]:
    """Return the scripts of the page: Vega, Vega-Lite and Vega's interpreter as published, then ours."""
    texts = [path.read_text(encoding="utf-8") for path in SCRIPTS]
    texts[2] = INTERPRETER.format(text=re.sub(r"^(import|export) .*$", "", texts[2], flags=re.MULTILINE))
    texts[0] = f"/*!\n{LICENSE.read_text(encoding='utf-8')}*/\n{texts[0]}"
    return [re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.MULTILINE).strip() for text in texts]


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def script_data(value: Any) -> Any:
    """Return a value as JSON inside a script element: no text can end the element."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _facts(numbers: Numbers) -> Iterator[tuple[str, str]]:
    """Yield what the run is made of, and how it was executed as far as statements say so."""
    config, made, models = numbers["config"], numbers["execution"], numbers["models"]
    shards = len(numbers["corpus"]["shards"])
    yield "Run", f"{numbers['run']}, seed {numbers['seed']}"
    if made["started"]:
        yield "Date (UTC)", _dates(made["started"], made["finished"])
    if made["commits"]:
        yield f"Commit{'s' * (len(made['commits']) > 1)}", ", ".join(made["commits"])
    if made["hosts"]:
        yield f"Machine{'s' * (len(made['hosts']) > 1)}", ", ".join(made["hosts"])
        yield "GPUs", ", ".join(made["devices"]) or "none"
    if made["systems"]:
        yield "System", "; ".join(made["systems"])
    sources = config["source"]["shards"] or [f"{shards} embedded shards"]
    more = f" and {len(sources) - 3} more" if len(sources) > 3 else ""
    yield "Data", f"{config['source']['name']}: {', '.join(map(file_name, sources[:3]))}{more}"
    yield "Base model", models["base"]
    yield "Judge (grades)", models["grades"]
    yield "Writer (labels)", models["labels"]
    yield "Arms", ", ".join(config["arms"])
    if made["jobs"]:
        yield (
            "Duration",
            f"{duration(made['job_seconds'])} in {made['jobs']:,} jobs, {duration(made['cpu_seconds'])} of CPU",
        )
        yield "Cost", f"{made['cost']:,.2f} for requests" if made["cost"] is not None else "no engine has a price"


def _dates(started: str, finished: str) -> str:
    """Return two moments as text; a day that both share is written once."""
    (day, hour), (last, end) = (moment[:16].split("T") for moment in (started, finished))
    return f"{day}, {hour} to {end}" if day == last else f"{day}, {hour} to {last}, {end}"


def duration(seconds: float) -> str:
    """Return seconds as text in the largest units that fit."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600:,} h {whole % 3600 // 60} min"


def speed_of(numbers: Numbers, run: Mapping[str, Any]) -> float | None:
    """Return the median throughput of a training run in tokens per second, None if its metrics are not there."""
    found = numbers["execution"]["throughput"].get(speed_name(run))
    return found["median"] if found else None


def task_table(benchmark: Mapping[str, Any], number: int) -> Any:
    """Return the table of tasks as the page's script reads it."""
    arms = [arm["arm"] for arm in benchmark["arms"]]
    opened = {task: f"task-{number}-{place}" for place, task in enumerate(benchmark["answers"])}
    rows = []
    for task in benchmark["per_task"]:
        found = [task["arms"].get(arm) for arm in arms]
        rates = {passed / samples if samples else 0.0 for passed, samples in filter(None, found)}
        counts = [None if pair is None else pair[0] for pair in found]
        most = max((pair[1] for pair in found if pair), default=0)
        rows.append([task["task"], *counts, most, "yes" if len(rates) > 1 else "no"])
    return {
        "caption": f"Tasks of {benchmark['benchmark']}: passed samples by arm.",
        "columns": [
            {"name": "Task", "kind": "text"},
            *({"name": arm, "kind": "number"} for arm in arms),
            {"name": "Samples", "kind": "number"},
            {"name": "Arms differ", "kind": "text"},
        ],
        "rows": rows,
        "opens": [opened.get(row[0]) for row in rows],
    }


def file_table(files: Sequence[Mapping[str, Any]]) -> Any:
    """Return the table of result files as the page's script reads it."""
    columns = {"File and where it comes from": "code", "Stage": "text", "Bytes": "number", "SHA-256": "code"}
    return {
        "caption": "Files that this report was made of.",
        "columns": [{"name": name, "kind": kind} for name, kind in columns.items()],
        "rows": [[f"d3 trace {row['name']}", row["stage"], row["bytes"], (row["sha256"] or "–")[:16]] for row in files],
        "opens": None,
    }


def _visible(value: Any) -> Any:
    """Return a JSON value with only visible characters in its texts and names."""
    if isinstance(value, dict):
        return {printable(name): _visible(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_visible(inner) for inner in value]
    return printable(value, keep="\n\t") if isinstance(value, str) else value


def _data(value: float | None, write: Callable[[float], str]) -> str:
    """Return a number as an element that also carries its exact value."""
    from markupsafe import Markup

    return "–" if value is None else Markup('<data value="{}">{}</data>').format(value, write(value))


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:.3g}"


def check(job: FinishedJob) -> Faults:
    """Count all numbers again from the files, and make the page and the attrition table again from the numbers."""
    from d3.pipeline.pipeline import code_of
    from d3.provenance.code_digest import digest_of_modules
    from d3.provenance.redact import scrub
    from d3.provenance.statement import SHORT

    parts = {Path(name).stem: name for name in job.outputs if Path(name).parent.name == "figures"}
    names = {Path(name).suffix: name for name in job.outputs if name not in parts.values()}
    texts = {suffix: (job.root / names[suffix]).read_text(encoding="utf-8") for suffix in (".json", ".tsv")}
    numbers = json.loads(texts[".json"])
    if texts[".tsv"] != attrition_table(numbers):
        yield names[".tsv"], "is not the table of the numbers beside it"
    if job.code != digest_of_modules(code_of("report", job.config))[:SHORT]:
        job.notes.append((names[".json"], "was counted by other code than this: only the scores are compared"))
    else:
        tokens = [str(path) for path in job.inputs_of("tokens")]
        tables, manifests = (
            {path.removesuffix(end) for path in tokens if path.endswith(end)} for end in (".csv.gz", ".json")
        )
        if tables != manifests:
            yield names[".json"], "its inputs name token tables and manifests of different batches"
        found = count_again(job, numbers)
        sections = (numbers.keys() | found.keys()) - {"execution"}  # statements are checked by themselves
        for section in sorted(name for name in sections if numbers.get(name) != found.get(name)):
            yield names[".json"], f"its section {section} is not what the files come to"
        if not _agrees(job.config, scrub(numbers["config"]), job.root):
            yield names[".json"], "its configuration is not that of the statement"
        for name, part in ((names[".html"], None), *((name, part) for part, name in parts.items())):
            if (job.root / name).read_text(encoding="utf-8") != render(numbers, part):
                yield name, "is not the page of the numbers beside it"
    key = {row["name"]: row for row in numbers["key"]}
    for path in job.inputs_of("scores"):
        score = json.loads(path.read_bytes())
        for k, entry in score["pass_at_k"].items():
            name = f"pass@{k}/{score['benchmark']}/{score['arm']}"
            if any(key[name][part] != entry[part] for part in ("value", "low", "high")):
                yield names[".json"], f"{name} is {key[name]['value']}, in the scores it is {entry['value']}"


def count_again(job: FinishedJob, numbers: Numbers) -> Numbers:
    """Count the numbers of a report again from the files that it names, with the configuration that they show."""
    config = Config.model_validate(numbers["config"])
    models = [path.parent for stage in ("midtrain", "sft") for path in job.inputs_of(stage)]
    corpus = job.inputs_of("corpus")
    files = Files(
        contamination=[path for stage in LISTS_OF_MATCHES for path in job.inputs_of(stage)],
        corpus=[path for path in corpus if path.parent.name != "rejected"],
        rejected=[path for path in corpus if path.parent.name == "rejected"],
        grades=job.inputs_of("grades"),
        diffs=job.inputs_of("diffs"),
        labels=job.inputs_of("labels"),
        dataset=job.inputs_of("dataset"),
        tokens=[path for path in job.inputs_of("tokens") if path.suffix == ".json"],
        midtrain=next((path for path in models if path.name == "model"), None),
        sft={path.name.rpartition("-")[0]: path for path in models if path.name != "model"},
        samples={_line(path): path for path in job.inputs_of("generate")},
        verdicts={_line(path): path for path in job.inputs_of("execute")},
        scores=job.inputs_of("scores"),
        losses=next(iter(job.inputs_of("losses")), None),
        topics=next(iter(job.inputs_of("topic_counts")), None),
        judge_health=next(iter(job.inputs_of("judge_health")), None),
    )
    found: Numbers = json.loads(json.dumps(collect(config, Job("report", config=config), files)))
    return found


def _agrees(stated: Any, shown: Any, root: Path) -> bool:
    """Return whether settings of a statement have the same value among all settings; paths may be spelled otherwise."""
    if isinstance(stated, dict):
        return isinstance(shown, dict) and all(_agrees(value, shown.get(name), root) for name, value in stated.items())
    if isinstance(stated, str) and isinstance(shown, str):
        return os.path.abspath(root / stated) == os.path.abspath(root / shown)
    return bool(stated == shown)


def _line(path: Path) -> tuple[str, str]:
    """Return benchmark and arm of a file in the folder of a stage that evaluates."""
    return path.parent.name.rpartition("-")[0], path.stem.rpartition("-")[0]
