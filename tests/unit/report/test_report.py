"""The report: its numbers equal those in the tables, its page those in its numbers, and odd runs do not break it."""

import csv
import html
import json
import math
import random
import re
import string
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import content_id
from d3.core.printable import printable
from d3.core.unified_diff import make_diff
from d3.errors import InputError
from d3.evals import score
from d3.pipeline.job import Job
from d3.report import numbers as numbers_of
from d3.report.page import attrition_table, excerpt, render, run
from d3.report.results import sign_test

ARMS = ("baseline", "d3")
NASTY = "</pre><script>alert(1)</script> & \u202eevil $x$ \x07"


def metadata():
    return {field.name: None for field in schemas.METADATA}


def write(path, stage, schema, rows, *, read=None, kept=None, dropped=None, more=()):
    """Write a table, and others of the same job, as a stage would."""
    with Job(stage, config=None) as job:
        for place, form, content in ((path, schema, rows), *more):
            table = job.table(place, form)
            for row in content:
                table.write(row)
        job.keep(len(rows) if kept is None else kept)
        for reason, count in (dropped or {}).items():
            job.drop(reason, count)
        job.read = job.kept + sum(job.dropped.values()) if read is None else read
    return path


def programs(number):
    """Give growing programs of one file."""
    lines = [f"def f{number}(x):", "    total = 0", "    for i in range(x):", f"        total += i * {number}"]
    lines += [f"        total -= {step}" for step in range(number % 5)] + ["    return total"]
    return ["", *("\n".join(lines[: end + 1]) for end in range(1, len(lines)))]


def answer(status="ok"):
    return {
        "status": status,
        "detail": None if status == "ok" else "why",
        "raw": "text",
        "finish_reason": "stop",
        "prompt_tokens": 90,
        "answer_tokens": 12,
        "answered_by": None,
        "truncated": status == "ok",
    }


