"""The report: its numbers equal those in the tables, its page those in its numbers, and odd runs do not break it."""

import base64
import csv
import hashlib
import html
import json
import math
import re
import string
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.core.printable import printable
from d3.errors import InputError
from d3.pipeline.registry import STAGES
from d3.report import charts
from d3.report import numbers as numbers_of
from d3.report.data import EXAMPLE_KINDS
from d3.report.evidence import bounded
from d3.report.page import PARTS, SCRIPTS, STYLE, attrition_table, render
from d3.stages import judge_health
from helpers import report_run
from helpers.demo import over_demo
from helpers.paths import ROOT
from helpers.report_run import ARMS


class Made(report_run.Made):
    """A small run whose report is read back."""

    def report(self, name="report"):
        return Result(**self.write_report(name))


class Result:
    def __init__(self, report, numbers, attrition):
        self.path, self.numbers_path = report, numbers
        self.bytes = [path.read_bytes() for path in (report, numbers, attrition)]
        self.html = report.read_text(encoding="utf-8")
        self.numbers = json.loads(numbers.read_text(encoding="utf-8"))
        with attrition.open(newline="") as lines:
            self.attrition = list(csv.DictReader(lines, delimiter="\t"))
        self.page = Page(self.html)

    def section(self, caption):
        """Return the rows of the table with this caption, as lists of cell texts."""
        return next(rows for title, rows in self.page.tables if title.startswith(caption))

    def figure(self, name):
        """Return the rows of a figure's data."""
        return self.data(f"spec-{name}")["data"]["values"]

    def data(self, name):
        return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', self.html)[1])

    @property
    def text(self):
        """Return the page without its style and scripts."""
        return re.sub(r"<(style|script)[ >].*?</\1>", "", self.html, flags=re.DOTALL)

    def key(self, name):
        return next(row for row in self.numbers["key"] if row["name"] == name)


VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page as a browser would: tables, ids, links, headings, and whether tags are balanced."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.ids, self.headings, self.tables = [], [], [], [], []
        self.attributes, self.text, self.caption, self.cells = [], [], None, None
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.attributes.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "caption":
            self.caption = ""
        elif tag == "table":
            self.tables.append(["", []])
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "caption":
            self.tables[-1][0], self.caption = self.caption.strip(), None

    def handle_data(self, data):
        self.text.append(data)
        if self.caption is not None:
            self.caption += data
        elif "td" in self.open or "th" in self.open:
            self.tables[-1][1][-1][-1] += data


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def result(made):
    return made.report()


def rows_of(paths):
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_the_key_numbers_are_those_of_the_tables(made, result):
    grades, diffs = rows_of(made.paths["grades"]), rows_of(made.paths["diffs"])
    corpus, rejected = rows_of(made.paths["corpus"]), rows_of(made.paths["rejected"])
    tokens = sum(json.loads(path.read_text())["tokens"] for path in made.paths["tokens"])
    expected = {
        "files_read": len(corpus) + len(rejected),
        "files_kept": len(corpus),
        "files_graded": sum(row["score"] is not None for row in grades),
        "scores_missing": sum(row["score"] is None for row in grades),
        "files_diffed": len({row["id"] for row in diffs if row["status"] == "ok"}),
        "sequences": sum(row["status"] == "ok" for row in diffs),
        "labels": sum(row["status"] == "ok" for row in rows_of(made.paths["labels"])),
        "dataset_rows": len(rows_of(made.paths["dataset"])),
        "tokens": tokens,
    }
    assert expected["scores_missing"] == 2
    assert {name: result.key(name)["value"] for name in expected} == expected
    shown = {cells[0]: cells[1] for cells in result.section("What went in")[1:]}
    for name, value in expected.items():
        assert shown[result.key(name)["label"]] == f"{value:,}"
    for path in made.paths["scores"]:
        scores = json.loads(path.read_text())
        row = result.key(f"pass@1/humaneval/{scores['arm']}")
        assert {name: row[name] for name in ("value", "low", "high")} == scores["pass_at_k"]["1"]
        assert row["tasks"] == scores["tasks"] == 8
        assert shown[row["label"]] == f"{100 * scores['pass_at_k']['1']['value']:.1f} %"


