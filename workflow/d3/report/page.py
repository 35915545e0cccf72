"""The report stage: result files in, one self-contained HTML page, its numbers and an attrition table out.

The page is rendered from the numbers file's values alone and holds no script, no outside resource
and no time. Text out of source files and models is escaped, and characters that a reader cannot
see (controls, changes of writing direction) are shown as their code.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from d3.config.models import Config
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job
from d3.report.figures import draw
from d3.report.numbers import Files, Numbers, collect, percent, said

TEMPLATE = Path(__file__).with_name("page.html.jinja")
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
SHOWN_LINES = 30


def run(
    config: Config,
    *,
    corpus: Sequence[Path],
    rejected: Sequence[Path],
    grades: Sequence[Path],
    diffs: Sequence[Path],
    labels: Sequence[Path],
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
) -> None:
    """Write the report of a run: page, numbers and attrition table.

    Equal inputs produce equal bytes.

    `tokens` are the manifests of the token shards, `midtrained` and `trained` model folders with a
    `training.json`; `written` and `judged` go by (benchmark, arm). `out` is the HTML page,
    `numbers` the JSON with every number on it, `attrition` tab-separated rows by stage and reason.
    Raises InputError for a file that is not what it must be.

    Example: d3 report --corpus kept.parquet --rejected rejected.parquet --grades grades.parquet
        --diffs diffs.parquet --labels labels.parquet --dataset data.parquet --tokens tokens.json
        --trained d3=models/d3 --written humaneval/d3=samples.parquet --judged humaneval/d3=verdicts.parquet
        --scores scores.json --out report.html --numbers numbers.json --attrition attrition.tsv
    """
    files = Files(
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
    )
    with Job("report", config=config) as job:
        page, values, table = job.file(out), job.file(numbers), job.file(attrition)
        text = json.dumps(collect(config, job, files), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        values.write_text(text, encoding="utf-8")
        shown = json.loads(text)
        table.write_text(attrition_table(shown), encoding="utf-8")
        page.write_text(render(shown), encoding="utf-8")


def attrition_table(numbers: Numbers) -> str:
    """Give the attrition of all stages as tab-separated text: one row for each reason of a stage.

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


def render(numbers: Numbers) -> str:
    """Give the page for the numbers of a run."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[..., Any]] = {
        "number": lambda value: _data(value, _number),
        "percent": lambda value: _data(value, percent),
        "points": lambda value: _data(value, lambda share: f"{100 * share:.1f} pp"),
        "signed": lambda value: _data(value, lambda share: f"{100 * share:+.1f} pp"),
        "loss": lambda value: _data(value, lambda loss: f"{loss:.3f}"),
        "visible": visible,
        "excerpt": excerpt,
        "yaml": lambda value: yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100),
        "said": said,
    }
    environment.filters |= filters
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    figures = {name: Markup(svg) for name, svg in draw(numbers).items()}  # our own SVG, escaped where it was drawn
    return template.render(numbers=numbers, figures=figures) + "\n"


def _data(value: float | None, write: Callable[[float], str]) -> str:
    """Give a number as an element that also carries its exact value."""
    from markupsafe import Markup

    return "–" if value is None else Markup('<data value="{}">{}</data>').format(value, write(value))


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:.3g}"


def visible(text: Any) -> str:
    """Show characters that a reader cannot see as their code, such as <U+202E>."""
    return HIDDEN.sub(lambda match: f"<U+{ord(match.group()):04X}>", str(text))


def excerpt(text: str, lines: int = SHOWN_LINES) -> str:
    """Give a text's first lines and how many are left out; lines are cut at 200 characters."""
    parts = [line if len(line) <= 200 else f"{line[:199]}…" for line in text.split("\n")]
    more = len(parts) - lines
    shown = parts if more <= 0 else [*parts[:lines], f"… {more} more line{'' if more == 1 else 's'}"]
    return visible("\n".join(shown))


def check(job: FinishedJob) -> Faults:
    """Compare the numbers with the scores and tables, and the page and the attrition table with the numbers."""
    from d3.core.tables import count_rows
    from d3.pipeline.pipeline import code_of
    from d3.provenance.code_digest import digest_of_modules
    from d3.provenance.statement import SHORT

    names = {Path(name).suffix: name for name in job.outputs}
    texts = {suffix: (job.root / name).read_text(encoding="utf-8") for suffix, name in names.items()}
    numbers = json.loads(texts[".json"])
    key = {row["name"]: row for row in numbers["key"]}
    for path in job.inputs_of("scores"):
        score = json.loads(path.read_bytes())
        for k, entry in score["pass_at_k"].items():
            name = f"pass@{k}/{score['benchmark']}/{score['arm']}"
            if any(key[name][part] != entry[part] for part in ("value", "low", "high")):
                yield names[".json"], f"{name} is {key[name]['value']}, in the scores it is {entry['value']}"
    counted = {
        "files_kept": [count_rows(path) for path in job.inputs_of("corpus") if path.parent.name != "rejected"],
        "dataset_rows": [count_rows(path) for path in job.inputs_of("dataset", "data")],
        "tokens": [json.loads(path.read_bytes())["tokens"] for path in job.inputs_of("tokens")],
    }
    for name, rows in counted.items():
        if key[name]["value"] != sum(rows):
            yield names[".json"], f"{name} is {key[name]['value']}, the files add up to {sum(rows)}"
    if texts[".tsv"] != attrition_table(numbers):
        yield names[".tsv"], "is not the table of the numbers beside it"
    same_code = job.code == digest_of_modules(code_of("report"))[:SHORT]  # else the page may look different
    if same_code and texts[".html"] != render(numbers):
        yield names[".html"], "is not the page of the numbers beside it"