class Made:
    """A small run on disk; sizes and statuses can be chosen."""

    def __init__(
        self,
        folder,
        *,
        files=40,
        shards=2,
        tasks=8,
        label_status=None,
        arms=ARMS,
        midtrain=True,
        solved=None,
        config=None,
    ):
        self.folder = Path(folder)
        self.draw = random.Random(7)
        self.folder.mkdir(exist_ok=True)
        self.config = config or parse_config(
            {"benchmarks": {"humaneval": {"tasks": max(tasks, 1)}}, "grades": {"threshold": 1}}
        )
        self.solved = {"baseline": 1, "d3": 3} if solved is None else solved
        self.paths = {name: [] for name in ("corpus", "rejected", "grades", "diffs", "labels", "dataset", "tokens")}
        for shard in range(shards):
            self.shard(f"s{shard}", files // shards, label_status)
        self.paths["contamination"] = [self.folder / "contaminated.jsonl"]
        lines = [
            {"kind": kind, "id": str(number), "benchmark": "humaneval", "task": f"HumanEval/{number % 2}", "share": 0.5}
            for number, kind in enumerate(("file", "file", "file", "pair"))
        ]
        self.paths["contamination"][0].write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        self.paths["midtrain"] = self.trained("midtrain", 6, 4.1) if midtrain else None
        self.paths["sft"] = {arm: self.trained(f"sft-{arm}", 6, 3.2 - 0.3 * (arm == "d3")) for arm in arms}
        self.paths |= {"samples": {}, "verdicts": {}, "scores": []}
        for arm in arms if tasks else ():
            self.evaluated(arm, tasks)

    def shard(self, name, files, label_status):
        folder, texts = self.folder, [programs(self.draw.randrange(1, 9999)) for _ in range(files)]
        kept = [
            {
                "id": content_id(steps[-1]),
                "original": content_id(steps[-1]),
                "text": steps[-1],
                "split": "sft" if place % 4 == 3 else "midtrain",
                "shard": name,
                "row": place,
                "source": "the-stack-dedup",
                "metadata": metadata(),
            }
            for place, steps in enumerate(texts)
        ]
        reasons = Counter({reason: self.draw.randrange(1, 60) for reason in ("too_few_lines", "syntax", "duplicate")})
        rejected = [
            {**dict.fromkeys(schemas.REJECTED.names), "shard": name, "row": 1000 + place, "reason": reason}
            for place, reason in enumerate(reasons.elements())
        ]
        more = [(folder / f"rejected/{name}.parquet", schemas.REJECTED, rejected)]
        self.paths["corpus"].append(
            write(folder / f"corpus/{name}.parquet", "corpus", schemas.CORPUS, kept, dropped=reasons, more=more)
        )
        self.paths["rejected"].append(more[0][0])
        graded = []
        for place, row in enumerate(row for row in kept if row["split"] == "midtrain"):
            value = None if place == 2 else self.draw.choice((0, 1, 1, 2, 3, 3, 4))
            graded.append(
                {
                    "id": row["id"],
                    "score": value,
                    "expected_score": None if value is None else value + 0.25,
                    "rationale": "useful",
                    **answer("ok" if value is not None else "unparsable"),
                }
            )
        held = {"held_out": len(kept) - len(graded)}
        self.paths["grades"].append(
            write(folder / f"grades/{name}.parquet", "grades", schemas.GRADES, graded, dropped=held)
        )
        good = {row["id"] for row in graded if (row["score"] or 0) >= 1}
        diffs = []
        for steps in texts:
            identifier = content_id(steps[-1])
            if identifier in good:
                pairs = pairwise(steps)
                row = {"id": identifier, "sample": 0, "status": "ok", "detail": None, "edits": []}
                diffs.append({**row, "diffs": [make_diff(before, after) for before, after in pairs]})
        if diffs:
            diffs[0] |= {"status": "timeout", "detail": "120 s", "diffs": None, "edits": None}
        below = {"held_out": held["held_out"], "below_threshold": len(graded) - len(good)}
        self.paths["diffs"].append(
            write(folder / f"diffs/{name}.parquet", "diffs", schemas.DIFFS, diffs, dropped=below)
        )
        sequences = [row for row in diffs if row["status"] == "ok"]
        labels = []
        for row in sequences:
            size = len(row["diffs"])
            for part, (start, end) in enumerate([(0, size), (0, 2), (1, size), (0, size - 1), (2, size)]):
                status = label_status or ("unparsable" if part == 3 and size % 2 else "ok")
                label = f"Write a loop that adds up {size} things. {NASTY}" if status == "ok" else None
                names = {"id": row["id"], "sample": 0, "part": part, "start": start, "end": end}
                labels.append({**names, "label": label, "verb_first": label and part != 1, **answer(status)})
        self.paths["labels"].append(
            write(
                folder / f"labels/{name}.parquet",
                "labels",
                schemas.LABELS,
                labels,
                kept=len(sequences),
                dropped={"timeout": len(diffs) - len(sequences)},
            )
        )
        rows = [
            {
                "prompt": "p",
                "completion": "c",
                "program_start": "" if label["start"] == 0 else "x = 1",
                "lines_changed": self.draw.randrange(2, 30),
                "source_program_id": int(label["id"][:12], 16),
                "metadata": metadata(),
                "source": "the-stack-dedup",
            }
            for label in labels
            if label["status"] == "ok"
        ]
        lost = {f"label_{label_status or 'unparsable'}": len(labels) - len(rows)}
        self.paths["dataset"].append(
            write(folder / f"dataset/{name}.parquet", "dataset", schemas.DATASET, rows, dropped=lost)
        )
        manifest = folder / f"tokens/{name}.json"
        manifest.parent.mkdir(exist_ok=True)
        dropped = [{"line": 3, "reason": "empty"}] if rows else []
        size = max(len(rows) - 1, 0)
        manifest.write_text(
            json.dumps({"documents": size, "tokens": 217 * size, "dtype": "uint16", "dropped": dropped})
        )
        self.paths["tokens"].append(manifest)

    def trained(self, name, steps, loss):
        record = [
            {
                "step": step + 1,
                "loss": loss * 0.93**step + 0.05 * self.draw.random(),
                "learning_rate": 1e-4 * (1 - step / steps),
                "grad_norm": 1.0,
                "tokens": 2048,
                "loss_tokens": 1500,
            }
            for step in range(steps)
        ]
        values = {
            "stage": name.split("-")[0],
            "steps": steps,
            "tokens": 2048 * steps,
            "loss_tokens": 1500 * steps,
            "rows": {"read": 30, "kept": 29, "dropped": {"too_long": 1}},
            "packing": {
                **{"packing": "best_fit", "cut": 2, "left_out": 345, "sequences": 12, "tokens": 6000},
                **{"torn": 0, "behind_tear": 0, "padding": 0.0234},
            },
            "dropped": [],
            "record": record,
        }
        folder = self.folder / f"models/{name}"
        folder.mkdir(parents=True)
        (folder / "training.json").write_text(json.dumps(values))
        return folder

    def evaluated(self, arm, tasks):
        samples, verdicts = [], []
        for task in range(tasks):
            status = "malformed_diff" if task == 0 else "no_diff" if task == 1 and arm == "baseline" else "ok"
            passed = task >= tasks - self.solved[arm]
            verdict = (
                "no_program" if status != "ok" else "passed" if passed else ("failed", "error", "timeout")[task % 3]
            )
            row = {"task_id": f"HumanEval/{task}", "sample": 0}
            samples.append(
                {
                    **dict.fromkeys(schemas.SAMPLES.names),
                    **row,
                    "status": status,
                    "program": "pass" if status == "ok" else None,
                }
            )
            verdicts.append({**row, "verdict": verdict, "detail": None, "lenient_verdict": verdict})
        key = ("humaneval", arm)
        place = self.folder / "evals" / arm
        self.paths["samples"][key] = write(place / "samples.parquet", "generate", schemas.SAMPLES, samples)
        self.paths["verdicts"][key] = write(place / "verdicts.parquet", "execute", schemas.VERDICTS, verdicts)
        out, gate = place / "scores.json", place / "gate.json"
        tasks = sorted({row["task_id"] for row in verdicts})
        found = {"benchmark": "humaneval", "interpreter": "3.11", "tasks": tasks, "left_out": []}
        gate.write_text(json.dumps(found))
        score.run(
            self.config,
            self.paths["verdicts"][key],
            self.paths["samples"][key],
            gate,
            out,
            benchmark="humaneval",
            arm=arm,
        )
        self.paths["scores"].append(out)

    def report(self, name="report"):
        out = self.folder / name
        outputs = {"report": out / "report.html", "numbers": out / "numbers.json", "attrition": out / "attrition.tsv"}
        renamed = {"midtrain": "midtrained", "sft": "trained", "samples": "written", "verdicts": "judged"}
        paths = {renamed.get(name, name): path for name, path in self.paths.items()}
        run(self.config, **paths, out=outputs["report"], numbers=outputs["numbers"], attrition=outputs["attrition"])
        return Result(**outputs)


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
        """Give the rows of the table with this caption, as lists of cell texts."""
        return next(rows for title, rows in self.page.tables if title.startswith(caption))

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

    assert shown("Rejected files by reason") == Counter(row["reason"] for row in rows_of(made.paths["rejected"]))
    assert shown("Sequences by status") == Counter(row["status"] for row in rows_of(made.paths["diffs"]))
    scores = Counter(row["score"] for row in rows_of(made.paths["grades"]) if row["score"] is not None)
    assert shown("Files by score") == {str(score): scores[score] for score in range(5)}
    lengths = [len(row["diffs"]) for row in rows_of(made.paths["diffs"]) if row["status"] == "ok"]
    spread = result.numbers["diffs"]["per_sequence"]
    assert {int(length): count for length, count in spread["counts"].items()} == Counter(lengths)
    assert math.isclose(spread["mean"], sum(lengths) / len(lengths))
    verdicts = result.section("Samples by verdict")
    for cells in verdicts[1:]:
        counts = Counter(row["verdict"] for row in rows_of([made.paths["verdicts"]["humaneval", cells[0]]]))
        assert dict(zip(verdicts[0][1:], map(int, cells[1:]), strict=True)) == {
            kind: counts[kind] for kind in verdicts[0][1:]
        }
        assert sum(map(int, cells[1:])) == counts.total()


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


def test_the_page_needs_nothing_from_outside(result):
    assert "script" not in result.page.tags
    assert not {"link", "img", "iframe", "object", "base"} & set(result.page.tags)
    for _, attributes in result.page.attributes:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                assert value.startswith("#")
                assert value[1:] in result.page.ids
    assert not re.search(r"url\((?!#)", result.html)
    assert "@import" not in result.html
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"<]+", result.html)) <= namespaces
    assert "prefers-color-scheme: dark" in result.html