def test_every_number_element_shows_a_value_of_the_numbers(result):
    values = set()

    def walk(value):
        if isinstance(value, dict):
            [walk(inner) for inner in value.values()]
        elif isinstance(value, list):
            values.add(float(len(value)))
            [walk(inner) for inner in value]
        elif isinstance(value, int | float):
            values.add(float(value))

    walk(result.numbers)
    shown = [float(attributes["value"]) for tag, attributes in result.page.attributes if tag == "data"]
    assert len(shown) > 100
    # 0 stands for "nothing dropped" and for kinds that an arm does not have.
    assert {value for value in shown if value not in values} <= {0.0}


def test_the_page_is_rendered_from_the_numbers_alone(result):
    assert render(result.numbers).encode() == result.bytes[0]
    assert attrition_table(result.numbers).encode() == result.bytes[2]


def test_counts_by_reason_status_and_score_are_those_of_the_tables(made, result):
    def shown(caption):
        return {cells[0]: int(cells[1].replace(",", "")) for cells in result.section(caption)[1:]}

    rejected = {row["reason"]: int(row["rows"]) for row in result.attrition if row["stage"] == "corpus"}
    assert rejected == Counter(row["reason"] for row in rows_of(made.paths["rejected"]))
    assert shown("Sequences by status") == Counter(row["status"] for row in rows_of(made.paths["diffs"]))
    scores = Counter(row["score"] for row in rows_of(made.paths["grades"]) if row["score"] is not None)
    files = {row["score"]: row["files"] for row in result.figure("grades")}
    assert files == {**{str(score): scores[score] for score in range(5)}, "none": 2}
    lengths = [len(row["diffs"]) for row in rows_of(made.paths["diffs"]) if row["status"] == "ok"]
    spread = result.numbers["diffs"]["per_sequence"]
    assert {int(length): count for length, count in spread["counts"].items()} == Counter(lengths)
    assert math.isclose(spread["mean"], sum(lengths) / len(lengths))
    for arm in ARMS:
        counts = Counter(row["verdict"] for row in rows_of([made.paths["verdicts"]["humaneval", arm]]))
        shown_verdicts = {row["verdict"]: row["samples"] for row in result.figure("verdicts-0") if row["arm"] == arm}
        assert shown_verdicts == counts
        scored = json.loads((made.folder / "evals" / arm / "scores.json").read_text())["pass_at_k"]["1"]
        (point,) = [row for row in result.figure("pass-0") if row["arm"] == arm]
        assert [point[name] / 100 for name in ("low", "value", "high")] == pytest.approx(
            [scored[name] for name in ("low", "value", "high")]
        )


def test_what_was_removed_for_which_task_is_listed(made, result):
    assert result.section("Different texts that contain a task")[1:] == [
        ["humaneval", "HumanEval/0", "2", "0", "0"],
        ["humaneval", "HumanEval/1", "1", "1", "0"],
    ]
    assert "was decontaminated against this benchmark" in result.html
    off = parse_config({**made.config.model_dump(), "contamination": {"share": None}})
    assert "was not decontaminated against this benchmark" in Made(made.folder / "off", config=off).report().html