def test_the_page_can_be_read_without_seeing_it(result):
    page = result.page
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(page.headings))
    assert len(page.ids) == len(set(page.ids))
    assert all(caption for caption, _ in page.tables)
    figures = [attributes for tag, attributes in page.attributes if tag == "svg"]
    assert len(figures) == 8
    assert all(figure["role"] == "img" and len(figure["aria-label"]) > 30 for figure in figures)
    assert page.tags.count("figcaption") == len(figures)


def test_figures_are_well_formed_and_take_the_colours_of_the_page(result):
    figures = re.findall(r"<svg.*?</svg>", result.html, re.DOTALL)
    for figure in figures:
        ElementTree.fromstring(figure)
        assert "#0000" not in figure
    assert any("var(--s1)" in figure for figure in figures)
    assert all("currentColor" in figure for figure in figures)


def test_text_of_models_stays_text(result):
    assert "<script" not in result.html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in result.html
    assert "&lt;U+202E&gt;evil" in result.html
    assert "\u202e" not in result.html
    assert "\x07" not in result.html


def test_examples_are_labels_of_the_table_with_their_diffs(made, result):
    labels = {(row["id"], row["part"]): row for row in rows_of(made.paths["labels"])}
    diffs = {row["id"]: row["diffs"] for row in rows_of(made.paths["diffs"])}
    examples = result.numbers["labels"]["examples"]
    assert [example["kind"] for example in examples] == list(numbers_of.EXAMPLE_KINDS)
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