def test_answers_and_the_wording_of_labels(made, result):
    labels = rows_of(made.paths["labels"])
    worded = [row["label"] for row in labels if row["label"]]
    numbers = result.numbers["labels"]
    assert (numbers["mode"], numbers["worded"]) == ("model", len(worded))
    verbs = sum(bool(row["verb_first"]) for row in labels)
    assert 0 < verbs < len(worded)
    assert math.isclose(numbers["verb_first"], verbs / len(worded))
    assert math.isclose(numbers["duplicates"], 1 - len(set(worded)) / len(worded))
    assert numbers["duplicates"] > 0.5
    unparsable = sum(row["status"] == "unparsable" for row in labels)
    assert 0 < unparsable < len(labels)
    grades = rows_of(made.paths["grades"])
    assert result.numbers["answers"] == [
        {
            "stage": "grades",
            "answers": len(grades),
            "unparsable": 2 / len(grades),
            "too_long": 0,
            "engine_error": 0,
            "truncated": len(grades) - 2,
        },
        {
            "stage": "labels",
            "answers": len(labels),
            "unparsable": unparsable / len(labels),
            "too_long": 0,
            "engine_error": 0,
            "truncated": len(labels) - unparsable,
        },
    ]
    shown = result.section("What became of the answers")
    assert [cells[:3] for cells in shown[1:]] == [
        ["grades", str(len(grades)), f"{200 / len(grades):.1f} %"],
        ["labels", str(len(labels)), f"{100 * unparsable / len(labels):.1f} %"],
    ]


@pytest.mark.slow
def test_runs_without_a_model_say_so(tmp_path):
    made = Made(tmp_path, label_status="ok")
    made.config = parse_config({**made.config.model_dump(), "grades": {"mode": "none"}, "labels": {"mode": "constant"}})
    result = made.report()
    text = " ".join(result.page.text)
    assert "grades.mode: none" in text
    assert "labels.mode: constant" in text
    assert [(row["answers"], row["unparsable"]) for row in result.numbers["answers"]] == [(0, None), (0, None)]
    assert not {"files_graded", "scores_missing"} & {row["name"] for row in result.numbers["key"]}


def test_attrition_conserves_the_rows_of_every_stage(made, result):
    stages = {}
    for row in result.attrition:
        stage = stages.setdefault(row["stage"], [int(row["read"]), int(row["kept"]), 0])
        stage[2] += int(row["rows"])
    assert list(stages)[:6] == ["corpus", "grades", "diffs", "labels", "dataset", "tokens"]
    assert {"midtrain", "sft/baseline", "sft/d3", "generate/humaneval/d3", "execute/humaneval/baseline"} <= set(stages)
    assert all(read == kept + dropped for read, kept, dropped in stages.values())
    assert stages["corpus"][1] == len(rows_of(made.paths["corpus"]))
    assert stages["corpus"][2] == len(rows_of(made.paths["rejected"]))
    assert stages["dataset"][1] == len(rows_of(made.paths["dataset"]))
    reasons = Counter(row["reason"] for row in rows_of(made.paths["rejected"]))
    assert {row["reason"]: int(row["rows"]) for row in result.attrition if row["stage"] == "corpus"} == reasons


@pytest.mark.slow
def test_equal_inputs_give_equal_bytes(made, result):
    assert made.report("again").bytes == result.bytes


def test_the_page_needs_nothing_from_outside_and_runs_its_own_scripts_alone(result):
    assert not {"link", "img", "iframe", "object", "base"} & set(result.page.tags)
    for _, attributes in result.page.attributes:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                assert value.startswith("#")
                assert value[1:] in result.page.ids
    scripts = re.findall(r"<script>(.*?)</script>", result.html, re.DOTALL)
    kinds = Counter(attributes.get("type") for tag, attributes in result.page.attributes if tag == "script")
    assert set(kinds) == {None, "application/json"}
    assert kinds[None] == len(scripts) == 4
    policy = next(values["content"] for _, values in result.page.attributes if "http-equiv" in values)
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert not re.search(r"url\((?!#)", result.text)
    assert "@import" not in result.html
    assert not re.findall(r"https?://[^\s\"<]+", result.text)
    assert "prefers-color-scheme: dark" in result.html


def test_scripts_of_others_are_those_that_the_table_of_versions_names():
    with (ROOT / "config/versions.tsv").open(newline="") as lines:
        pinned = {row["file"]: row["sha256"] for row in csv.DictReader(lines, delimiter="\t")}
    for path in SCRIPTS[:3]:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == pinned[path.name]


def test_the_page_can_be_read_without_seeing_it(result):
    page = result.page
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(page.headings))
    assert len(page.ids) == len(set(page.ids))
    assert all(caption for caption, _ in page.tables)
    figures = [attributes for _, attributes in page.attributes if attributes.get("class") == "chart"]
    assert len(figures) == 15
    assert all(figure["role"] == "img" and len(figure["aria-label"]) > 30 for figure in figures)
    assert page.tags.count("figcaption") == len(figures)


def test_figures_take_the_colors_of_the_page_and_begin_at_zero(result):
    specs = [result.data(name) for name in result.page.ids if name.startswith("spec-")]
    text = json.dumps(specs)
    assert "var(--s1)" in text
    assert not re.search(r"#[0-9a-f]{6}", text)
    domains = [found for found in re.findall(r'"domain(?:Min)?": \[?(-?[\d.]+)', text) if float(found) < 0]
    assert set(domains) <= {"-0.5"}  # the left edge of the bar of a histogram that counts zeros


def test_verdicts_have_colors_of_their_own():
    colors = list(charts.VERDICT_COLORS.values())
    assert len(set(colors)) == len(colors)
    assert not set(colors) & {*charts.ARM_COLORS, charts.BAR}
    style = STYLE.read_text()
    for name in ("failed", "error"):  # in light and dark: never green
        for color in re.findall(rf"--v-{name}: #(\w\w)(\w\w)(\w\w);", style):
            red, green, blue = (int(part, 16) for part in color)
            assert green < max(red, blue) * 0.8
    used = [re.findall(rf"--{name}: (#\w+);", style) for name in ("v-failed", *(f"s{number}" for number in range(6)))]
    assert len({color for pair in used for color in pair[:2]}) == 14


def test_text_of_models_stays_text(result):
    assert "<script>alert" not in result.html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in result.html
    assert "&lt;U+202E&gt;evil" in result.html
    assert "\u202e" not in result.html
    assert "\x07" not in result.html


def test_examples_are_labels_of_the_table_with_their_diffs(made, result):
    labels = {(row["id"], row["part"]): row for row in rows_of(made.paths["labels"])}
    diffs = {row["id"]: row["diffs"] for row in rows_of(made.paths["diffs"])}
    examples = result.numbers["labels"]["examples"]
    assert [example["kind"] for example in examples] == list(EXAMPLE_KINDS)
    for example in examples:
        label = labels[example["id"], example["part"]]
        assert example["label"] == label["label"]
        assert example["diffs"] == diffs[example["id"]][label["start"] : label["end"]]
        assert bool(example["start"]) == (label["start"] > 0)


def test_arms_are_compared_task_by_task(result):
    (pair,) = result.numbers["benchmarks"][0]["differences"]
    assert (pair["one"], pair["other"]) == ARMS
    assert (pair["better"], pair["worse"], pair["tied"]) == (2, 0, 6)
    assert pair["difference"] == 2 / 8
    assert pair["p_value"] == 0.5
    assert "+25.0 pp" in "".join(result.page.text)


@pytest.mark.slow
def test_a_demo_says_so_and_a_full_run_does_not(made, result):
    sentence = "these numbers test the machinery, they are no result"
    assert sentence in result.html
    assert "benchmarks.humaneval.tasks is 8 (full size: no limit)" in result.html
    full = parse_config(
        {
            "source": {"shards": ["a.parquet"]},
            "grades": {"engine": {"model": "/models/judge"}},
            "labels": {"engine": {"model": "/models/writer"}},
            "model": {"path": "/models/base"},
        }
    )
    demo = numbers_of.limits_of_run(full, result.numbers["benchmarks"])
    assert demo == []
    assert sentence not in render({**result.numbers, "demo": demo})
    many = render({**result.numbers, "demo": [f"limit <{number}>" for number in range(9)]})
    assert all(many.count(f"limit &lt;{number}&gt;") == 1 for number in range(9))
    assert "3 more limits" in many