def test_the_sign_test_is_exact():
    assert sign_test(0, 0) == 1.0
    assert sign_test(1, 1) == 1.0
    assert sign_test(3, 3) == 1.0
    assert sign_test(5, 0) == sign_test(0, 5) == 2 / 32
    assert sign_test(8, 2) == pytest.approx(2 * (45 + 10 + 1) / 1024)
    assert 0 < sign_test(2000, 1800) < 0.01


@pytest.mark.slow
def test_a_demo_says_so_and_a_full_run_does_not(made, result):
    sentence = "these numbers test the machinery, they are no result"
    assert sentence in result.html
    assert "only the first 8 tasks of 164" in result.html
    full = parse_config(
        {
            "corpus": {"sample": None},
            "grades": {"engine": {"model": "/models/judge"}},
            "labels": {"engine": {"model": "/models/writer"}},
            "model": {"path": "/models/base"},
            "benchmarks": {"humaneval": {"tasks": None}},
        }
    )
    demo = numbers_of.demo_reasons(full, result.numbers["benchmarks"])
    assert demo == []
    assert sentence not in render({**result.numbers, "demo": demo})


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
    assert "nan" not in result.html.lower().replace("nanmean", "").split("<style>")[0]


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
    assert not set(text) & set(page) - set(string.printable)
    assert f"<title>D3 run {html.escape(printable(text))}: report</title>" in page


def test_long_texts_are_cut():
    text = excerpt("\n".join(str(number) for number in range(40)), lines=10)
    assert text.splitlines()[-2:] == ["9", "… 30 more lines"]
    assert excerpt("x" * 500) == "x" * 199 + "…"


def test_the_default_configuration_is_a_demo():
    assert numbers_of.demo_reasons(Config(), [])


@pytest.mark.parametrize(("asked", "done", "limited"), [(8, 8, True), (164, 164, False), (500, 164, False)])
def test_a_benchmark_is_limited_only_if_tasks_are_left_out(asked, done, limited):
    config = parse_config({"benchmarks": {"humaneval": {"tasks": asked}}})
    reasons = numbers_of.demo_reasons(config, [{"benchmark": "humaneval", "tasks": done}])
    assert any("only the first" in reason for reason in reasons) == limited