def test_key_numbers_as_text(result):
    text = numbers_of.key_numbers(result.numbers_path)
    lines = text.splitlines()
    assert lines[0] == "Run demo, seed 0"
    assert "no result" in lines[1]
    table = lines[3:]
    assert len(table) == len(result.numbers["key"])
    for line, row in zip(table, result.numbers["key"], strict=True):
        assert line.startswith(row["label"])
        assert numbers_of.said(row)[0] in line
    assert any(re.search(r"arm d3 +37\.5 %  95 % interval \d", line) for line in table)
    values = [numbers_of.said(row)[0] for row in result.numbers["key"]]
    width = max(len(row["label"]) for row in result.numbers["key"]) + 2 + max(map(len, values))
    assert all(line[:width].endswith(f" {value}") for line, value in zip(table, values, strict=True))


def test_the_configuration_is_shown_whole(result):
    assert result.numbers["config"] == result.numbers["config"] | json.loads(
        json.dumps(parse_config(result.numbers["config"]).model_dump(mode="json"))
    )
    assert "max_cpu_seconds" in result.html


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"files": 0, "tasks": 0},
        {"shards": 1, "files": 1},
        {"midtrain": False, "arms": ("baseline",)},
        {"label_status": "unparsable"},
        {"tasks": 1},
        {"solved": {"baseline": 0, "d3": 0}},
        {"solved": {"baseline": 8, "d3": 8}},
    ],
)
def test_odd_runs_make_a_page(tmp_path, options):
    result = Made(tmp_path, **options).report()
    assert result.key("dataset_rows")["value"] == len(rows_of(sorted(tmp_path.glob("dataset/*.parquet"))))
    if options.get("label_status"):
        assert "No label has the status ok" in result.html
    assert numbers_of.key_numbers(result.numbers_path)
    assert ">None<" not in result.html
    assert not re.search(r"\bnan\b", result.text.lower())


def test_a_run_of_nothing_at_all_makes_a_page(tmp_path):
    made = Made(tmp_path, shards=1, files=0, tasks=0, arms=(), midtrain=False)
    made.paths |= {name: [] for name in ("corpus", "rejected", "grades", "diffs", "labels", "dataset", "tokens")}
    result = made.report()
    assert "No benchmark was run" in result.html
    assert "No model was trained" in result.html


@pytest.mark.slow
def test_a_loss_that_is_no_number_leaves_a_gap(tmp_path):
    made = Made(tmp_path, files=8, tasks=1)
    path = made.paths["midtrain"] / "training.json"
    record = json.loads(path.read_text())
    record["record"][-1]["loss"] = math.nan
    path.write_text(json.dumps(record))
    result = made.report()
    assert result.numbers["training"][0]["last_loss"] is None
    assert result.section("Training runs")[1][-1] == "–"


def test_verdicts_of_another_arm_are_refused(tmp_path):
    made = Made(tmp_path, files=8)
    verdicts = made.paths["verdicts"]
    made.paths["verdicts"] = {
        ("humaneval", "baseline"): verdicts["humaneval", "d3"],
        ("humaneval", "d3"): verdicts["humaneval", "baseline"],
    }
    with pytest.raises(InputError, match="other verdicts than the scores"):
        made.report()
    assert not (tmp_path / "report").exists() or not list((tmp_path / "report").iterdir())


@pytest.mark.parametrize(
    ("name", "text"), [("training", "{}"), ("training", "not json"), ("scores", "[]"), ("tokens", "{}")]
)
def test_files_that_are_something_else_are_named(tmp_path, name, text):
    made = Made(tmp_path, files=8, tasks=2)
    path = {
        "training": made.paths["midtrain"] / "training.json",
        "scores": made.paths["scores"][0],
        "tokens": made.paths["tokens"][0],
    }[name]
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(str(path))):
        made.report()


def test_a_table_without_row_counts_is_refused(tmp_path):
    made = Made(tmp_path, files=8, tasks=1)
    path = made.paths["grades"][0]
    pq.write_table(pq.read_table(path), path)
    with pytest.raises(InputError, match="no row counts"):
        made.report()


@pytest.mark.parametrize("text", ["\x1b]0;mine\x07", "one\x9btwo", "\u202eevil", "\u2028", "\U000e0041"])
def test_no_text_of_a_page_holds_characters_that_nobody_sees(result, text):
    numbers = json.loads(json.dumps(result.numbers))
    numbers["run"] = numbers["key"][0]["label"] = numbers["attrition"][0]["stage"] = text
    numbers["grades"]["statuses"] = {text: 1}
    page = render(numbers)
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not set(text) & set(own) - set(string.printable)
    assert f"<title>D3 run {html.escape(printable(text))}: report</title>" in page


def test_long_texts_are_cut():
    assert bounded("x" * 500, 100) == "x" * 100 + "\n… 400 more characters"
    assert bounded("short", 100) == "short"
    assert bounded(None) is None


@pytest.mark.parametrize(("asked", "done", "limited"), [(8, 8, True), (500, 164, False), (None, 164, False)])
def test_a_benchmark_is_limited_only_if_tasks_are_left_out(asked, done, limited):
    config = parse_config({"benchmarks": {"humaneval": {"tasks": asked}}})
    limits = numbers_of.limits_of_run(config, [{"benchmark": "humaneval", "tasks": done}])
    assert any(limit.key == "benchmarks.humaneval.tasks" for limit in limits) == limited


def test_the_pages_of_figures_are_outputs_of_the_stage():
    outputs = {output.path for output in STAGES["report"].outputs}
    assert {path for path in outputs if path.startswith("figures/")} == {f"figures/{part}.html" for part in PARTS}


def test_costs_are_shown_when_there_are_prices(result):
    assert result.numbers["costs"] == []
    assert "engine.price</code>: spent" not in render(result.numbers)
    numbers = json.loads(json.dumps(result.numbers))
    counts = {"jobs": 1, "asked": 1200, "journal": 4, "prompt_tokens": 77000, "answer_tokens": 55}
    numbers["costs"] = [{"stage": "grades", **counts, "spent": 1.25, "expected": 1.26, "at_most": 9.75}]
    page = render(numbers)
    for text in ("engine.price</code>: spent", ">1,200<", ">1.25<", ">1.26<", ">9.75<"):
        assert text in page


def test_the_judge_stands_beside_the_scores(tmp_path):
    made = Made(tmp_path / "run")
    bounds = {"grades": {"threshold": 1}, "judge_health": {"max_entropy": 1}}
    made.config = parse_config(over_demo({"benchmarks": {"humaneval": {"tasks": 8}}, **bounds}))
    judge_health.run(made.config, made.paths["corpus"], made.paths["grades"], made.paths["judge_health"])
    outputs = made.write_report()
    numbers = json.loads(outputs["numbers"].read_text())
    judge = {check["name"]: check for check in numbers["judge"]["checks"]}
    assert judge["entropy"]["value"] == 1.5
    assert judge["entropy"]["status"] == "failed"
    assert {row["name"]: row["value"] for row in numbers["key"]}["judge_bounds_broken"] == sum(
        check["status"] == "failed" for check in judge.values()
    )
    page = outputs["report"].read_text()
    assert "mean entropy in bits is 1.5 (1.5 to 1.5), must be at most 1" in page
    assert numbers["labels"]["faults"]["hedged"] > 0
    assert "Faults of the labels that are kept" in page
    made.paths["judge_health"] = None
    assert json.loads(made.write_report("without")["numbers"].read_text())["judge"] is None
